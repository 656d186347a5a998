"""Pictures of a solution: lines, images, profiles and slices beside the reference and the pointwise error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sciml.domain import TIME
from sciml.errors import CONVERGED, NO_BOUND
from sciml.figures.style import BLUE, STYLE, VERMILION, new_figure, scientific, symbol

if TYPE_CHECKING:
    from sciml.solution import Solution

Values = NDArray[np.floating]
Side = tuple[str, Values]
"""A coordinate along an axis of a picture: its name and its values."""

LARGEST_IMAGE = 500
"""Pixels per axis of an image; finer grids are thinned before they are drawn."""
DECADES = 6.0
"""Decades of an error's colour scale below its largest value."""
SNAPSHOTS = 5
SLICES = 4


class Panel(NamedTuple):
    """One field as it is drawn: its values, those of the reference and the absolute error, where there is a reference."""

    name: str
    values: Values
    reference: Values | None
    error: Values | None


def solution_figure(solution: Solution) -> Figure:
    """The fields, their reference and the pointwise error.

    One coordinate gives lines, two give images (and profiles at several times, where there is a time), three give slices;
    beyond that, lines through the middle of the domain.
    """
    coordinates, panels, held = _without_single_points(*_panels(solution))
    draw = {1: _draw_lines, 2: _draw_images, 3: _draw_slices}.get(len(coordinates), _draw_middle_lines)
    with matplotlib.rc_context(STYLE):
        figure = draw(panels, coordinates)
        figure.suptitle(_headline(solution) + held, x=0.01, ha="left", fontsize=11.5)
    return figure


def _panels(solution: Solution) -> tuple[dict[str, Values], list[Panel]]:
    coordinates, fields = solution.on_grid()
    if solution.reference is None:
        return coordinates, [Panel(name, values, None, None) for name, values in fields.items()]
    exact = solution.reference.fields
    return coordinates, [Panel(name, values, exact[name], np.abs(values - exact[name])) for name, values in fields.items()]


def _without_single_points(coordinates: dict[str, Values], panels: list[Panel]) -> tuple[dict[str, Values], list[Panel], str]:
    """A coordinate with one grid point is no axis of a picture; it is named in the headline instead."""
    held = [name for name, axis in coordinates.items() if len(axis) == 1]
    if not held or len(held) == len(coordinates):
        return coordinates, panels, ""
    drop = tuple(position for position, name in enumerate(coordinates) if name in held)
    squeezed = [Panel(panel.name, *(None if array is None else array.squeeze(drop) for array in panel[1:])) for panel in panels]  # type: ignore[arg-type]
    places = ", ".join(f"{symbol(name)} = {coordinates[name][0]:.4g}" for name in held)
    return {name: axis for name, axis in coordinates.items() if name not in held}, squeezed, f", at {places}"


def _headline(solution: Solution) -> str:
    if solution.reference is None:
        return f"{solution.problem.name}, no reference"
    error = solution.error()
    own = float(error.reference["estimated_error"])
    below = f"below {scientific(own)}" if own < CONVERGED else NO_BOUND
    amount = below if error.at_floor else scientific(error.rel_l2)
    kind = str(error.reference["kind"]).replace("_", " ")
    return f"{solution.problem.name}: relative $L_2$ error {amount} (reference: {kind}, ± {scientific(own)})"


def _draw_lines(panels: list[Panel], coordinates: Mapping[str, Values]) -> Figure:
    ((name, axis),) = coordinates.items()
    figure = new_figure(3.2 * len(panels))
    columns = 2 if panels[0].error is not None else 1
    grid = figure.subplots(len(panels), columns, squeeze=False)
    for row, panel in zip(grid, panels, strict=True):
        _draw_profile(row[0], axis, panel.values, panel.reference)
        _label(row[0], symbol(name), symbol(panel.name))
        if panel.error is not None:
            _draw_error_line(row[1], axis, panel.error)
            _label(row[1], symbol(name), f"|error of {symbol(panel.name)}|")
    _profile_legend(figure, grid[0, 0])
    return figure


def _draw_error_line(axis: Axes, across: Values, error: Values) -> None:
    norm, _ = _error_colours([error])
    axis.set_yscale("log", nonpositive="mask")
    axis.set_ylim(norm.vmin, 2 * (norm.vmax or 1.0))
    axis.margins(x=0)
    axis.plot(across, error, color=VERMILION)
    axis.grid(color="#E6E6E6", linewidth=0.6)


