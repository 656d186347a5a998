"""How far a sweep is, in a few lines: read from the run directories, without JAX, in a second or two for ten thousand runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sciml.batch.ending import FAILURES
from sciml.batch.plan import is_sweep, read_search
from sciml.batch.space import Search
from sciml.batch.state import RunState, State, count_states, read_states
from sciml.batch.table import Row, spread_over_seeds
from sciml.batch.trials import gather, is_over
from sciml.batch.under_way import doing_text, running, seconds_left
from sciml.runs.lock import find_holder
from sciml.runs.mistakes import toml
from sciml.runs.progress import duration

LISTED = 5
"""Failures and best runs that are listed."""


def status(directory: str | Path) -> dict[str, Any]:
    """How the sweep (or folder of runs) in `directory` stands.

    `runs` (how many), `counts` by state, `sweep` (whether it is one), `scheduler` (who works on it, or None), `seconds` (of all
    complete runs together), `median_seconds`, `seconds_left` (estimated from the median, where a scheduler works and a run is complete;
    None for a search with halving, whose rungs take different times), `running` (what each run does that is under way: see
    `under_way.running`), `again` (run, reason, detail of those that died and will be tried again), `reasons` (of what failed, diverged
    or stopped: how often), `failures` (run, reason, detail), `best` (the combinations of the axes with the lowest median error over
    seeds, or the best trials of a search), `search` (its `objective`, `method`, `trials` proposed so far, `planned` in all, the last
    `rung`, whether it is `over`; None where nothing is searched for).
    """
    directory = Path(directory)
    states = read_states(directory)
    sweep = is_sweep(directory)
    holder = find_holder(directory) if sweep else None
    spent = sorted((state.result.get("seconds") or {}).get("total") or 0.0 for state in states if state.state == State.OK)
    median = spent[len(spent) // 2] if spent else None
    failed = [state for state in states if state.state in (State.FAILED, State.DIVERGED, State.STOPPED)]
    search = read_search(directory)
    return {
        "directory": str(directory),
        "runs": len(states),
        "counts": count_states(states),
        "sweep": sweep,
        "scheduler": None if holder is None else str(holder),
        "seconds": sum(spent),
        "median_seconds": median,
        "seconds_left": None if holder is None or median is None else _left(states, median, search),
        "running": running(states),
        "again": [_lost(state) for state in states if state.state == State.WAITING and state.reason in FAILURES],
        "reasons": dict(Counter(_reason(state) for state in failed).most_common()),
        "failures": [_lost(state) for state in failed],
        "best": ranked(states, search)[:LISTED],
        "search": None if search is None else _search(search, states),
    }


def is_done(found: Mapping[str, Any]) -> bool:
    """Whether nothing is left that `sciml sweep` would go on with, by what `status` returns."""
    ended = not set(found["counts"]) - {"ok", "diverged", "failed", "paused"}
    return ended and (found["search"] is None or found["search"]["over"])


def ranked(states: Sequence[RunState], search: Search | None) -> list[Row]:
    """Rows of `spread_over_seeds`, the best first, without those that nothing is known of; in a search, those that came farthest first."""
    by = statistic(search)
    known = (row for row in spread_over_seeds(states) if row[by] is not None)
    return sorted(known, key=lambda row: (-row.get("rung", 0), row[by]))


def statistic(search: Search | None) -> str:
    """What the runs of a combination are judged by."""
    return "median" if search is None else search.over_runs


def describe(found: dict[str, Any]) -> str:
    """What `status` returns, in a few lines."""
    lines = [headline(found)]
    if found["search"]:
        lines.append(_told(found["search"]))
    lines += _work(found)
    if found["median_seconds"] is not None:
        lines.append(f"  a run took {duration(found['median_seconds'])} (median), all together {duration(found['seconds'])}")
    lines += _listed([doing_text(each) for each in found["running"]], "running:")
    lines += _listed([_lost_text(each) for each in found["again"]], f"{len(found['again'])} died and will be tried again:")
    lines += [f"  {count} x {reason}" for reason, count in found["reasons"].items()]
    lines += _listed([_lost_text(each) for each in found["failures"]])
    if found["sweep"] and found["counts"].get("failed"):
        lines.append(
            f"  `sciml sweep {found['directory']} --retry-failed` tries what failed again, after you have mended what the reason says"
        )
    return "\n".join([*lines, *_best(found)])


def headline(found: Mapping[str, Any]) -> str:
    """How many runs stand how, on one line."""
    counts = ", ".join(f"{count} {state}" for state, count in found["counts"].items())
    return f"{found['directory']}: {counted(found['runs'], 'run')}: {counts}"


def counted(number: int, thing: str) -> str:
    """A number of things, with its plural."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def left_text(found: Mapping[str, Any]) -> str:
    """The time that is left, to be put behind another text; empty where it is not known."""
    return "" if found["seconds_left"] is None else f", about {duration(found['seconds_left'])} left"


