"""Seeds that one process trains together: ordinary run directories, equal to single runs but for rounding, whatever is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sciml
from sciml.batch import attempt
from sciml.batch.ending import Ending, Reason
from sciml.batch.plan import PlannedRun
from sciml.batch.state import RunState, State
from sciml.batch.sweep import together
from sciml.errors import ConfigError
from sciml.runs import execute
from sciml.runs.config import dump_config, load_config
from sciml.runs.store import Store

TOLERANCE = 1e-8
"""Relative, in float64 (docs/decisions/040-seeds-together.md)."""

SETTINGS = {
    "log_every": "20",
    "network.width": "4",
    "network.depth": "1",
    "points": "{ interior = 64, boundary = 32, initial = 32, batch = 64, validation = 64 }",
    "phases": '[{ kind = "adam", steps = 60, until = [] }, { kind = "lbfgs", steps = 20, redraw = 0 }]',
    "execution": "{ report = false, checkpoint_seconds = 0.0 }",
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment whose compiled programs all tests share."""
    return os.environ | {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, cache: dict[str, str]) -> Path:
    """A sweep of three seeds, made by one process."""
    folder = tmp_path_factory.mktemp("swept")
    lines = [
        'base = "fisher_kpp"',
        "seeds = 3",
        "[set]",
        *(f"{key} = {value}" for key, value in SETTINGS.items()),
        "[engine]",
        "ensemble = 4",
    ]
    (folder / "seeds.toml").write_text("\n".join(lines))
    done = sciml_command(["sweep", str(folder / "seeds.toml"), "--out", str(folder), "--threads", "1"], cache)
    assert done.returncode == 0, done.stderr
    return folder / "seeds"


