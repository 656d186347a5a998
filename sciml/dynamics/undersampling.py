"""Whether a series is sampled often enough: how well every value is predicted by its neighbours in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciml.dynamics.likelihood import believed
from sciml.dynamics.series import TimeSeries

NEAR, FAR = 0.1, 0.5
"""Misses, as shares of a channel's spread, up to which a value counts as predicted and from which it counts as missed."""

CERTAIN = 6.0
"""Multiples of the noise within which a miss says nothing."""

SPARSE = 0.02
"""Share of a channel's values that neighbours must miss before a series counts as undersampled."""

NORMAL = 1.4826
"""Standard deviation of a normal variable over the median of its absolute value."""


@dataclass(frozen=True, eq=False)
class Sampling:
    """How well each value is predicted by two neighbours on each side, where all five were measured."""

    noise: np.ndarray
    """`(channels,)`: what the noise is at most; half of the values are predicted better than it would allow."""
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


def sampling(series: TimeSeries) -> Sampling:
    """How well neighbours predict, and what the noise can be at most. Few or scattered values tell nothing: not undersampled."""
    misses = [_misses(times, values) for times, values in zip(series.times, series.values, strict=True)]
    everything = np.abs(np.concatenate(misses))
    if not np.isfinite(everything).any(axis=0).all():
        nothing = np.zeros(series.channels)
        return Sampling(nothing, nothing, np.zeros(0, dtype=bool), nothing)
    noise = believed(series, NORMAL * np.nanmedian(everything, axis=0))
    spread = np.nanstd(np.concatenate(series.values), axis=0)
    near, far = (np.maximum(share * spread, CERTAIN * noise) for share in (NEAR, FAR))
    small = [np.all(np.abs(each) < near, axis=1) for each in misses]
    quiet = np.concatenate([each[:-1] & each[1:] for each in small])
    return Sampling(noise, near, quiet, (everything > far).mean(axis=0))


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