def _work(found: Mapping[str, Any]) -> list[str]:
    """Who works on a sweep, or how to go on with it."""
    alone = found["counts"].get("running", 0)
    if found["scheduler"]:
        return [f"  worked on by {found['scheduler']}{left_text(found)}"]
    if not found["sweep"] or is_done(found):
        return []
    if alone:
        still = f"{alone} still {'runs' if alone == 1 else 'run'} without a scheduler"
        return [f"  {still}; `sciml sweep {found['directory']}` waits for {'it' if alone == 1 else 'them'} and goes on"]
    return [f"  nobody works on it; `sciml sweep {found['directory']}` goes on"]


def _listed(texts: Sequence[str], title: str = "") -> list[str]:
    """A title, the first few texts, one to a line, and how many more there are; nothing where there is no text."""
    more = [f"    and {len(texts) - LISTED} more; `sciml status --json` and `sciml table` have them all"] if len(texts) > LISTED else []
    return [*([f"  {title}"] if title and texts else []), *(f"    {text}" for text in texts[:LISTED]), *more]


def _best(found: Mapping[str, Any]) -> list[str]:
    """The best combinations or trials, each with its number and its values."""
    if not found["best"]:
        return []
    search, first = found["search"], found["best"][0]
    by = "median" if search is None else search["over_runs"]
    over = over_text(first, search)
    said = f"lowest {first['measure'] if search is None else search['objective']}" + (f" ({over})" if over else "")
    if not axis_values(first):
        return [f"  {said}: {first[by]:.2e}"]
    return [f"  {said}:", *(f"    {row[by]:.2e}  {values_text(axis_values(row))}" for row in found["best"])]


def over_text(row: Row, search: Mapping[str, Any] | None) -> str:
    """Over what the number of a combination, or of a trial, was taken; empty where it is that of a single run."""
    if row["runs"] == 1:
        return ""
    return f"median over {row['runs']} seeds" if search is None else f"{search['over_runs']} over the {row['runs']} runs of a trial"


def _left(states: Sequence[RunState], median: float, search: Search | None) -> float | None:
    if search is None:
        return seconds_left(states, median)
    trials = len({state.trial for state in states})
    return None if search.halving else seconds_left(states, median, (search.trials - trials) * (len(states) // trials))


def _lost(state: RunState) -> dict[str, str]:
    return {"run": state.name, "reason": _reason(state), "detail": state.detail}


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
    """The values of the axes in a row of `spread_over_seeds`."""
    names: Iterable[str] = ("runs", "ok", "measure", "median", "worst", "best", "spread")
    return {key: value for key, value in row.items() if key not in names}


def _reason(state: RunState) -> str:
    if state.state == State.DIVERGED:
        return "diverged"
    return state.reason or str(state.result.get("ended_by") or state.state)


def _lost_text(lost: Mapping[str, str]) -> str:
    detail = lost["detail"]
    return f"{lost['run']}: {lost['reason']}" + (f": {detail.splitlines()[0]}" if detail else "")
