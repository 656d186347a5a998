"""Every picture: the solution beside its reference, and the history of its training. Object-oriented matplotlib, no global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from sciml.domain import TIME

if TYPE_CHECKING:
    from sciml.solution import Solution

Values = NDArray[np.floating]
Row = Mapping[str, Any]

WIDTH = 10.0
"""Inches; at `DOTS` per inch a picture is sharp at the width of a report, on a screen or in print."""
DOTS = 160
LARGEST_IMAGE = 500
"""Pixels per axis of an image; finer grids are thinned before they are drawn."""
DECADES = 6.0
"""Decades of an error's colour scale below its largest value."""
SNAPSHOTS = 5
SLICES = 4

BLUE, ORANGE, GREEN, VERMILION, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#AA4499", "#5A5A5A"
PHASE_SHADES = ("#EAF1F8", "#F8F1E4", "#EAF5EF", "#F6EBF3")

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 9.5,
    "mathtext.fontset": "cm",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.labelsize": 10,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "#404040",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.use_mathtext": True,
    "axes.formatter.limits": (-3, 4),
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


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
    coordinates, fields = solution.on_grid()
    panels = [_panel(name, values, solution) for name, values in fields.items()]
    draw = {1: _draw_lines, 2: _draw_images, 3: _draw_slices}.get(len(coordinates), _draw_middle_lines)
    with matplotlib.rc_context(STYLE):
        figure = draw(panels, coordinates)
        figure.suptitle(_headline(solution), x=0.01, ha="left", fontsize=11.5)
    return figure


def history_figure(history: Sequence[Row], result: Row) -> Figure:
    """Loss, residuals on fresh points and error over the steps; below, each term, the noise-to-signal ratio and the unknowns.

    `history` holds rows of `metrics.jsonl`, `result` the content of `result.json`; a panel without rows is left out.
    """
    terms = _table(history, "terms")
    unknowns = _table(history, "unknowns")
    ratio = _series(history, "nsr")
    heights = [3.4] + [1.9] * (len(terms) > 1) + [1.9] * bool(np.isfinite(ratio).any()) + [1.4] * len(unknowns)
    with matplotlib.rc_context(STYLE):
        figure = _figure(sum(heights) + 0.3)
        axes = iter(figure.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0])
        _draw_progress(next(axes), history, result)
        if len(terms) > 1:
            _draw_terms(next(axes), history, terms)
        if np.isfinite(ratio).any():
            _draw_ratio(next(axes), history, result, ratio)
        for name, values in unknowns.items():
            _draw_unknown(next(axes), history, name, values)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Writes `figure` to `path`, in the format that its suffix names."""
    with matplotlib.rc_context(STYLE):
        figure.savefig(path, dpi=DOTS)
    return path


def write_all(solution: Solution, folder: Path) -> list[Path]:
    """Writes `solution.png`, and `history.png` where there is a history, into `folder`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [save(solution_figure(solution), folder / "solution.png")]
    if solution.history:
        written.append(save(history_figure(solution.history, solution.result), folder / "history.png"))
    return written


# ── solution ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _panel(name: str, values: Values, solution: Solution) -> Panel:
    if solution.reference is None:
        return Panel(name, values, None, None)
    reference = solution.reference.fields[name]
    return Panel(name, values, reference, np.abs(values - reference))


def _headline(solution: Solution) -> str:
    if solution.reference is None:
        return f"{solution.problem.name}, no reference"
    error = solution.error()
    own = float(error.reference["estimated_error"])
    amount = f"below {scientific(own)}" if error.at_floor else scientific(error.rel_l2)
    kind = str(error.reference["kind"]).replace("_", " ")
    return f"{solution.problem.name}: relative $L_2$ error {amount} (reference: {kind}, ± {scientific(own)})"


def _draw_lines(panels: list[Panel], coordinates: Mapping[str, Values]) -> Figure:
    ((name, axis),) = coordinates.items()
    figure = _figure(3.2 * len(panels))
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
    axis.plot(across, error, color=VERMILION)
    axis.set_yscale("log", nonpositive="mask")
    norm, _ = _error_colours([error])
    axis.set_ylim(norm.vmin, 2 * (norm.vmax or 1.0))
    axis.margins(x=0)
    axis.grid(color="#E6E6E6", linewidth=0.6)


