"""A first look at a series, before anything is fitted: its states, their sizes and slopes, how noisy it is and in what way."""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from sciml.device import put
from sciml.dynamics.noise import Gaussian, LogNormal, Noise
from sciml.dynamics.problem import Dynamics
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.smoothing import FEWEST, smooth, smooth_channel

UNEVEN = 1e3
"""Ratio of the largest to the smallest time step beyond which no spline in time can follow both."""

QUIET = 0.1
"""Noise of all channels, as a share of their spread, below which it does not decide: for additive errors there are more candidate terms."""


@dataclass(frozen=True)
class Start:
    """A first look at the data, on the noise's scale: where states are, how large, how noisy, how fast."""

    states: tuple[np.ndarray, ...]
    """`(n, states)` per trajectory, at the measured times."""
    scale: np.ndarray
    sigma: np.ndarray
    rate: float
    """Root mean square of a state's relative change per unit of time."""
    slopes: tuple[np.ndarray, ...]
    """`(n, states)` per trajectory: time derivatives; NaN for states that nobody measured."""
    brief: bool = False
    """Whether so much happens between two samples that windows must stay brief."""


def look(series: TimeSeries, noise: Noise, states: tuple[str, ...], problem: Dynamics | None) -> Start:
    """Smooths each channel on the noise's scale; states that nobody measured start at their stated value or size."""
    columns: dict[str, list[np.ndarray]] = {name: [] for name in states}
    derivatives: dict[str, list[np.ndarray]] = {name: [] for name in states}
    sigma, rates = np.zeros(series.channels), []
    for channel, name in enumerate(series.names):
        levels, weights = [], []
        for times, values in zip(series.times, series.values, strict=True):
            smooth, slope, level, degrees = _smooth(times, np.asarray(noise.scale(put(values[:, channel]))))
            levels.append(level)
            weights.append(max(degrees, 1e-3))
            rates.append(np.sqrt(np.mean(slope**2)) / max(float(np.std(smooth)), 1e-12))
            shown, change = (np.asarray(each) for each in jax.jvp(noise.inverse, (put(smooth),), (put(slope),)))
            if name in columns:
                columns[name].append(shown)
                derivatives[name].append(change)
            if velocity(name) in columns:
                columns[velocity(name)].append(change)
        size = np.nanstd(np.asarray(noise.scale(put(np.concatenate(series.values)[:, channel]))))
        sigma[channel] = np.clip(np.sqrt(np.average(np.square(levels), weights=weights)), 1e-3 * size, size)
    stated = _stated(problem)
    typical = dict(problem.sizes) if problem is not None else {}
    for name, found in columns.items():
        if not found:
            value = stated.get(name)
            if value is None or (noise.positive and not value > 0):  # a state that starts at zero has no size there to be a factor of
                value = typical.get(name, 1.0 if problem is not None or noise.positive else 0.0)
            columns[name] = [np.full(len(times), float(value)) for times in series.times]
    if noise.positive:
        columns = {name: [np.maximum(each, 1e-6 * np.max(np.abs(each))) for each in found] for name, found in columns.items()}
    arrays = tuple(np.stack([columns[name][index] for name in states], axis=1) for index in range(len(series.times)))
    spread = np.std(np.concatenate(arrays), axis=0)
    size = np.max(np.abs(np.concatenate(arrays)), axis=0)
    scale = np.where(spread > 1e-9 * size, spread, np.where(size > 0, size, [typical.get(name, 1.0) for name in states]))
    unknown = [np.full(len(times), np.nan) for times in series.times]
    slopes = tuple(np.stack([(derivatives[name] or unknown)[i] for name in states], axis=1) for i in range(len(series.times)))
    return Start(arrays, scale, sigma, float(np.median(rates)), slopes)


def on_scale(series: TimeSeries, noise: Noise) -> TimeSeries:
    """The series on the scale on which its errors are normal."""
    return replace(series, values=tuple(np.asarray(noise.scale(put(values))) for values in series.values))


def choose_noise(series: TimeSeries) -> Noise:
    """Normal errors, or errors by a factor: on whichever scale a value is predicted better by its two neighbours in time.

    Without much noise, what neighbours miss is curvature; errors are then by a factor only if those around the smoothed data grow with it.
    """
    values = np.concatenate(series.values)
    if not np.all(values[~np.isnan(values)] > 0) or _neighbours_miss(series, Gaussian()) <= _neighbours_miss(series, LogNormal()):
        return Gaussian()
    if any(np.isfinite(each).sum(axis=0).min() < FEWEST for each in series.values):
        return LogNormal()
    smoothed = smooth(series)
    decides = smoothed.proportional.any() or np.any(smoothed.noise > QUIET * np.nanstd(values, axis=0))
    return LogNormal() if decides else Gaussian()


def _neighbours_miss(series: TimeSeries, noise: Noise) -> float:
    """Half the deviance of values predicted by their two neighbours in time on a noise's scale; that of logarithms with its Jacobian."""
    total = 0.0
    for channel in range(series.channels):
        misses, stretch = [], 0.0
        for times, block in zip(series.times, series.values, strict=True):
            there = ~np.isnan(block[:, channel])
            t, y = times[there], np.asarray(noise.scale(put(block[there, channel])))
            share = (t[1:-1] - t[:-2]) / (t[2:] - t[:-2])
            misses.append((y[1:-1] - (1 - share) * y[:-2] - share * y[2:]) / np.sqrt(1 + share**2 + (1 - share) ** 2))
            stretch += float(np.sum(np.log(block[there, channel][1:-1]))) if noise.positive else 0.0
        miss = np.concatenate(misses)
        total += miss.size * float(np.log(np.sqrt(np.mean(miss**2)) + np.finfo(float).tiny)) + stretch if miss.size else 0.0
    return total


def velocity(name: str) -> str:
    """What the time derivative of a position is called."""
    return f"{name}_velocity"


def _stated(problem: Dynamics | None) -> dict[str, float]:
    """Initial values of states as far as they are known, at the starting values of the coefficients."""
    if problem is None:
        return {}
    start = {name: jnp.asarray(unknown.start) for name, unknown in problem.unknowns.items()}
    return {name: float(value) for name, value in problem.stated(start).items()}


def _smooth(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
    """A channel, its slope, its noise level and the degrees of freedom behind that; a line where there are too few values."""
    there = np.isfinite(values)
    if there.sum() >= FEWEST:
        steps = np.diff(times)
        even = steps.max() <= UNEVEN * steps.min()
        grid = times if even else np.arange(len(times), dtype=float)  # a spline in the row number, where times span many decades
        spline = smooth_channel(grid, values)
        return spline(grid), spline(grid, 1) * np.gradient(grid, times), spline.noise, spline.degrees
    filled = np.interp(times, times[there], values[there]) if there.any() else np.zeros(len(times))
    return filled, np.gradient(filled, times) if len(times) > 1 else np.zeros(len(times)), float(np.std(filled)), 0.0
