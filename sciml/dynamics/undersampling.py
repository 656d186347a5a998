"""Whether a series is sampled too seldom in part: how well every value is predicted by its neighbours in time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from sciml.dynamics.likelihood import believed
from sciml.dynamics.series import TimeSeries

AROUND = (-2, -1, 1, 2)
"""The neighbours that predict a value."""

NEAR, FAR = 0.1, 0.5
"""Misses, as shares of a channel's spread, up to which a value counts as predicted and from which it counts as missed."""

CERTAIN = 6.0
"""Multiples of the noise within which a miss says nothing."""

SPARSE = 0.02
"""Share of a channel's values that neighbours must miss before a series counts as undersampled."""

FEWEST = 3
"""Values of a channel that must be missed at least."""

BEST, NORMAL = 0.25, 0.3186
"""Share of the values that are predicted best, and how many standard deviations off that share of normal variables is at most."""


@dataclass(frozen=True, eq=False)
class Sampling:
    """How well each value is predicted by the two values measured before it and the two after it."""

    noise: np.ndarray
    """`(channels,)`: what the noise is at most, as the best predicted quarter of the values shows it."""
    near: np.ndarray
    """`(channels,)`: misses up to which a value counts as predicted."""
    quiet: np.ndarray
    """`(time steps,)`, all trajectories: True between two values of which all channels are predicted."""
    missed: np.ndarray
    """`(channels,)`: share of the values that are missed by much more than the noise."""

    @property
    def undersampled(self) -> bool:
        """Whether so many are missed that a curve through the values would not be the solution."""
        return bool(self.missed.max() > SPARSE)


def sampling(series: TimeSeries, noise: np.ndarray | None = None) -> Sampling:
    """How well neighbours predict, and what the noise can be at most, where `noise` `(channels,)` does not say it.

    Few or scattered values tell nothing: not undersampled.
    """
    misses = [_all_misses(times, values) for times, values in zip(series.times, series.values, strict=True)]
    everything = np.concatenate(misses)
    judged = np.isfinite(everything).sum(axis=0)
    if not judged.all():
        nothing = np.zeros(series.channels)
        return Sampling(nothing, nothing, np.zeros(0, dtype=bool), nothing)
    noise = believed(series, np.nanquantile(everything, BEST, axis=0) / NORMAL if noise is None else noise)
    spread = np.nanstd(np.concatenate(series.values), axis=0)
    near, far = (np.maximum(share * spread, CERTAIN * noise) for share in (NEAR, FAR))
    small = [np.all(each < near, axis=1) for each in misses]
    quiet = np.concatenate([each[:-1] & each[1:] for each in small])
    missed = (everything > far).sum(axis=0)
    return Sampling(noise, near, quiet, np.where(missed >= FEWEST, missed / judged, 0.0))


def _all_misses(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`_misses` of every channel among the rows in which it was measured, `(n, channels)`; NaN elsewhere."""
    found = np.full(values.shape, np.nan)
    for channel, column in enumerate(values.T):
        there = np.isfinite(column)
        found[there, channel] = _misses(times[there], column[there])
    return found


def _misses(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`(n,)`: distance of every value from the cubic through its neighbours (Lagrange), on the scale of the noise."""
    found = np.full(values.shape, np.nan)
    inner = np.arange(2, len(times) - 2)
    if not len(inner):
        return found
    neighbours = inner[:, None] + np.array(AROUND)
    at, around = times[inner], times[neighbours]
    weights = np.ones(around.shape)
    for one, other in permutations(range(len(AROUND)), 2):
        weights[:, one] *= (at - around[:, other]) / (around[:, one] - around[:, other])
    predicted = (weights * values[neighbours]).sum(axis=1)
    found[inner] = np.abs(values[inner] - predicted) / np.sqrt(1 + (weights**2).sum(axis=1))
    return found
