"""Pictures of a sweep: error against time, along each axis and over two of them, and how a search went."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sciml.batch.error_map import find_grid, map_figure
from sciml.batch.scales import MARKED, is_wide, make_logarithmic, mark, numbers, scale
from sciml.batch.state import WELL
from sciml.batch.status import value_text
from sciml.batch.table import Row
from sciml.batch.trials import Trial, is_good
from sciml.figures.style import BLUE, GREEN, GREY, ORANGE, PURPLE, STYLE, VERMILION, new_figure, save

COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, GREY)
COLUMNS = 3


def write_figures(
    rows: Sequence[Row],
    groups: Sequence[Row],
    axes: Sequence[str],
    folder: Path,
    *,
    logarithmic: Collection[str] = (),
    trials: Sequence[Trial] = (),
    objective: str = "",
) -> list[Path]:
    """Writes `time.png`, `map.png`, `axes.png` and, of a search, `search.png` into `folder`, those that there are numbers for.

    `rows` are a table's, `groups` those over seeds; axes in `logarithmic` are drawn so. `trials` are those of a search for the lowest
    `objective`; other sweeps are drawn along their axes. Returns the paths.
    """
    measure = next((name for name in ("error", "forecast") if any(row.get(name) is not None for row in rows)), "residual")
    known = [row for row in rows if row["state"] in WELL and _positive(row[measure])]
    numeric = [axis for axis in axes if axis != "seed" and len(numbers(known, axis)) > 1]
    figures = {}
    if timed := [row for row in known if row["seconds"] is not None]:
        figures["time.png"] = time_figure(timed, measure, axes)
    if not trials and any(row["median"] for row in groups) and (grid := find_grid(groups, axes)):
        figures["map.png"] = map_figure(groups, *grid, logarithmic)
    if numeric and not trials:
        figures["axes.png"] = axes_figure(known, measure, numeric, logarithmic)
    if any(map(is_good, trials)):
        figures["search.png"] = search_figure(trials, objective, logarithmic)
    return [save(figure, folder / name) for name, figure in figures.items()]


def time_figure(rows: Sequence[Row], measure: str, axes: Sequence[str]) -> Figure:
    """Each run's error over its wall time, coloured by the first axis that has few values."""
    different = {axis: len({str(row[axis]) for row in rows}) for axis in axes}
    coloured_by = next((axis for axis, values in different.items() if 1 < values <= len(COLOURS) and values < len(rows)), None)
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(coloured_by and row[coloured_by]), []).append(row)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(3.6)
        axis = figure.add_subplot()
        for mine, colour in zip(groups.values(), COLOURS, strict=False):
            label = coloured_by and f"{coloured_by} = {value_text(mine[0][coloured_by])}"
            axis.scatter([row["seconds"] for row in mine], [row[measure] for row in mine], s=18, color=colour, label=label)
        axis.set(xlabel="wall time, seconds", ylabel=_said(measure), title="Error against time")
        make_logarithmic(axis, "y")
        if is_wide(sorted(row["seconds"] for row in rows)):
            make_logarithmic(axis, "x")
        if coloured_by is not None:
            axis.legend(loc="best")
    return figure


def axes_figure(rows: Sequence[Row], measure: str, axes: Sequence[str], logarithmic: Collection[str] = ()) -> Figure:
    """The error along each axis: every run, and the median and the worst over all others."""
    lines = math.ceil(len(axes) / COLUMNS)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(2.9 * lines + 0.2)
        panels = figure.subplots(lines, min(COLUMNS, len(axes)), squeeze=False, sharey=True)
        for panel, name in zip(panels.flat, axes, strict=False):
            _draw_axis(panel, rows, measure, name, name in logarithmic)
        for panel in panels.flat[len(axes) :]:
            panel.set_visible(False)
        panels[0, 0].set_ylabel(_said(measure))
        panels[0, 0].legend(loc="best")
    return figure


