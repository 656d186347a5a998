"""The Slurm engine: attempts as tasks of job arrays, which end, are preempted and go on whether or not a scheduler watches."""

from __future__ import annotations

import importlib.util
import math
import os
import secrets
import shutil
import signal
import stat
import subprocess
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

from sciml.batch.attempt import Task, attempt, read_attempts, write_note
from sciml.batch.ending import Ending, Reason, judge
from sciml.batch.settings import Engine as Settings
from sciml.errors import ConfigError
from sciml.runs.interrupt import watched
from sciml.runs.jsonl import append_row, read_rows

FOLDER, NAME = "slurm", "submissions.jsonl"
COMMANDS = ("sbatch", "srun", "squeue", "scancel")

PAUSE = 10.0
"""Seconds between two questions to Slurm."""

MARGIN = 30.0
"""Seconds between the end of a run's grace and the end of its job."""

PATIENCE = 60.0
"""Seconds in which a command of Slurm has to answer."""

OVER = {
    "COMPLETED": Reason.ERROR,
    "FAILED": Reason.ERROR,
    "BOOT_FAIL": Reason.ERROR,
    "NODE_FAIL": Reason.ERROR,
    "REVOKED": Reason.ERROR,
    "": Reason.ERROR,
    "OUT_OF_MEMORY": Reason.MEMORY,
    "TIMEOUT": Reason.TIME,
    "DEADLINE": Reason.TIME,
    "CANCELLED": Reason.INTERRUPTED,
    "PREEMPTED": Reason.INTERRUPTED,
}
"""The states of a job that will not go on, and what they say where the run says nothing; none for a job that Slurm has forgotten."""


class Place(NamedTuple):
    """Where a run was submitted: the name of the job, which no other has, and the task of its array."""

    job: str
    task: int


class Found(NamedTuple):
    """What Slurm knows of a place."""

    id: str
    state: str

    @property
    def is_over(self) -> bool:
        return self.state in OVER


NOWHERE = Found("", "")


class Submitted(NamedTuple):
    """A task that has been given to the engine."""

    task: Task
    future: Future[dict[str, Any]]
    seen: int
    """Attempts at the run that were noted before."""


def check_installed() -> None:
    """Raises `ConfigError` where submitit or Slurm is missing."""
    if importlib.util.find_spec("submitit") is None:
        raise ConfigError("the engine 'slurm' is not installed; type: pip install 'sciml-jax[cluster]'")
    missing = [command for command in COMMANDS if shutil.which(command) is None]
    if missing:
        raise ConfigError(f"--slurm: there is no `{missing[0]}` here; type this on a machine of a Slurm cluster, or leave --slurm out")


