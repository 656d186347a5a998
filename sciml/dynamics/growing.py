"""A start where many samples are too far apart to be smoothed: a model grows from what is sampled well to all that it explains."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from sciml.dynamics.library import Library
from sciml.dynamics.likelihood import Fit, KnownField, Windows, believed, maximise, paths, residuals, selected, windows_of
from sciml.dynamics.series import TimeSeries

NEAR, FAR = 0.1, 0.5
"""Misses, as shares of a channel's spread, up to which a value counts as predicted and from which it counts as missed."""

CERTAIN = 6.0
"""Multiples of the noise within which a miss says nothing."""

SPARSE = 0.02
"""Share of a channel's values that neighbours must miss before a series counts as undersampled."""

PATIENCE = 3
"""Fits in a row after which a model that explains no more than before is given up."""

FINE = 32
"""Integration steps per time step: a state may turn by several radians between two samples."""

WHOLE = 0.9
"""Share of the time steps that a model must explain in the end."""

NORMAL = 1.4826
"""Standard deviation of a normal variable over the median of its absolute value."""


@dataclass(frozen=True, eq=False)
class Sampling:
    """How well each value is predicted by two neighbours on each side, where all five were measured."""

    noise: np.ndarray
    """`(states,)`: what the noise is at most; half of the values are predicted better than it would allow."""
    near: np.ndarray
    """`(states,)`: misses up to which a value counts as predicted."""
    quiet: np.ndarray
    """`(time steps,)`, all trajectories: True between two values of which all channels are predicted."""
    undersampled: bool


def sampling(series: TimeSeries) -> Sampling:
    """Whether neighbours miss some of the values by much more than the noise, while they predict most."""
    misses = [_misses(times, values) for times, values in zip(series.times, series.values, strict=True)]
    everything = np.abs(np.concatenate(misses))
    if not np.isfinite(everything).any(axis=0).all():
        nothing = np.zeros(series.channels)
        return Sampling(nothing, nothing, np.zeros(0, dtype=bool), undersampled=False)
    noise = believed(series, NORMAL * np.nanmedian(everything, axis=0))
    spread = np.nanstd(np.concatenate(series.values), axis=0)
    near, far = (np.maximum(share * spread, CERTAIN * noise) for share in (NEAR, FAR))
    small = [np.all(np.abs(each) < near, axis=1) for each in misses]
    quiet = np.concatenate([each[:-1] & each[1:] for each in small])
    return Sampling(noise, near, quiet, undersampled=bool((everything > far).mean(axis=0).max() > SPARSE))


def grow(series: TimeSeries, found: Sampling, library: Library, known: KnownField | None) -> tuple[Windows, np.ndarray] | None:
    """Windows of single time steps, with the noise that a model of simple terms leaves, and its coefficients `(terms, states)`.

    Steps between well predicted values come first. A model is fitted to them through the integration (an approximation of slopes would
    err by more than what such a quiet part of the data tells), then to all steps that it predicts, and so on. Terms of little
    complexity are tried before others. None where no model comes to explain nearly all steps.
    """
    steps = _steps(series, found.noise)
    complexities = np.array([term.complexity for term in library.terms])
    for level in np.unique(complexities):
        kept = np.flatnonzero(complexities <= level)
        if found.quiet.sum() < 2 * len(kept):
            break
        part = Library(library.variables, tuple(library.terms[index] for index in kept))
        fit, share = _grown(series, found, part, known, steps)
        if share > WHOLE:
            coefficients = np.zeros((len(library), series.channels))
            coefficients[kept] = fit.coefficients
            return _steps(series, believed(series, np.minimum(found.noise, residuals(fit)))), coefficients
    return None


def _grown(series: TimeSeries, found: Sampling, library: Library, known: KnownField | None, steps: Windows) -> tuple[Fit, float]:
    """The fit to the time steps that its model predicts, and their share of those between complete values."""
    later = np.concatenate([values[1:] for values in series.values])
    complete = np.isfinite(later).all(axis=1) & np.concatenate([np.isfinite(values[:-1]).all(axis=1) for values in series.values])
    chosen, most, stalled = found.quiet, 0, 0
    fit = maximise(library, selected(steps, chosen), _slopes(library, known, steps, later, chosen), known)
    while True:
        explained = complete & (np.abs(paths(fit, steps)[:, -1] - later) < found.near).all(axis=1)
        stalled = 0 if explained.sum() > most else stalled + 1
        most = max(most, explained.sum())
        if stalled == PATIENCE or not explained.any() or (explained == chosen).all():
            return fit, explained.sum() / max(complete.sum(), 1)
        chosen = explained
        fit = maximise(library, selected(steps, chosen), fit.coefficients, known)


def _steps(series: TimeSeries, noise: np.ndarray) -> Windows:
    """Every time step a window that starts where it was measured."""
    starts = []
    for times, values in zip(series.times, series.values, strict=True):
        there = np.isfinite(values)
        columns = (np.interp(times, times[known], column[known]) for column, known in zip(values.T, there.T, strict=True))
        starts.append(np.stack(list(columns), axis=1))
    return windows_of(series, 1, starts, [np.broadcast_to(noise, each.shape) for each in starts], noise, FINE)


def _slopes(library: Library, known: KnownField | None, steps: Windows, later: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Coefficients of all terms from the changes over the chosen steps, by the trapezoidal rule."""
    rows = np.flatnonzero(chosen)
    both = np.stack([steps.starts[rows], later[rows]], axis=1)
    points = np.concatenate([both, steps.controls[rows]], axis=2)
    design = library.numpy(points.reshape(-1, points.shape[-1])).reshape(len(rows), 2, -1).mean(axis=1)
    target = (both[:, 1] - both[:, 0]) / np.diff(steps.times[rows], axis=1)
    if known is not None:
        target -= np.asarray(known(jnp.asarray(points))).mean(axis=1)
    finite = np.isfinite(design).all(axis=1)
    sizes = np.maximum(np.linalg.norm(design[finite], axis=0), 1e-300)
    return np.linalg.lstsq(design[finite] / sizes, target[finite], rcond=1e-6)[0] / sizes[:, None]


def _misses(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`(n, channels)`: by how much the cubic through two neighbours on each side misses a value, on the scale of the noise."""
    found = np.full(values.shape, np.nan)
    if len(times) < 5:
        return found
    inner = np.arange(2, len(times) - 2)
    around = times[inner[:, None] + np.array([-2, -1, 1, 2])]
    weights = np.ones(around.shape)
    for one in range(4):
        for other in {0, 1, 2, 3} - {one}:
            weights[:, one] *= (times[inner] - around[:, other]) / (around[:, one] - around[:, other])
    predicted = np.einsum("ik,ikc->ic", weights, values[inner[:, None] + np.array([-2, -1, 1, 2])])
    found[inner] = (values[inner] - predicted) / np.sqrt(1 + (weights**2).sum(axis=1))[:, None]
    return found
