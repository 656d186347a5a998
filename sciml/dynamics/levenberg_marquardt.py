"""Levenberg-Marquardt on residuals with a dense Jacobian; a trial that is not finite is a rejected one.

The loop and its linear algebra run on the host: compiling them took three times as long as compiling residuals and Jacobian (decision 055).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jax import Array
from jax.typing import ArrayLike
from scipy.linalg import solve_triangular

Linearise = Callable[[Any], tuple[ArrayLike, ArrayLike]]
"""Parameters `(P,)` to residuals `(N,)` and Jacobian `(N, P)`."""

FIRST_DAMPING = 1e-3
LEAST_DAMPING, LARGEST_DAMPING = 1e-14, 1e16
FLOOR = 1e-10
"""Smallest column norm of the Jacobian, relative to the largest, that counts as curvature."""


class Minimum(NamedTuple):
    """The best point, and what is known there."""

    theta: np.ndarray
    residuals: np.ndarray
    jacobian: np.ndarray
    steps: int
    """Evaluations of residuals and Jacobian."""
    converged: bool

    @property
    def value(self) -> float:
        """Half the sum of squared residuals, those of the pull to the start left out."""
        return _half_square(self.residuals)


def minimise(linearise: Linearise, theta: np.ndarray | Array, steps: int = 100, tolerance: float = 1e-9, pull: float = 0.0) -> Minimum:
    """Minimises half the sum of squared residuals from `theta`, in at most `steps` evaluations of residuals and Jacobian.

    `linearise`, compiled by the caller, gets parameters of the type of `theta`; the rest is computed in float64. Damping by Nielsen's
    rule (Madsen, Nielsen & Tingleff 2004, equation 2.21) on variables scaled by the columns of the Jacobian (Moré 1978). Converged is a
    step, or a predicted decrease of the sum of squares, that is relatively below `tolerance`. The distance from the start, times
    `pull`, counts as further residuals; so there may be fewer residuals than parameters.
    """
    dtype, home = theta.dtype, np.asarray(theta, np.float64)

    def at(point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        residuals, jacobian = linearise(point.astype(dtype))
        return np.asarray(residuals, np.float64), np.asarray(jacobian, np.float64)

    def value(residuals: np.ndarray, point: np.ndarray) -> float:
        return _half_square(residuals) + _half_square(pull * (point - home))

    point, (residuals, jacobian) = home, at(home)
    taken, damping, growth, columns = 1, FIRST_DAMPING, 2.0, np.zeros(home.size)
    while np.isfinite(residuals).all() and np.isfinite(jacobian).all():
        columns = np.maximum(columns, np.hypot(np.linalg.norm(jacobian, axis=0), pull))
        scale = np.maximum(columns, FLOOR * columns.max())
        scale[scale == 0] = 1.0
        step = _damped_step(residuals, jacobian, np.sqrt(damping) * scale, pull, point - home)
        before = value(residuals, point)
        predicted = before - value(residuals + jacobian @ step, point + step)
        small = np.linalg.norm(scale * step) <= tolerance * (np.linalg.norm(scale * point) + tolerance)
        if small or predicted <= tolerance * before:
            return Minimum(point, residuals, jacobian, taken, True)
        if taken >= steps or damping >= LARGEST_DAMPING:
            break
        trial = point + step
        new, slopes = at(trial)
        taken += 1
        after = value(new, trial)
        if np.isfinite(slopes).all() and after < before:
            gain = (before - after) / predicted
            point, residuals, jacobian = trial, new, slopes
            damping, growth = max(damping * max(1.0 / 3.0, 1.0 - (2.0 * gain - 1.0) ** 3), LEAST_DAMPING), 2.0
        else:
            damping, growth = damping * growth, 2.0 * growth
    return Minimum(point, residuals, jacobian, taken, False)


def _damped_step(residuals: np.ndarray, jacobian: np.ndarray, diagonal: np.ndarray, pull: float, distance: np.ndarray) -> np.ndarray:
    """The least-squares solution of `J s = -r` with `diagonal s = 0` and `pull s = -pull distance` below it.

    In the units of the two diagonals, and from their own solution on, that is `A z = -r` above `z = 0`: an orthogonal factorisation of
    the rows, or, where these are fewer than the columns, of the columns of [A I], whose least-norm solution has the same z.
    """
    unit = np.hypot(diagonal, pull)
    without = -distance * (pull / unit) ** 2
    scaled, right = jacobian / unit, -(residuals + jacobian @ without)
    rows, columns = scaled.shape
    if rows >= columns:
        orthogonal, triangular = np.linalg.qr(np.concatenate([scaled, np.eye(columns)]))
        found = solve_triangular(triangular, orthogonal[:rows].T @ right)
    else:
        orthogonal, triangular = np.linalg.qr(np.concatenate([scaled.T, np.eye(rows)]))
        found = orthogonal[:columns] @ solve_triangular(triangular, right, trans=1)
    return without + found / unit


def _half_square(residuals: np.ndarray) -> float:
    with np.errstate(over="ignore"):
        return 0.5 * float(residuals @ residuals)
