"""One attempt at one run: a command line in a process of its own, watched until it ends. What every engine executes."""

from __future__ import annotations

import math
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
from sciml.batch.ending import BEGIN, FAILURES, LOG, RETRIED, Ending, Reason, is_full, judge
from sciml.errors import ScimlError
from sciml.runs import catalog, files
from sciml.runs.config import NAME as CONFIG
from sciml.runs.interrupt import Interrupt
from sciml.runs.jsonl import append_row, read_each
from sciml.runs.lock import Holder, find_holder
from sciml.runs.metrics import NAME as METRICS
from sciml.runs.result import NAME as RESULT

NAME = "attempts.jsonl"
NOTE = {"reason": str, "detail": str, "again": bool}
"""What a line of it must say."""

MEMORY_SHARE = 0.75
"""Part of a device's memory that JAX takes for itself; runs that share a device share it."""

LOOK = 0.1
"""Seconds between two looks at a run that another scheduler started."""


class Task(NamedTuple):
    """All that a worker needs to know of a run: paths and numbers, so that it can be sent to another machine."""

    directory: str
    config: str
    """The text of its `config.toml`."""
    problem: str
    source: str
    """The hash of the problem's text when the sweep was planned; empty for a run on a table."""
    problems: str | None
    version: str
    failures: int
    """Failed attempts that are allowed, those before included."""
    time_limit: float | None
    grace: float
    stop: str
    """The file whose presence says that all runs are to save and end."""
    stall: float = math.inf
    """Seconds without anything written after which its process is taken to hang."""
    step_limit: int | None = None
    """The steps of the run's rung in a search; 0 for the last rung, which has no limit."""
    cores: tuple[int, ...] = ()
    device: str = ""
    sharers: int = 1
    """Runs that may use the device at a time."""
    others: tuple[Task, ...] = ()
    """Runs that differ from this one in their seed alone, and that the same process is to train."""


def attempt(task: Task, interrupt: Interrupt | None = None) -> dict[str, Any]:
    """Make one attempt at a run, and at those that go with it, and note in each `attempts.jsonl` how it ended.

    Returns the note, with those of `task.others` as its `others`. A run that another process holds is not started but waited for.
    A complete one costs nothing. A signal that `interrupt` has seen tells the process to save and end, as the task's stop file does.
    """
    started, tasks = time.monotonic(), (task, *task.others)
    watch = _Watch(task, interrupt or Interrupt())
    adopted = [watch.wait_for_holder(Path(each.directory)) for each in tasks]
    found = [_without_a_process(each, watch, held) for each, held in zip(tasks, adopted, strict=True)]
    left = [each for each, ending in zip(tasks, found, strict=True) if ending is None]
    exit_code = None
    if left:
        exit_code = watch.run(left)
        taken = any(find_holder(Path(each.directory)) for each in left)
        if exit_code != 0 and taken and not watch.told:  # another scheduler's process was faster
            return attempt(task, interrupt)
    log, seconds, notes = Path((left or tasks)[0].directory) / LOG, time.monotonic() - started, []
    for each, ending, held in zip(tasks, found, adopted, strict=True):
        ending, code = (ending, None) if ending else (watch.judge(Path(each.directory), exit_code, log), exit_code)
        notes.append(write_note(each, ending, code, seconds, held, len(left) if each in left else 1))
    return notes[0] | ({"others": notes[1:]} if task.others else {})


def _without_a_process(task: Task, watch: _Watch, adopted: bool) -> Ending | None:
    """How a run stands that needs no process, or can have none; None where one is to be started."""
    directory = Path(task.directory)
    if _is_link(directory):
        return Ending(Reason.CONFIG, f"{directory} leads outside the sweep by a link; remove the link")
    if links := sorted(entry.path for entry in os.scandir(directory) if entry.is_symlink()) if directory.is_dir() else []:
        return Ending(Reason.CONFIG, f"{links[0]} is a link, through which the run would write elsewhere; remove the link")
    ending = watch.judge(directory, None)
    if ending.reason != Reason.ERROR:
        return ending
    if watch.stopping:
        return Ending(Reason.INTERRUPTED)
    died = adopted and not (directory / RESULT).exists()
    return ending if died else _refusal(task)