def search_figure(trials: Sequence[Trial], objective: str, logarithmic: Collection[str] = ()) -> Figure:
    """The objective of each trial over its number, with the best one so far, and over each searched key; darker where it came farther."""
    keys = list(trials[0].values)
    lines = 1 + math.ceil(len(keys) / COLUMNS)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(2.9 * lines + 0.2)
        grid = figure.add_gridspec(lines, COLUMNS)
        first = figure.add_subplot(grid[0, :])
        _draw_trials(first, trials)
        first.set(xlabel="trial", ylabel=objective, title=f"{objective} of each trial")
        for number, key in enumerate(keys):
            panel = figure.add_subplot(grid[1 + number // COLUMNS, number % COLUMNS], sharey=first)
            _draw_slice(panel, trials, key, key in logarithmic)
            panel.set_ylabel(objective if number % COLUMNS == 0 else "")
        first.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        if all(_positive(trial.objective) for trial in trials if is_good(trial)):
            make_logarithmic(first, "y")
    return figure


def _draw_trials(panel: Axes, trials: Sequence[Trial]) -> None:
    known = [trial for trial in trials if is_good(trial)]
    for rung in sorted({trial.rung for trial in trials}):
        label = "trials" if max(trial.rung for trial in trials) == 0 else f"last on rung {rung}"
        _draw_points(panel, [trial.number for trial in known if trial.rung == rung], known, rung, trials, label)
    falling = list(itertools.accumulate((trial.objective for trial in known if trial.objective is not None), min))
    panel.step([trial.number for trial in known], falling, where="post", color=VERMILION, linewidth=1.2, label="lowest so far")
    lost = [trial.number for trial in trials if trial.objective == math.inf]
    if lost:
        panel.plot(lost, [0.97] * len(lost), "x", color=GREY, transform=panel.get_xaxis_transform(), label="failed or diverged")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_slice(panel: Axes, trials: Sequence[Trial], key: str, logarithmic: bool) -> None:
    known = [trial for trial in trials if is_good(trial)]
    values = [trial.values[key] for trial in known]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    names = sorted({str(value) for value in values})
    for rung in sorted({trial.rung for trial in known}):
        mine = [trial.values[key] for trial in known if trial.rung == rung]
        _draw_points(panel, mine if numeric else [names.index(str(value)) for value in mine], known, rung, trials)
    panel.set(xlabel=key)
    if not numeric:
        panel.set_xticks(range(len(names)), names)
        return
    distinct = sorted(set(values))
    few = len(distinct) <= MARKED and all(isinstance(value, int) for value in values)
    if logarithmic or (is_wide(distinct) and not few):
        make_logarithmic(panel, "x")
    if few:
        mark(panel, "x", distinct)


def _draw_points(
    panel: Axes, x: Sequence[float], known: Sequence[Trial], rung: int, trials: Sequence[Trial], label: str | None = None
) -> None:
    highest = max(trial.rung for trial in trials)
    y = [trial.objective for trial in known if trial.rung == rung and trial.objective is not None]
    panel.scatter(x, y, s=22, color=BLUE, alpha=0.25 + 0.75 * (rung / highest if highest else 1), linewidth=0, label=label)


def _draw_axis(panel: Axes, rows: Sequence[Row], measure: str, name: str, logarithmic: bool) -> None:
    values = numbers(rows, name)
    columns = [[row[measure] for row in rows if row[name] == value] for value in values]
    panel.scatter(
        [value for value, column in zip(values, columns, strict=True) for _ in column],
        [error for column in columns for error in column],
        s=10, color=GREY, alpha=0.5, linewidth=0,
    )  # fmt: skip
    panel.plot(values, [statistics.median(column) for column in columns], color=BLUE, marker="o", markersize=3.5, label="median")
    panel.plot(values, [max(column) for column in columns], color=VERMILION, linestyle="--", linewidth=1.1, label="worst")
    panel.set(xlabel=name, title=f"Along {name}")
    make_logarithmic(panel, "y")
    scale(panel, "x", values, logarithmic or is_wide(values))


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0


def _said(measure: str) -> str:
    known = {"error": "relative $L_2$ error", "forecast": "error of the forecast, in standard deviations of the data"}
    return known.get(measure, "mean square residual, fresh points")