def _draw_images(panels: list[Panel], coordinates: Mapping[str, Values]) -> Figure:
    """Time runs to the right; without time, the first coordinate does."""
    has_time = TIME in coordinates
    heights = [3.0, 2.3] * len(panels) if has_time else [3.1] * len(panels)
    figure = _figure(sum(heights) + 0.4)
    rows = iter(np.atleast_1d(figure.subfigures(len(heights), 1, height_ratios=heights)))
    for panel in panels:
        panel, across, upward = _time_first(panel, coordinates)
        _draw_image_row(next(rows), panel, across, upward)
        if has_time:
            _draw_snapshots(next(rows), panel, across, upward)
    return figure


def _time_first(panel: Panel, coordinates: Mapping[str, Values]) -> tuple[Panel, tuple[str, Values], tuple[str, Values]]:
    first, second = coordinates.items()
    if second[0] != TIME:
        return panel, first, second
    turned = [None if array is None else array.T for array in panel[1:]]
    return Panel(panel.name, *turned), second, first  # type: ignore[arg-type]


def _draw_image_row(figure: Any, panel: Panel, across: tuple[str, Values], upward: tuple[str, Values]) -> None:
    images = [(f"{symbol(panel.name)}, solution", panel.values), (f"{symbol(panel.name)}, reference", panel.reference)]
    images = [(title, values) for title, values in images if values is not None]
    count = len(images) + (panel.error is not None)
    axes = figure.subplots(1, count, squeeze=False, sharex=True, sharey=True)[0]
    norm, colours = _field_colours([values for _, values in images])
    for axis, (title, values) in zip(axes, images, strict=False):
        mesh = _image(axis, across[1], upward[1], values, norm, colours)
        axis.set_title(title)
    figure.colorbar(mesh, ax=list(axes[: len(images)]), pad=0.015, aspect=26).outline.set_visible(False)
    if panel.error is not None:
        mesh = _image(axes[-1], across[1], upward[1], _positive(panel.error), *_error_colours([panel.error]))
        worst = np.where(np.isfinite(panel.error), panel.error, np.inf)
        i, j = np.unravel_index(int(worst.argmax()), worst.shape)
        axes[-1].set_title(f"|error|, largest: {scientific(float(worst[i, j]))} (circle)")
        _ring(axes[-1], float(across[1][i]), float(upward[1][j]))
        figure.colorbar(mesh, ax=axes[-1], pad=0.03, aspect=26).outline.set_visible(False)
    for axis in axes:
        axis.set_xlabel(symbol(across[0]))
        _keep_proportions(axis, across, upward)
    axes[0].set_ylabel(symbol(upward[0]))


def _keep_proportions(axis: Axes, across: tuple[str, Values], upward: tuple[str, Values]) -> None:
    """Equal units on both axes of space, unless that would make a strip of the picture."""
    width, height = (float(np.ptp(side)) for _, side in (across, upward))
    if TIME not in (across[0], upward[0]) and 1 / 2 <= width / height <= 2:
        axis.set_aspect("equal")


def _ring(axis: Axes, across: float, upward: float) -> None:
    """A circle that shows on light and on dark ground."""
    for colour, width in (("white", 3.2), ("black", 1.2)):
        axis.plot(across, upward, "o", markersize=9, fillstyle="none", markeredgecolor=colour, markeredgewidth=width, clip_on=False)