def count_failures(rows: Sequence[dict[str, Any]]) -> int:
    """The failed attempts among the notes of a run.

    One that it shared with other runs does not count: any of them may be to blame. Nor does one whose time was up after it had come
    further than all before.
    """
    failures, furthest = 0, 0
    for row in rows:
        steps = row.get("steps") or 0
        got_on = row["reason"] == Reason.TIME and steps > furthest
        furthest = max(furthest, steps)
        failures += row["reason"] in FAILURES and "together" not in row and not got_on
    return failures


def has_failed(rows: Sequence[dict[str, Any]]) -> bool:
    """Whether any attempt among the notes of a run failed."""
    return any(row["reason"] in FAILURES for row in rows)


def read_attempts(directory: Path) -> list[dict[str, Any]]:
    """The notes of all attempts at a run, first to last; a damaged one says so, and does not count as a failed attempt."""
    path = directory / NAME
    return [_note(row, f"{path}, line {number}") for number, row in enumerate(read_each(path), 1)]


def _note(row: dict[str, Any] | str, where: str) -> dict[str, Any]:
    if isinstance(row, dict) and all(isinstance(row.get(key), kind) for key, kind in NOTE.items()):
        return row
    wrong = row if isinstance(row, str) else f"{where} is not the note of an attempt"
    return {"reason": str(Reason.UNREADABLE), "detail": wrong, "again": True, "exit_code": None, "seconds": 0.0}


class _Watch:
    """Watches one process, one's own or an adopted one, and tells it to end when its time is up or all are to stop."""

    def __init__(self, task: Task, interrupt: Interrupt) -> None:
        self.task, self.interrupt, self.stop = task, interrupt, Path(task.stop)
        self.told: Reason | None = None
        """Why the process has been told to end."""
        self.killed = False
        self._deadline = 0.0
        self._next_look = 0.0

    @property
    def stopping(self) -> bool:
        return self.interrupt.signal is not None or self.stop.exists()

    def judge(self, directory: Path, exit_code: int | None, log: Path | None = None) -> Ending:
        """How the attempt at a run ended, by what this watch did to its process."""
        return judge(directory, exit_code, told=self.told, killed=self.killed, log=log, step_limit=self.task.step_limit)

    def wait_for_holder(self, directory: Path) -> bool:
        """Wait while another process holds the run; whether one did."""
        holder = find_holder(directory)
        if holder is None:
            return False
        begun = time.monotonic() - _age(holder)
        while holder is not None and self.interrupt.signal is None:
            time.sleep(LOOK)
            self._tell(begun, lambda number, holder=holder: _signal(holder, number))
            holder = find_holder(directory)
        return True

    def run(self, tasks: Sequence[Task]) -> int:
        """The exit code of the process that trains these runs, negative for a signal. Its output goes into the log of the first."""
        command = _prepare(tasks)
        first, *others = [Path(task.directory) for task in tasks]
        for directory in others:
            with (directory / LOG).open("a", encoding="utf-8") as log:
                log.write(f"{BEGIN}{_now()}: one process trains {len(tasks)} runs; what it prints is in ../{first.name}/{LOG}\n")
        environment = _environment(self.task)
        begun = time.monotonic()
        with (first / LOG).open("ab") as log, _cores(self.task.cores):
            log.write(f"{BEGIN}{_now()}\n".encode())
            log.flush()
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        while True:
            try:
                exit_code = process.wait(timeout=4 * LOOK)
            except subprocess.TimeoutExpired:
                self._tell(begun, process.send_signal)
                continue
            if exit_code and self.interrupt.signal is not None:  # the signal may have reached it, too, and first
                self.told = self.told or Reason.INTERRUPTED
            return exit_code

    def _tell(self, begun: float, send: Callable[[int], None]) -> None:
        """Ask the process to end if it has to, and kill it if it was asked and its grace is over."""
        now = time.monotonic()
        if self.told is None:
            self.told = self._why_end(now, begun)
            if self.told is not None:
                self._deadline = now + self.task.grace
                send(signal.SIGTERM)
        elif now > self._deadline and not self.killed:
            self.killed = True
            if self.interrupt.signal == signal.SIGUSR2:
                self.told = Reason.TIME  # the time of its job is over, and the next one would be as short
            send(signal.SIGKILL)

    def _why_end(self, now: float, begun: float) -> Reason | None:
        """Why a process has to end, if it has to."""
        if self.task.time_limit is not None and now - begun > self.task.time_limit:
            return Reason.TIME
        if self.stopping:
            return Reason.INTERRUPTED
        if now < self._next_look:
            return None
        self._next_look = now + min(30.0, self.task.stall / 4)
        return Reason.HANG if now - begun > self.task.stall and self._silence() > self.task.stall else None

    def _silence(self) -> float:
        """Seconds since any of the runs wrote a line or a checkpoint."""
        folders = [Path(each.directory) for each in (self.task, *self.task.others)]
        written = [folder / name for folder in folders for name in (LOG, METRICS, "checkpoints")]
        return time.time() - max((path.stat().st_mtime for path in written if path.exists()), default=0.0)


