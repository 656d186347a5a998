"""A sweep as one table: a row per run, as rows of Python, CSV, LaTeX or JSON; and the median, worst and spread over seeds."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sciml.batch.state import WELL, RunState, read_states
from sciml.errors import CONVERGED, ConfigError

Format = Literal["csv", "latex", "json"]
FORMATS = ("csv", "latex", "json")
Row = dict[str, Any]
Measure = Literal["error", "forecast", "residual", "objective"]

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet would compute."""


def table(
    directory: str | Path, to: Format | None = None, *, over_seeds: bool = False, columns: Sequence[str] | None = None
) -> list[Row] | str:
    """The runs of a sweep, or of a folder of runs, in the plan's order.

    Without `to`, a list of dictionaries: `run`, a column per axis, `state`, `error` (relative L2), `floor` (the error of the reference
    itself, where that of the run is below it), `forecast` (root mean square error of a discovery on what was held out, each channel in
    standard deviations of its data), `residual` (weighted mean square of all terms on fresh points), `steps`, `seconds`, `attempts`,
    `reason`, `detail`, and a column per unknown coefficient. Runs of a search also have `trial`, `objective`, and, once halving has let
    a trial go on, `rung` (how far). With `to`, the same as text. With `over_seeds`, the rows are those of `SweepRuns.over_seeds`, one
    per combination of the other axes. `columns` chooses some of the columns, and their order. Raises `ConfigError` for a column that is
    not there.
    """
    states = read_states(Path(directory))
    rows = spread_over_seeds(states) if over_seeds else table_rows(states)
    if columns is not None:
        rows = _chosen(rows, columns)
    elif to == "latex":
        rows = _chosen(rows, _printed(rows))
    return rows if to is None else format_table(rows, to)


def table_rows(states: Iterable[RunState]) -> list[Row]:
    """A row for each run; every row has the same keys."""
    states = list(states)
    halved = _is_halved(states)
    rows = [_row(state, halved) for state in states]
    columns = dict.fromkeys(key for row in rows for key in row)
    return [{column: row.get(column) for column in columns} for row in rows]


def format_table(rows: Sequence[Row], to: Format) -> str:
    """Rows as text, with a line break at the end."""
    if to == "json":
        return json.dumps(list(rows), indent=2) + "\n"
    return _csv(rows) if to == "csv" else _latex(rows)


def _chosen(rows: Sequence[Row], columns: Sequence[str]) -> list[Row]:
    known = list(rows[0])
    unknown = [column for column in columns if column not in known]
    if unknown or not columns:
        said = f"there is no column '{unknown[0]}'" if unknown else "no column was chosen"
        raise ConfigError(f"{said}; there are: {', '.join(known)}")
    return [{column: row[column] for column in columns} for row in rows]


def _printed(rows: Sequence[Row]) -> list[str]:
    """The columns that a printed table has: without long texts, and without those that are empty everywhere."""
    return [column for column in rows[0] if column != "detail" and any(row[column] not in (None, "") for row in rows)]


def spread_over_seeds(states: Sequence[RunState]) -> list[Row]:
    """Per combination of the other axes: how many seeds ended well, and the median, worst, best and spread of their errors.

    The spread is the distance of the quartiles. An error that is not known counts as infinite, so that a seed that failed shows
    in the worst and, if there are many, in the median. Without any known error, that of the forecasts, or the residual on fresh points,
    takes its place. Of a search, per trial: the objective of all its runs.
    """
    measure, halved = measure_of(states), _is_halved(states)
    return [_of_group(members[0], halved) | _spread(members, measure) for members in combinations(states)]


def combinations(states: Sequence[RunState]) -> list[list[RunState]]:
    """The runs that differ in their seed alone, or belong to one trial of a search, together."""
    groups: dict[str, list[RunState]] = {}
    for state in states:
        groups.setdefault(json.dumps(_of_group(state, halved=True), sort_keys=True), []).append(state)
    return list(groups.values())


def measure_of(states: Sequence[RunState]) -> Measure:
    """What says how good a run is: the objective of a search, the error, that of the forecast of what was held out, or the residual."""
    if any(state.trial is not None for state in states):
        return "objective"
    known: tuple[Measure, ...] = ("error", "forecast")
    for measure in known:
        if any(READ[measure](state) is not None for state in states):
            return measure
    return "residual"


def _is_halved(states: Iterable[RunState]) -> bool:
    """Whether halving has let any trial of a search go on."""
    return any(state.rung for state in states)


def _trial(state: RunState, halved: bool) -> Row:
    return {"trial": state.trial} | ({"rung": state.rung} if halved else {})


def _of_group(state: RunState, halved: bool) -> Row:
    """What the runs of one combination have in common."""
    if state.trial is not None:
        return _trial(state, halved) | dict(state.searched)
    return {key: value for key, value in state.values.items() if key != "seed"}


