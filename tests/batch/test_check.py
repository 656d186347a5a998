"""A sweep is tried out dry: what it would make is told, every mistake is found, and nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from search_files import SEARCH
from typer.testing import CliRunner

import sciml
from sciml.batch import plan
from sciml.cli import app
from sciml.errors import ConfigError
from sciml.runs.config import run_name

SWEEP = 'base = "fisher_kpp"\nseeds = 2\n[axes]\n"parameters.D" = { from = 0.01, to = 0.04, count = 3, scale = "log" }\n'


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep's file; runs get their names without the process that reads the problem's data."""
    monkeypatch.setattr(plan, "name_runs", lambda configs, *_: [run_name(config, "", {}) for config in configs])
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "speed.toml"
    path.write_text(SWEEP)
    return path


def told(source: str | Path, **more: Any) -> dict[str, str]:
    findings = sciml.check(source, **more)
    assert all(finding.ok for finding in findings)
    return {finding.name: finding.text for finding in findings}


def test_a_dry_run_says_what_would_be_made_and_writes_nothing(file: Path) -> None:
    assert told(file) == {
        "sweep": "6 runs of fisher_kpp",
        "axis parameters.D": "3 values: [0.01, 0.02, 0.04]",
        "axis seed": "2 values: [0, 1]",
        "first run": "parameters.D=0.01  seed=0",
        "last run": "parameters.D=0.04  seed=1",
    }
    assert [path.name for path in file.parent.iterdir()] == ["speed.toml"]


def test_a_coefficient_as_an_axis_is_told_where_it_stands(file: Path) -> None:
    file.write_text('base = "fisher_kpp"\n[axes]\nD = [0.01, 0.02]\n')
    with pytest.raises(ConfigError, match=r"axis 'D': unknown key 'D'; did you mean 'parameters\.D'\?"):
        sciml.check(file)


def test_a_search_tells_its_trials(file: Path) -> None:
    file.write_text(SEARCH.replace('"line"', '"fisher_kpp"'))
    found = told(file)
    assert found["sweep"] == "6 runs of fisher_kpp: 6 trials"
    assert {"search", "searched network.width", "first run"} < set(found)
    assert "last run" not in found


def test_a_shipped_sweep_goes_by_its_name(file: Path) -> None:
    assert told("front_speed", overrides=["seed=3"])["sweep"] == "9 runs of fisher_kpp"


def test_every_mistake_of_a_sweep_is_told(file: Path) -> None:
    file.write_text(SWEEP.replace("parameters.D", "parameters.E").replace("seeds = 2", "seeds = 2\n[engine]\nworkers = 0\n"))
    with pytest.raises(ConfigError, match=r"engine.workers = 0"):
        sciml.check(file)
    file.write_text(SWEEP.replace("parameters.D", "parameters.E") + '"network.width" = []\n')
    with pytest.raises(ConfigError) as caught:
        sciml.check(file)
    text = str(caught.value)
    assert "network.width is empty" in text
    assert "axis 'parameters.E'" in text
    file.write_text(SWEEP.replace('base = "fisher_kpp"\n', ""))
    with pytest.raises(ConfigError, match="'base' is missing"):
        sciml.check(file)


def test_two_runs_that_would_be_the_same_are_found(file: Path) -> None:
    file.write_text('base = "fisher_kpp"\n[axes]\n"execution.threads" = [1, 2]\n')
    with pytest.raises(ConfigError, match="are the same run"):
        sciml.check(file)


def test_the_command_line_says_the_same(file: Path) -> None:
    done = CliRunner().invoke(app, ["check", str(file), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.output) == [finding._asdict() for finding in sciml.check(file)]
    assert "6 runs of fisher_kpp" in CliRunner().invoke(app, ["check", str(file)]).output
    file.write_text(SWEEP + '"network.width" = []\n')
    assert CliRunner().invoke(app, ["check", str(file)]).exit_code == 2
