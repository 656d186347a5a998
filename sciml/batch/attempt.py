"""One attempt at one run: a command line in a process of its own, watched until it ends. What every engine executes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import sciml
from sciml.batch.ending import BEGIN, FAILURES, LOG, RETRIED, Ending, Reason, judge
from sciml.errors import ScimlError
from sciml.runs import catalog, files
from sciml.runs.config import NAME as CONFIG
from sciml.runs.jsonl import append_row, read_rows
from sciml.runs.lock import Holder, find_holder

NAME = "attempts.jsonl"

LOOK = 0.1
"""Seconds between two looks at a run that another scheduler started."""


class Task(NamedTuple):
    """All that a worker needs to know of a run: paths and numbers, so that it can be sent to another machine."""

    directory: str
    config: str
    """The text of its `config.toml`."""
    problem: str
    source: str
    """The hash of the problem's text when the sweep was planned."""
    problems: str | None
    version: str
    failures: int
    """Failed attempts that are allowed, those before included."""
    time_limit: float | None
    grace: float
    stop: str
    """The file whose presence says that all runs are to save and end."""
    step_limit: int | None = None
    """The steps of the run's rung in a search; 0 for the last rung, which has no limit."""
    cores: tuple[int, ...] = ()
    device: str = ""


def attempt(task: Task) -> dict[str, Any]:
    """Make one attempt at a run and note how it ended in its `attempts.jsonl`; returns the note.

    A run that another process holds is not started but waited for. A complete one costs nothing.
    """
    started, directory = time.monotonic(), Path(task.directory)
    watch = _Watch(task)
    adopted = watch.wait_for_holder()
    exit_code = None
    ending: Ending | None = judge(directory, None, told=watch.told, killed=watch.killed, step_limit=task.step_limit)
    if ending.reason == Reason.ERROR:
        ending = Ending(Reason.INTERRUPTED) if watch.stopping else _refusal(task)
    if ending is None:
        exit_code = watch.run(_prepare(task))
        if exit_code != 0 and find_holder(directory) and not watch.told:  # another scheduler's process was faster
            return attempt(task)
        ending = judge(directory, exit_code, told=watch.told, killed=watch.killed, step_limit=task.step_limit)
    return write_note(task, ending, exit_code, time.monotonic() - started, adopted)


def count_failures(rows: Sequence[dict[str, Any]]) -> int:
    """The failed attempts among the notes of a run."""
    return sum(row["reason"] in FAILURES for row in rows)


def read_attempts(directory: Path) -> list[dict[str, Any]]:
    """The notes of all attempts at a run, first to last."""
    return read_rows(directory / NAME)


class _Watch:
    """Watches one process, one's own or an adopted one, and tells it to end when its time is up or all are to stop."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.directory, self.stop = Path(task.directory), Path(task.stop)
        self.told: Reason | None = None
        """Why the process has been told to end."""
        self.killed = False
        self._deadline = 0.0

    @property
    def stopping(self) -> bool:
        return self.stop.exists()

    def wait_for_holder(self) -> bool:
        """Wait while another process holds the run; whether one did."""
        holder = find_holder(self.directory)
        if holder is None:
            return False
        begun = time.monotonic() - _age(holder)
        while holder is not None:
            time.sleep(LOOK)
            self._tell(begun, lambda number, holder=holder: _signal(holder, number))
            holder = find_holder(self.directory)
        return True

    def run(self, command: Sequence[str]) -> int:
        """The exit code of a command, negative for a signal. Its output goes into the run's log."""
        environment = dict(os.environ)
        if self.task.device:
            environment |= {"CUDA_VISIBLE_DEVICES": self.task.device}
        begun = time.monotonic()
        with (self.directory / LOG).open("ab") as log, _cores(self.task.cores):
            log.write(f"{BEGIN}{datetime.now(UTC).isoformat(timespec='seconds')}\n".encode())
            log.flush()
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        while True:
            try:
                return process.wait(timeout=4 * LOOK)
            except subprocess.TimeoutExpired:
                self._tell(begun, process.send_signal)

    def _tell(self, begun: float, send: Callable[[int], None]) -> None:
        """Ask the process to end if it has to, and kill it if it was asked and its grace is over."""
        now, limit = time.monotonic(), self.task.time_limit
        if self.told is None:
            late = limit is not None and now - begun > limit
            self.told = Reason.TIME if late else Reason.INTERRUPTED if self.stopping else None
            if self.told is not None:
                self._deadline = now + self.task.grace
                send(signal.SIGTERM)
        elif now > self._deadline and not self.killed:
            self.killed = True
            send(signal.SIGKILL)


