"""Sweeps on Slurm: the same bytes as on this machine, through preemption, time limits, kills; nothing lost and nothing twice."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_slurm import FakeSlurm
from waiting import wait_for

import sciml
from sciml.batch import attempt, plan, slurm
from sciml.batch.engines import make_engine
from sciml.batch.settings import Engine, parse_sweep, read_sweep
from sciml.errors import ConfigError
from sciml.runs.config import run_name
from sciml.runs.interrupt import Interrupt

pytest.importorskip("submitit")

SWEEP = """
base = "poisson_2d"
seeds = {seeds}
[set]
log_every = 5
network = {{ width = 4, depth = 1 }}
points = {{ interior = 64, boundary = 32, initial = 32, batch = 64, validation = 64 }}
phases = [{{ kind = "adam", steps = {steps}, until = [] }}]
execution = {{ report = false, checkpoint_seconds = 0.0, threads = 1 }}
[engine]
workers = 1
retries = 1
slurm = {{ partition = "short", time = 30, memory = "4G", cores = 2, array = 7, options = {{ account = "physics" }} }}
"""
STEPS = 1500
COMMAND = "import sciml.batch.slurm as slurm; slurm.PAUSE = 0.3; from sciml.__main__ import main; main()"


class Cluster(FakeSlurm):
    """The cluster, a sweep's file, and the schedulers that a test starts."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "cluster", slots=1)
        self.home = folder
        self.processes: list[subprocess.Popen[str]] = []

    def plan(self, seeds: int = 1, steps: int = 10) -> Path:
        """A planned sweep."""
        file = self.home / "poisson.toml"
        file.write_text(SWEEP.format(seeds=seeds, steps=steps))
        self.sweep.mkdir()
        plan.make_plan(self.sweep, read_sweep(file), None)
        return self.sweep

    def begin(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", COMMAND, "sweep", str(self.sweep), "--slurm"]
        self.processes.append(subprocess.Popen(command, text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE))
        return self.processes[-1]

    def begin_planned(self, seeds: int = 1, steps: int = 10) -> subprocess.Popen[str]:
        self.plan(seeds, steps)
        return self.begin()

    @property
    def sweep(self) -> Path:
        return self.home / "poisson"

    @property
    def runs(self) -> list[Path]:
        return sorted((self.sweep / "runs").glob("*"))

    def running(self, more: int = 4) -> dict[str, Any]:
        """The one task that runs, once it has written some rows more than now."""
        before = sum(len(lines(run / "metrics.jsonl")) for run in self.runs)

        def found() -> dict[str, Any] | None:
            tasks = [task for task in self.tasks() if task["state"] == "RUNNING"]
            rows = sum(len(lines(run / "metrics.jsonl")) for run in self.runs)
            return tasks[0] if tasks and rows >= before + more else None

        return wait_for(found)

    def ended(self, process: subprocess.Popen[str], code: int = 0) -> str:
        """What a scheduler that ends with this exit code says."""
        _, errors = process.communicate(timeout=900)
        assert process.returncode == code, errors
        return errors


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    monkeypatch.setenv("PATH", f"{made.bin}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(made.folder))
    monkeypatch.setattr(slurm, "PAUSE", 0.3)
    monkeypatch.setattr(plan, "name_runs", lambda configs, problems: [run_name(config, "source", {}) for config in configs])
    yield made
    for process in made.processes:
        process.kill()
        process.communicate()
    made.end()


def test_the_same_table_as_on_this_machine(cluster: Cluster) -> None:
    made = sciml.sweep(cluster.plan(seeds=2), slurm=True)
    local = sciml.sweep(cluster.home / "poisson.toml", out=cluster.home / "local")
    assert [{**row, "seconds": 0} for row in made.table] == [{**row, "seconds": 0} for row in local.table]
    assert made.counts == {"ok": 2}
    for one, other in zip(local.runs, made.runs, strict=True):
        assert (one.directory / "solution.nc").read_bytes() == (other.directory / "solution.nc").read_bytes()
    options = cluster.tasks()[0]["options"]
    asked = {"partition": "short", "time": "30", "mem": "4G", "cpus-per-task": "2", "account": "physics", "signal": "USR2@60"}
    assert asked.items() <= options.items()
    assert (options["array"], options["requeue"]) == ("0-1%2", "")
    assert stat.S_IMODE((made.directory / "slurm").stat().st_mode) == 0o700
    assert {path.parent.name for path in made.directory.rglob("*.pkl")} == {"slurm"}
    assert sciml.sweep(made.directory, slurm=True).counts == {"ok": 2}
    assert len(cluster.tasks()) == 2, "what is complete is not submitted"


def test_jobs_that_are_ended_go_on_to_the_same_bytes(cluster: Cluster) -> None:
    process = cluster.begin_planned(steps=STEPS)
    cluster.run_out(cluster.running())
    cluster.preempt(cluster.running(), requeue=False)
    cluster.kill(cluster.running(), "OUT_OF_MEMORY")
    cluster.ended(process)
    (made,) = sciml.load(cluster.sweep).runs
    assert [note["reason"] for note in made.attempts] == ["interrupted", "interrupted", "out of memory", "done"]
    states = [(task["state"], task["restarts"]) for task in cluster.tasks()]
    assert states == [("PREEMPTED", 1), ("OUT_OF_MEMORY", 0), ("COMPLETED", 0)]
    (local,) = sciml.sweep(cluster.home / "poisson.toml", out=cluster.home / "local").runs
    assert (made.directory / "solution.nc").read_bytes() == (local.directory / "solution.nc").read_bytes()
    assert steps(made.directory) == steps(local.directory)


def test_a_scheduler_that_is_killed_finds_its_jobs_again(cluster: Cluster) -> None:
    process = cluster.begin_planned(seeds=2, steps=STEPS)
    cluster.running()
    cluster.hold()
    assert sorted(task["state"] for task in cluster.tasks()) == ["PENDING", "RUNNING"]
    process.kill()
    process.communicate()
    process = cluster.begin()
    wait_for(lambda: f'"pid": {process.pid},' in (cluster.sweep / "lock").read_text())
    cluster.release()
    assert "submitted" not in cluster.ended(process)
    assert len(cluster.tasks()) == 2
    assert [[note["reason"] for note in run.attempts] for run in sciml.load(cluster.sweep).runs] == [["done"]] * 2


def test_a_scheduler_that_dies_while_it_submits(cluster: Cluster) -> None:
    """Jobs that Slurm has and whose task submitit could not put into place have nothing to execute: they are replaced."""
    cluster.hold()
    process = cluster.begin_planned(seeds=2)
    wait_for(lambda: len(list((cluster.sweep / "slurm").glob("*_submitted.pkl"))) == 2)
    process.kill()
    process.communicate()
    lost = cluster.tasks()[1]
    (cluster.sweep / "slurm" / f"{lost['id']}_submitted.pkl").unlink()
    process = cluster.begin()
    wait_for(lambda: len(cluster.tasks()) == 3)
    cluster.release()
    cluster.ended(process)
    assert [task["state"] for task in cluster.tasks()] == ["COMPLETED", "CANCELLED", "COMPLETED"]
    assert [[note["reason"] for note in run.attempts] for run in sciml.load(cluster.sweep).runs] == [["done"]] * 2


def test_a_job_whose_run_was_submitted_again_does_nothing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.hold()
    process = cluster.begin_planned()
    (job,) = wait_for(cluster.tasks)
    process.kill()
    run = plan.read_plan(cluster.sweep).run_directory(plan.read_plan(cluster.sweep).runs[0])
    called: list[Any] = []
    monkeypatch.setattr(slurm, "attempt", lambda task, interrupt: called.append(task) or {"reason": "done"})
    task = slurm.Task(str(run), "", "poisson_2d", "", None, sciml.__version__, 1, None, 1.0, str(cluster.sweep / "stop"))
    slurm.execute(task, "sciml-another")
    assert not called
    slurm.execute(task, job["name"])
    assert called == [task]


def test_ctrl_c_and_scancel_let_a_run_save_until_the_next_sweep(cluster: Cluster) -> None:
    process = cluster.begin_planned(seeds=2, steps=STEPS)
    cluster.running()
    cluster.hold()
    process.send_signal(signal.SIGINT)
    cluster.ended(process, 130)
    assert sorted(task["state"] for task in cluster.tasks()) == ["CANCELLED", "COMPLETED"]
    (saved,) = [run for run in cluster.runs if (run / "result.json").exists()]
    assert json.loads((saved / "result.json").read_text())["outcome"] == "stopped"
    assert not (cluster.sweep / "stop").exists()
    cluster.forget()
    cluster.release()
    process = cluster.begin()
    task = cluster.running()
    (cluster.folder / "down").touch()
    assert process.stderr is not None
    assert any("Slurm does not answer, and is asked again and again" in line for line in process.stderr)
    (cluster.folder / "down").unlink()
    subprocess.run(["scancel", task["id"]], check=True)
    assert "interrupted" in cluster.ended(process, 1)
    assert sciml.load(cluster.sweep).counts == {"ok": 1, "waiting": 1}


def test_a_run_that_does_not_save_in_the_time_of_its_job_hangs(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan.read_plan(cluster.plan())
    run = made.run_directory(made.runs[0])
    run.mkdir()
    interrupt = Interrupt()

    def deaf(task: attempt.Task) -> list[str]:
        interrupt.signal = signal.SIGUSR2
        return ["sleep", "600"]

    monkeypatch.setattr(attempt, "_prepare", deaf)
    source = made.header["sources"]["poisson_2d"]
    task = attempt.Task(str(run), "", "poisson_2d", source, None, sciml.__version__, 2, None, 0.1, str(cluster.sweep / "stop"))
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as the process that is started will
    try:
        ended = attempt.attempt(task, interrupt)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (ended["reason"], ended["again"], ended["exit_code"]) == ("hang", True, -signal.SIGKILL)


def test_without_slurm_nothing_starts(cluster: Cluster) -> None:
    with pytest.raises(ConfigError, match="--slurm and --workers do not go together"):
        sciml.sweep(cluster.plan(), slurm=True, workers=2)
    with pytest.raises(ConfigError, match="--slurm and ensemble = 2 do not go together"):
        sciml.sweep(cluster.sweep, slurm=True, ensemble=2)
    (cluster.bin / "sbatch").unlink()
    with pytest.raises(ConfigError, match=r"--slurm: there is no `sbatch` here; .* leave --slurm out"):
        sciml.sweep(cluster.sweep, slurm=True)
    assert not cluster.runs
    elsewhere = cluster.home / "elsewhere"
    with pytest.raises(ConfigError, match=r"--slurm: there is no `sbatch` here"):
        sciml.sweep(cluster.home / "poisson.toml", out=elsewhere, slurm=True)
    assert not elsewhere.exists()


def test_without_submitit_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigError, match=r"pip install 'sciml-jax\[cluster\]'"):
        make_engine(Engine(), tmp_path, slurm=True)


def test_what_slurm_refuses_is_told_once(cluster: Cluster) -> None:
    file = cluster.plan(seeds=2) / "sweep.toml"
    file.write_text(file.read_text().replace('"short"', '"nowhere"'))
    with pytest.raises(ConfigError, match=r"Slurm refuses the runs: .*Invalid partition name"):
        sciml.sweep(cluster.sweep, slurm=True)
    assert not cluster.runs


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"partition": "x\nrm -rf /"}, "one line of printable characters"),
        ({"options": {"comment": "a\ncurl evil"}}, "one line of printable characters"),
        ({"options": {"comment\nx": "a"}}, "spelled as after its two dashes"),
        ({"options": {"array": "0-9"}}, "sciml sets this one itself"),
        ({"time": 0}, "slurm.time = 0 must be at least 2"),
        ({"tme": 5}, "did you mean 'time'"),
    ],
)
def test_settings_that_cannot_be_used(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_sweep({"base": "poisson_2d", "seeds": 2, "engine": {"slurm": settings}})


def test_a_job_has_time_to_save(cluster: Cluster) -> None:
    with pytest.raises(ConfigError, match="slurm.time = 3 is too short"):
        make_engine(Engine.model_validate({"grace": 100.0, "slurm": {"time": 3}}), cluster.home, slurm=True)


def test_the_folder_of_pickles_is_the_users_own(cluster: Cluster) -> None:
    (cluster.home / "slurm").mkdir(mode=0o777)
    (cluster.home / "slurm").chmod(0o777)
    make_engine(Engine(), cluster.home, slurm=True)
    assert stat.S_IMODE((cluster.home / "slurm").stat().st_mode) == 0o700
    (cluster.home / "slurm").rmdir()
    (cluster.home / "slurm").symlink_to(cluster.home / "cluster")
    with pytest.raises(ConfigError, match="is a link"):
        make_engine(Engine(), cluster.home, slurm=True)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def steps(run: Path) -> list[dict[str, Any]]:
    return [{**json.loads(line), "seconds": 0} for line in lines(run / "metrics.jsonl")]
