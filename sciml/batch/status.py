"""How far a sweep is, in a few lines: read from the run directories, without JAX, in a second or two for ten thousand runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sciml.batch.plan import is_sweep, read_search
from sciml.batch.space import Search
from sciml.batch.state import RunState, State, count_states, read_states
from sciml.batch.table import Row, over_seeds
from sciml.batch.trials import gather, is_over
from sciml.runs.lock import find_holder
from sciml.runs.mistakes import toml
from sciml.runs.progress import duration

LISTED = 5
"""Failures and best runs that are listed."""


def status(directory: str | Path) -> dict[str, Any]:
    """How the sweep (or folder of runs) in `directory` stands.

    `runs` (how many), `counts` by state, `scheduler` (who works on it, or None), `seconds` (of all complete runs together),
    `median_seconds`, `reasons` (of what failed, diverged or stopped: how often), `failures` (run, reason, detail), `best` (the
    combinations of the axes with the lowest median error over seeds, or the best trials of a search), `search` (its `objective`,
    `method`, `trials` proposed so far, `planned` in all, the last `rung`, whether it is `over`; None where nothing is searched for).
    """
    directory = Path(directory)
    states = read_states(directory)
    holder = find_holder(directory) if is_sweep(directory) else None
    spent = sorted((state.result.get("seconds") or {}).get("total") or 0.0 for state in states if state.state == State.OK)
    failed = [state for state in states if state.state in (State.FAILED, State.DIVERGED, State.STOPPED)]
    search = read_search(directory)
    return {
        "directory": str(directory),
        "runs": len(states),
        "counts": count_states(states),
        "scheduler": None if holder is None else str(holder),
        "seconds": sum(spent),
        "median_seconds": spent[len(spent) // 2] if spent else None,
        "reasons": dict(Counter(_reason(state) for state in failed).most_common()),
        "failures": [{"run": state.name, "reason": _reason(state), "detail": state.detail} for state in failed],
        "best": ranked(states, search)[:LISTED],
        "search": None if search is None else _search(search, states),
    }


def is_done(found: Mapping[str, Any]) -> bool:
    """Whether nothing is left that `sciml sweep` would go on with, by what `status` returns."""
    ended = not set(found["counts"]) - {"ok", "diverged", "failed", "paused"}
    return ended and (found["search"] is None or found["search"]["over"])


def ranked(states: Sequence[RunState], search: Search | None) -> list[Row]:
    """Rows of `over_seeds`, the best first, without those that nothing is known of; in a search, those that came farthest first."""
    by = statistic(search)
    known = (row for row in over_seeds(states) if row[by] is not None)
    return sorted(known, key=lambda row: (-row.get("rung", 0), row[by]))


def statistic(search: Search | None) -> str:
    """What the runs of a combination are judged by."""
    return "median" if search is None else search.over_runs


def describe(found: dict[str, Any]) -> str:
    """What `status` returns, in a few lines."""
    counts = ", ".join(f"{count} {state}" for state, count in found["counts"].items())
    lines = [f"{found['directory']}: {found['runs']} runs: {counts}"]
    if found["search"]:
        lines.append(_told(found["search"]))
    if found["scheduler"]:
        lines.append(f"  worked on by {found['scheduler']}")
    elif not is_done(found):
        lines.append(f"  nobody works on it; `sciml sweep {found['directory']}` goes on")
    if found["median_seconds"] is not None:
        lines.append(f"  a run took {duration(found['median_seconds'])} (median), all together {duration(found['seconds'])}")
    lines += [f"  {count} x {reason}" for reason, count in found["reasons"].items()]
    lines += [f"    {each['run']}: {each['reason']}{_after(each['detail'])}" for each in found["failures"][:LISTED]]
    if len(found["failures"]) > LISTED:
        lines.append(f"    and {len(found['failures']) - LISTED} more in `sciml table {found['directory']} --to csv`")
    if found["best"]:
        search = found["search"]
        by = "median" if search is None else search["over_runs"]
        said = found["best"][0]["measure"] if search is None else search["objective"]
        lines.append(f"  lowest {said} ({by} over {'seeds' if search is None else 'the runs of a trial'}):")
        lines += [f"    {row[by]:.2e}  {values_text(axis_values(row))}" for row in found["best"]]
    return "\n".join(lines)


def _search(search: Search, states: Sequence[RunState]) -> dict[str, Any]:
    trials = gather(search, states)
    return {
        "objective": search.objective,
        "over_runs": search.over_runs,
        "method": search.method,
        "trials": len(trials),
        "planned": search.trials,
        "rung": max((trial.rung for trial in trials), default=0),
        "over": is_over(search, trials),
    }


def _told(search: dict[str, Any]) -> str:
    rung = f", rung {search['rung']}" if search["rung"] else ""
    return f"  search for the lowest {search['objective']} ({search['method']}): {search['trials']} of {search['planned']} trials{rung}"


def values_text(values: dict[str, Any]) -> str:
    """The values of the axes on one line."""
    return "  ".join(f"{key}={value_text(value)}" for key, value in values.items())


def value_text(value: Any) -> str:
    """The value of an axis as one short text: a number in six digits, a list or a table as in TOML, cut where it is long."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else toml(value)


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