def _prepare(task: Task) -> list[str]:
    """The command line of a run, whose directory is made if need be."""
    directory = Path(task.directory)
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / CONFIG).exists():
        files.write_text(directory / CONFIG, task.config)
        files.sync_folder(directory.parent)
    command = [sys.executable, "-m", "sciml", "resume", task.directory, *(["--problems", task.problems] if task.problems else [])]
    return command + ([] if task.step_limit is None else ["--set", f"execution.step_limit={task.step_limit}"])


def _refusal(task: Task) -> Ending | None:
    """Why a run cannot be attempted here at all."""
    if sciml.__version__ != task.version:
        return Ending(Reason.WORKER, f"this worker has sciml {sciml.__version__}, the sweep was planned with {task.version}")
    directory = Path(task.directory)
    if _is_link(directory):
        return Ending(Reason.CONFIG, f"{directory} leads outside the sweep by a link; remove the link")
    try:
        changed = catalog.source_hash(task.problem, Path(task.problems) if task.problems else None) != task.source
    except ScimlError as error:
        return Ending(Reason.CONFIG, str(error))
    if changed:
        return Ending(Reason.CONFIG, f"the problem '{task.problem}' has changed since the sweep was planned")
    return None


def write_note(task: Task, ending: Ending, exit_code: int | None = None, seconds: float = 0.0, adopted: bool = False) -> dict[str, Any]:
    """Note how an attempt ended in the run's directory, and return the note. A full disk loses the note, not the run."""
    directory = Path(task.directory)
    before = read_attempts(directory) if directory.is_dir() else []
    failures = count_failures(before) + (ending.reason in FAILURES)
    row = {
        "attempt": len(before) + 1,
        "reason": str(ending.reason),
        "detail": ending.detail,
        "again": ending.reason in RETRIED and failures < task.failures,
        "exit_code": exit_code,
        "seconds": round(seconds, 3),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if (ending.reason != Reason.INTERRUPTED or exit_code is not None) and not _is_link(directory):
        try:
            directory.mkdir(parents=True, exist_ok=True)
            append_row(directory / NAME, row)
        except OSError as error:
            row |= {"reason": str(Reason.DISK), "detail": str(error), "again": False}
    return row | {"adopted": adopted}


def _is_link(directory: Path) -> bool:
    """Whether a run's directory, or the folder of runs, would lead outside the sweep."""
    return directory.is_symlink() or directory.parent.is_symlink()


def _age(holder: Holder) -> float:
    """Seconds since the holder began."""
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(holder.started)).total_seconds()) if holder.started else 0.0


def _signal(holder: Holder, number: int) -> None:
    if holder.is_here:
        try:
            os.kill(holder.pid, number)
        except ProcessLookupError:
            return


class _cores:
    """A process that is started inside the block may use only these cores; the calling thread gets its own back."""

    def __init__(self, cores: Sequence[int]) -> None:
        self.cores = set(cores) if hasattr(os, "sched_setaffinity") else set()

    def __enter__(self) -> None:
        if self.cores:
            self.before = os.sched_getaffinity(0)
            os.sched_setaffinity(0, self.cores)

    def __exit__(self, *_: object) -> None:
        if self.cores:
            os.sched_setaffinity(0, self.before)
