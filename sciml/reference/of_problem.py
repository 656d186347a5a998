"""What the errors of a problem are measured by: its own reference, its exact solution, or what a classical solver finds."""

from __future__ import annotations

import dataclasses
from typing import Any

from sciml.errors import CONVERGED, ProblemError, ScimlError
from sciml.problem import Problem, failing_line
from sciml.reference.classical import classical, solver_name
from sciml.reference.grid import Reference, exact_reference, observed
from sciml.reference.initial_boundary import Unsuitable


def problem_reference(problem: Problem, compare: bool = True) -> Reference | str:
    """What errors are measured by: the problem's own reference, its exact solution on a grid, or, to `compare`, a classical solution.

    In words why, where there is none. Raises `ProblemError` where the problem's own fails.
    """
    if hasattr(problem, "reference"):
        own: Any = problem.reference  # type: ignore[attr-defined]
        try:
            found = own()
        except ScimlError:
            raise
        except Exception as error:
            line = failing_line(error, own)
            raise ProblemError(f"reference of {problem.name} fails{line}: {type(error).__name__}: {error}") from error
        if found is None:
            return f"`reference` of {problem.name} returns None"
        _check_reference(problem, found)
        return found
    if hasattr(problem, "exact"):
        return exact_reference(problem, problem.domain.intervals, problem.field_names)
    lacking = f"{problem.name} has no `exact` and no `reference`, and"
    if problem.unknowns:
        return f"{lacking} no classical solver finds its unknown coefficients without a fit"
    if not compare:
        return f"{lacking} no classical solver was tried (execution.report = false)"
    try:
        found = classical(problem)
    except Unsuitable as error:
        return f"{lacking} no classical solver suits it: {'; '.join(error.mistakes)}"
    except ProblemError as error:
        return f"{lacking} {'; '.join(error.mistakes)}"
    if not found.estimated_error < CONVERGED:
        return f"{lacking} {solver_name(problem)} has not converged: its own estimate of its error is {found.estimated_error:.1g}"
    return dataclasses.replace(found, fields=observed(problem, found.fields))


def _check_reference(problem: Problem, reference: Any) -> None:
    """Raises `ProblemError` where a user's reference does not cover the problem's fields and coordinates, in the domain's order."""
    if not isinstance(reference, Reference):
        raise ProblemError(f"reference of {problem.name}: it returns a {type(reference).__name__}; write `return sciml.Reference(...)`")
    axes, fields = tuple(reference.coordinates), tuple(reference.fields)
    if axes != tuple(problem.domain.coordinates) or set(fields) != set(problem.observable_names):
        raise ProblemError(
            f"reference of {problem.name}: it gives {', '.join(fields)} over ({', '.join(axes)}); "
            f"needed are {', '.join(problem.observable_names)} over ({', '.join(problem.domain.coordinates)}), in this order"
        )
