"""A start where many samples are too far apart to be smoothed: a model grows from what is sampled well to all that it explains."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from sciml.dynamics.candidate import Candidate, settled
from sciml.dynamics.library import Library
from sciml.dynamics.likelihood import Fit, KnownField, Windows, believed, maximise, paths, residuals, selected, windows_of
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.undersampling import Sampling

PATIENCE = 3
"""Fits in a row after which a model that explains no more than before is given up."""

FINE = 32
"""Integration steps per time step: a state may turn by several radians between two samples."""

ENOUGH, WHOLE = 0.8, 0.95
"""Share of the time steps that a model must explain in the end, and from which on no more terms are tried."""


def grow(series: TimeSeries, found: Sampling, library: Library, known: KnownField | None) -> tuple[Windows, np.ndarray] | None:
    """Windows of single time steps, with the noise that a model of simple terms leaves, and its coefficients `(terms, states)`.

    Steps between well predicted values come first. A model is fitted to them through the integration (an approximation of slopes would
    err by more than what such a quiet part of the data tells), then to all steps that it predicts, and so on; with all its terms or
    those that the data call for, whichever predict more. Terms of little complexity are tried before others. None where no model comes
    to explain most steps.
    """
    steps = _steps(series, found.noise)
    complexities = np.array([term.complexity for term in library.terms])
    best, most, kept = None, ENOUGH, np.zeros(0, dtype=int)
    for level in np.unique(complexities):
        rows = np.flatnonzero(complexities <= level)
        if found.quiet.sum() < 2 * len(rows) or most > WHOLE:
            break
        fit, share = _grown(series, found, Library(library.variables, tuple(library.terms[row] for row in rows)), known, steps)
        if share > most:
            best, most, kept = fit, share, rows
    if best is None:
        return None
    coefficients = np.zeros((len(library), series.channels))
    coefficients[kept] = best.coefficients
    return _steps(series, believed(series, np.minimum(found.noise, residuals(best)))), coefficients


def _grown(series: TimeSeries, found: Sampling, library: Library, known: KnownField | None, steps: Windows) -> tuple[Fit, float]:
    """The fit to the time steps that its model predicts, and their share of those between complete values."""
    later = np.concatenate([values[1:] for values in series.values])
    complete = np.isfinite(later).all(axis=1) & np.concatenate([np.isfinite(values[:-1]).all(axis=1) for values in series.values])

    def explained(fit: Fit) -> np.ndarray:
        return complete & (np.abs(paths(fit, steps)[:, -1] - later) < found.near).all(axis=1)

    chosen, most, stalled = found.quiet, 0, 0
    coefficients = _slopes(library, known, steps, later, chosen)
    while True:
        full = maximise(library, selected(steps, chosen), coefficients, known)
        few = settled(Candidate(full)).fit
        fit = max(few, full, key=lambda each: explained(each).sum())
        reached = explained(fit)
        stalled = 0 if reached.sum() > most else stalled + 1
        most = max(most, reached.sum())
        if stalled == PATIENCE or not reached.any() or (reached == chosen).all():
            return fit, reached.sum() / max(complete.sum(), 1)
        chosen, coefficients = reached, fit.coefficients


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
