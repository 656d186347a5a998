"""Where terms are evaluated: independently shifted Sobol blocks, and redraws by residual."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.errors import ProblemError

_BITS = 32

_DIRECTIONS = (
    (0b1, (1,) * _BITS),
    (0b11, (1,)),
    (0b111, (1, 3)),
    (0b1011, (1, 3, 1)),
    (0b1101, (1, 1, 1)),
    (0b10011, (1, 1, 3, 3)),
    (0b11001, (1, 3, 5, 13)),
    (0b100101, (1, 1, 5, 5, 17)),
    (0b101001, (1, 1, 5, 5, 5)),
    (0b101111, (1, 1, 7, 11, 19)),
    (0b110111, (1, 1, 5, 1, 1)),
    (0b111011, (1, 1, 1, 3, 11)),
)
"""Per coordinate a primitive polynomial, bit by bit, and the first direction numbers (Joe & Kuo 2008, table new-joe-kuo-6)."""


def sobol_integers(count: int, dimension: int) -> Array:
    """The first `count` points of Sobol's sequence as integers `(count, dimension)`, in the order of Antonov & Saleev (1979).

    Raises `ProblemError` for more coordinates than there are directions. (SciPy has the same sequence, in a module that takes as long to
    import as a short run takes to train.)
    """
    if dimension > len(_DIRECTIONS):
        raise ProblemError(
            f"a term has {dimension} coordinates to sample, and at most {len(_DIRECTIONS)} are possible; use fewer coordinates"
        )
    numbers = np.arange(count, dtype=np.uint32)
    gray = numbers ^ (numbers >> 1)
    points = np.zeros((count, dimension), np.uint32)
    for bit in range(max(count - 1, 0).bit_length()):
        chosen = (gray >> bit & 1).astype(bool)
        for coordinate in range(dimension):
            points[chosen, coordinate] ^= _direction_numbers(coordinate)[bit]
    return jnp.asarray(points)


@cache
def _direction_numbers(coordinate: int) -> np.ndarray:
    """`(32,)`: what each bit of a point's number contributes (Bratley & Fox 1988, equation 2)."""
    polynomial, first = _DIRECTIONS[coordinate]
    degree, odd = polynomial.bit_length() - 1, list(first)
    for number in range(len(odd), _BITS):
        new = odd[number - degree] ^ (odd[number - degree] << degree)
        for power in range(1, degree):
            if polynomial >> (degree - power) & 1:
                new ^= odd[number - power] << power
        odd.append(new)
    return np.array([value << (_BITS - 1 - number) for number, value in enumerate(odd)], np.uint32)


def shifted(integers: Array, key: Array, dtype: jnp.dtype) -> Array:
    """A Sobol block under a random digital shift: uniform points in (0, 1), unbiased for any block size (Owen 2003).

    Blocks under independent shifts are independent, so that their spread measures the sampling noise of their mean.
    """
    shift = jax.random.bits(key, (integers.shape[1],), jnp.uint32)
    scaled = (integers ^ shift[None]).astype(dtype) * 2.0**-_BITS + 2.0 ** -(_BITS + 1)
    return jnp.minimum(scaled, 1.0 - jnp.finfo(dtype).epsneg)


def draw_by_residual(key: Array, residual: Array, count: int, power: float = 1.0, floor: float = 1.0) -> Array:
    """Indices of `count` candidates drawn without replacement, p ~ |r|^power / mean + floor (RAD; Wu et al. 2023, equation 2).

    Gumbel top-k over the logarithms of the weights (Kool et al. 2019).
    """
    size = jnp.where(jnp.isfinite(residual), jnp.abs(residual) ** power, 0.0)
    weight = size / jnp.maximum(jnp.mean(size), jnp.finfo(size.dtype).tiny) + floor
    return jax.lax.top_k(jnp.log(weight) + jax.random.gumbel(key, weight.shape, weight.dtype), count)[1]