def _draw_snapshots(figure: Any, panel: Panel, time: tuple[str, Values], space: tuple[str, Values]) -> None:
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
    kinds = 3 if panels[0].error is not None else 1
    figure = _figure(2.2 * kinds * len(panels) + 0.5)
    axes = figure.subplots(kinds * len(panels), len(places), squeeze=False, sharex=True, sharey=True)
    for number, panel in enumerate(panels):
        block = axes[number * kinds : (number + 1) * kinds]
        norm, colours = _field_colours([array for array in (panel.values, panel.reference) if array is not None])
        for row, array, title in zip(block, panel[1:], ("solution", "reference", "|error|"), strict=False):
            styles = _error_colours([panel.error]) if title == "|error|" and panel.error is not None else (norm, colours)
            for axis, place in zip(row, places, strict=True):
                values = np.take(np.asarray(array), place, axis=along)
                values = _positive(values) if title == "|error|" else values
                mesh = _image(axis, coordinates[across], coordinates[upward], values, *styles)
                _keep_proportions(axis, (across, coordinates[across]), (upward, coordinates[upward]))
            figure.colorbar(mesh, ax=list(row), pad=0.01, aspect=18).outline.set_visible(False)
            row[0].set_ylabel(f"{symbol(panel.name)}, {title}\n{symbol(upward)}")
    for axis, place in zip(axes[0], places, strict=True):
        axis.set_title(f"{symbol(names[along])} = {coordinates[names[along]][place]:.3g}")
    for axis in axes[-1]:
        axis.set_xlabel(symbol(across))
    return figure


def _draw_middle_lines(panels: list[Panel], coordinates: Mapping[str, Values]) -> Figure:
    figure = _figure(2.4 * len(panels))
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


def _image(axis: Axes, across: Values, upward: Values, values: Values, norm: Normalize, colours: str) -> Any:
    i, j = (_spread(len(side), min(len(side), LARGEST_IMAGE)) for side in (across, upward))
    thinned = values[np.ix_(i, j)].T
    return axis.pcolormesh(across[i], upward[j], thinned, norm=norm, cmap=colours, shading="gouraud", rasterized=True)


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


# ── history ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _draw_progress(axis: Axes, history: Sequence[Row], result: Row) -> None:
    steps = _series(history, "step")
    _shade_phases(axis, history, named=True)
    lines = (
        ("worst", "largest residual, fresh points", ORANGE),
        ("validation", "mean square residual,\nfresh points", BLUE),
        ("loss", "training loss", GREY),
        ("error", "relative $L_2$ error", VERMILION),
    )
    for key, label, colour in lines:
        values = _series(history, key)
        if np.isfinite(values).any():
            axis.plot(steps, values, color=colour, label=label, linewidth=2.2 if key == "error" else 1.3)
    _draw_floor(axis, result)
    axis.set_title("Training", pad=20)
    if result.get("switch"):
        axis.set_title(switch_text(result["switch"]), loc="right", fontsize=9, pad=20)
        _draw_switch(axis, result)
    _finish_logarithmic(axis, steps)


def _draw_floor(axis: Axes, result: Row) -> None:
    floor = ((result.get("error") or {}).get("reference") or {}).get("estimated_error")
    values = np.concatenate([line.get_ydata() for line in axis.get_lines()] or [np.array([])])
    values = values[np.isfinite(values) & (values > 0)]
    if floor and values.size and floor > values.min() * 1e-3:
        axis.axhline(floor, color=VERMILION, linestyle=":", linewidth=1.2, label=f"error of the reference, {scientific(floor)}")


def _draw_switch(axis: Axes, result: Row) -> None:
    if result.get("switch"):
        axis.axvline(result["switch"]["step"], color="black", linewidth=1.0, linestyle=(0, (5, 3)), label="switch")


def switch_text(switch: Row) -> str:
    """What ended the first phase, in words: `switch at step 812 by noise: ratio 0.08 below 0.1`."""
    text = f"switch at step {switch['step']:,} by {switch['by']}"
    if switch["by"] == "noise" and switch.get("nsr") is not None and switch.get("threshold") is not None:
        text += f": ratio {switch['nsr']:.2g} below {switch['threshold']:.2g}"
    return text


def _shade_phases(axis: Axes, history: Sequence[Row], named: bool = False) -> None:
    start = 0
    for number, (kind, end) in enumerate(_phase_ends(history)):
        axis.axvspan(start, end, color=PHASE_SHADES[number % len(PHASE_SHADES)], linewidth=0, zorder=0)
        if named:
            above = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "xytext": (0, 4)}
            axis.annotate(kind, ((start + end) / 2, 1.0), ha="center", fontsize=8.5, color=GREY, **above)
        start = end


