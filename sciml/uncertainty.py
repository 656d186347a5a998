"""Standard errors of unknown coefficients, from the Gauss-Newton matrix of the loss at its minimum."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.jacobian import linearise, prepare_rows
from sciml.objective import Objective

RIDGE = 100.0
"""Multiples of the rounding error of the Gauss-Newton matrix below which a direction of the parameters counts as free."""


class Uncertainty(NamedTuple):
    """How well measured data determine the unknown coefficients."""

    names: tuple[str, ...]
    standard_errors: np.ndarray
    """One per coefficient, in its own units."""
    correlation: np.ndarray
    """`(k, k)`."""
    noise: float
    """Standard deviation of the data's residuals, corrected for the degrees of freedom that the fit has used."""


def uncertainty(objective: Objective, theta: Array) -> Uncertainty | None:
    """The sampling covariance of the coefficients that minimise the loss; None without data or without unknowns.

    Noise of equal variance enters each measured value independently. It moves the minimiser of the weighted least-squares loss, all
    of its terms linearised, by `-(J'J)^-1 J_d' W^(1/2) e` (J: rows of all terms, J_d: those of the data), and so the covariance is
    that of this linear map (the sandwich form: White 1980, Econometrica 48, 817-838). Where the equation's weight is high, it is the
    covariance of a fit that satisfies the equation. The variance of the noise is estimated from the data's residuals and the trace
    of the hat matrix.
    """
    names = tuple(objective.problem.unknowns)
    if not names or all(term.data is None for term in objective.terms):
        return None
    positions = _positions(objective)
    points = jax.jit(objective.draw)(jax.random.fold_in(objective.key, 1 << 22))
    raw, noise = jax.jit(lambda theta, points: _covariance(objective, theta, points, positions))(theta, points)
    slopes = jax.jacobian(lambda theta: jnp.stack([objective.unknowns(theta)[name] for name in names]))(theta)
    positions = _positions(objective)
    slope = np.asarray(slopes)[np.arange(len(names)), positions]
    covariance = np.asarray(raw) * slope[:, None] * slope[None, :]
    errors = np.sqrt(np.diag(covariance))
    return Uncertainty(names, errors, covariance / np.outer(errors, errors), float(noise))


def _positions(objective: Objective) -> np.ndarray:
    """Where each unknown's trainable number stands in the flat vector."""
    numbers = objective.unravel(jnp.arange(objective.parameters, dtype=objective.dtype))["unknowns"]
    return np.array([int(numbers[name]) for name in objective.problem.unknowns])


def _covariance(objective: Objective, theta: Array, points: tuple[Array, ...], positions: np.ndarray) -> tuple[Array, Array]:
    """Covariance of the unknowns' trainable numbers, and the standard deviation of the noise."""
    rows = linearise(objective, theta, prepare_rows(objective, points))
    ridge = RIDGE * jnp.finfo(theta.dtype).eps * jnp.sum(rows.jacobian**2)
    stacked = jnp.concatenate([rows.jacobian, jnp.sqrt(ridge) * jnp.eye(theta.size, dtype=theta.dtype)])
    orthogonal, triangular = jnp.linalg.qr(stacked)
    of_data = jnp.where(rows.measured[:, None], orthogonal[: rows.residuals.size], 0.0)
    units = jnp.eye(theta.size, dtype=theta.dtype)[:, positions]
    response = rows.scale[:, None] * (of_data @ jax.scipy.linalg.solve_triangular(triangular, units, trans=1))
    values = jnp.where(rows.measured, rows.residuals / rows.scale, 0.0)
    left = jnp.sum(rows.measured, dtype=theta.dtype) - jnp.sum(of_data**2)
    variance = jnp.sum(values**2) / jnp.maximum(left, 1.0)
    return variance * response.T @ response, jnp.sqrt(variance)
