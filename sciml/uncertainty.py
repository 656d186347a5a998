"""Standard errors of unknown coefficients, from the Gauss-Newton matrix of the loss at its minimum; or why there are none."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.checks import memory_bytes
from sciml.jacobian import Linearised, linearise, prepare_rows
from sciml.objective import Objective

RIDGE = 100.0
"""Multiples of the rounding error of what the data say (their part of the Gauss-Newton matrix) below which a direction of the parameters
counts as free. Of the whole matrix it would grow with the equation's weight and hide what the data say."""

FREE = 0.01
"""A coefficient of which a larger share lies in free directions is not determined."""

FEWEST_DEGREES = 1.0
"""Degrees of freedom that must be left to estimate the noise."""


class Uncertainty(NamedTuple):
    """How well measured data determine the unknown coefficients."""

    names: tuple[str, ...]
    standard_errors: tuple[float | None, ...]
    """One per coefficient, in its own units; None where there is none."""
    reasons: tuple[str | None, ...]
    """Why a coefficient has no standard error."""
    correlation: np.ndarray
    """`(k, k)`; NaN where there is none."""
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
    if refused := _too_large(objective):
        return Uncertainty(names, (None,) * len(names), (refused,) * len(names), np.full((len(names), len(names)), np.nan), np.nan)
    positions = _positions(objective)
    points = jax.jit(objective.draw)(jax.random.fold_in(objective.key, 1 << 22))
    found = jax.jit(lambda theta, points: spread(linearise(objective, theta, prepare_rows(objective, points)), positions))(theta, points)
    covariance, free, squares, left = (np.asarray(each) for each in found)
    reasons = tuple(why_not(float(share), float(left)) for share in free)
    known = np.array([reason is None for reason in reasons])
    slopes = jax.jacobian(lambda theta: jnp.stack([objective.unknowns(theta)[name] for name in names]))(theta)
    slope = np.where(known, np.asarray(slopes)[np.arange(len(names)), positions], np.nan)
    variance = squares / max(left, FEWEST_DEGREES)
    covariance = variance * covariance * slope[:, None] * slope[None, :]
    errors = np.sqrt(np.diag(covariance))
    listed = tuple(float(error) if reason is None else None for error, reason in zip(errors, reasons, strict=True))
    return Uncertainty(names, listed, reasons, covariance / np.outer(errors, errors), float(np.sqrt(variance)))


def why_not(free: float, left: float) -> str | None:
    """Why there is no standard error: a coefficient's share in `free` directions, and the degrees of freedom `left`."""
    if free > FREE:
        return "not determined by these data"
    if left < FEWEST_DEGREES:
        return "too few data to estimate their noise"
    return None


def _too_large(objective: Objective) -> str | None:
    """The Jacobian, its orthogonal factor and what they are made from must fit into half of the memory."""
    rows = sum(objective.count(term) * len(term.components) for term in objective.terms) + objective.parameters
    needed = 4 * rows * objective.parameters * jnp.dtype(objective.dtype).itemsize
    if needed <= memory_bytes() / 2:
        return None
    return f"a Jacobian of {rows} x {objective.parameters} numbers does not fit into memory; a smaller network does"


def _positions(objective: Objective) -> np.ndarray:
    """Where each unknown's trainable number stands in the flat vector."""
    numbers = objective.unravel(jnp.arange(objective.parameters, dtype=objective.dtype))["unknowns"]
    return np.array([int(numbers[name]) for name in objective.problem.unknowns])


def spread(rows: Linearised, positions: np.ndarray) -> tuple[Array, Array, Array, Array]:
    """For noise of variance one: the covariance of the trainable numbers at `positions`. Then the share of each that lies in free
    directions, the sum of the data's squared residuals, and the degrees of freedom left."""
    size, dtype = rows.jacobian.shape[1], rows.jacobian.dtype
    measured = rows.measured & (rows.scale > 0)
    eps = jnp.finfo(dtype).eps
    informed = jnp.sum(jnp.where(measured[:, None], rows.jacobian, 0.0) ** 2)
    ridge = RIDGE * eps * jnp.maximum(informed, eps * jnp.sum(rows.jacobian**2))
    stacked = jnp.concatenate([rows.jacobian, jnp.sqrt(ridge) * jnp.eye(size, dtype=dtype)])
    orthogonal, triangular = jnp.linalg.qr(stacked)
    of_data = jnp.where(measured[:, None], orthogonal[: rows.residuals.size], 0.0)
    units = jnp.eye(size, dtype=rows.jacobian.dtype)[:, positions]
    solved = jax.scipy.linalg.solve_triangular(triangular, units, trans=1)
    response = rows.scale[:, None] * (of_data @ solved)
    values = jnp.where(measured, rows.residuals / rows.scale, 0.0)
    left = jnp.sum(measured, dtype=rows.jacobian.dtype) - jnp.sum(of_data**2)
    return response.T @ response, ridge * jnp.sum(solved**2, axis=0), jnp.sum(values**2), left
