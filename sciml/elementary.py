"""Sine and cosine together, in double precision, from operations that vectorise: XLA calls a scalar routine for each number on a CPU."""

from __future__ import annotations

import math
from decimal import Decimal, getcontext

import jax
import jax.numpy as jnp
from jax import Array

getcontext().prec = 50
_HALF_PI = Decimal("1.5707963267948966192313216916397514420985846996876")
_HIGH = math.floor(float(_HALF_PI) * 2**32) / 2**32
_MIDDLE = math.floor((_HALF_PI - Decimal(_HIGH)) * 2**65) / 2**65
_LOW = float(_HALF_PI - Decimal(_HIGH) - Decimal(_MIDDLE))
_TERMS = 8


@jax.custom_jvp
def sine_and_cosine(value: Array) -> tuple[Array, Array]:
    """sin and cos, each to about one unit in the last place for |value| < 1e5.

    Cody & Waite's reduction by multiples of pi/2 in three parts (1980, chapter 8), then Taylor's series on [-pi/4, pi/4], whose
    remainder is below 3e-18. Single precision takes the library's own functions, which do vectorise.
    """
    if value.dtype != jnp.float64:
        return jnp.sin(value), jnp.cos(value)
    turns = jnp.round(value * (2.0 / math.pi))
    rest = ((value - turns * _HIGH) - turns * _MIDDLE) - turns * _LOW
    square = rest * rest
    sine = rest + rest * square * _series(square, 3)
    cosine = 1.0 + square * _series(square, 2)
    quarter = turns.astype(jnp.int32) & 3
    odd = (quarter & 1) == 1
    first, second = jnp.where(odd, cosine, sine), jnp.where(odd, sine, cosine)
    return jnp.where(quarter >= 2, -first, first), jnp.where((quarter == 1) | (quarter == 2), -second, second)


def _series(square: Array, start: int) -> Array:
    """Sum of (-1)^k square^(k-1) / (start + 2k - 2)! for k = 1, 2, ..., by Horner's rule."""
    total = jnp.zeros_like(square)
    for term in range(_TERMS, 0, -1):
        total = (-1) ** term / math.factorial(start + 2 * term - 2) + square * total
    return total


@sine_and_cosine.defjvp
def _derivative(primals: tuple[Array], tangents: tuple[Array]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    sine, cosine = sine_and_cosine(*primals)
    return (sine, cosine), (cosine * tangents[0], -sine * tangents[0])
