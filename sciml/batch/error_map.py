"""A picture of a sweep over two axes of numbers: the median error of each combination as a colour."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sciml.batch.scales import MARKED, is_wide, mark, numbers, scale
from sciml.batch.table import Row
from sciml.figures.style import STYLE, new_figure, scientific

UNKNOWN = "#D0D0D0"
"""The colour of a combination without a median."""
DARK = 0.6
"""The share of the colours, from below, on which white is better read than black."""


def find_grid(groups: Sequence[Row], axes: Sequence[str]) -> tuple[str, str] | None:
    """The two axes of numbers that a sweep goes over, beside its seeds, in all combinations; None where it does anything else.

    `groups` are rows of `spread_over_seeds`.
    """
    varied = [axis for axis in axes if axis != "seed" and len({str(row[axis]) for row in groups}) > 1]
    if len(varied) != 2:
        return None
    sizes = [len(numbers(groups, axis)) for axis in varied]
    return (varied[0], varied[1]) if math.prod(sizes) == len(groups) else None


def map_figure(groups: Sequence[Row], across: str, up: str, logarithmic: Collection[str] = ()) -> Figure:
    """The median of each combination over the axes `across` and `up`, those in `logarithmic` and wide ones logarithmic."""
    values = {name: numbers(groups, name) for name in (across, up)}
    logs = {name: name in logarithmic or is_wide(values[name]) for name in values}
    medians = np.full((len(values[up]), len(values[across])), np.nan)
    for row in groups:
        if row["median"]:
            medians[values[up].index(row[up]), values[across].index(row[across])] = row["median"]
    low, high = float(np.nanmin(medians)), float(np.nanmax(medians))
    with matplotlib.rc_context(STYLE):
        figure = new_figure(4.6)
        panel = figure.add_subplot()
        panel.set_facecolor(UNKNOWN)
        drawn = panel.pcolormesh(
            edges(values[across], logs[across]), edges(values[up], logs[up]), np.ma.masked_invalid(medians),
            norm=LogNorm(low, high if high > low else 1.1 * low), cmap="viridis",
        )  # fmt: skip
        _scale(panel, "x", values[across], logs[across])
        _scale(panel, "y", values[up], logs[up])
        said = f"median {groups[0]['measure']}"
        panel.set(xlabel=across, ylabel=up, title=f"{said.capitalize()} over {across} and {up}")
        figure.colorbar(drawn, ax=panel, label=said)
        if np.isnan(medians).any():
            label = "half of its runs, or more, failed or are still to come"
            panel.legend(handles=[Patch(color=UNKNOWN, label=label)], loc="upper left", bbox_to_anchor=(0.0, -0.12), borderaxespad=0.0)
        if max(medians.shape) <= MARKED:
            for (line, column), median in np.ndenumerate(medians):
                if np.isfinite(median):
                    dark = float(np.asarray(drawn.norm(median))) < DARK
                    place = values[across][column], values[up][line]
                    panel.text(*place, scientific(median), ha="center", va="center", color="white" if dark else "black")
    return figure


def _scale(panel: Axes, which: Literal["x", "y"], values: Sequence[float], logarithmic: bool) -> None:
    scale(panel, which, values, logarithmic)
    if len(values) <= MARKED:
        mark(panel, which, values)


def edges(values: Sequence[float], logarithmic: bool) -> np.ndarray:
    """The borders of cells around sorted values: half-way between neighbours, and as far beyond the first and the last."""
    centres = np.log(values) if logarithmic else np.asarray(values, float)
    middles = (centres[1:] + centres[:-1]) / 2
    borders = np.concatenate([[2 * centres[0] - middles[0]], middles, [2 * centres[-1] - middles[-1]]])
    return np.exp(borders) if logarithmic else borders
