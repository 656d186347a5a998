"""Axes of numbers in the pictures of a sweep: which of them are logarithmic, and where their ticks are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

from sciml.batch.axes import flatten, is_range
from sciml.batch.plan import SWEEP
from sciml.batch.settings import parse_sweep
from sciml.batch.table import Row
from sciml.runs.config import read_toml

MARKED = 8
"""Values along an axis of which each has its tick, where there are not more."""
LABELS = 6
"""Most labels of a logarithmic axis."""
LOG_FROM = 8.0
"""An axis whose largest value is this many times its smallest positive one is drawn logarithmically."""


def read_logarithmic(directory: Path) -> frozenset[str]:
    """The keys whose range in a sweep's file has `scale = "log"`; none for a folder of runs."""
    path = directory / SWEEP
    if not path.is_file():
        return frozenset()
    sweep = parse_sweep(read_toml(path), str(path))
    tables = [sweep.axes, *sweep.zip, {} if sweep.search is None else sweep.search.space]
    return frozenset(key for table in tables for key, value in flatten(table) if is_range(value) and value.get("scale") == "log")


def numbers(rows: Sequence[Row], name: str) -> list[float]:
    """The values of an axis in order, where all of them are numbers; else none."""
    if any(not isinstance(row[name], int | float) or isinstance(row[name], bool) for row in rows):
        return []
    return sorted({row[name] for row in rows})


def is_wide(values: Sequence[float]) -> bool:
    """Whether sorted values are better drawn logarithmically."""
    return bool(values) and values[0] > 0 and values[-1] / values[0] >= LOG_FROM


def scale(panel: Axes, which: Literal["x", "y"], values: Sequence[float], logarithmic: bool) -> None:
    """Draw one axis of a panel logarithmically or not; with a tick at each of its values on a logarithmic one that has few."""
    if logarithmic:
        make_logarithmic(panel, which)
        if len(values) <= MARKED:
            mark(panel, which, values)


def make_logarithmic(panel: Axes, which: Literal["x", "y"]) -> None:
    """A logarithmic axis with few enough labels that none lies on another."""
    panel.set(**{f"{which}scale": "log"})
    low, high = panel.get_xlim() if which == "x" else panel.get_ylim()
    axis = panel.xaxis if which == "x" else panel.yaxis
    subs = (1.0, 2.0, 5.0) if high < 100 * low else (1.0,)
    axis.set_major_locator(MaxNLocator(LABELS) if high < 10 * low else LogLocator(subs=subs, numticks=LABELS))
    axis.set_major_formatter(lambda value, _: f"{value:.3g}")
    axis.set_minor_formatter(NullFormatter())


def mark(panel: Axes, which: Literal["x", "y"], values: Sequence[float]) -> None:
    """Ticks at these values, and nowhere else."""
    axis = panel.xaxis if which == "x" else panel.yaxis
    axis.set_ticks(values, labels=[f"{value:.3g}" for value in values])
    axis.set_minor_locator(NullLocator())