def _phase_ends(history: Sequence[Row]) -> list[tuple[str, int]]:
    ends: dict[int, tuple[str, int]] = {row["phase"]: (row["kind"], row["step"]) for row in history}
    return [ends[phase] for phase in sorted(ends)]


def _draw_terms(axis: Axes, history: Sequence[Row], terms: Mapping[str, Values]) -> None:
    _shade_phases(axis, history)
    steps = _series(history, "step")
    colours = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, GREY)
    for number, (name, values) in enumerate(terms.items()):
        style = ("-", "--", ":", "-.")[number // len(colours) % 4]
        axis.plot(steps, values, color=colours[number % len(colours)], linestyle=style, linewidth=1.3, label=name.replace("_", " "))
    axis.set_title("Mean square residual of each term")
    _finish_logarithmic(axis, steps)


def _draw_ratio(axis: Axes, history: Sequence[Row], result: Row, ratio: Values) -> None:
    """Over the steps that measure it, with room for the switch that ends them."""
    known = np.isfinite(ratio)
    steps = _series(history, "step")[known]
    _shade_phases(axis, history)
    bound = _series(history, "nsr_bound")[known]
    phases = _series(history, "phase")[known]
    for phase in np.unique(phases):
        axis.plot(steps[phases == phase], ratio[known][phases == phase], color=PURPLE, label="ratio" * (phase == phases[0]))
        if np.isfinite(bound).any():
            label = "upper confidence bound" * (phase == phases[0])
            axis.plot(steps[phases == phase], bound[phases == phase], color=PURPLE, linewidth=1.2, linestyle=(0, (1, 1)), label=label)
    threshold = (result.get("switch") or {}).get("threshold")
    if threshold is not None:
        axis.axhline(threshold, color=GREY, linewidth=1.2, linestyle="--", label=f"threshold, {threshold:g}")
    _draw_switch(axis, result)
    axis.set_title("Noise-to-signal ratio of the gradient")
    _finish_logarithmic(axis, steps * 1.04)


def _draw_unknown(axis: Axes, history: Sequence[Row], name: str, values: Values) -> None:
    _shade_phases(axis, history)
    axis.plot(_series(history, "step"), values, color=GREEN)
    axis.set_title(f"Unknown coefficient {symbol(name)}")
    _finish_steps(axis, _series(history, "step"))


def _finish_logarithmic(axis: Axes, steps: Values) -> None:
    """A few labelled ticks, also where the values span less than a decade, and the legend on the right."""
    axis.set_yscale("log", nonpositive="mask")
    lower, upper = axis.get_ylim()
    if upper < 100 * lower:
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axis.yaxis.set_major_locator(LogLocator(numticks=9))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.legend(loc="upper left", bbox_to_anchor=(1.005, 1.03), handlelength=1.8)
    _finish_steps(axis, steps)


def _finish_steps(axis: Axes, steps: Values) -> None:
    axis.set_xlabel("step")
    axis.set_xlim(0, float(steps[-1]))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.grid(color="white", linewidth=0.8)
    axis.set_axisbelow(True)


def _series(history: Sequence[Row], key: str) -> Values:
    """One column of the metrics; what is absent or null becomes NaN."""
    return np.array([np.nan if row.get(key) is None else float(row[key]) for row in history])


def _table(history: Sequence[Row], key: str) -> dict[str, Values]:
    rows = [row.get(key) or {} for row in history]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _series(rows, name) for name in names}


# ── words and numbers ─────────────────────────────────────────────────────────────────────────────────────────────────


def symbol(name: str) -> str:
    """A coordinate, field or coefficient as it is typeset: one letter as mathematics, a word as a word."""
    return f"${name}$" if len(name) == 1 else name


def scientific(value: float) -> str:
    """`3.2e-07` as it is typeset."""
    if not np.isfinite(value):
        return "not finite"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.2g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return rf"${mantissa} \times 10^{{{int(exponent)}}}$"


def _figure(height: float) -> Figure:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _label(axis: Axes, across: str, upward: str) -> None:
    axis.set_xlabel(across)
    axis.set_ylabel(upward)
