"""The picture of a training run: loss, residuals and error over the steps, the noise-to-signal ratio and the switch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from sciml.figures.style import BLUE, GREEN, GREY, ORANGE, PURPLE, STYLE, VERMILION, new_figure, scientific, symbol

Values = NDArray[np.floating]
Row = Mapping[str, Any]

PHASE_SHADES = ("#EAF1F8", "#F8F1E4", "#EAF5EF", "#F6EBF3")


def history_figure(history: Sequence[Row], result: Row) -> Figure:
    """Loss, validation residuals and error over the steps; below, each term, the noise-to-signal ratio and the unknowns.

    `history` holds rows of `metrics.jsonl`, `result` the content of `result.json`; a panel without rows is left out.
    """
    terms = _table(history, "terms")
    unknowns = _table(history, "unknowns")
    windows = _windows(history)
    heights = [3.4] + [1.9] * (len(terms) > 1) + [2.3] * bool(windows) + [1.4] * len(unknowns)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(sum(heights) + 0.3)
        axes = iter(figure.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0])
        _draw_progress(next(axes), history, result)
        if len(terms) > 1:
            _draw_terms(next(axes), history, result, terms)
        if windows:
            _draw_ratio(next(axes), history, result, windows)
        for name, values in unknowns.items():
            _draw_unknown(next(axes), history, result, name, values)
    return figure


def _draw_progress(axis: Axes, history: Sequence[Row], result: Row) -> None:
    steps = _series(history, "step")
    _shade_phases(axis, history, result, named=True)
    residual = "residual" if "equations" in result else "validation residual"
    lines = (
        ("worst", f"largest {residual}", ORANGE, 1.3),
        ("validation", f"mean square\n{residual}", BLUE, 2.6),
        ("loss", "training loss", "black", 0.9),
        ("error", "relative $L_2$ error", VERMILION, 2.2),
    )
    for key, label, colour, width in lines:
        values = _series(history, key)
        if np.isfinite(values).any():
            axis.plot(steps, values, color=colour, label=label, linewidth=width)
    _draw_floor(axis, history, result)
    axis.set_title("Training", pad=20)
    if result.get("switch"):
        axis.set_title(switch_text(result["switch"]), loc="right", fontsize=9, pad=20)
        _draw_switch(axis, result)
    _finish_logarithmic(axis, steps)


def _draw_floor(axis: Axes, history: Sequence[Row], result: Row) -> None:
    """The error of the reference, where the error comes near it; an exact reference would only stretch the scale."""
    floor = ((result.get("error") or {}).get("reference") or {}).get("estimated_error")
    errors = _series(history, "error")
    if floor and np.isfinite(errors).any() and floor > 1e-3 * np.nanmin(errors):
        axis.axhline(floor, color=VERMILION, linestyle=":", linewidth=1.4, label=f"error of the reference, {scientific(floor)}")


def _draw_switch(axis: Axes, result: Row) -> None:
    if result.get("switch"):
        axis.axvline(result["switch"]["step"], color="black", linewidth=1.0, linestyle=(0, (5, 3)), label="switch")


def switch_text(switch: Row) -> str:
    """What ended the first phase, in words: `switch at step 812 by noise: ratio 0.08 below 0.1`."""
    text = f"switch at step {switch['step']:,} by {switch['by']}"
    if switch["by"] == "noise" and switch.get("nsr") is not None and switch.get("threshold") is not None:
        text += f": ratio {switch['nsr']:.2g} below {switch['threshold']:.2g}"
    return text


def _shade_phases(axis: Axes, history: Sequence[Row], result: Row, named: bool = False) -> None:
    start = 0
    for number, (kind, end) in enumerate(_phase_ends(history, result)):
        axis.axvspan(start, end, color=PHASE_SHADES[number % len(PHASE_SHADES)], linewidth=0, zorder=0)
        if named:
            above = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "xytext": (0, 4)}
            axis.annotate(kind, ((start + end) / 2, 1.0), ha="center", fontsize=8.5, color=GREY, **above)
        start = end


def _phase_ends(history: Sequence[Row], result: Row) -> list[tuple[str, int]]:
    """Kind and last step of each phase: from the result where it is known, from the rows before that."""
    phases = result.get("phases")
    if phases:
        return list(zip((phase["kind"] for phase in phases), accumulate(phase["steps"] for phase in phases), strict=True))
    ends: dict[int, tuple[str, int]] = {row["phase"]: (row["kind"], row["step"]) for row in history}
    return [ends[phase] for phase in sorted(ends)]


def _draw_terms(axis: Axes, history: Sequence[Row], result: Row, terms: Mapping[str, Values]) -> None:
    _shade_phases(axis, history, result)
    steps = _series(history, "step")
    colours = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, GREY)
    for number, (name, values) in enumerate(terms.items()):
        style = ("-", "--", ":", "-.")[number // len(colours) % 4]
        axis.plot(steps, values, color=colours[number % len(colours)], linestyle=style, linewidth=1.3, label=name.replace("_", " "))
    axis.set_title("Mean square residual of each term")
    _finish_logarithmic(axis, steps)


def _draw_ratio(axis: Axes, history: Sequence[Row], result: Row, windows: Sequence[Sequence[Row]]) -> None:
    """One point per window, at its end, over the phases that measure it, with room for the switch that ends them."""
    _shade_phases(axis, history, result)
    colours = (BLUE, ORANGE, GREEN, VERMILION, GREY)
    names = list(dict.fromkeys(name for phase in windows for window in phase for name in window["terms"]))
    for phase in windows:
        first = phase is windows[0]
        steps = _series(phase, "step")
        for number, name in enumerate(names if len(names) > 1 else ()):
            label = name.replace("_", " ") if first else None
            axis.plot(steps, _series([window["terms"] for window in phase], name), color=colours[number % 5], linewidth=1.0, label=label)
        axis.plot(steps, _series(phase, "nsr"), color=PURPLE, marker="o", markersize=3.5, label="ratio of each window" if first else None)
        bound = _series(phase, "bound")
        if np.isfinite(bound).any():
            label = "upper confidence bound" if first else None
            axis.plot(steps, bound, color=PURPLE, linewidth=1.2, linestyle=(0, (1, 1)), label=label)
    threshold = (result.get("switch") or {}).get("threshold")
    if threshold is not None:
        axis.axhline(threshold, color=GREY, linewidth=1.2, linestyle="--", label=f"threshold, {threshold:g}")
    armed = next((window["step"] for phase in windows for window in phase if window["armed"]), None)
    if armed is not None:
        axis.axvline(armed, color=PURPLE, linewidth=1.2, linestyle=":", label="risen, past a peak: armed")
    _draw_switch(axis, result)
    axis.set_title("Noise-to-signal ratio of the gradient")
    _finish_logarithmic(axis, 1.04 * np.array([window["step"] for phase in windows for window in phase]))


def _draw_unknown(axis: Axes, history: Sequence[Row], result: Row, name: str, values: Values) -> None:
    _shade_phases(axis, history, result)
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


def _windows(history: Sequence[Row]) -> list[list[Row]]:
    """Measurements of the noise-to-signal ratio by phase, where there is noise."""
    phases: dict[int, list[Row]] = {}
    for row in history:
        phases.setdefault(row["phase"], []).extend(row.get("nsr_windows") or ())
    return [windows for windows in phases.values() if any((window["nsr"] or 0) > 0 for window in windows)]


def _series(history: Sequence[Row], key: str) -> Values:
    """One column of the metrics; what is absent or null becomes NaN."""
    return np.array([np.nan if row.get(key) is None else float(row[key]) for row in history])


def _table(history: Sequence[Row], key: str) -> dict[str, Values]:
    rows = [row.get(key) or {} for row in history]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _series(rows, name) for name in names}
