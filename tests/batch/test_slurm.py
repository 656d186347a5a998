"""Sweeps on Slurm: the same bytes as on this machine, through preemption, time limits, kills; nothing lost and nothing twice."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_slurm import FakeSlurm

import sciml
from sciml.batch import slurm
from sciml.batch.engines import make_engine
from sciml.batch.settings import Engine, parse_sweep
from sciml.errors import ConfigError

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
COMMAND = "import sciml.batch.slurm as slurm; slurm.PAUSE = 0.3; from sciml.cli import main; main()"


class Cluster(FakeSlurm):
    """The cluster, a sweep's file, and the schedulers that a test starts."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "cluster", slots=1)
        self.home = folder
        self.processes: list[subprocess.Popen[str]] = []

    def file(self, seeds: int = 1, steps: int = 10) -> Path:
        path = self.home / "poisson.toml"
        path.write_text(SWEEP.format(seeds=seeds, steps=steps))
        return path

    def begin(self, source: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", COMMAND, "sweep", str(source), "--slurm", "--out", str(self.home / "sweeps")]
        self.processes.append(subprocess.Popen(command, text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE))
        return self.processes[-1]

    @property
    def sweep(self) -> Path:
        return self.home / "sweeps" / "poisson"

    @property
    def runs(self) -> list[Path]:
        return sorted((self.sweep / "runs").glob("*"))

    def running(self, rows: int = 4) -> dict[str, Any]:
        """The one task that runs, once it has trained for a while since it began."""

        def found() -> dict[str, Any] | None:
            tasks = [task for task in self.tasks() if task["state"] == "RUNNING"]
            return tasks[0] if tasks and any(len(lines(run / "metrics.jsonl")) >= rows for run in self.runs) else None

        return wait_for(found)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    monkeypatch.setenv("PATH", f"{made.bin}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(made.folder))
    monkeypatch.setattr(slurm, "PAUSE", 0.3)
    yield made
    for process in made.processes:
        process.kill()
        process.communicate()
    made.end()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> sciml.SweepRuns:
    """The long sweep, made on this machine."""
    folder = tmp_path_factory.mktemp("undisturbed")
    file = folder / "poisson.toml"
    file.write_text(SWEEP.format(seeds=1, steps=STEPS))
    return sciml.sweep(file, out=folder / "sweeps")


STEPS = 2000


def test_the_same_table_as_on_this_machine(cluster: Cluster) -> None:
    file = cluster.file(seeds=3)
    local, made = (sciml.sweep(file, out=cluster.home / name, slurm=asked) for name, asked in (("local", False), ("slurm", True)))
    assert [{**row, "seconds": 0} for row in made.table] == [{**row, "seconds": 0} for row in local.table]
    assert made.counts == {"ok": 3}
    for one, other in zip(local.runs, made.runs, strict=True):
        assert (one.directory / "solution.nc").read_bytes() == (other.directory / "solution.nc").read_bytes()
    (options,) = {json.dumps(task["options"]) for task in cluster.tasks()}
    asked = {"partition": "short", "time": "30", "mem": "4G", "cpus-per-task": "2", "account": "physics", "signal": "USR2@60"}
    assert asked.items() <= json.loads(options).items()
    assert (json.loads(options)["array"], json.loads(options)["requeue"]) == ("0-2%3", "")
    assert stat.S_IMODE((made.directory / "slurm").stat().st_mode) == 0o700
    assert {path.parent.name for path in made.directory.rglob("*.pkl")} == {"slurm"}
    assert sciml.sweep(made.directory, slurm=True).counts == {"ok": 3}
    assert len(cluster.tasks()) == 3, "what is complete is not submitted"


@pytest.mark.parametrize("how", ["preempted", "preempted and not requeued", "out of time", "killed"])
def test_a_job_that_is_ended_goes_on_to_the_same_bytes(cluster: Cluster, undisturbed: sciml.SweepRuns, how: str) -> None:
    process = cluster.begin(cluster.file(steps=STEPS))
    task = cluster.running()
    {
        "preempted": cluster.preempt,
        "preempted and not requeued": lambda task: cluster.preempt(task, requeue=False),
        "out of time": cluster.run_out,
        "killed": lambda task: cluster.kill(task, "OUT_OF_MEMORY"),
    }[how](task)
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors
    (made,) = sciml.load(cluster.sweep).runs
    reasons = [note["reason"] for note in made.attempts]
    assert reasons == ["out of memory" if how == "killed" else "interrupted", "done"]
    same_job = how in ("preempted", "out of time")
    assert [task["restarts"] for task in cluster.tasks()] == ([1] if same_job else [0, 0])
    assert (made.directory / "solution.nc").read_bytes() == (undisturbed.runs[0].directory / "solution.nc").read_bytes()
    assert steps(made.directory) == steps(undisturbed.runs[0].directory)


def test_a_scheduler_that_is_killed_finds_its_jobs_again(cluster: Cluster) -> None:
    process = cluster.begin(cluster.file(seeds=3, steps=STEPS))
    cluster.running()
    cluster.hold()
    assert sorted(task["state"] for task in cluster.tasks()) == ["PENDING", "PENDING", "RUNNING"]
    process.kill()
    process.communicate()
    process = cluster.begin(cluster.sweep)
    wait_for(lambda: (cluster.sweep / "lock").read_text().find(f'"pid": {process.pid},') > 0)
    cluster.release()
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors
    assert "submitted" not in errors
    assert len(cluster.tasks()) == 3
    assert [[note["reason"] for note in run.attempts] for run in sciml.load(cluster.sweep).runs] == [["done"]] * 3


def test_a_scheduler_that_dies_while_it_submits(cluster: Cluster) -> None:
    """Jobs that Slurm has and whose task submitit could not put into place have nothing to execute: they are replaced."""
    cluster.hold()
    process = cluster.begin(cluster.file(seeds=2))
    wait_for(lambda: len(list((cluster.sweep / "slurm").glob("*_submitted.pkl"))) == 2)
    process.kill()
    process.communicate()
    lost = cluster.tasks()[1]
    (cluster.sweep / "slurm" / f"{lost['id']}_submitted.pkl").unlink()
    process = cluster.begin(cluster.sweep)
    wait_for(lambda: len(cluster.tasks()) == 3)
    cluster.release()
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors
    assert [task["state"] for task in cluster.tasks()] == ["COMPLETED", "CANCELLED", "COMPLETED"]
    assert [[note["reason"] for note in run.attempts] for run in sciml.load(cluster.sweep).runs] == [["done"]] * 2


def test_a_job_whose_run_was_submitted_again_does_nothing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    made = sciml.sweep(cluster.file(), out=cluster.home / "sweeps", slurm=True)
    (job,) = cluster.tasks()
    run = made.runs[0].directory
    (run / "result.json").unlink()
    called: list[Any] = []
    monkeypatch.setattr(slurm, "attempt", lambda task, interrupt: called.append(task) or {"reason": "done"})
    task = slurm.Task(str(run), "", "poisson_2d", "", None, sciml.__version__, 1, None, 1.0, str(cluster.sweep / "stop"))
    slurm.execute(task, "sciml-another")
    assert not called
    slurm.execute(task, job["name"])
    assert called == [task]


def test_ctrl_c_cancels_what_waits_and_lets_the_rest_save(cluster: Cluster) -> None:
    process = cluster.begin(cluster.file(seeds=2, steps=100_000_000))
    cluster.running()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 130, errors
    assert sorted(task["state"] for task in cluster.tasks()) == ["CANCELLED", "COMPLETED"]
    outcomes = [json.loads((run / "result.json").read_text())["outcome"] for run in cluster.runs if (run / "result.json").exists()]
    assert outcomes == ["stopped"]
    assert not (cluster.sweep / "stop").exists()


def test_a_job_that_the_user_cancels_is_left_alone_until_the_next_sweep(cluster: Cluster) -> None:
    process = cluster.begin(cluster.file(steps=STEPS))
    task = cluster.running()
    subprocess.run(["scancel", task["id"]], check=True)
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 1, errors
    assert "interrupted" in errors
    assert len(cluster.tasks()) == 1
    cluster.forget()
    process = cluster.begin(cluster.sweep)
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors


def test_a_controller_that_does_not_answer_is_asked_again(cluster: Cluster) -> None:
    process = cluster.begin(cluster.file(seeds=2, steps=STEPS))
    cluster.running()
    (cluster.folder / "down").touch()
    assert "Slurm does not answer" in wait_for_line(process, "Slurm does not answer")
    (cluster.folder / "down").unlink()
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors
    assert len(cluster.tasks()) == 2


def test_without_slurm_nothing_starts(tmp_path: Path) -> None:
    file = tmp_path / "poisson.toml"
    file.write_text(SWEEP.format(seeds=1, steps=10))
    with pytest.raises(ConfigError, match=r"--slurm: there is no `sbatch` here; .* leave --slurm out"):
        sciml.sweep(file, out=tmp_path, slurm=True)
    assert not list((tmp_path / "poisson" / "runs").iterdir())
    with pytest.raises(ConfigError, match="--slurm and --workers do not go together"):
        sciml.sweep(file, out=tmp_path, slurm=True, workers=2)


def test_without_submitit_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigError, match=r"pip install 'sciml-jax\[cluster\]'"):
        make_engine(Engine(), tmp_path, slurm=True)


def test_what_slurm_refuses_is_told_once(cluster: Cluster) -> None:
    file = cluster.file(seeds=2)
    file.write_text(file.read_text().replace('"short"', '"nowhere"'))
    with pytest.raises(ConfigError, match=r"Slurm refuses the runs: .*Invalid partition name"):
        sciml.sweep(file, out=cluster.home, slurm=True)
    assert not list((cluster.home / "poisson" / "runs").iterdir())


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


def wait_for(look, seconds: float = 400.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError(f"nothing after {seconds} s")


def wait_for_line(process: subprocess.Popen[str], text: str) -> str:
    assert process.stderr is not None
    return next(line for line in process.stderr if text in line)
