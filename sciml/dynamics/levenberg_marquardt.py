"""Levenberg-Marquardt on residuals with a dense Jacobian, in one compiled loop; a trial that is not finite is a rejected one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

Linearise = Callable[[Array], tuple[Array, Array]]
"""Parameters `(P,)` to residuals `(N,)` and Jacobian `(N, P)`."""

FIRST_DAMPING = 1e-3
LARGEST_DAMPING = 1e16
FLOOR = 1e-10
"""Smallest column norm of the Jacobian, relative to the largest, that counts as curvature."""


class State(NamedTuple):
    """Everything that the next iteration needs: the best point so far, and the trial that is evaluated next."""

    theta: Array
    residuals: Array
    jacobian: Array
    trial: Array
    predicted: Array
    """Decrease of half the sum of squares that the linear model predicts for the trial."""
    damping: Array
    growth: Array
    """Factor by which the next rejection raises the damping."""
    columns: Array
    """Largest norm of each column of the Jacobian so far."""
    step: Array
    converged: Array

    @property
    def value(self) -> Array:
        """Half the sum of squared residuals, those of the pull to the start left out."""
        return _half_square(self.residuals)


def minimise(linearise: Linearise, theta: Array, steps: int = 100, tolerance: float = 1e-9, pull: float = 0.0) -> State:
    """Minimises half the sum of squared residuals from `theta`, in at most `steps` evaluations of residuals and Jacobian.

    Damping by Nielsen's rule (Madsen, Nielsen & Tingleff 2004, equation 2.21) on variables scaled by the columns of the Jacobian
    (Moré 1978). Converged is a step, or a predicted decrease of the sum of squares, that is relatively below `tolerance`. The
    distance from the start, times `pull`, counts as further residuals; so there may be fewer residuals than parameters.
    """
    problem = _Problem(linearise, theta, pull)
    shapes = jax.eval_shape(linearise, theta)
    dtype = theta.dtype
    start = State(
        theta,
        jnp.full(shapes[0].shape, jnp.inf, dtype),
        jnp.zeros(shapes[1].shape, dtype),
        theta,
        jnp.asarray(1.0, dtype),
        jnp.asarray(FIRST_DAMPING, dtype),
        jnp.asarray(2.0, dtype),
        jnp.zeros_like(theta),
        jnp.asarray(0),
        jnp.asarray(False),
    )

    def running(state: State) -> Array:
        return (state.step < steps) & ~state.converged & (state.damping < LARGEST_DAMPING)

    return jax.lax.while_loop(running, lambda state: _iterate(problem, state, tolerance), start)


class _Problem(NamedTuple):
    linearise: Linearise
    home: Array
    pull: float

    def value(self, residuals: Array, theta: Array) -> Array:
        return _half_square(residuals) + _half_square(self.pull * (theta - self.home))


def _iterate(problem: _Problem, state: State, tolerance: float) -> State:
    """Judges the trial and takes the next one. The first trial is the start itself."""
    residuals, jacobian = problem.linearise(state.trial)
    first = state.step == 0
    before, after = problem.value(state.residuals, state.theta), problem.value(residuals, state.trial)
    gain = jnp.where(first, 0.5, (before - after) / jnp.maximum(state.predicted, jnp.finfo(before.dtype).tiny))
    accepted = first | (jnp.isfinite(after) & jnp.all(jnp.isfinite(jacobian)) & (after < before))
    lowered = state.damping * jnp.where(first, 1.0, jnp.maximum(1.0 / 3.0, 1.0 - (2.0 * gain - 1.0) ** 3))

    def chosen(new: Any, old: Any) -> Any:
        return jnp.where(accepted, new, old)

    theta, residuals, jacobian = chosen(state.trial, state.theta), chosen(residuals, state.residuals), chosen(jacobian, state.jacobian)
    damping = chosen(jnp.maximum(lowered, 1e-14), state.damping * state.growth)
    columns = jnp.maximum(state.columns, jnp.hypot(jnp.linalg.norm(jacobian, axis=0), problem.pull))
    scale = jnp.maximum(columns, FLOOR * jnp.max(columns))
    scale = jnp.where(scale > 0, scale, 1.0)
    step = _damped_step(residuals, jacobian, jnp.sqrt(damping) * scale, problem.pull, theta - problem.home)
    value = problem.value(residuals, theta)
    predicted = value - problem.value(residuals + jacobian @ step, theta + step)
    small = jnp.linalg.norm(scale * step) <= tolerance * (jnp.linalg.norm(scale * theta) + tolerance)
    return State(
        theta,
        residuals,
        jacobian,
        theta + step,
        predicted,
        damping,
        chosen(jnp.asarray(2.0, value.dtype), 2.0 * state.growth),
        columns,
        state.step + 1,
        small | (predicted <= tolerance * value),
    )


def _damped_step(residuals: Array, jacobian: Array, diagonal: Array, pull: float, distance: Array) -> Array:
    """The least-squares solution of `J s = -r` with `diagonal s = 0` and `pull s = -pull distance` below it.

    In the units of the two diagonals, and from their own solution on, that is `A z = -r` above `z = 0`: an orthogonal factorisation of
    the rows, or, where these are fewer than the columns, of the columns of [A I], whose least-norm solution has the same z.
    """
    unit = jnp.hypot(diagonal, pull)
    without = -distance * (pull / unit) ** 2
    scaled, right = jacobian / unit[None, :], -(residuals + jacobian @ without)
    rows, columns = scaled.shape
    if rows >= columns:
        orthogonal, triangular = jnp.linalg.qr(jnp.concatenate([scaled, jnp.eye(columns, dtype=scaled.dtype)]))
        found = jax.scipy.linalg.solve_triangular(triangular, orthogonal[:rows].T @ right)
    else:
        orthogonal, triangular = jnp.linalg.qr(jnp.concatenate([scaled.T, jnp.eye(rows, dtype=scaled.dtype)]))
        found = orthogonal[:columns] @ jax.scipy.linalg.solve_triangular(triangular, right, trans=1)
    return without + found / unit


def _half_square(residuals: Array) -> Array:
    return 0.5 * jnp.vdot(residuals, residuals)
