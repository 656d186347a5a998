"""What a classical solver reaches on the same problem, and in what time: printed beside every result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sciml.errors import ProblemError
from sciml.reference.grid import Reference, relative_l2
from sciml.reference.method_of_lines import DEFAULT_POINTS, method_of_lines

if TYPE_CHECKING:
    from sciml.problem import Problem

GOOD = 1e-8
"""Estimated error at which a classical solver counts as having solved a problem."""

DOUBLINGS = {0: 0, 1: 2, 2: 1}
"""How often the nodes may be doubled, by the number of space dimensions: the costs grow with their powers."""


def baselines(problem: Problem, reference: Reference | None) -> dict[str, dict[str, Any]]:
    """Error against `reference` and seconds of the method of lines; where it cannot solve the problem, `reason` says why.

    A reference that is itself a classical solver's needs no second one. The number of nodes is doubled until the solver's own
    estimate of its error is below `GOOD`, at most `DOUBLINGS` times; the seconds are those of the last solve.
    """
    if reference is None or reference.kind != "exact":
        return {}
    points = DEFAULT_POINTS.get(problem.domain.dimension - 1)
    try:
        solved = method_of_lines(problem, points, grid=reference.coordinates)
        for doubling in range(1, DOUBLINGS[problem.domain.dimension - 1] + 1):
            if solved.estimated_error <= GOOD or points is None:
                break
            solved = method_of_lines(problem, points * 2**doubling, grid=reference.coordinates)
    except ProblemError as error:
        return {"method_of_lines": {"rel_l2": None, "seconds": None, "reason": str(error)}}
    return {"method_of_lines": {"rel_l2": relative_l2(reference.fields, solved.fields), "seconds": solved.seconds, "reason": None}}
