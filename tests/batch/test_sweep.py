"""Sweeps of real, tiny runs: what fails is recorded with its reason and stops nothing else; what is killed goes on."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from waiting import wait_for

import sciml
from sciml.batch.attempt import Task, attempt
from sciml.batch.plan import make_plan
from sciml.batch.settings import read_sweep
from sciml.batch.sweep import Listener
from sciml.errors import ConfigError, RunError
from sciml.runs import catalog
from sciml.runs.config import dump_config, load_config
from sciml.runs.lock import exclusive, find_holder

ROOT = Path(__file__).parents[2]

PROBLEM = """
import os, resource, signal, time
from pathlib import Path

import sciml

HERE = Path(__file__).parent


class Moody(sciml.Problem):
    mood: float = 0.0
    domain = sciml.Box(x=(0.0, 1.0))

    def equation(self, u_xx):
        if self.mood == 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.mood == 2:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(1000)
        if self.mood == 3:
            bytearray(1 << 50)
        if self.mood == 4:
            return u_xx - 1.0e200
        if self.mood == 5 and not (HERE / "tried").exists():
            (HERE / "tried").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.mood == 6 and (HERE / "full").exists():
            resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
        return u_xx - 1.0

    def conditions(self):
        return [sciml.Dirichlet(0.0, on="x")]

    def exact(self, x):
        return x * (x - 1) / 2