def _draw_images(panels: list[Panel], coordinates: Mapping[str, Values]) -> Figure:
    """Time runs to the right; without time, the first coordinate does."""
    has_time = TIME in coordinates
    heights = [3.0, 2.3] * len(panels) if has_time else [3.1] * len(panels)
    figure = new_figure(sum(heights) + 0.4)
    rows = iter(figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])
    for panel in panels:
        panel, across, upward = _time_first(panel, coordinates)
        _draw_image_row(next(rows), panel, across, upward)
        if has_time:
            _draw_snapshots(next(rows), panel, across, upward)
    return figure


def _time_first(panel: Panel, coordinates: Mapping[str, Values]) -> tuple[Panel, Side, Side]:
    first, second = coordinates.items()
    if second[0] != TIME:
        return panel, first, second
    turned = [None if array is None else array.T for array in panel[1:]]
    return Panel(panel.name, *turned), second, first  # type: ignore[arg-type]


def _draw_image_row(figure: Any, panel: Panel, across: Side, upward: Side) -> None:
    images = [(f"{symbol(panel.name)}, solution", panel.values), (f"{symbol(panel.name)}, reference", panel.reference)]
    images = [(title, values) for title, values in images if values is not None]
    count = len(images) + (panel.error is not None)
    axes = figure.subplots(1, count, squeeze=False, sharex=True, sharey=True)[0]
    norm, colours = _field_colours([values for _, values in images])
    for axis, (title, values) in zip(axes, images, strict=False):
        _image(axis, across[1], upward[1], values, norm, colours)
        axis.set_title(title)
    _colour_bar(figure, axes[: len(images)], norm, colours, pad=0.015, aspect=26)
    if panel.error is not None:
        styles = _error_colours([panel.error])
        _image(axes[-1], across[1], upward[1], _positive(panel.error), *styles)
        worst = np.where(np.isfinite(panel.error), panel.error, np.inf)
        i, j = np.unravel_index(int(worst.argmax()), worst.shape)
        axes[-1].set_title(f"|error|, largest: {scientific(float(worst[i, j]))} (circle)")
        _ring(axes[-1], float(across[1][i]), float(upward[1][j]))
        _colour_bar(figure, axes[-1:], *styles, pad=0.03, aspect=26)
    for axis in axes:
        axis.set_xlabel(symbol(across[0]))
        _keep_proportions(axis, across, upward)
    axes[0].set_ylabel(symbol(upward[0]))


def _keep_proportions(axis: Axes, across: Side, upward: Side) -> None:
    """Equal units on both axes of space, unless that would make a strip of the picture."""
    width, height = (float(np.ptp(side)) for _, side in (across, upward))
    if TIME not in (across[0], upward[0]) and 1 / 2 <= width / height <= 2:
        axis.set_aspect("equal")


def _ring(axis: Axes, across: float, upward: float) -> None:
    """A circle that shows on light and on dark ground."""
    for colour, width in (("white", 3.2), ("black", 1.2)):
        axis.plot(across, upward, "o", markersize=9, fillstyle="none", markeredgecolor=colour, markeredgewidth=width, clip_on=False)


def _draw_snapshots(figure: Any, panel: Panel, time: Side, space: Side) -> None:
    places = _spread(len(time[1]), SNAPSHOTS)
    axes = figure.subplots(1, len(places), sharex=True, sharey=True)
    for axis, place in zip(axes, places, strict=True):
        reference = None if panel.reference is None else panel.reference[place]
        _draw_profile(axis, space[1], panel.values[place], reference)
        axis.set_title(f"{symbol(time[0])} = {time[1][place]:.3g}")
        axis.set_xlabel(symbol(space[0]))
    axes[0].set_ylabel(symbol(panel.name))
    _profile_legend(figure, axes[0])


def _draw_profile(axis: Axes, across: Values, values: Values, reference: Values | None) -> None:
    axis.plot(across, values, color=BLUE, linewidth=2.2, label="solution")
    if reference is not None:
        axis.plot(across, reference, color="black", linestyle=(0, (4, 4)), linewidth=1.1, label="reference")
    axis.margins(x=0)
    axis.grid(color="#E6E6E6", linewidth=0.6)


def _profile_legend(figure: Any, axis: Axes) -> None:
    lines, labels = axis.get_legend_handles_labels()
    if len(lines) > 1:
        figure.legend(lines, labels, loc="outside upper right", ncols=2, borderaxespad=0.1)