class Slurm:
    """Runs as tasks of Slurm's job arrays, submitted by submitit. Each makes one attempt, as everywhere.

    Raises `ConfigError` where submitit or Slurm is missing, and where Slurm refuses the first array.

    Which run is which task of which job is on the disk before `sbatch` is called, so that a scheduler that starts anew finds its jobs in
    the queue by their names. A run belongs to the last job that it was submitted to; a task of another one ends at once.
    """

    def __init__(self, settings: Settings, directory: Path) -> None:
        check_installed()
        from submitit import SlurmExecutor

        if settings.ensemble > 1:
            raise ConfigError(
                f"--slurm and ensemble = {settings.ensemble} do not go together: each run is a task of an array; write ensemble = 1, "
                "or leave --slurm out"
            )
        options = _options(settings)
        self._room = settings.slurm.queue
        self._folder = _private_folder(directory.absolute() / FOLDER)
        self._executor = SlurmExecutor(self._folder)
        self._executor.update_parameters(**options)
        self._before = _places(self._folder)
        self._collected: list[Submitted] = []
        self._queued: dict[Place, Submitted] = {}
        self._accepted = self._stopping = False
        self._next_look = 0.0
        self._said = ""

    def submit(self, task: Task) -> Future[dict[str, Any]]:
        future: Future[dict[str, Any]] = Future()
        self._collected.append(Submitted(_absolute(task), future, _attempts(task)))
        return future

    def cancel(self, future: Future[dict[str, Any]]) -> None:
        """The next look cancels all jobs that have not begun: whoever calls this wants to end."""
        future.cancel()
        if not self._stopping:
            self._stopping, self._next_look = True, 0.0

    def look(self) -> str:
        """Submit what has been collected, and settle what is over. What Slurm cannot do now is tried again at the next look."""
        if not (self._collected or self._queued) or time.monotonic() < self._next_look:
            return ""
        self._next_look = time.monotonic() + PAUSE
        try:
            found = self._ask()
            unfit = self._adopt(found)
            self._settle(found)
            waiting = [found[place].id for place in self._queued if place in found and found[place].state == "PENDING"]
            _cancel(unfit + (waiting if self._stopping else []))
        except (subprocess.SubprocessError, OSError) as error:
            return self._once(f"Slurm does not answer, and is asked again and again: {_last_line(error)}")
        return self._send()

    def shutdown(self) -> None:
        self._collected, self._stopping = [], True
        while self._queued:
            self.look()
            time.sleep(min(PAUSE, 0.2))

    def _once(self, text: str) -> str:
        """The same trouble is told once."""
        said, self._said = self._said, text
        return "" if said == text else text

    def _ask(self) -> dict[Place, Found]:
        """What Slurm knows of all jobs that matter now; those that ended are known for some minutes."""
        places = [*self._queued, *(self._before[_run(each.task)] for each in self._collected if _run(each.task) in self._before)]
        names = sorted({place.job for place in places})
        if not names:
            return {}
        command = ["squeue", "--me", "--noheader", "--array", "--states=all", f"--name={','.join(names)}", "--format=%j|%K|%i|%T"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout.splitlines()
        rows = [line.strip().split("|") for line in lines if line.strip()]
        return {Place(name, int(task) if task.isdecimal() else 0): Found(identity, state) for name, task, identity, state in rows}

    def _adopt(self, found: dict[Place, Found]) -> list[str]:
        """Jobs of an earlier scheduler are not submitted again. Returns those that it died over: they have nothing to execute."""
        collected, self._collected = self._collected, []
        unfit = []
        for each in collected:
            place = self._before.pop(_run(each.task), None)
            job = found.get(place, NOWHERE) if place else NOWHERE
            if place is None or job.is_over:
                self._collected.append(each)
            elif not (self._folder / f"{job.id}_submitted.pkl").exists():
                self._collected.append(each)
                unfit.append(job.id)
            elif _claim(each):
                self._queued[place] = each
                self._accepted = True
        return unfit

    def _settle(self, found: dict[Place, Found]) -> None:
        for place, each in list(self._queued.items()):
            job = found.get(place, NOWHERE)
            if job.is_over:
                note = _note(each, job, self._folder)
                del self._queued[place]
                if note is None:
                    self._collected.append(each._replace(seen=_attempts(each.task)))
                else:
                    each.future.set_result(note)

    def _send(self) -> str:
        """Submit one array, if there is room. Raises `ConfigError` where Slurm refuses the first."""
        from submitit.core.utils import FailedSubmissionError, UncompletedJobError

        sent = self._chosen()
        if not sent:
            return ""
        name = f"sciml-{secrets.token_hex(6)}"
        append_row(self._folder / NAME, {"job": name, "runs": [_run(each.task) for each in sent]})
        places = [Place(name, number) for number in range(len(sent))]
        self._before |= {_run(each.task): place for place, each in zip(places, sent, strict=True)}
        self._executor.update_parameters(job_name=name)
        try:
            jobs = self._executor.map_array(execute, [each.task for each in sent], [name] * len(sent))
        except (FailedSubmissionError, UncompletedJobError, OSError) as error:
            if not self._accepted:
                raise ConfigError(f"Slurm refuses the runs: {_last_line(error)}; change [engine] slurm = {{ ... }}") from error
            return self._once(f"Slurm refuses {len(sent)} runs, and is asked again and again: {_last_line(error)}")
        self._accepted = True
        self._collected = self._collected[len(sent) :]
        for place, each in zip(places, sent, strict=True):
            del self._before[_run(each.task)]
            _claim(each)
            self._queued[place] = each
        return f"submitted to Slurm as job {jobs[0].job_id.partition('_')[0]} ({name}): {len(sent)} runs"

    def _chosen(self) -> list[Submitted]:
        """The next runs to submit, taking out what needs no job: what was cancelled, and what has ended since it was seen unfinished."""
        left = []
        for each in self._collected:
            note = _note_on_complete(each.task) if len(left) < self._room else None
            if note is None and self._stopping:
                note = write_note(each.task, Ending(Reason.INTERRUPTED))
            if note is None:
                left.append(each)
            elif _claim(each):
                each.future.set_result(note)
        self._collected = left
        return left[: max(0, self._room - len(self._queued))]


def _claim(each: Submitted) -> bool:
    """Whether the task was not cancelled; it cannot be any more."""
    return each.future.running() or each.future.set_running_or_notify_cancel()


def execute(task: Task, job: str) -> None:
    """What a job does: one attempt at its run. When its time is up, the run saves, and the job goes back into the queue.

    After SIGTERM (a preemption, or `scancel`) the run saves, too; whether the job comes back is for Slurm and the scheduler to say.
    """
    folder = Path(task.stop).parent / FOLDER
    if _places(folder)[_run(task)].job != job or _note_on_complete(task):
        return
    with watched() as interrupt:
        note = attempt(task, interrupt)
    if interrupt.signal == signal.SIGUSR2 and note["reason"] == Reason.INTERRUPTED:
        subprocess.run(["scontrol", "requeue", _my_id()], check=False, timeout=PATIENCE)  # if it cannot, the scheduler submits it again


def _note(each: Submitted, job: Found, folder: Path) -> dict[str, Any] | None:
    """The note on an attempt whose job is over; None for a run that was told to end by nobody but Slurm, and is submitted again."""
    directory = Path(each.task.directory)
    rows = read_attempts(directory)[each.seen :]
    if rows and rows[-1]["reason"] != Reason.INTERRUPTED:
        return rows[-1] | {"adopted": False}
    if note := _note_on_complete(each.task):
        return note
    saved = bool(rows) and job.state in ("COMPLETED", "PREEMPTED", "CANCELLED", "")
    if (saved or job.state == "PREEMPTED") and job.state != "CANCELLED" and not Path(each.task.stop).exists():
        return None
    if saved:
        return rows[-1] | {"adopted": False}
    reason, told = OVER[job.state], judge(directory, 1, step_limit=each.task.step_limit)
    if reason == Reason.ERROR and told.reason in (Reason.DISK, Reason.MEMORY):
        return write_note(each.task, told)
    ended = f" as {job.state}" if job.state else ""
    where = folder / f"{job.id}_0_log.err" if job.id else folder
    return write_note(each.task, Ending(reason, f"its job ended{ended} and left no note; see {where}"))


def _note_on_complete(task: Task) -> dict[str, Any] | None:
    """The last note on a complete run, written if need be; None for one that is not complete."""
    directory = Path(task.directory)
    ending = judge(directory, None, step_limit=task.step_limit)
    if ending.reason not in (Reason.DONE, Reason.DIVERGED, Reason.STEPS):
        return None
    rows = read_attempts(directory)
    return rows[-1] | {"adopted": True} if rows and rows[-1]["reason"] == ending.reason else write_note(task, ending, adopted=True)


def _options(settings: Settings) -> dict[str, Any]:
    """What submitit writes into the batch script."""
    asked = settings.slurm
    before_end = math.ceil(settings.grace + MARGIN)
    if 60 * asked.time < 2 * before_end:
        raise ConfigError(
            f"slurm.time = {asked.time} is too short: runs are told to save {before_end} s before the end, {MARGIN:g} s more than `grace`; "
            f"write for example slurm.time = {math.ceil(before_end / 30)}"
        )
    return {
        "partition": asked.partition,
        "time": asked.time,
        "mem": asked.memory,
        "cpus_per_task": asked.cores,
        "gpus_per_node": asked.gpus or None,
        "array_parallelism": asked.array,
        "signal_delay_s": before_end,
        "srun_args": [f"--cpus-per-task={asked.cores}"],  # srun does not take over that of sbatch
        "additional_parameters": {"requeue": True} | {name: value or True for name, value in asked.options.items()},
    }


def _private_folder(folder: Path) -> Path:
    """submitit keeps pickles there: whoever can write to it could run code as the user."""
    if "%" in str(folder):
        raise ConfigError(f"{folder}: Slurm puts other text where a path has %; choose another folder with --out")
    if folder.is_symlink():
        raise ConfigError(f"{folder} is a link; remove it")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.geteuid():
        raise ConfigError(f"{folder} belongs to another user; choose another folder with --out")
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        folder.chmod(0o700)
    return folder


def _places(folder: Path) -> dict[str, Place]:
    """Where each run was submitted last, by the name of its directory."""
    return {run: Place(row["job"], number) for row in read_rows(folder / NAME) for number, run in enumerate(row["runs"])}


def _absolute(task: Task) -> Task:
    problems = None if task.problems is None else str(Path(task.problems).absolute())
    return task._replace(directory=str(Path(task.directory).absolute()), stop=str(Path(task.stop).absolute()), problems=problems)


def _attempts(task: Task) -> int:
    return len(read_attempts(Path(task.directory)))


def _run(task: Task) -> str:
    return Path(task.directory).name


def _my_id() -> str:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array else os.environ["SLURM_JOB_ID"]


def _cancel(jobs: list[str]) -> None:
    """What still waits afterwards is cancelled by the next look: a job may have begun or ended meanwhile."""
    if jobs:
        subprocess.run(["scancel", *jobs], capture_output=True, check=False, timeout=PATIENCE)


def _last_line(error: Exception) -> str:
    text = (getattr(error, "stderr", None) or str(error)).strip()
    return text.splitlines()[-1] if text else type(error).__name__