"""

SWEEP = """
base = "moody"
[set]
log_every = 5
network = {{ width = 4, depth = 1 }}
points = {{ interior = 64, boundary = 32, initial = 32, batch = 64, validation = 64 }}
phases = [{{ kind = "adam", steps = {steps}, until = [] }}]
execution = {{ report = false, checkpoint_seconds = 0.0 }}
[axes]
"parameters.mood" = {moods}
[engine]
workers = {workers}
retries = 1
time_limit = {limit}
grace = {grace}
"""


class Sandbox:
    """A folder with the problem `moody`, and sweeps over its moods."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.problems = folder, folder / "problems"
        self.problems.mkdir()
        self.processes: list[subprocess.Popen[str]] = []
        (self.problems / "moody.py").write_text(PROBLEM)

    def sweep_file(self, moods: list[float], steps: int = 10, workers: int = 2, limit: float = 100.0, grace: float = 60.0) -> Path:
        path = self.folder / "moods.toml"
        path.write_text(SWEEP.format(moods=moods, steps=steps, workers=workers, limit=limit, grace=grace))
        return path

    def make(self, source: Path, **more):
        return sciml.sweep(source, out=self.folder / "sweeps", problems=self.problems, **more)

    def command(self, source: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "sciml", "sweep", str(source), "--out", str(self.folder / "sweeps")]
        process = subprocess.Popen([*command, "--problems", str(self.problems)], text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        self.processes.append(process)
        return process

    def kill(self) -> None:
        """Leave no process behind, whatever a test did."""
        for process in self.processes:
            process.kill()
            process.communicate()
        for lock in self.folder.glob("sweeps/*/runs/*/lock"):
            holder = find_holder(lock.parent)
            if holder is not None and holder.pid:
                os.kill(holder.pid, signal.SIGKILL)


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    made = Sandbox(tmp_path)
    yield made
    made.kill()


def test_whatever_a_run_does_the_others_are_made(sandbox: Sandbox) -> None:
    made = sandbox.make(sandbox.sweep_file([0.0, 1.0, 3.0, 4.0, 5.0]))
    ended = {run.values["parameters.mood"]: (str(run.state), run.reason, len(run.attempts)) for run in made.runs}
    assert ended == {
        0.0: ("ok", "", 1),
        1.0: ("failed", "segmentation fault", 2),
        3.0: ("failed", "out of memory", 2),
        4.0: ("diverged", "diverged", 1),
        5.0: ("ok", "", 2),
    }
    assert made.runs[4].attempts[0]["reason"] == "killed by a signal"
    assert made.counts == {"ok": 2, "diverged": 1, "failed": 2}
    assert not made.complete
    found = sciml.status(made.directory)
    assert found["reasons"] == {"segmentation fault": 1, "out of memory": 1, "diverged": 1}
    before = [run.attempts for run in made.runs]
    again = sandbox.make(made.directory)
    assert [run.attempts for run in again.runs] == before, "what is complete or has used up its retries is left alone"


@pytest.mark.parametrize(("limits", "told"), [({"time_limit": 20.0}, "its time was up"), ({"stall": 4.0}, "nothing was written")])
def test_a_run_that_hangs_is_ended(sandbox: Sandbox, limits: dict[str, float], told: str) -> None:
    run = sandbox.folder / "runs" / "moody-00000000"
    config = dump_config(load_config("moody", ["parameters.mood=2.0"], sandbox.problems))
    source = catalog.source_hash("moody", sandbox.problems)
    given = {"time_limit": None, "grace": 0.5, "failures": 2, "stop": str(sandbox.folder / "stop")} | limits
    ended = attempt(Task(str(run), config, "moody", source, str(sandbox.problems), sciml.__version__, **given))
    assert (ended["reason"], ended["again"]) == ("hang", True)
    assert told in ended["detail"]
    assert find_holder(run) is None


def test_no_process_is_started_where_the_disk_is_full(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cluster tasks that wait cannot be called back: each finds out by itself."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    run = sandbox.folder / "runs" / "moody-00000000"
    config = dump_config(load_config("moody", [], sandbox.problems))
    source = catalog.source_hash("moody", sandbox.problems)
    given = {"time_limit": None, "grace": 1.0, "failures": 2, "stop": str(sandbox.folder / "stop")}
    ended = attempt(Task(str(run), config, "moody", source, str(sandbox.problems), sciml.__version__, **given))
    assert (ended["reason"], ended["again"]) == ("disk full", False)
    assert not (run / "config.toml").exists()


def test_a_full_disk_stops_the_sweep_until_there_is_room(sandbox: Sandbox) -> None:
    (sandbox.problems / "full").touch()
    file = sandbox.sweep_file([0.0, 6.0, 7.0], workers=1)
    with pytest.raises(RunError, match=r"no space on disk(.|\n)*no further run was started; `sciml sweep .*` goes on when there is room"):
        sandbox.make(file)
    directory = sandbox.folder / "sweeps" / "moods"
    assert sciml.status(directory)["counts"] == {"ok": 1, "waiting": 2}
    (sandbox.problems / "full").unlink()
    assert sandbox.make(directory).counts == {"ok": 3}


def test_a_signal_lets_the_runs_save_and_the_same_command_goes_on(sandbox: Sandbox) -> None:
    process = sandbox.command(sandbox.sweep_file([0.0], steps=100_000_000))
    (directory,) = wait_for(lambda: list((sandbox.folder / "sweeps" / "moods" / "runs").glob("*/checkpoints/latest-*")))[:1]
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 143, errors
    assert "goes on" in errors.splitlines()[-1]
    run = directory.parents[1]
    assert find_holder(run) is None
    rows = (run / "metrics.jsonl").read_text().splitlines()
    assert json.loads((run / "result.json").read_text())["outcome"] == "stopped"
    process = sandbox.command(sandbox.folder / "sweeps" / "moods")
    wait_for(lambda: len((run / "metrics.jsonl").read_text().splitlines()) > len(rows))
    process.kill()  # now the run is an orphan
    process.communicate()
    holder = find_holder(run)
    assert holder is not None
    process = sandbox.command(sandbox.folder / "sweeps" / "moods")
    wait_for(lambda: find_holder(run.parents[1]))
    refused = sandbox.command(sandbox.folder / "sweeps" / "moods")
    _, errors = refused.communicate(timeout=300)
    assert refused.returncode == 1
    assert f"is in use by process {process.pid} on " in errors
    time.sleep(1.0)
    assert find_holder(run) == holder, "the orphan was adopted, not doubled"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert find_holder(run) is None


def test_a_closed_terminal_ends_nothing(sandbox: Sandbox) -> None:
    process = sandbox.command(sandbox.sweep_file([0.0, 0.5], workers=1))
    assert process.stderr is not None
    wait_for(lambda: list((sandbox.folder / "sweeps" / "moods" / "runs").glob("*/output.log")))
    process.stderr.close()
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=300) == 0
    assert sciml.status(sandbox.folder / "sweeps" / "moods")["counts"] == {"ok": 2}


def test_an_engine_that_cannot_be_had_is_told_before_anything_is_planned(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sciml.batch.dask.PATIENCE", 1.0)
    with pytest.raises(ConfigError, match="no Dask scheduler can be reached"):
        sandbox.make(sandbox.sweep_file([0.0]), dask="tcp://127.0.0.1:9")
    assert not (sandbox.folder / "sweeps").exists()


def test_a_plan_of_another_version_says_so(sandbox: Sandbox) -> None:
    told: list[str] = []

    class Told(Listener):
        def message(self, text: str) -> None:
            told.append(text)

    directory = sandbox.make(sandbox.sweep_file([0.0])).directory
    plan = directory / "plan.jsonl"
    plan.write_text(plan.read_text().replace(f'"sciml": "{sciml.__version__}"', '"sciml": "0.0.9"', 1))
    sandbox.make(directory, listener=Told())
    assert told == [f"planned by sciml 0.0.9; from now on its runs are made by {sciml.__version__}"]


def test_killed_schedulers_and_runs_leave_no_trace() -> None:
    seed = os.environ.get("SCIML_CRASH_SEED", str(time.time_ns() % 2**32))
    script = [sys.executable, str(ROOT / "scripts" / "sweep_survival.py"), "--seed", seed]
    done = subprocess.run(
        [*script, "--runs", "4", "--scheduler-kills", "2", "--run-kills", "2"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"SCIML_CRASH_SEED={seed}\n{done.stdout}\n{done.stderr}"
    print(f"SCIML_CRASH_SEED={seed}\n{done.stdout}")


def test_a_problem_that_changed_after_the_plan_is_refused(sandbox: Sandbox) -> None:
    directory = sandbox.folder / "planned"
    directory.mkdir()
    make_plan(directory, read_sweep(sandbox.sweep_file([0.0]), problems=sandbox.problems), sandbox.problems)
    (sandbox.problems / "moody.py").write_text(PROBLEM.replace("u_xx - 1.0\n", "u_xx - 2.0\n"))
    with pytest.raises(RunError, match="the problem 'moody' has changed since .* was planned"):
        sandbox.make(directory)
    assert not list((directory / "runs").iterdir())


def test_a_sweep_over_a_table_goes_on_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own copy of the table, whatever has become of that since."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{0.25 * number},{math.exp(0.125 * number) * (1 + 0.01 * math.sin(10 * number))}" for number in range(25)]
    table = tmp_path / "growth.csv"
    table.write_text("\n".join(["t,x", *rows, ""]))
    (tmp_path / "growth.toml").write_text(
        'kind = "discovery"\nproblem = "growth"\nseries = { file = "growth.csv" }\nvector_field = { kind = "sparse", degree = 1 }\n'
        'phases = [{ kind = "adam", steps = 10, until = [] }]\nexecution = { report = false }\n'
    )
    (tmp_path / "many.toml").write_text('base = "growth.toml"\n[axes]\nhold_out = [2]\n')
    directory = tmp_path / "many"
    directory.mkdir()
    make_plan(directory, read_sweep(tmp_path / "many.toml"), None)
    table.unlink()
    command = [sys.executable, "-m", "sciml", "sweep", str(directory), "--workers", "1"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = sciml.table(directory)
    assert row["state"] == "ok"
    assert row["unknown.x': x"] == pytest.approx(0.5, rel=0.02)


def test_a_directory_that_is_in_use(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text("")
    with exclusive(tmp_path), pytest.raises(RunError, match=f"is in use by process {os.getpid()} on"):
        sciml.sweep(tmp_path)
