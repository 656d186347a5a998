"""How far a sweep is, in a few lines: read from the run directories, without JAX, in a second or two for ten thousand runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sciml.batch.plan import is_sweep
from sciml.batch.state import RunState, State, count_states, read_states
from sciml.batch.table import over_seeds
from sciml.runs.lock import find_holder
from sciml.runs.progress import duration

LISTED = 5
"""Failures and best runs that are listed."""


def status(directory: str | Path) -> dict[str, Any]:
    """How the sweep (or folder of runs) in `directory` stands.

    `runs` (how many), `counts` by state, `scheduler` (who works on it, or None), `seconds` (of all complete runs together),
    `median_seconds`, `reasons` (of what failed, diverged or stopped: how often), `failures` (run, reason, detail), `best` (the
    combinations of the axes with the lowest median error over seeds).
    """
    directory = Path(directory)
    states = read_states(directory)
    holder = find_holder(directory) if is_sweep(directory) else None
    spent = sorted((state.result.get("seconds") or {}).get("total") or 0.0 for state in states if state.state == State.OK)
    failed = [state for state in states if state.state in (State.FAILED, State.DIVERGED, State.STOPPED)]
    best = sorted((row for row in over_seeds(states) if row["median"] is not None), key=lambda row: row["median"])
    return {
        "directory": str(directory),
        "runs": len(states),
        "counts": count_states(states),
        "scheduler": None if holder is None else str(holder),
        "seconds": sum(spent),
        "median_seconds": spent[len(spent) // 2] if spent else None,
        "reasons": dict(Counter(_reason(state) for state in failed).most_common()),
        "failures": [{"run": state.name, "reason": _reason(state), "detail": state.detail} for state in failed],
        "best": best[:LISTED],
    }


def describe(found: dict[str, Any]) -> str:
    """What `status` returns, in a few lines."""
    counts = ", ".join(f"{count} {state}" for state, count in found["counts"].items())
    lines = [f"{found['directory']}: {found['runs']} runs: {counts}"]
    if found["scheduler"]:
        lines.append(f"  worked on by {found['scheduler']}")
    elif set(found["counts"]) - {"ok", "diverged", "failed"}:
        lines.append(f"  nobody works on it; `sciml sweep {found['directory']}` goes on")
    if found["median_seconds"] is not None:
        lines.append(f"  a run took {duration(found['median_seconds'])} (median), all together {duration(found['seconds'])}")
    lines += [f"  {count} x {reason}" for reason, count in found["reasons"].items()]
    lines += [f"    {each['run']}: {each['reason']}{_after(each['detail'])}" for each in found["failures"][:LISTED]]
    if len(found["failures"]) > LISTED:
        lines.append(f"    and {len(found['failures']) - LISTED} more in `sciml table {found['directory']} --to csv`")
    if found["best"]:
        lines.append(f"  lowest {found['best'][0]['measure']} (median over seeds):")
        lines += [f"    {row['median']:.2e}  {values_text(axis_values(row))}" for row in found["best"]]
    return "\n".join(lines)


def values_text(values: dict[str, Any]) -> str:
    """The values of the axes on one line."""
    return "  ".join(f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items())


def axis_values(row: dict[str, Any]) -> dict[str, Any]:
    """The values of the axes in a row of `over_seeds`."""
    names: Iterable[str] = ("runs", "ok", "measure", "median", "worst", "best", "spread")
    return {key: value for key, value in row.items() if key not in names}


def _reason(state: RunState) -> str:
    if state.state == State.DIVERGED:
        return "diverged"
    return state.reason or str(state.result.get("ended_by") or state.state)


def _after(detail: str) -> str:
    return f": {detail.splitlines()[0]}" if detail else ""
