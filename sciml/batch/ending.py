"""How an attempt at a run ended, and why: told from its result, its exit status and the last lines that it wrote."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from sciml.errors import Outcome, RunError
from sciml.runs.result import STEP_LIMIT, WALL_LIMIT, is_complete, read_result

LOG = "output.log"
LOG_TAIL = 16_384
"""Bytes at the end of a log that are searched for the reason."""

MEMORY = re.compile(r"RESOURCE_EXHAUSTED|MemoryError|std::bad_alloc|[Oo]ut of memory|Cannot allocate memory")
DAMAGED = re.compile(r"checkpoint .* is damaged .* no other can be used")
"""What a run says that has nothing to go on from: it would say so again."""
DISK = re.compile(r"no space on disk|No space left on device|Disk quota exceeded")


class Reason(StrEnum):
    """Why an attempt ended."""

    DONE = "done"
    DIVERGED = "diverged"
    STEPS = "step limit"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    MEMORY = "out of memory"
    DISK = "disk full"
    SIGNAL = "killed by a signal"
    CRASH = "segmentation fault"
    TIME = "time limit"
    HANG = "hang"
    CONFIG = "config"
    WORKER = "wrong version"
    ERROR = "error"
    UNREADABLE = "unreadable note"
    """Of an attempt whose note was damaged afterwards."""


RETRIED = frozenset({Reason.MEMORY, Reason.SIGNAL, Reason.CRASH, Reason.TIME, Reason.HANG, Reason.ERROR})
"""What may go better the next time. Divergence and mistakes in a config come back with the same bytes."""

FAILURES = RETRIED | {Reason.CONFIG, Reason.WORKER}
"""What counts as a failed attempt. A full disk and an interruption do not: the run goes on when it is told to."""


class Ending(NamedTuple):
    """How an attempt ended."""

    reason: Reason
    detail: str = ""
    steps: int | None = None
    """The optimiser step that a run which was told to end has saved."""


def judge(
    directory: Path,
    exit_code: int | None,
    *,
    told: Reason | None = None,
    killed: bool = False,
    log: Path | None = None,
    step_limit: int | None = None,
) -> Ending:
    """The ending of an attempt whose process is gone.

    `exit_code` is negative for a signal, None for a process that another scheduler started. `told` says why it had been told to end
    (its time was up, or all were to stop), `killed` that it did not do so. `log` is where it printed, if not to the run's own.
    `step_limit` is that of the run's rung in a search.
    """
    try:
        result = read_result(directory)
    except RunError as error:
        return Ending(Reason.CONFIG, str(error))
    if result is not None and is_complete(result):
        diverged = result["outcome"] == Outcome.DIVERGED
        return Ending(Reason.DIVERGED, f"at step {result.get('steps', '?')}") if diverged else Ending(Reason.DONE)
    if has_reached(result, step_limit):
        return Ending(Reason.STEPS)
    if told == Reason.TIME and killed:
        return Ending(Reason.HANG, "it did not end when its time was up, and was killed")
    if told is not None:
        silent = "nothing was written for as long as `stall` allows" if told == Reason.HANG else ""
        stuck = "it did not answer within its grace, and was killed: it goes on from its last checkpoint" if killed else ""
        return Ending(told, "; ".join(filter(None, (silent, stuck))), None if result is None else result.get("steps"))
    if exit_code is None:
        return Ending(Reason.ERROR, "its process is gone, and nobody saw how it ended")
    tail = _tail(log or directory / LOG)
    if DISK.search(tail) or is_full(directory):
        return Ending(Reason.DISK, _last_words(tail) or f"no space on disk for {directory}")
    if MEMORY.search(tail):
        return Ending(Reason.MEMORY, _last_words(tail))
    if exit_code < 0 or exit_code > 128:
        return _signalled(-exit_code if exit_code < 0 else exit_code - 128)
    if DAMAGED.search(tail):
        return Ending(Reason.CONFIG, _last_words(tail))
    if result is not None and exit_code == 1 and result.get("ended_by") == WALL_LIMIT:
        return Ending(Reason.STOPPED, WALL_LIMIT)
    return Ending(Reason.CONFIG if exit_code == 2 else Reason.ERROR, _last_words(tail) or f"exit code {exit_code}")


def has_reached(result: Mapping[str, Any] | None, step_limit: int | None) -> bool:
    """Whether a run has stopped at a step limit, its own or, where that is said, at least at `step_limit` (0: at none)."""
    if result is None or result.get("ended_by") != STEP_LIMIT:
        return False
    return step_limit is None or 0 < step_limit <= result.get("steps", 0)


def is_full(directory: Path) -> bool:
    """Whether the disk has so little room that it swallows the log, too."""
    return directory.exists() and shutil.disk_usage(directory).free < LOG_TAIL


def _signalled(number: int) -> Ending:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    if number in (signal.SIGSEGV, signal.SIGBUS):
        return Ending(Reason.CRASH, name)
    if number == signal.SIGKILL:
        return Ending(Reason.SIGNAL, f"{name}; unless someone sent it, memory ran out")
    return Ending(Reason.SIGNAL, name)


def _tail(path: Path) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_TAIL))
        text = file.read().decode(errors="replace")
    return text.rpartition(BEGIN)[2]


BEGIN = "---- attempt "
"""How the lines of an attempt begin in the log."""


def _last_words(tail: str) -> str:
    """The last error that was told, or the last line."""
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("error: ")]
    return (told or lines or [""])[-1].removeprefix("error: ")[:500]
