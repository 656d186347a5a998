"""What a classical solver reaches on the same problem, and in what time: printed beside every result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sciml.errors import ProblemError
from sciml.reference.grid import Reference, relative_l2
from sciml.reference.method_of_lines import method_of_lines

if TYPE_CHECKING:
    from sciml.problem import Problem


def baselines(problem: Problem, reference: Reference | None) -> dict[str, dict[str, Any]]:
    """Error against `reference` and seconds of the method of lines; where it cannot solve the problem, `reason` says why.

    A reference that is itself a classical solver's needs no second one.
    """
    if reference is None or reference.kind != "exact":
        return {}
    try:
        solved = method_of_lines(problem, grid=reference.coordinates)
    except ProblemError as error:
        return {"method_of_lines": {"rel_l2": None, "seconds": None, "reason": str(error)}}
    return {"method_of_lines": {"rel_l2": relative_l2(reference.fields, solved.fields), "seconds": solved.seconds, "reason": None}}
