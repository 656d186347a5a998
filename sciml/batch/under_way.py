"""What the runs of a sweep do at this moment, and how long the rest of them will take."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sciml.batch.state import RunState, State
from sciml.runs.jsonl import last_row
from sciml.runs.lock import Holder, find_holder
from sciml.runs.metrics import NAME as METRICS
from sciml.runs.progress import duration, relative_error


def running(states: Sequence[RunState]) -> list[dict[str, Any]]:
    """What each running run does, by the last row of its metrics: `run`, `phase` (the optimiser), `step`, `loss`, `residual` (mean
    square on fresh points), `error`, `seconds` of training, and `after`, why its attempt before ended. None where no row is there yet.
    """
    return [_doing(state) for state in states if state.state == State.RUNNING]


def seconds_left(states: Sequence[RunState], median: float, more: int = 0) -> float | None:
    """Seconds until all that runs and waits, and `more` runs beside it, is done, if each takes the `median` and as many processes
    work as do now. None while none does. A run that has already taken longer is counted as ending now.
    """
    holders = Counter(holder for state in states if state.state == State.RUNNING and (holder := find_holder(state.directory)))
    waiting = sum(state.state == State.WAITING for state in states) + more
    left = [max(0.0, median * runs - _age(holder)) for holder, runs in holders.items()]
    return makespan(left, waiting, median) if left else None


def makespan(left: Sequence[float], waiting: int, each: float) -> float:
    """When all is done if `waiting` pieces of work that take `each` go, one by one, to whoever has finished what is `left` to him."""
    ends = list(left)
    heapq.heapify(ends)
    for _ in range(waiting):
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)


def doing_text(doing: dict[str, Any]) -> str:
    """One entry of `running` on one line."""
    after = f", again after: {doing['after']}" if doing["after"] else ""
    if doing["step"] is None:
        return f"{doing['run']}: starts or compiles{after}"
    numbers = "".join(f", {name} {doing[name]:.1e}" for name in ("loss", "residual", "error") if doing[name] is not None)
    spent = "" if doing["seconds"] is None else f", {duration(doing['seconds'])}"
    return f"{doing['run']}: {doing['phase']}, step {doing['step']:,}{numbers}{spent}{after}"


def _doing(state: RunState) -> dict[str, Any]:
    row = last_row(state.directory / METRICS) or {}
    return {
        "run": state.name,
        "phase": row.get("kind"),
        "step": row.get("step"),
        "loss": row.get("loss"),
        "residual": row.get("validation"),
        "error": relative_error(row.get("error")),
        "seconds": row.get("seconds"),
        "after": state.reason,
    }


def _age(holder: Holder) -> float:
    """Seconds since a holder began."""
    return (datetime.now(UTC) - datetime.fromisoformat(holder.started)).total_seconds() if holder.started else 0.0
