"""A start where many samples are too far apart to be smoothed: a model grows from what is sampled well to all that it explains."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from sciml.dynamics.candidate import Candidate, settled
from sciml.dynamics.library import Library
from sciml.dynamics.likelihood import Fit, KnownField, Windows, believed, maximise, paths, residuals, selected, windows_of
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.undersampling import Sampling

PATIENCE, PROGRESS = 3, 1.01
"""Fits in a row, none of which explains by that factor more than before, after which a model is given up."""

MOST_STEPS = 5000
"""Time steps that a model grows on; later ones only take part in what follows."""

FINE = 32
"""Integration steps per time step: a state may turn by several radians between two samples."""

ENOUGH = 0.5
"""Share of the badly sampled steps that a model must explain in the end."""

WHOLE = 0.95
"""Share of them from which on no more terms are tried."""


def grow(series: TimeSeries, found: Sampling, library: Library, known: KnownField | None) -> tuple[Windows, np.ndarray] | None:
    """Windows of single time steps, with the noise that a model of simple terms leaves, and its coefficients `(terms, states)`.

    Steps between well predicted values come first. A model is fitted to them through the integration (an approximation of slopes would
    err by more than what such a quiet part of the data tells), then to all steps that it predicts, and so on. It begins with all terms
    of low complexity; of each fit and what the criterion keeps of it, whichever predicts more goes on. None where no model comes to
    explain most of the steps between badly predicted values.
    """
    steps = _steps(series, found.noise)
    complexities = np.array([term.complexity for term in library.terms])
    best, most, kept = None, ENOUGH, np.zeros(0, dtype=int)
    for level in np.unique(complexities):
        terms = np.flatnonzero(complexities <= level)
        if found.quiet[:MOST_STEPS].sum() < 2 * len(terms) or most > WHOLE:
            break
        fit, share = _grown(series, found, Library(library.variables, tuple(library.terms[term] for term in terms)), known, steps)
        if share > most:
            best, most, kept = fit, share, terms
    if best is None:
        return None
    coefficients = np.zeros((len(library), series.channels))
    coefficients[kept] = best.coefficients
    return _steps(series, believed(series, np.minimum(found.noise, residuals(best)))), coefficients


def _grown(series: TimeSeries, found: Sampling, library: Library, known: KnownField | None, steps: Windows) -> tuple[Fit, float]:
    """The fit that predicts most, and its share of the steps between complete values that neighbours do not predict."""
    later = np.concatenate([values[1:] for values in series.values])
    complete = np.isfinite(later).all(axis=1) & np.concatenate([np.isfinite(values[:-1]).all(axis=1) for values in series.values])
    complete[MOST_STEPS:] = False
    chosen = found.quiet & complete
    hard = complete & ~chosen
    coefficients = _slopes(library, known, steps, later, chosen)
    best, most, stalled = None, np.zeros_like(complete), 0
    while True:
        full = maximise(library, selected(steps, chosen), coefficients, known)
        fits = (settled(Candidate(full)).fit, full)
        options = [(fit, complete & (np.abs(paths(fit, steps)[:, -1] - later) < found.near).all(axis=1)) for fit in fits]
        fit, explained = max(options, key=lambda option: option[1].sum())
        stalled = 0 if explained.sum() > PROGRESS * most.sum() else stalled + 1
        if best is None or explained.sum() > most.sum():
            best, most = fit, explained
        if stalled == PATIENCE or not explained.any() or (explained == chosen).all():
            return best, most[hard].sum() / max(hard.sum(), 1)
        chosen, coefficients = explained, fit.coefficients


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
    finite = np.isfinite(design).all(axis=1) & np.isfinite(target).all(axis=1)
    sizes = np.maximum(np.linalg.norm(design[finite], axis=0), 1e-300)
    return np.linalg.lstsq(design[finite] / sizes, target[finite], rcond=1e-6)[0] / sizes[:, None]
