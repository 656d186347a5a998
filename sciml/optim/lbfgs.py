"""Limited-memory BFGS (Nocedal & Wright 2006, algorithm 7.4), its memory a ring on the device."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sciml.optim.second_order import Metric, Pair


class Memory(NamedTuple):
    """The last pairs, newest at `head - 1`; `inverse` holds 1/(s'y), zero where there is no pair."""

    steps: Array
    changes: Array
    inverse: Array
    head: Array
    scale: Array


class LimitedMemory(Metric):
    """The inverse Hessian as `size` pairs, whose unit step is tried first (Nocedal & Wright 2006, section 7.2)."""

    lengthening = math.inf

    def __init__(self, memory: int) -> None:
        self.memory = memory

    def start(self, size: int, dtype: Any) -> Memory:
        pairs = jnp.zeros((self.memory, size), dtype)
        return Memory(pairs, pairs, jnp.zeros(self.memory, dtype), jnp.zeros((), int), jnp.ones((), dtype))

    def apply(self, metric: Memory, vector: Array) -> Array:
        """The two-loop recursion; empty slots have weight zero and change nothing."""
        order = (metric.head - 1 - jnp.arange(self.memory)) % self.memory

        def backward(vector: Array, slot: Array) -> tuple[Array, Array]:
            alpha = metric.inverse[slot] * jnp.vdot(metric.steps[slot], vector)
            return vector - alpha * metric.changes[slot], alpha

        vector, alphas = jax.lax.scan(backward, vector, order)

        def forward(vector: Array, item: tuple[Array, Array]) -> tuple[Array, None]:
            slot, alpha = item
            beta = metric.inverse[slot] * jnp.vdot(metric.changes[slot], vector)
            return vector + (alpha - beta) * metric.steps[slot], None

        return jax.lax.scan(forward, metric.scale * vector, (order, alphas), reverse=True)[0]

    def update(self, metric: Memory, pair: Pair, good: Array, forget: Array) -> tuple[Memory, Array]:
        sy = jnp.where(good, jnp.vdot(pair.step, pair.change), 1.0)
        slot = metric.head % self.memory
        taken = Memory(
            metric.steps.at[slot].set(jnp.where(good, pair.step, metric.steps[slot])),
            metric.changes.at[slot].set(jnp.where(good, pair.change, metric.changes[slot])),
            jnp.where(forget, 0.0, metric.inverse.at[slot].set(jnp.where(good, 1.0 / sy, metric.inverse[slot]))),
            metric.head + good.astype(metric.head.dtype),
            jnp.where(
                forget, 1.0, jnp.where(good, sy / jnp.maximum(jnp.vdot(pair.change, pair.change), jnp.finfo(sy.dtype).tiny), metric.scale)
            ),
        )
        return taken, self.apply(taken, pair.new_gradient)
