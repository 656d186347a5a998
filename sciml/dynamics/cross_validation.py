"""Cross-validation: how a sparse model crosses parts of the data that its fit has not seen, and which models that rules out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sciml.dynamics.candidate import Candidate
from sciml.dynamics.likelihood import Fit, Windows, maximised, paths

FOLDS = 5
"""Parts of the data that are left out in turn."""

STEPS = 6
"""Levenberg-Marquardt steps from the fit to all data."""

CLEAR = 2.13
"""Standard errors by which another model must predict better to rule one out: 95 % of Student's distribution for five folds."""

SLIGHT = 0.01
"""Share of the squared error that another model must save, too: two that agree to the last digits are alike."""

LARGEST = 10.0
"""Factor between the errors in one part beyond which it counts as this: a part in which a model runs away does not hide the others."""

EXACT = 1e-3
"""Error of a fit, in units of the noise that is believed at least, below which nothing is left over to compare with."""


class Errors(NamedTuple):
    """Squared errors in units of the noise's variance, by fold: `(FOLDS,)` each."""

    unseen: np.ndarray
    """By fits that have not seen the fold."""
    seen: np.ndarray
    """By the fit to all data."""
    points: np.ndarray
    """Measured values."""


def not_outpredicted(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates but for those that another one outpredicts clearly; where too few windows can be left out, all of them."""
    if len(candidates) < 2:
        return list(candidates)
    errors = [prediction_errors(each.fit) for each in candidates]
    known = [each for each in errors if each is not None]
    beaten = lambda own: own is not None and any(_outpredicts(other, own) for other in known)  # noqa: E731
    return [each for each, own in zip(candidates, errors, strict=True) if not beaten(own)]


def prediction_error(fit: Fit) -> float | None:
    """Root mean square of what fits miss in parts that they have not seen, relative to what the fit to all data misses there.

    None where `prediction_errors` is, or where that fit leaves nothing over.
    """
    errors = prediction_errors(fit)
    if errors is None or errors.seen.sum() < EXACT**2 * errors.points.sum():
        return None
    return float(np.sqrt(errors.unseen.sum() / errors.seen.sum()))


def prediction_errors(fit: Fit) -> Errors | None:
    """What is missed, fold by fold, by fits that have not seen it.

    Blocked cross-validation (Burman, Chow & Nolan 1994, Biometrika 81, 351-358): coefficients and states are fitted to the rest, and the
    model must find its way from the data before a part to those behind it. Where it runs away it misses by the range of the data. None
    for too few windows, or where the fit itself runs away.
    """
    windows, fold = fit.windows, _folds(fit.windows)
    folds = [fold == number for number in range(FOLDS)]
    points = np.array([(windows.weights[hidden] > 0).sum() for hidden in folds])
    if not np.isfinite(fit.squares) or not points.all():
        return None
    unseen, own = np.empty(FOLDS), _squares(fit)
    for number, hidden in enumerate(folds):
        weights = np.where(hidden[:, None, None], 0.0, windows.weights)
        blind = maximised(replace(fit, windows=windows._replace(weights=weights)), STEPS)
        unseen[number] = _squares(replace(blind, windows=windows))[hidden].sum()
    return Errors(unseen, np.array([own[hidden].sum() for hidden in folds]), points)


def _folds(windows: Windows) -> np.ndarray:
    """The fold of each window, `(W,)`: runs of neighbours within a trajectory, which differ from one trajectory to the next.

    -1 for padding and for a trajectory of one window: with nothing seen of it, its state would be unknown.
    """
    fold = np.full(len(windows.times), -1)
    ends = np.flatnonzero(~windows.linked[: windows.unpadded]) + 1
    for number, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        if end - begin > 1:
            fold[begin:end] = (np.arange(end - begin) * FOLDS // (end - begin) + number) % FOLDS
    return fold


def _squares(fit: Fit) -> np.ndarray:
    """Squared misses of the measured values in each window, `(W,)`; no single one is larger than the range of its channel."""
    windows = fit.windows
    there = windows.weights > 0
    measured = np.where(there, windows.values, np.nan)
    largest = np.nanmax(measured, axis=(0, 1)) - np.nanmin(measured, axis=(0, 1))
    misses = np.zeros_like(windows.values)
    misses[: windows.unpadded] = paths(fit, windows._replace(starts=fit.starts)) - windows.values[: windows.unpadded]
    misses = np.fmin(np.abs(misses), largest)
    return np.sum((windows.weights * np.where(there, misses, 0.0)) ** 2, axis=(1, 2))


def _outpredicts(other: Errors, one: Errors) -> bool:
    """Whether `other` has clearly smaller errors than `one`, fold by fold and by factors: one fold alone proves nothing."""
    gains = np.clip(np.log((one.unseen + one.points) / (other.unseen + other.points)), -np.log(LARGEST), np.log(LARGEST))
    return bool(gains.mean() > max(CLEAR * gains.std(ddof=1) / np.sqrt(FOLDS), SLIGHT))
