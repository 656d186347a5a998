"""What a classical solver reaches on the same problem, and in what time: printed beside every result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sciml.errors import ProblemError
from sciml.reference.classical import classical, solver_name
from sciml.reference.grid import Reference, observed, relative_l2
from sciml.reference.least_squares import least_squares
from sciml.reference.method_of_lines import method_of_lines

if TYPE_CHECKING:
    from sciml.problem import Problem


def baselines(problem: Problem, reference: Reference | None) -> dict[str, dict[str, Any]]:
    """Error against `reference` and seconds of `classical`; `reason` says why where it fails.

    A reference that is itself a classical solver's needs no second one.

    Unknown coefficients are fitted to the data through the method of lines: `unknowns` holds them as a result does, and the error
    is that of the solution with them.
    """
    if problem.unknowns:
        return {"least_squares": _fitted(problem, reference)}
    if reference is None or reference.kind != "exact":
        return {}
    try:
        solved = classical(problem, reference.coordinates)
    except ProblemError as error:
        return {solver_name(problem): _failed(str(error))}
    error = relative_l2(reference.fields, observed(problem, solved.fields))
    return {solver_name(problem): {"rel_l2": error, "seconds": solved.seconds, "reason": None}}


def _failed(reason: str) -> dict[str, Any]:
    return {"rel_l2": None, "seconds": None, "reason": reason}


def _fitted(problem: Problem, reference: Reference | None) -> dict[str, Any]:
    try:
        fit = least_squares(problem)
        error = None
        if reference is not None:
            error = relative_l2(reference.fields, observed(problem, method_of_lines(fit.problem, grid=reference.coordinates).fields))
    except ProblemError as error:
        return _failed(str(error))
    return {"rel_l2": error, "seconds": fit.seconds, "reason": None, "unknowns": fit.unknowns}
