"""Whether a model stays near the data from starts that are no better known than a measurement."""

from __future__ import annotations

import numpy as np

from sciml.dynamics.likelihood import Fit, Windows, paths, windows_of
from sciml.dynamics.series import TimeSeries

DRAWS = 16
"""Starts per trajectory, around the fitted one by as much as a measurement scatters."""

FAR = 10.0
"""Distance from the middle of the data, in units of their range, beyond which a solution has run away."""

OFTEN = 0.25
"""Share of the starts from which a steady model may run away: a true threshold can lie near the data."""


def is_steady(fit: Fit, series: TimeSeries) -> bool:
    """Whether few solutions run away within the time of the data.

    An equation may follow the data along an unstable solution that only the fitted start keeps to; it explains them and predicts nothing.
    """
    begins = np.flatnonzero(np.append(True, ~fit.windows.linked[: fit.windows.unpadded - 1]))
    weights = fit.windows.weights[begins, 0]
    scatter = np.where(weights > 0, 1 / np.where(weights > 0, weights, 1.0), 0.0)
    draws = np.random.default_rng(0).standard_normal((DRAWS, *scatter.shape))
    starts = (fit.starts[begins] + scatter * draws).reshape(-1, series.channels)
    values = np.concatenate(series.values)
    low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    away = np.abs(paths(fit, _whole(series, starts, fit.substeps)) - (low + high) / 2)
    return bool(np.mean(~(away < FAR * (high - low)).all(axis=(1, 2))) <= OFTEN)


def _whole(series: TimeSeries, starts: np.ndarray, substeps: int) -> Windows:
    """Each trajectory as one window, once for every draw in `starts` `(draws * trajectories, states)`."""
    longest = max(len(times) for times in series.times) - 1
    nothing = [np.ones_like(values) for values in series.values]
    whole = windows_of(series, longest, nothing, nothing, np.ones(series.channels), substeps)
    count = len(series.times)
    times, controls = (np.tile(each[:count], (len(starts) // count, *[1] * (each.ndim - 1))) for each in (whole.times, whole.controls))
    return whole._replace(times=times, controls=controls, starts=starts, unpadded=len(starts))