def _draw_slices(panels: list[Panel], coordinates: Mapping[str, Values]) -> Figure:
    """Columns are values of time, or of the last coordinate where there is no time; rows are solution, reference and error."""
    names = list(coordinates)
    along = names.index(TIME) if TIME in coordinates else 2
    places = _spread(len(coordinates[names[along]]), SLICES)
    across, upward = (name for name in names if name != names[along])
    rows = [row for panel in panels for row in _slice_rows(panel)]
    figure = new_figure(2.2 * len(rows) + 0.5)
    axes = figure.subplots(len(rows), len(places), squeeze=False, sharex=True, sharey=True)
    for line, (label, array, norm, colours) in zip(axes, rows, strict=True):
        for axis, place in zip(line, places, strict=True):
            _image(axis, coordinates[across], coordinates[upward], np.take(array, place, axis=along), norm, colours)
            _keep_proportions(axis, (across, coordinates[across]), (upward, coordinates[upward]))
        _colour_bar(figure, line, norm, colours, pad=0.01, aspect=18)
        line[0].set_ylabel(f"{label}\n{symbol(upward)}")
    for axis, place in zip(axes[0], places, strict=True):
        axis.set_title(f"{symbol(names[along])} = {coordinates[names[along]][place]:.3g}")
    for axis in axes[-1]:
        axis.set_xlabel(symbol(across))
    return figure


def _slice_rows(panel: Panel) -> list[tuple[str, Values, Normalize, str]]:
    """What the rows of a panel show: label, values and colours."""
    name = symbol(panel.name)
    if panel.reference is None or panel.error is None:
        return [(name, panel.values, *_field_colours([panel.values]))]
    colours = _field_colours([panel.values, panel.reference])
    return [
        (f"{name}, solution", panel.values, *colours),
        (f"{name}, reference", panel.reference, *colours),
        (f"{name}, |error|", _positive(panel.error), *_error_colours([panel.error])),
    ]


def _draw_middle_lines(panels: list[Panel], coordinates: Mapping[str, Values]) -> Figure:
    figure = new_figure(2.4 * len(panels))
    grid = figure.subplots(len(panels), len(coordinates), squeeze=False, sharey="row")
    middle = tuple(len(axis) // 2 for axis in coordinates.values())
    for row, panel in zip(grid, panels, strict=True):
        for number, (axis, (name, across)) in enumerate(zip(row, coordinates.items(), strict=True)):
            line = (*middle[:number], slice(None), *middle[number + 1 :])
            _draw_profile(axis, across, panel.values[line], None if panel.reference is None else panel.reference[line])
            axis.set_xlabel(symbol(name))
        row[0].set_ylabel(f"{symbol(panel.name)} through the middle")
    _profile_legend(figure, grid[0, 0])
    return figure


def _image(axis: Axes, across: Values, upward: Values, values: Values, norm: Normalize, colours: str) -> None:
    i, j = (_spread(len(side), min(len(side), LARGEST_IMAGE)) for side in (across, upward))
    thinned = values[np.ix_(i, j)].T
    axis.pcolormesh(across[i], upward[j], thinned, norm=norm, cmap=colours, shading="gouraud", rasterized=True)


def _colour_bar(figure: Any, axes: Sequence[Axes], norm: Normalize, colours: str, **layout: float) -> None:
    figure.colorbar(ScalarMappable(norm, colours), ax=list(axes), **layout).outline.set_visible(False)


def _field_colours(arrays: Sequence[Values]) -> tuple[Normalize, str]:
    """A diverging map centred at zero for fields of both signs, a sequential one for the rest."""
    finite = np.concatenate([array[np.isfinite(array)] for array in arrays])
    if not finite.size:
        return Normalize(0.0, 1.0), "viridis"
    lower, upper = float(finite.min()), float(finite.max())
    largest = max(-lower, upper)
    if min(-lower, upper) > 0.1 * largest:
        return Normalize(-largest, largest), "RdBu_r"
    return Normalize(lower, upper), "viridis"


def _error_colours(arrays: Sequence[Values]) -> tuple[Normalize, str]:
    positive = np.concatenate([array[np.isfinite(array) & (array > 0)] for array in arrays])
    if not positive.size:
        return LogNorm(1e-17, 1e-16), "cividis"
    upper = float(positive.max())
    lower = max(float(np.quantile(positive, 0.02)), upper * 10.0**-DECADES)
    return LogNorm(min(lower, upper / 10), upper, clip=True), "cividis"


def _positive(error: Values) -> Values:
    """Zero has no logarithm; it is drawn as the smallest number."""
    return np.maximum(error, np.finfo(float).tiny)


def _spread(count: int, wanted: int) -> list[int]:
    return sorted({round(place) for place in np.linspace(0, count - 1, wanted)})


def _label(axis: Axes, across: str, upward: str) -> None:
    axis.set_xlabel(across)
    axis.set_ylabel(upward)