def sciml_command(arguments: list[str], environment: dict[str, str], crash_at: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sciml", *arguments]
    return subprocess.run(command, env=environment | {"SCIML_CRASH_AT": crash_at}, text=True, capture_output=True, timeout=900, check=False)


def begun(folder: Path, *seeds: int, **changed: str) -> list[Path]:
    """Run directories as a scheduler lays them down: nothing but a config."""
    directories = []
    for seed in seeds:
        settings = SETTINGS | changed
        config = load_config("fisher_kpp", [*(f"{key}={value}" for key, value in settings.items()), f"seed={seed}"])
        directory = folder / f"fisher_kpp-{seed:08d}"
        directory.mkdir()
        (directory / "config.toml").write_text(dump_config(config))
        directories.append(directory)
    return directories


def trained(directory: Path) -> np.ndarray:
    """The best parameters of a complete run."""
    assert json.loads((directory / "result.json").read_text())["outcome"] == "ok"
    checkpoint = Store(directory).load_best()
    assert checkpoint is not None
    return checkpoint.arrays["theta"]


def assert_equal(first: list[Path], second: list[Path]) -> None:
    for one, other in zip(first, second, strict=True):
        expected = trained(one)
        assert np.max(np.abs(trained(other) - expected)) <= TOLERANCE * np.max(np.abs(expected))
        rows = [[json.loads(line)["step"] for line in (each / "metrics.jsonl").read_text().splitlines()] for each in (one, other)]
        assert rows[0] == rows[1]


def test_one_execution_is_noted_as_one_in_every_run(swept: Path) -> None:
    runs = sciml.load(swept).runs
    notes = [run.attempts for run in runs]
    assert [len(each) for each in notes] == [1, 1, 1]
    assert {(each[0]["reason"], each[0]["together"], each[0]["seconds"]) for each in notes} == {("done", 3, notes[0][0]["seconds"])}
    assert [json.loads((run.directory / "environment.json").read_text())["together"] for run in runs] == [3, 3, 3]
    first = runs[0].directory.name
    assert all(f"../{first}/output.log" in (run.directory / "output.log").read_text() for run in runs[1:])


def test_what_reads_a_sweep_reads_this_one(swept: Path) -> None:
    found = sciml.load(swept)
    assert found.counts == {"ok": 3}
    assert [row["seed"] for row in found.table] == [0, 1, 2]
    assert len({row["error"] for row in found.table}) == 3
    assert found.over_seeds[0]["ok"] == 3
    spent = [run.result["seconds"]["total"] for run in found.runs]
    assert sum(spent) <= found.runs[0].attempts[0]["seconds"], "each run is charged its share of the process"
    assert found.runs[1].load().error().rel_l2 == pytest.approx(found.table[1]["error"])


def test_equal_to_single_runs_however_killed(swept: Path, tmp_path: Path, cache: dict[str, str]) -> None:
    """Killed while checkpoints of one step are being written, then one seed goes on by itself, then the rest together."""
    directories = begun(tmp_path, 0, 1, 2)
    names = [str(directory) for directory in directories]
    done = sciml_command(["resume", *names], cache, crash_at="checkpoint:after-rename:8")
    assert done.returncode == -signal.SIGKILL, done.stderr
    steps = [None if (latest := Store(each).load_latest()) is None else latest.cursor["training"]["step"] for each in directories]
    assert len(set(steps)) > 1, "the test is to kill between two checkpoints of the same step"
    assert sciml_command(["resume", names[1]], cache).returncode == 0
    done = sciml_command(["resume", *names, "--json"], cache)
    assert done.returncode == 0, done.stderr
    assert [each["seed"] for each in json.loads(done.stdout)] == [0, 1, 2]
    assert_equal([run.directory for run in sciml.load(swept).runs], directories)


def test_a_signal_saves_all(tmp_path: Path, cache: dict[str, str]) -> None:
    directories = begun(tmp_path, 0, 1, phases='[{ kind = "adam", steps = 100000000, until = [] }]')
    command = [sys.executable, "-m", "sciml", "resume", *map(str, directories)]
    process = subprocess.Popen(command, env=cache, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        while not all(list(each.glob("checkpoints/latest-*")) for each in directories) and process.poll() is None:
            try:
                process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 143, errors
    for directory in directories:
        result = json.loads((directory / "result.json").read_text())
        latest = Store(directory).load_latest()
        assert latest is not None
        assert (result["outcome"], result["steps"]) == ("stopped", latest.cursor["training"]["step"])


@pytest.mark.parametrize(
    ("changed", "message"), [({"network.width": "5"}, "differ in network; runs"), ({}, "the same seed")], ids=["settings", "seed"]
)
def test_runs_that_do_not_belong_together_are_refused(tmp_path: Path, changed: dict[str, str], message: str) -> None:
    first, other = tmp_path / "first", tmp_path / "other"
    first.mkdir()
    other.mkdir()
    directories = [*begun(first, 0), *begun(other, 1 if changed else 0, **changed)]
    with pytest.raises(ConfigError, match=message):
        execute.resume_together(directories)
    assert [sorted(path.name for path in each.iterdir()) for each in directories] == [["config.toml"], ["config.toml"]]


def planned(index: int, state: State = State.WAITING, failures: int = 0, **config: Any) -> tuple[PlannedRun, RunState]:
    run = PlannedRun(index, f"name-{index}", {}, {"kind": "pde", "seed": index, **config})
    found = RunState(index, run.name, {}, Path(run.name), state, {})
    found.__dict__["attempts"] = ({"reason": "error", "again": True},) * failures
    return run, found


def test_a_failure_that_runs_shared_costs_none_of_them_a_retry(tmp_path: Path) -> None:
    about = {"config": "", "problem": "p", "source": "", "problems": None, "version": "", "time_limit": None, "grace": 1.0, "stop": ""}
    task = attempt.Task(directory=str(tmp_path), failures=1, **about)
    assert attempt.write_note(task, Ending(Reason.MEMORY), 1, together=4)["again"]
    assert attempt.write_note(task, Ending(Reason.CONFIG), 2, together=4)["again"]
    rows = attempt.read_attempts(tmp_path)
    assert attempt.has_failed(rows)
    assert attempt.count_failures(rows) == 0
    assert not attempt.write_note(task, Ending(Reason.MEMORY), 1)["again"]


def test_what_is_grouped() -> None:
    """Seeds of the same settings, at most so many; what has failed, is held by a process, or is a discovery is by itself."""
    waiting = [planned(0), planned(1, width=5), planned(2), planned(3, failures=1), planned(4, State.RUNNING), planned(5), planned(6)]
    waiting += [planned(7, kind="discovery"), planned(8, kind="discovery"), planned(9, width=5)]
    groups = [[run.index for run in runs] for runs in together(waiting, 3)]
    assert groups == [[0, 2, 5], [1, 9], [3], [4], [6], [7], [8]]
    assert [len(runs) for runs in together(waiting, 1)] == [1] * len(waiting)