def _environment(task: Task) -> dict[str, str]:
    """What a run's process finds in its environment: this one's, its device, and its part of the device's memory."""
    device = {"CUDA_VISIBLE_DEVICES": task.device} if task.device else {}
    share = {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{MEMORY_SHARE / task.sharers:.3f}"} if task.sharers > 1 else {}
    return share | os.environ | device


def _prepare(tasks: Sequence[Task]) -> list[str]:
    """The command line of runs, whose directories are made if need be."""
    for task in tasks:
        directory = Path(task.directory)
        directory.mkdir(parents=True, exist_ok=True)
        if not (directory / CONFIG).exists():
            files.write_text(directory / CONFIG, task.config)
            files.sync_folder(directory.parent)
    problems, step_limit = tasks[0].problems, tasks[0].step_limit
    command = [sys.executable, "-m", "sciml", "resume", *(task.directory for task in tasks)]
    command += ["--problems", problems] if problems else []
    return command + ([] if step_limit is None else ["--set", f"execution.step_limit={step_limit}"])


def _refusal(task: Task) -> Ending | None:
    """Why a run cannot be attempted here at all."""
    if sciml.__version__ != task.version:
        return Ending(Reason.WORKER, f"this worker has sciml {sciml.__version__}, whoever submits the runs has {task.version}")
    directory = Path(task.directory)
    try:
        changed = task.source and catalog.source_hash(task.problem, Path(task.problems) if task.problems else None) != task.source
    except ScimlError as error:
        return Ending(Reason.CONFIG, str(error))
    if changed:
        return Ending(Reason.CONFIG, f"the problem '{task.problem}' has changed since the sweep was planned")
    return Ending(Reason.DISK, f"no space on disk for {directory}") if is_full(Path(task.stop).parent) else None


def write_note(
    task: Task, ending: Ending, exit_code: int | None = None, seconds: float = 0.0, adopted: bool = False, together: int = 1
) -> dict[str, Any]:
    """Note how an attempt ended in the run's directory, and return the note. A full disk loses the note, not the run.

    `together` is how many runs the process trained, whose `seconds` these are.
    """
    directory = Path(task.directory)
    before = read_attempts(directory) if directory.is_dir() else []
    row = {
        "attempt": len(before) + 1,
        "reason": str(ending.reason),
        "detail": ending.detail,
        "again": False,
        "exit_code": exit_code,
        "seconds": round(seconds, 3),
        "steps": ending.steps,
        "ended": _now(),
        **({"together": together} if together > 1 else {}),
    }
    by_itself = together > 1 and ending.reason == Reason.CONFIG
    row["again"] = by_itself or (ending.reason in RETRIED and count_failures([*before, row]) < task.failures)
    if (ending.reason != Reason.INTERRUPTED or exit_code is not None) and not _is_link(directory):
        try:
            directory.mkdir(parents=True, exist_ok=True)
            append_row(directory / NAME, row)
        except OSError as error:
            row |= {"reason": str(Reason.DISK), "detail": str(error), "again": False}
    return row | {"adopted": adopted}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


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
