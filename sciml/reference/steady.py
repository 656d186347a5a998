"""The classical solver of problems without time: collocation in space and Newton's method."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sciml.conditions import Condition, Initial
from sciml.domain import TIME, Box
from sciml.errors import ProblemError
from sciml.problem import Argument, Derivative, Problem, conditions_of, residual_parts
from sciml.reference.grid import Reference, relative_l2, uniform_grid
from sciml.reference.initial_boundary import mistakes_of_equation, refuse
from sciml.reference.method_of_lines import FEWEST_POINTS
from sciml.reference.semidiscrete import Semidiscrete

DEFAULT_POINTS = {1: 64, 2: 24}
NEWTON_STEPS = 50
NEWTON_TOLERANCE = 1e-11
"""Relative size of the last step."""


def steady_collocation(
    problem: Problem, points: int | None = None, grid: Mapping[str, np.ndarray] | None = None, patience: float = math.inf
) -> Reference:
    """Solve a problem without time in one or two coordinates by collocation at `points` nodes per coordinate.

    Chebyshev nodes, Fourier where a coordinate is periodic (Trefethen 2000, Spectral Methods in MATLAB, chapters 7 and 9); Newton's
    method from zero with the exact Jacobian. The result is interpolated to the coordinates `grid`, or to the grid of
    `exact_reference`. The estimated error is the difference to a solve with three quarters of the points; `seconds` is the fine solve
    alone, without compilation. Of several solutions of a nonlinear equation it finds the one that Newton's method comes to.

    Raises `ProblemError`, naming every reason, for a problem that it cannot solve, and where Newton's method does not converge, or not
    within `patience` seconds.
    """
    deadline = time.perf_counter() + patience
    if points is None:
        points = DEFAULT_POINTS.get(problem.domain.dimension, FEWEST_POINTS)
    if points < FEWEST_POINTS:
        raise ProblemError(f"steady_collocation needs points >= {FEWEST_POINTS}, not {points}")
    grid = uniform_grid(problem.domain.intervals) if grid is None else dict(grid)
    with jax.enable_x64(True):
        fine, seconds = _solve(problem, points, grid, deadline)
        coarse, _ = _solve(problem, max(FEWEST_POINTS, 3 * points // 4), grid, deadline)
    return Reference("collocation", grid, fine, relative_l2(fine, coarse) + float(np.finfo(np.float64).eps), seconds)


def _solve(problem: Problem, points: int, grid: Mapping[str, np.ndarray], deadline: float) -> tuple[dict[str, np.ndarray], float]:
    equations = Semidiscrete(relaxation(problem), points)
    equations.check()
    rate = jax.jit(lambda y: equations.rate(0.0, y))
    jacobian = jax.jit(jax.jacfwd(lambda y: equations.rate(0.0, y)))
    state = equations.initial_state()
    jax.block_until_ready((rate(state), jacobian(state)))
    start = time.perf_counter()
    step = np.full_like(state, np.inf)
    for _ in range(NEWTON_STEPS):
        if time.perf_counter() > deadline:
            raise ProblemError(f"steady_collocation for {problem.name}: Newton's method has not converged in the time that it had")
        step = np.linalg.solve(np.asarray(jacobian(state)), np.asarray(rate(state)))
        state = state - step
        if not np.isfinite(step).all() or np.linalg.norm(step) <= NEWTON_TOLERANCE * np.linalg.norm(state):
            break
    if not np.linalg.norm(step) <= NEWTON_TOLERANCE * np.linalg.norm(state):
        raise ProblemError(f"steady_collocation for {problem.name}: Newton's method has not converged in {NEWTON_STEPS} steps from zero")
    seconds = time.perf_counter() - start
    fields = equations.on_grid(state[None], {TIME: np.zeros(1), **grid})
    return {name: values[0] for name, values in fields.items()}, seconds


def relaxation(problem: Problem) -> Problem:
    """The problem whose fields change in time as fast as the equation is violated: `u_t + residual = 0`, from zero.

    Where it rests, the equation holds. Raises `Unsuitable` for a problem that has time already, or another reason not to be solved so.
    """
    domain, mistakes = problem.domain, mistakes_of_equation(problem)
    if domain.has_time:
        mistakes.append(f"{domain} has time; use method_of_lines")
    if domain.dimension > 2:
        mistakes.append(f"{domain} has {domain.dimension} coordinates; at most two are supported")
    refuse(mistakes, problem)

    class Relaxation(Problem):
        domain = Box(**{TIME: (0.0, 1.0)}, **problem.domain.intervals)
        fields = problem.field_names

        @cached_property
        def arguments(self) -> tuple[Argument, ...]:
            own = tuple(each if isinstance(each, str) else _later(each) for each in problem.arguments)
            return (*own, *(Derivative(name, (0,)) for name in problem.field_names))

        def equation(self, *given: Any) -> tuple[Any, ...]:
            found = problem.equation(*given[: len(problem.arguments)])  # type: ignore[attr-defined]
            rates = given[len(problem.arguments) :]
            return tuple(rate + jnp.asarray(part) for rate, part in zip(rates, residual_parts(found), strict=True))

        def conditions(self) -> Sequence[Condition]:
            return [*conditions_of(problem), *(Initial(0.0, of=name) for name in problem.field_names)]

    Relaxation.__name__ = type(problem).__name__
    return Relaxation()


def _later(each: Derivative) -> Derivative:
    """The same derivative where time has become the first coordinate."""
    return Derivative(each.field, tuple(axis + 1 for axis in each.index))