def _row(state: RunState, halved: bool) -> Row:
    result = state.result
    unknowns = {f"unknown.{name}": found.get("value") for name, found in (result.get("unknowns") or {}).items()}
    trial = {} if state.trial is None else _trial(state, halved)
    return {
        "run": state.name,
        **trial,
        **state.values,
        "state": str(state.state),
        **({"objective": state.objective} if trial else {}),
        "error": _error(state),
        "floor": _floor(state),
        "forecast": _forecast(state),
        "residual": _residual(state),
        "steps": result.get("steps"),
        "seconds": (result.get("seconds") or {}).get("total"),
        "attempts": len(state.attempts),
        "reason": state.reason,
        "detail": state.detail,
        **unknowns,
    }


def _error(state: RunState) -> float | None:
    return (state.result.get("error") or {}).get("rel_l2")


def _floor(state: RunState) -> float | None:
    """The error of the reference itself, where that of the run is below it: then nothing smaller can be claimed."""
    error = state.result.get("error") or {}
    own = error["reference"]["estimated_error"] if error.get("at_floor") else math.inf
    return own if own < CONVERGED else None


def _forecast(state: RunState) -> float | None:
    """Root mean square error of a discovery's forecast of what was held out, each channel in standard deviations of its data."""
    scores = (state.result.get("scores") or {}).get("held_out") or {}
    return (scores.get("model") or {}).get("nrmse")


def _residual(state: RunState) -> float | None:
    return (state.result.get("validation") or {}).get("mean_square")


READ = {"error": _error, "forecast": _forecast, "residual": _residual, "objective": lambda state: state.objective}


def median_and_best(members: Sequence[RunState], measure: Measure) -> tuple[float, float]:
    """The median and the lowest of what is measured, to sort combinations by: infinite where it is not known."""
    values = _measured(members, measure)
    return statistics.median(values), min(values)


def _measured(members: Sequence[RunState], measure: Measure) -> list[float]:
    """What is measured of each run in order; infinite for one that did not go well."""
    known = [READ[measure](state) if state.state in WELL else None for state in members]
    return sorted(math.inf if value is None else value for value in known)


def _spread(members: Sequence[RunState], measure: Measure) -> Row:
    values = _measured(members, measure)
    quartiles = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 and math.isfinite(values[-1]) else None
    numbers = {
        "median": statistics.median(values),
        "worst": values[-1],
        "best": values[0],
        "spread": None if quartiles is None else quartiles[2] - quartiles[0],
    }
    return {
        "runs": len(members),
        "ok": sum(state.state in WELL for state in members),
        "measure": measure,
        **{name: value if value is not None and math.isfinite(value) else None for name, value in numbers.items()},
    }


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = list(rows[0])
    writer.writerow(map(cell, columns))
    writer.writerows([cell(row[column]) for column in columns] for row in rows)
    return text.getvalue()


def cell(value: Any) -> str:
    """A value as a CSV cell; text that a spreadsheet would take for a formula gets an apostrophe in front."""
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return repr(value)
    text = value if isinstance(value, str) else json.dumps(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def _latex(rows: Sequence[Row]) -> str:
    columns = list(rows[0])
    numeric = [all(row[column] is None or isinstance(row[column], int | float) for row in rows) for column in columns]
    lines = [
        rf"\begin{{tabular}}{{{''.join('r' if right else 'l' for right in numeric)}}}",
        r"\hline",
        " & ".join(latex(column) for column in columns) + r" \\",
        r"\hline",
        *(" & ".join(latex(row[column]) for column in columns) + r" \\" for row in rows),
        r"\hline",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {letter: f"\\{letter}" for letter in "&%$#_{}"}


def latex(value: Any) -> str:
    """A value as a cell of a LaTeX table, with nothing in it that LaTeX would carry out."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        text = value if isinstance(value, str) else json.dumps(value)
        return "".join(LATEX.get(letter, letter if letter.isprintable() else " ") for letter in text)
    text = f"{value:.3g}"
    mantissa, e, exponent = text.partition("e")
    return rf"${mantissa} \times 10^{{{int(exponent)}}}$" if e else text


def _parts(value: Any) -> Mapping[str, Any] | None:
    """A table, or a list of tables, by key; None for everything else."""
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        return {str(index): each for index, each in enumerate(value)}
    return value if isinstance(value, Mapping) else None


def differing(first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Dotted key and both values of everything in which two nested tables differ."""
    found: list[tuple[str, Any, Any]] = []
    for key in dict.fromkeys([*first, *second]):
        one, other = first.get(key), second.get(key)
        inside, beside = _parts(one), _parts(other)
        if inside is not None and beside is not None:
            found += differing(inside, beside, f"{prefix}{key}.")
        elif one != other:
            found.append((f"{prefix}{key}", one, other))
    return found
