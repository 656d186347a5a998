"""The classical solver that suits a problem as it stands: what a solution is compared with where nobody said anything better."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sciml.domain import TIME
from sciml.errors import ProblemError
from sciml.reference.grid import Reference
from sciml.reference.initial_boundary import Unsuitable
from sciml.reference.method_of_lines import DEFAULT_POINTS as LINES_POINTS
from sciml.reference.method_of_lines import FEWEST_POINTS, method_of_lines
from sciml.reference.steady import DEFAULT_POINTS as STEADY_POINTS
from sciml.reference.steady import steady_collocation

if TYPE_CHECKING:
    import numpy as np

    from sciml.problem import Problem

GOOD = 1e-8
"""Estimated error at which a classical solver counts as having solved a problem."""

DOUBLINGS = {1: 2, 2: 1}
"""How often the nodes may be doubled, by the number of space dimensions: the costs grow with their powers."""

PATIENCE = 120.0
"""Seconds for all solves together: nobody asked for them."""


def solver_name(problem: Problem) -> str:
    """What `classical` solves the problem with."""
    return "method_of_lines" if problem.domain.has_time else "collocation"


def classical(problem: Problem, grid: Mapping[str, np.ndarray] | None = None) -> Reference:
    """Solve a problem by collocation, with the method of lines in time, to an estimated error of `GOOD` if that is to be had.

    The number of nodes begins at the solver's default and is doubled at most `DOUBLINGS` times, while `PATIENCE` lasts; what is
    returned is the solve with the least estimate, which may be large. `grid` is as for `method_of_lines`. Of several solutions of a
    steady nonlinear equation it is the one that Newton's method finds from zero. Raises `ProblemError` for what these solvers
    cannot solve.
    """
    space = sum(name != TIME for name in problem.domain.coordinates)
    points = (LINES_POINTS if problem.domain.has_time else STEADY_POINTS).get(space, FEWEST_POINTS)
    deadline, solved, failure = time.perf_counter() + PATIENCE, [], None
    for doubling in range(DOUBLINGS.get(space, 0) + 1):
        try:
            solved.append(_solve(problem, points * 2**doubling, grid, deadline - time.perf_counter()))
        except Unsuitable:
            raise
        except ProblemError as error:  # too few nodes, it may be
            failure = error
        if any(each.estimated_error <= GOOD for each in solved) or time.perf_counter() > deadline:
            break
    if not solved:
        raise failure or AssertionError
    return min(solved, key=lambda each: each.estimated_error)


def _solve(problem: Problem, points: int, grid: Mapping[str, np.ndarray] | None, patience: float) -> Reference:
    solve = method_of_lines if problem.domain.has_time else steady_collocation
    try:
        return solve(problem, points, grid=grid, patience=patience)
    except ProblemError:
        raise
    except Exception as error:  # a singular Jacobian, say: no comparison is worth the run that it was for
        raise ProblemError(f"{solver_name(problem)} for {problem.name} fails: {type(error).__name__}: {error}") from error
