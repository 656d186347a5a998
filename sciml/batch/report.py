"""report.html of a sweep: which runs are good, how sure that is over seeds, what failed and why; one file to open or send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sciml import __version__
from sciml.batch.plan import SWEEP, is_sweep, read_search
from sciml.batch.state import WELL, RunState, State, count_states, read_states
from sciml.batch.status import axis_values, is_done, over_text, ranked, status, value_text, values_text
from sciml.batch.table import Row, spread_over_seeds, table_rows
from sciml.batch.trials import gather
from sciml.runs import files
from sciml.runs.html import Html, card, join, listing, number, page, picture, section, table, tag
from sciml.runs.progress import duration

NAME = RUN_REPORT = "report.html"
BEST = 10
LARGEST_TABLE = 2000
"""Runs that are listed; those of a larger sweep stand in `sciml table`."""

CAPTIONS = {
    "search": "Each trial of the search in the order in which they were proposed, and along each key that was searched.",
    "time": "Each complete run: its error over the time that it took.",
    "map": "The median error of each combination over both axes.",
    "axes": "The error along each axis: every run, the median and the worst over all other axes.",
}


def report(directory: str | Path) -> Path:
    """Writes `report.html` into a sweep's directory (or a folder of runs) and returns its path."""
    from sciml.batch.figures import write_figures
    from sciml.batch.scales import read_logarithmic

    directory = Path(directory)
    states = read_states(directory)
    rows = table_rows(states)
    search = read_search(directory)
    trials = () if search is None else gather(search, states)
    objective = "" if search is None else search.objective
    logarithmic = read_logarithmic(directory)
    with files.disk_errors(directory), files.replacing_each(directory / "figures") as temporary:
        groups, axes = spread_over_seeds(states), axes_of(states)
        write_figures(rows, groups, axes, temporary, logarithmic=logarithmic, trials=trials, objective=objective)
    path = directory / NAME
    with files.disk_errors(directory):
        files.write_text(path, render(directory, states, rows))
    return path


def axes_of(states: Sequence[RunState]) -> list[str]:
    """The keys that vary, in order."""
    return list(dict.fromkeys(key for state in states for key in state.values))


def render(directory: Path, states: Sequence[RunState], rows: Sequence[Row]) -> Html:
    """The report as HTML."""
    found = status(directory)
    figures = join(picture(directory / "figures" / f"{name}.png", caption) for name, caption in CAPTIONS.items())
    groups, search = spread_over_seeds(states), read_search(directory)
    sections = (
        _summary(directory, states, found),
        section("Best, over seeds" if search is None else "Best trials", _groups(ranked(states, search)[:BEST])),
        section("What failed", _failures(directory, states)),
        section("Figures", figures),
        section("All, over seeds" if search is None else "All trials", _groups(groups) if len(groups) > BEST else Html()),
        section("All runs", _all(directory, states, rows)),
        section("Sweep", listing(directory / SWEEP, "as it was given") if is_sweep(directory) else Html()),
        tag(
            "footer",
            f"Written by sciml {__version__} into {directory.resolve().name}. All of it stands in the file itself; "
            "links lead to the reports of runs beside it, where these have one.",
        ),
    )
    return page(f"{directory.name}: report", *sections)


def _summary(directory: Path, states: Sequence[RunState], found: Mapping[str, Any]) -> Html:
    counts = ", ".join(f"{count} {name}" for name, count in count_states(states).items())
    complete = is_done(found) and all(state.state in WELL for state in states)
    badge = tag("span", "complete", class_="badge ok") if complete else tag("span", counts, class_="badge")
    cards = [card("Runs", f"{len(states):,}", counts)]
    if found["best"]:
        first = found["best"][0]
        value = first["median" if found["search"] is None else found["search"]["over_runs"]]
        said = first["measure"] if found["search"] is None else found["search"]["objective"]
        note = (over_text(first, found["search"]), values_text(axis_values(first)))
        cards.append(card(f"Lowest {said}", number(value), ": ".join(part for part in note if part)))
    if found["median_seconds"] is not None:
        cards.append(card("Time of a run", duration(found["median_seconds"]), f"median; all together {duration(found['seconds'])}"))
    title = tag("div", tag("h1", directory.resolve().name), badge, class_="title")
    problems = ", ".join(sorted({state.name.rpartition("-")[0] or state.name for state in states}))
    lead = f"{problems}: {len(states):,} runs over {', '.join(axes_of(states)) or 'nothing'}"
    return tag("header", title, tag("p", lead, class_="lead"), tag("div", *cards, class_="cards"))


def _groups(groups: Sequence[Row]) -> Html:
    """Combinations of the axes with the median, worst and spread of their seeds, or trials with those of their runs."""
    if not groups:
        return Html()
    axes = list(axis_values(groups[0]))
    measure, several = groups[0]["measure"], any(group["runs"] > 1 for group in groups)
    shown = (
        {"median": f"Median {measure}", "worst": "Worst", "best": "Best", "spread": "Spread (quartiles)"}
        if several
        else {"median": measure}
    )
    header = [*(axes or ["All runs"]), "ok", *shown.values()]
    rows = [
        [
            *([value_text(group[axis]) for axis in axes] or [""]),
            f"{group['ok']} of {group['runs']}",
            *(number(group[name]) for name in shown),
        ]
        for group in groups[:LARGEST_TABLE]
    ]
    first = max(len(axes), 1)
    return table(header, rows, numbers=range(first, len(header)))


def _failures(directory: Path, states: Sequence[RunState]) -> Html:
    """Runs that did not end well, by reason."""
    grouped: dict[str, list[RunState]] = {}
    for state in states:
        if state.state in (State.FAILED, State.DIVERGED, State.STOPPED):
            grouped.setdefault(state.reason or str(state.state), []).append(state)
    parts = []
    for reason, members in sorted(grouped.items(), key=lambda item: -len(item[1])):
        rows = [(_link(directory, each), values_text(each.values), len(each.attempts), each.detail) for each in members[:BEST]]
        more = f", the first {BEST} of them" if len(members) > BEST else ""
        parts += [tag("h3", f"{reason}: {len(members)} runs{more}"), table(("Run", "Axes", "Attempts", "Last words"), rows, numbers=(2,))]
    return join(parts)


def _all(directory: Path, states: Sequence[RunState], rows: Sequence[Row]) -> Html:
    axes = axes_of(states)
    names = [
        name
        for name in ("trial", "rung", "objective", "error", "forecast", "residual", "steps", "seconds", "attempts")
        if any(row.get(name) is not None for row in rows)
    ]
    header = ["Run", *axes, "State", *(name.capitalize() for name in names)]
    lines = [
        [_link(directory, state), *(value_text(row[axis]) for axis in axes), row["state"], *(_cell(name, row[name]) for name in names)]
        for state, row in zip(states[:LARGEST_TABLE], rows, strict=False)
    ]
    more = tag("p", f"The first {LARGEST_TABLE:,} of {len(rows):,} runs; `sciml table` has all.") if len(rows) > LARGEST_TABLE else Html()
    return join([more, table(header, lines, numbers=range(1, len(header)))])


def _cell(name: str, value: Any) -> Any:
    if value is None:
        return "–"
    return duration(value) if name == "seconds" else f"{value:,}" if isinstance(value, int) else number(value)


def _link(directory: Path, state: RunState) -> Any:
    """A run's name, which leads to its own report where there is one."""
    path = state.directory / RUN_REPORT
    return tag("a", state.name, href=quote(path.relative_to(directory).as_posix())) if path.is_file() else state.name
