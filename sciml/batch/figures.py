"""Pictures of a sweep: error against time, and error along each axis."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sciml.batch.table import Row
from sciml.figures.style import BLUE, GREEN, GREY, ORANGE, PURPLE, STYLE, VERMILION, new_figure, save

COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, GREY)
COLUMNS = 3
LOG_FROM = 8.0
"""An axis whose largest value is this many times its smallest positive one is drawn logarithmically."""


def write_figures(rows: Sequence[Row], axes: Sequence[str], folder: Path) -> list[Path]:
    """Writes `time.png` and `axes.png` into `folder`, those that there are numbers for; returns their paths."""
    measure = measure_of(rows)
    known = [row for row in rows if row["state"] == "ok" and _positive(row[measure])]
    numeric = [axis for axis in axes if axis != "seed" and len(_numbers(known, axis)) > 1]
    figures = {}
    if known:
        figures["time.png"] = time_figure(known, measure, axes)
    if numeric:
        figures["axes.png"] = axes_figure(known, measure, numeric)
    return [save(figure, folder / name) for name, figure in figures.items()]


def measure_of(rows: Sequence[Row]) -> str:
    """What says how good a run is: its error, or the residual where no run has a reference."""
    return "error" if any(row["error"] is not None for row in rows) else "residual"


def time_figure(rows: Sequence[Row], measure: str, axes: Sequence[str]) -> Figure:
    """Each run's error over its wall time, coloured by the first axis that has few values."""
    groups = next((axis for axis in axes if 1 < len({str(row[axis]) for row in rows}) <= len(COLOURS)), None)
    names = [None] if groups is None else list(dict.fromkeys(row[groups] for row in rows))
    with matplotlib.rc_context(STYLE):
        figure = new_figure(3.6)
        axis = figure.add_subplot()
        for name, colour in zip(names, COLOURS, strict=False):
            mine = [row for row in rows if groups is None or row[groups] == name]
            axis.scatter([row["seconds"] for row in mine], [row[measure] for row in mine], s=18, color=colour, label=_label(groups, name))
        axis.set(yscale="log", xlabel="wall time, seconds", ylabel=_said(measure), title="Error against time")
        if _is_wide(sorted(row["seconds"] for row in rows)):
            axis.set_xscale("log")
        if groups is not None:
            axis.legend(loc="best")
    return figure


def axes_figure(rows: Sequence[Row], measure: str, axes: Sequence[str]) -> Figure:
    """The error along each axis: every run, and the median and the worst over all others."""
    lines = math.ceil(len(axes) / COLUMNS)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(2.9 * lines + 0.2)
        panels = figure.subplots(lines, min(COLUMNS, len(axes)), squeeze=False, sharey=True)
        for panel, name in zip(panels.flat, axes, strict=False):
            _draw_axis(panel, rows, measure, name)
        for panel in panels.flat[len(axes) :]:
            panel.set_visible(False)
        panels[0, 0].set_ylabel(_said(measure))
        panels[0, 0].legend(loc="best")
    return figure


def _draw_axis(panel: Axes, rows: Sequence[Row], measure: str, name: str) -> None:
    values = _numbers(rows, name)
    columns = [[row[measure] for row in rows if row[name] == value] for value in values]
    panel.scatter(
        [value for value, column in zip(values, columns, strict=True) for _ in column],
        [error for column in columns for error in column],
        s=10, color=GREY, alpha=0.5, linewidth=0,
    )  # fmt: skip
    panel.plot(values, [statistics.median(column) for column in columns], color=BLUE, marker="o", markersize=3.5, label="median")
    panel.plot(values, [max(column) for column in columns], color=VERMILION, linestyle="--", linewidth=1.1, label="worst")
    panel.set(yscale="log", xlabel=name, title=f"Along {name}")
    if _is_wide(values):
        panel.set_xscale("log")


def _numbers(rows: Sequence[Row], name: str) -> list[float]:
    """The values of an axis in order, where all of them are numbers; else none."""
    values = {row[name] for row in rows if not isinstance(row[name], list | dict)}
    whole = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return sorted(values) if whole and values else []


def _is_wide(values: Sequence[float]) -> bool:
    return values[0] > 0 and values[-1] / values[0] >= LOG_FROM


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0


def _label(axis: str | None, value: Any) -> str:
    return f"{axis} = {value:g}" if isinstance(value, float) else f"{axis} = {value}"


def _said(measure: str) -> str:
    return "relative $L_2$ error" if measure == "error" else "mean square residual, fresh points"
