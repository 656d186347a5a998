"""Pictures of discovered dynamics: the fit with its forecast and band, the phase portrait, the residuals."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from sciml.dynamics.refit import LEVEL
from sciml.figures.style import BLUE, GREEN, GREY, ORANGE, PURPLE, STYLE, VERMILION, new_figure, symbol

if TYPE_CHECKING:
    from sciml.dynamics.discovered import Discovered

COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, GREY)
MOST_CHANNELS = 6
"""Channels that are drawn; a figure says where there are more."""

ARROWS = 18


def discovery_figure(found: Discovered) -> Figure:
    """Everything on one page."""
    rows = min(found.series.channels, MOST_CHANNELS)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(2.2 * rows + 3.6)
        top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(2.2 * rows, 3.6))[:, 0]
        _draw_fit(top, found)
        left, right = bottom.subfigures(1, 2, squeeze=False)[0]
        _draw_portrait(left, found)
        _draw_residuals(right, found)
    return figure


def fit_figure(found: Discovered) -> Figure:
    """Measured values and the fitted solution of every channel."""
    return _page(2.2 * min(found.series.channels, MOST_CHANNELS) + 0.4, lambda figure: _draw_fit(figure, found, forecast=False))


def forecast_figure(found: Discovered) -> Figure:
    """The continuation with its band, and the held-out values where there are any."""
    return _page(2.2 * min(found.series.channels, MOST_CHANNELS) + 0.4, lambda figure: _draw_fit(figure, found))


def portrait_figure(found: Discovered) -> Figure:
    """Trajectories in the plane of the first two states, over the directions of the vector field."""
    return _page(5.0, lambda figure: _draw_portrait(figure, found))


def residuals_figure(found: Discovered) -> Figure:
    """Measured minus fitted in standard deviations of the noise, over time."""
    return _page(3.4, lambda figure: _draw_residuals(figure, found))


FIGURES: dict[str, Callable[[Discovered], Figure]] = {
    "fit": fit_figure,
    "forecast": forecast_figure,
    "phase_portrait": portrait_figure,
    "residuals": residuals_figure,
}


def _page(height: float, draw: Callable[[Figure], None]) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure = new_figure(height)
        draw(figure)
    return figure


def _draw_fit(figure: Figure | SubFigure, found: Discovered, forecast: bool = True) -> None:
    names = found.series.names[:MOST_CHANNELS]
    axes = figure.subplots(len(names), 1, squeeze=False, sharex=True)[:, 0]
    if left_out := _left_out(found):
        figure.suptitle(left_out.capitalize(), x=0.01, ha="left", fontsize="medium")
    for channel, (axis, name) in enumerate(zip(axes, names, strict=True)):
        colour = COLOURS[channel % len(COLOURS)]
        for number, times in enumerate(found.series.times):
            first = number == 0
            axis.plot(
                times, found.series.values[number][:, channel], "o", color=colour, markersize=3.6, label="measured" if first else None
            )
            _draw_curve(axis, found, number, channel, "black", "fit" if first else None)
            if forecast:
                _draw_band(axis, found, number, channel, colour, first)
        axis.set_title(symbol(name))
        axis.margins(x=0.01)
        _keep_near_data(axis, found, channel)
        axis.legend(loc="upper left", bbox_to_anchor=(1.005, 1.03), handlelength=1.8)
    axes[-1].set_xlabel(symbol(found.series.time_name))
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=all(np.all(times == np.round(times)) for times in found.series.times)))


def _keep_near_data(axis: Axes, found: Discovered, channel: int) -> None:
    """Cuts off what goes beyond the data by more than their own range: a band that widens for ever would flatten them to a line."""
    values = [*found.series.values, *(found.held_out.values if found.held_out is not None else ())]
    measured = np.concatenate(values)[:, channel]
    low, high = np.nanmin(measured), np.nanmax(measured)
    bottom, top = axis.get_ylim()
    if high > low:
        axis.set_ylim(max(bottom, 2 * low - high), min(top, 2 * high - low))


def _left_out(found: Discovered) -> str:
    """Which channels are drawn, where it is not all of them."""
    channels = found.series.channels
    return f"the first {MOST_CHANNELS} of {channels} channels" if channels > MOST_CHANNELS else ""


def _draw_curve(axis: Axes, found: Discovered, number: int, channel: int, colour: str, label: str | None) -> None:
    """The fitted solution between the measured times: each window a curve of its own."""
    for times, values in found.curves.channels[number]:
        axis.plot(times, values[:, channel], color=colour, linewidth=1.2, label=label)
        label = None


def _draw_band(axis: Axes, found: Discovered, number: int, channel: int, colour: str, labelled: bool) -> None:
    band = found.drawn_bands[number]
    level = f"{100 * LEVEL:.0f} % band of measurements"
    if np.isfinite(band.lower[:, channel]).any():
        axis.fill_between(
            band.times,
            band.lower[:, channel],
            band.upper[:, channel],
            color=colour,
            alpha=0.18,
            linewidth=0,
            label=level if labelled else None,
        )
    axis.plot(band.times, band.values[:, channel], color=colour, linestyle="--", label="forecast" if labelled else None)
    if found.held_out is not None:
        axis.plot(
            found.held_out.times[number], found.held_out.values[number][:, channel], "o", markersize=3.9, markerfacecolor="white",
            markeredgecolor=colour, label="held out" if labelled else None,
        )  # fmt: skip
    axis.axvline(float(found.series.times[number][-1]), color=GREY, linewidth=0.7, linestyle=":")


def _draw_portrait(figure: Figure | SubFigure, found: Discovered) -> None:
    axis = figure.subplots()
    paths = [states for _, states in found.curves.states]
    everything = np.concatenate(paths)
    everything = everything[np.isfinite(everything).all(axis=1)]
    if not len(everything):
        axis.set_title("Phase portrait: the solver did not get anywhere")
        return
    if len(found.states) == 1:
        states = everything[:, 0]
        grid = np.linspace(states.min(), states.max(), 200)
        axis.plot(grid, found.curves.slopes(grid[:, None])[:, 0], color=BLUE)
        axis.axhline(0.0, color=GREY, linewidth=0.8)
        axis.set_xlabel(symbol(found.states[0]))
        axis.set_ylabel(f"d{found.states[0]}/d{found.series.time_name}")
        axis.set_title("Vector field")
        return
    low, high = everything.min(axis=0), everything.max(axis=0)
    margin = 0.08 * (high - low)
    grid = [np.linspace(low[i] - margin[i], high[i] + margin[i], ARROWS) for i in (0, 1)]
    middle = everything.mean(axis=0)
    points = np.tile(middle, (ARROWS * ARROWS, 1))
    points[:, 0], points[:, 1] = (each.ravel() for each in np.meshgrid(*grid))
    slopes = found.curves.slopes(points)[:, :2] / np.where(high > low, high - low, 1.0)[:2]
    length = np.linalg.norm(slopes, axis=1, keepdims=True)
    arrows = np.where(length > 0, slopes / np.where(length > 0, length, 1.0), 0.0)
    axis.quiver(points[:, 0], points[:, 1], arrows[:, 0], arrows[:, 1], color="#C4CBD6", angles="uv", pivot="mid", scale=32, width=0.0026)
    for number, states in enumerate(paths):
        axis.plot(states[:, 0], states[:, 1], color=COLOURS[0], linewidth=1.3, label="fit" if number == 0 else None)
    names = found.states[:2]
    if set(names) <= set(found.series.names):
        columns = [found.series.names.index(name) for name in names]
        for number, values in enumerate(found.series.values):
            label = "measured" if number == 0 else None
            axis.plot(values[:, columns[0]], values[:, columns[1]], "o", color=COLOURS[1], markersize=3.4, label=label)
    axis.set_xlabel(symbol(names[0]))
    axis.set_ylabel(symbol(names[1]))
    others = "" if len(found.states) == 2 else ", other states at their mean"
    axis.set_title(f"Phase portrait (arrows: vector field{others})")
    axis.legend(loc="upper right", frameon=True, framealpha=0.85, edgecolor="none")


def _draw_residuals(figure: Figure | SubFigure, found: Discovered) -> None:
    axis = figure.subplots()
    for channel, name in enumerate(found.series.names[:MOST_CHANNELS]):
        for number, times in enumerate(found.series.times):
            label = symbol(name) if number == 0 else None
            axis.plot(
                times, found.curves.residuals[number][:, channel], "o", color=COLOURS[channel % len(COLOURS)], markersize=3.6, label=label
            )
    for level in (-2, 0, 2):
        axis.axhline(level, color=GREY, linewidth=0.8, linestyle="-" if level == 0 else ":")
    axis.set_xlabel(symbol(found.series.time_name))
    axis.set_ylabel("standard deviations")
    kind = found.shooting.noise.kind
    left_out = _left_out(found)
    axis.set_title(f"Measured minus fitted ({kind} noise); dotted: 95 %" + (f"\n{left_out}" if left_out else ""))
    axis.legend(loc="upper left", bbox_to_anchor=(1.005, 1.03))
