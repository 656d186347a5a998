"""The plateau trigger: the loss, averaged over a window, no longer falls."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array


class PlateauState(NamedTuple):
    """The sum over the current window, the best window mean so far, and whether the last window failed to improve on it."""

    total: Array
    position: Array
    best: Array
    flat: Array


def start(dtype: Any) -> PlateauState:
    """Nothing seen yet."""
    return PlateauState(jnp.zeros((), dtype), jnp.asarray(0), jnp.full((), jnp.inf, dtype), jnp.asarray(False))


def observe(state: PlateauState, value: Array, window: int, improvement: float) -> PlateauState:
    """One step's loss. `flat` is true on the last step of a window whose mean improves on the best by less than `improvement`."""
    total, position = state.total + jnp.log(value), state.position + 1
    complete = position == window
    mean = total / window
    flat = complete & (mean > state.best + jnp.log1p(-improvement))
    best = jnp.where(complete, jnp.minimum(state.best, mean), state.best)
    return PlateauState(jnp.where(complete, 0.0, total), jnp.where(complete, 0, position), best, flat)
