"""Where terms are evaluated: independently shifted Sobol blocks, and redraws by residual."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.stats import qmc

_BITS = 32


def sobol_integers(count: int, dimension: int) -> Array:
    """The first `count` points of Sobol's sequence as integers `(count, dimension)` (Joe & Kuo 2008 directions)."""
    if dimension == 0:
        return jnp.zeros((count, 0), jnp.uint32)
    points = qmc.Sobol(dimension, scramble=False, bits=_BITS).random_base2(max(count - 1, 0).bit_length())
    return jnp.asarray((points[:count] * 2.0**_BITS).astype(np.uint64).astype(np.uint32))


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
