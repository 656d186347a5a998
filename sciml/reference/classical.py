"""The classical solver that suits a problem as it stands: what a solution is compared with where nobody said anything better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax

from sciml.domain import TIME
from sciml.errors import ProblemError
from sciml.reference.grid import Reference
from sciml.reference.method_of_lines import DEFAULT_POINTS as LINES_POINTS
from sciml.reference.method_of_lines import FEWEST_POINTS, method_of_lines, on_cpu
from sciml.reference.semidiscrete import Semidiscrete
from sciml.reference.steady import DEFAULT_POINTS as STEADY_POINTS
from sciml.reference.steady import relaxation, steady_collocation

if TYPE_CHECKING:
    import numpy as np

    from sciml.problem import Problem

GOOD = 1e-8
"""Estimated error at which a classical solver counts as having solved a problem."""

DOUBLINGS = {1: 2, 2: 1}
"""How often the nodes may be doubled, by the number of space dimensions: the costs grow with their powers."""

MOST_STEPS = 10_000
"""In time. A solver that nobody asked for may take seconds, not hours."""


def solver_name(problem: Problem) -> str:
    """What `classical` solves the problem with."""
    return "method_of_lines" if problem.domain.has_time else "collocation"


def classical(problem: Problem, grid: Mapping[str, np.ndarray] | None = None) -> Reference:
    """Solve a problem by collocation, with the method of lines in time, to an estimated error of `GOOD` if that is to be had.

    The number of nodes begins at the solver's default and is doubled at most `DOUBLINGS` times; `seconds` are those of the last solve.
    `grid` is as for `method_of_lines`. Raises `ProblemError` for what these solvers cannot solve.
    """
    check_classical(problem)
    space = sum(name != TIME for name in problem.domain.coordinates)
    points = (LINES_POINTS if problem.domain.has_time else STEADY_POINTS).get(space, FEWEST_POINTS)
    solved, failure = None, None
    for doubling in range(DOUBLINGS.get(space, 0) + 1):
        try:
            solved = _solve(problem, points * 2**doubling, grid)
        except ProblemError as error:  # too few nodes, it may be
            failure = error
        else:
            if solved.estimated_error <= GOOD:
                break
    if solved is None:
        assert failure is not None
        raise failure
    return solved


def check_classical(problem: Problem) -> None:
    """Raises `ProblemError` for a problem of a kind that `classical` cannot solve, without solving it."""
    with jax.enable_x64(True), on_cpu():
        Semidiscrete(problem if problem.domain.has_time else relaxation(problem), FEWEST_POINTS).check()


def _solve(problem: Problem, points: int, grid: Mapping[str, np.ndarray] | None) -> Reference:
    try:
        if problem.domain.has_time:
            return method_of_lines(problem, points, grid=grid, most_steps=MOST_STEPS)
        return steady_collocation(problem, points, grid=grid)
    except ProblemError:
        raise
    except Exception as error:  # a singular Jacobian, say: no comparison is worth the run that it was for
        raise ProblemError(f"{solver_name(problem)} for {problem.name} fails: {type(error).__name__}: {error}") from error
