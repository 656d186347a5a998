"""The classical solver that a trained network is compared with: collocation in space, an adaptive integrator in time."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import jax
import numpy as np

from sciml.domain import TIME
from sciml.errors import ProblemError
from sciml.problem import Problem
from sciml.reference.grid import Reference, relative_l2, uniform_grid
from sciml.reference.initial_boundary import Focus
from sciml.reference.semidiscrete import Semidiscrete

if TYPE_CHECKING:
    from scipy.integrate import DOP853, Radau

DEFAULT_POINTS = {1: 64, 2: 16}
FEWEST_POINTS = 6
STIFF = 3000.0
"""Spectral radius times duration from which on an implicit integrator costs less than the explicit one."""


def method_of_lines(
    problem: Problem,
    points: int | None = None,
    tolerance: float = 1e-9,
    grid: Mapping[str, np.ndarray] | None = None,
    focus: Focus | None = None,
    patience: float = math.inf,
) -> Reference:
    """Solve a time-dependent problem in at most two space dimensions by collocation at `points` nodes per space coordinate.

    Chebyshev nodes, Fourier where a coordinate is periodic; in time the explicit DOP853, or for stiff equations of first
    order Radau IIA of order 5 with the exact Jacobian, with the relative tolerance `tolerance` per step. The result is
    interpolated to the coordinates `grid`, of which the times begin at the start, or to the grid of `exact_reference`.
    `focus = {"x": (centre, width)}` draws the nodes of a coordinate together around a thin front, which otherwise takes
    many points.

    The estimated error is the difference to a solve with three quarters of the points and ten times the tolerance: what
    the coarse solve lacks, an upper bound for the fine one once both resolve the solution. `seconds` is the fine solve
    alone, without compilation.

    Raises `ProblemError`, naming every reason, for a problem that it cannot solve: no time, unknown coefficients, data or
    integral conditions, a field without initial or boundary values, an equation that is not linear in its highest time
    derivative, mixed derivatives of time and space. Also where the integrator fails, or has not come to the end after `patience` seconds.
    """
    deadline = time.perf_counter() + patience
    if points is None:
        points = DEFAULT_POINTS.get(problem.domain.dimension - 1, FEWEST_POINTS)
    if points < FEWEST_POINTS or not 0 < tolerance < 1:
        raise ProblemError(f"method_of_lines needs points >= {FEWEST_POINTS} and 0 < tolerance < 1, not {points} and {tolerance:g}")
    with jax.enable_x64(True), on_cpu():
        Semidiscrete(problem, FEWEST_POINTS).check()
        grid = _checked(grid, problem)
        fine, seconds = _solve(problem, points, tolerance, grid, focus, deadline)
        coarse, _ = _solve(problem, max(FEWEST_POINTS, 3 * points // 4), 10 * tolerance, grid, focus, deadline)
    error = relative_l2(fine, coarse) + float(np.finfo(np.float64).eps)
    return Reference("method_of_lines", grid, fine, error, seconds)


def _checked(grid: Mapping[str, np.ndarray] | None, problem: Problem) -> dict[str, np.ndarray]:
    intervals = problem.domain.intervals
    if grid is None:
        return uniform_grid(intervals)
    if tuple(grid) != problem.domain.coordinates or grid[TIME][0] != intervals[TIME][0]:
        raise ProblemError(f"the grid needs {', '.join(intervals)}, in this order, with times from {intervals[TIME][0]:g} on")
    return dict(grid)


def _solve(
    problem: Problem, points: int, tolerance: float, grid: Mapping[str, np.ndarray], focus: Focus | None, deadline: float
) -> tuple[dict[str, np.ndarray], float]:
    equations = Semidiscrete(problem, points, focus)
    rate = jax.jit(equations.rate)
    jacobian = jax.jit(jax.jacfwd(equations.rate, argnums=1))
    times, state = grid[TIME], equations.initial_state()
    rate(times[0], state).block_until_ready()
    stiff = _spectral_radius(np.asarray(jacobian(times[0], state))) * (times[-1] - times[0]) > STIFF

    def rate_of(t: float, y: np.ndarray) -> np.ndarray:
        return np.asarray(rate(t, y))

    def jacobian_of(t: float, y: np.ndarray) -> np.ndarray:
        return np.asarray(jacobian(t, y))

    from scipy.integrate import DOP853, Radau

    start = time.perf_counter()
    first, last, smallest = times[0], times[-1], 0.01 * tolerance
    if stiff and equations.order == 1:
        solver: Radau | DOP853 = Radau(rate_of, first, state, last, rtol=tolerance, atol=smallest, jac=jacobian_of)
    else:
        solver = DOP853(rate_of, first, state, last, rtol=tolerance, atol=smallest)
    with np.errstate(invalid="ignore", over="ignore"):  # a trial step too long is rejected
        states = [state, *(_advance(solver, t, deadline) for t in times[1:])]
    seconds = time.perf_counter() - start
    return equations.on_grid(np.stack(states), grid), seconds


def _spectral_radius(matrix: np.ndarray, iterations: int = 50) -> float:
    """An estimate of the largest absolute eigenvalue, as the mean growth of a vector under repeated multiplication."""
    vector = np.random.default_rng(0).standard_normal(len(matrix))
    growth = []
    for _ in range(iterations):
        vector = matrix @ (vector / np.linalg.norm(vector))
        growth.append(np.linalg.norm(vector))
    return float(np.exp(np.mean(np.log(np.maximum(growth[iterations // 2 :], 1e-300)))))


def _advance(solver: Radau | DOP853, until: float, deadline: float) -> np.ndarray:
    """Steps that land on `until` exactly: the interpolation between steps is of lower order than the steps."""
    solver.t_bound = until
    solver.status = "running"
    message: str | None = None
    while solver.status == "running":
        if time.perf_counter() > deadline:
            raise ProblemError(f"method_of_lines has come no further than {TIME} = {solver.t:g} in the time that it had")
        message = solver.step()
    if solver.status == "failed":
        raise ProblemError(f"method_of_lines stopped at {TIME} = {solver.t:g}: {message} More points may help.")
    return solver.y.copy()


def on_cpu() -> AbstractContextManager[object]:
    """Thousands of small steps are faster on the host, where there is one to compute on."""
    try:
        return jax.default_device(jax.devices("cpu")[0])
    except RuntimeError:
        return nullcontext()
