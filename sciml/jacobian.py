"""The loss as a vector of residuals, and its Jacobian row by row: what Gauss-Newton methods and covariances are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sciml.objective import Block, Objective

ROWS_AT_ONCE = 256
"""Samples differentiated together, so that their share of the Jacobian stays in cache."""


class Linearised(NamedTuple):
    """Residuals `(N,)`, scaled so that their squares sum to the loss, and their derivatives `(N, P)` by the trainable numbers."""

    residuals: Array
    jacobian: Array
    scale: Array
    """`(N,)`: the root of weight over count, by which each residual was multiplied."""
    measured: Array
    """`(N,)`: whether the row is a measured value."""


def prepare_rows(objective: Objective, points: Sequence[Array]) -> tuple[Block, ...]:
    """One block per sample for each term, from its points `(s, n, d)`: `Objective.prepare` with blocks of a single sample."""
    return tuple(objective.prepare_term(number, each, blocks=each.shape[1]) for number, each in enumerate(points))


def linearise(objective: Objective, theta: Array, rows: Sequence[Block]) -> Linearised:
    """Residuals and Jacobian at `theta`. One backward pass per row, many rows at once; memory N x P."""
    found = [_term(objective, theta, number, each) for number, each in enumerate(rows)]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *found)


def _term(objective: Objective, theta: Array, number: int, rows: Block) -> Linearised:
    count = rows.points.shape[0]
    scale = jnp.sqrt(objective.term_weights(number) / count)

    def one(row: Block) -> tuple[Array, Array]:
        residual, pull_back = jax.vjp(lambda theta: scale * objective.block_residuals(theta, number, row)[:, 0], theta)
        return residual, jax.vmap(lambda unit: pull_back(unit)[0])(jnp.eye(residual.size, dtype=residual.dtype))

    residuals, jacobian = jax.lax.map(one, rows, batch_size=min(ROWS_AT_ONCE, count))
    measured = jnp.full(residuals.size, objective.terms[number].data is not None)
    return Linearised(residuals.ravel(), jacobian.reshape(-1, theta.size), jnp.tile(scale, count), measured)
