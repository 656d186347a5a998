"""A run directory comes back as the Solution that it holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_experiment import Crash, FakeExperiment, Recorder, crash

import sciml
from sciml.errors import RunError
from sciml.runs import execute
from sciml.runs.config import Config, load_config

OVERRIDES = ["log_every=10", 'phases=[{kind="adam", steps=30, until=[]}, {kind="broyden", steps=40}]', "execution.checkpoint_seconds=0.0"]


@pytest.fixture(autouse=True, scope="module")
def _without_a_network() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sciml.runs.build.build", lambda config, problem, begun=False: FakeExperiment(config.phases))
        patch.setattr("sciml.figures.write_all", lambda solution, folder: [])
        patch.setattr("sciml.runs.report.write", lambda *_: None)
        patch.setattr("sciml.runs.execute.use_compile_cache", lambda: None)
        yield


@pytest.fixture
def config() -> Config:
    return load_config("fisher_kpp", OVERRIDES)


def test_a_complete_run(config: Config, tmp_path: Path) -> None:
    result = execute.run(config, tmp_path)
    solution = sciml.load(str(result.directory))
    assert solution.theta.tobytes() == result.solution.theta.tobytes()
    assert solution.history == result.solution.history
    assert solution.result == result.result


def test_an_unfinished_run(config: Config, tmp_path: Path) -> None:
    with pytest.raises(Crash):
        execute.run(config, tmp_path, listener=Recorder(50, crash))
    (directory,) = tmp_path.glob("fisher_kpp-*")
    solution = sciml.load(directory)
    expected = next(each.best for each in FakeExperiment().train(every=10) if each.step == 40)
    assert np.array_equal(solution.theta, expected)
    assert len(solution.history) == 5
    assert solution.result == {}


def test_a_run_without_a_checkpoint(config: Config, tmp_path: Path) -> None:
    with pytest.raises(Crash):
        execute.run(config, tmp_path, listener=Recorder(10, crash))
    (directory,) = tmp_path.glob("fisher_kpp-*")
    with pytest.raises(RunError, match="has no trained state yet; `sciml resume"):
        sciml.load(directory)


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_not_a_run_directory(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match=r"is not a run directory: it has no config\.toml; `sciml run` makes one"):
        sciml.load(tmp_path / name)


def test_a_problem_that_has_changed_is_said(config: Config, tmp_path: Path) -> None:
    directory = execute.run(config, tmp_path).directory
    path = directory / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"problem_source": "another"}))
    with pytest.warns(UserWarning, match=r"the problem 'fisher_kpp' has changed since"):
        sciml.load(directory)
