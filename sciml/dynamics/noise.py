"""How measurements scatter about the truth: a scale on which the noise is normal, with one standard deviation per channel."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.errors import ProblemError

SMALLEST = 1e-12
"""Predictions below this share of a channel's size are taken as this on the logarithmic scale, so that a bad trial stays finite."""


@dataclass(frozen=True)
class Gaussian:
    """Additive normal noise."""

    kind = "gaussian"
    positive = False

    def scale(self, values: Array) -> Array:
        """Values on the scale on which the noise is normal."""
        return values

    def inverse(self, scaled: Array) -> Array:
        """The inverse of `scale`."""
        return scaled

    def check(self, values: np.ndarray, names: tuple[str, ...]) -> None:
        """Raises `ProblemError` for values that this noise cannot give."""


@dataclass(frozen=True)
class LogNormal:
    """Multiplicative noise: the logarithm of a measurement is normal about the logarithm of the truth."""

    kind = "lognormal"
    positive = True

    def scale(self, values: Array) -> Array:
        return jnp.log(jnp.maximum(values, SMALLEST))

    def inverse(self, scaled: Array) -> Array:
        return jnp.exp(scaled)

    def check(self, values: np.ndarray, names: tuple[str, ...]) -> None:
        _refuse(values <= 0, names, "lognormal", "be positive")


@dataclass(frozen=True)
class Counts:
    """Counting noise whose variance grows with the mean: the square root has constant variance (Bartlett 1936), found from the data."""

    kind = "counts"
    positive = True

    def scale(self, values: Array) -> Array:
        return 2.0 * jnp.sqrt(jnp.maximum(values, SMALLEST))

    def inverse(self, scaled: Array) -> Array:
        return 0.25 * jnp.maximum(scaled, 0.0) ** 2

    def check(self, values: np.ndarray, names: tuple[str, ...]) -> None:
        _refuse(values < 0, names, "counts", "not be negative")


Noise = Gaussian | LogNormal | Counts
NOISES: dict[str, Noise] = {noise.kind: noise for noise in (Gaussian(), LogNormal(), Counts())}


def _refuse(wrong: np.ndarray, names: tuple[str, ...], kind: str, words: str) -> None:
    channels = [name for name, column in zip(names, wrong.T, strict=True) if column.any()]
    if channels:
        raise ProblemError(f"{kind} noise: all values of {', '.join(channels)} must {words}; use gaussian noise, or drop those values")
