"""What a classical solver reaches on the same problem, and in what time: printed beside every result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sciml.domain import TIME
from sciml.errors import ProblemError
from sciml.reference.grid import Reference, observed, relative_l2
from sciml.reference.least_squares import least_squares
from sciml.reference.method_of_lines import DEFAULT_POINTS as method_of_lines_points
from sciml.reference.method_of_lines import FEWEST_POINTS, method_of_lines
from sciml.reference.steady import DEFAULT_POINTS as steady_points
from sciml.reference.steady import steady_collocation

if TYPE_CHECKING:
    from sciml.problem import Problem

GOOD = 1e-8
"""Estimated error at which a classical solver counts as having solved a problem."""

DOUBLINGS = {1: 2, 2: 1}
"""How often the nodes may be doubled, by the number of space dimensions: the costs grow with their powers."""


def baselines(problem: Problem, reference: Reference | None) -> dict[str, dict[str, Any]]:
    """Error against `reference` and seconds of collocation, with the method of lines in time; `reason` says why where it fails.

    A reference that is itself a classical solver's needs no second one. The number of nodes is doubled until the solver's own
    estimate of its error is below `GOOD`, at most `DOUBLINGS` times; the seconds are those of the last solve.

    Unknown coefficients are fitted to the data through the method of lines: `unknowns` holds them as a result does, and the error
    is that of the solution with them.
    """
    if problem.unknowns:
        return {"least_squares": _fitted(problem, reference)}
    if reference is None or reference.kind != "exact":
        return {}
    name, solve, points = _solver(problem)
    try:
        solved = solve(problem, points, grid=reference.coordinates)
        for doubling in range(1, DOUBLINGS.get(len(_space(problem)), 0) + 1):
            if solved.estimated_error > GOOD:
                solved = solve(problem, points * 2**doubling, grid=reference.coordinates)
    except (ProblemError, np.linalg.LinAlgError, ArithmeticError, ValueError) as error:  # a singular Jacobian, say: then it cannot solve it
        return {name: {"rel_l2": None, "seconds": None, "reason": str(error)}}
    return {name: {"rel_l2": relative_l2(reference.fields, observed(problem, solved.fields)), "seconds": solved.seconds, "reason": None}}


def _fitted(problem: Problem, reference: Reference | None) -> dict[str, Any]:
    try:
        fit = least_squares(problem)
        error = None
        if reference is not None:
            error = relative_l2(reference.fields, observed(problem, method_of_lines(fit.problem, grid=reference.coordinates).fields))
    except ProblemError as error:
        return {"rel_l2": None, "seconds": None, "reason": str(error)}
    return {"rel_l2": error, "seconds": fit.seconds, "reason": None, "unknowns": fit.unknowns}


def _solver(problem: Problem) -> tuple[str, Any, int]:
    """The solver that suits, its name and the nodes to begin with."""
    if problem.domain.has_time:
        return "method_of_lines", method_of_lines, method_of_lines_points.get(len(_space(problem)), FEWEST_POINTS)
    return "collocation", steady_collocation, steady_points.get(len(_space(problem)), FEWEST_POINTS)


def _space(problem: Problem) -> list[str]:
    return [name for name in problem.domain.coordinates if name != TIME]
