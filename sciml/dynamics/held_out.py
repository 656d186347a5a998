"""Held-out prediction: how a sparse model crosses parts of the data that its fit has not seen, and which models that rules out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sciml.dynamics.candidate import Candidate
from sciml.dynamics.likelihood import Fit, maximised, paths

PARTS = 5
"""Parts of the data that are left out in turn."""

STEPS = 6
"""Levenberg-Marquardt steps from the fit to all data."""

CLEAR = 2.0
"""Standard errors by which another model must predict better to rule one out."""

SLIGHT = 0.01
"""Share of the error that another model must save, too: two that agree to the last digits are alike."""


def not_outpredicted(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates but for those that another one outpredicts clearly; where too few windows can be left out, all of them."""
    if len(candidates) < 2:
        return list(candidates)
    errors = [prediction_errors(each.fit) for each in candidates]
    known = [each for each in errors if each is not None]
    beaten = lambda own: own is not None and any(_outpredicts(other, own) for other in known)  # noqa: E731
    return [each for each, own in zip(candidates, errors, strict=True) if not beaten(own)]


def prediction_error(fit: Fit) -> float | None:
    """Root mean square of `prediction_errors` over the measured values, relative to the fit's own, at least to the noise."""
    errors = prediction_errors(fit)
    return None if errors is None else float(np.sqrt(errors.sum() / max(fit.points, fit.squares)))


def prediction_errors(fit: Fit) -> np.ndarray | None:
    """Squared errors in each window, `(W,)`, relative to the variance of the noise, by fits that have not seen this part of the data.

    Blocked cross-validation (Burman, Chow & Nolan 1994, Biometrika 81, 351-358): coefficients and states are fitted to the rest, and the
    model must find its way from the data before the part to those behind it. Where it runs away it misses by the size of the state. None
    for fewer windows than parts, or where the fit itself runs away.
    """
    windows, count = fit.windows, fit.windows.unpadded
    if count < PARTS or not np.isfinite(fit.squares):
        return None
    part = np.append(np.arange(count) * PARTS // count, np.full(len(windows.times) - count, -1))
    errors, sizes = np.empty(count), np.std(windows.values[:count], axis=(0, 1))
    for number in range(PARTS):
        seen = np.where((part == number)[:, None, None], 0.0, windows.weights)
        blind = maximised(replace(fit, windows=windows._replace(weights=seen)), STEPS)
        hidden = np.flatnonzero(part == number)
        misses = paths(blind, windows._replace(starts=blind.starts))[hidden] - windows.values[hidden]
        misses = np.where(np.isfinite(misses), misses, sizes)
        errors[hidden] = np.sum((windows.weights[hidden] * misses) ** 2, axis=(1, 2))
    return errors


def _outpredicts(other: np.ndarray, one: np.ndarray) -> bool:
    """Whether `other` has clearly smaller errors than `one`, window by window."""
    gains = one - other
    return float(gains.sum()) > max(CLEAR * np.sqrt(len(gains)) * float(gains.std(ddof=1)), SLIGHT * float(one.sum()))
