"""What a classical solver needs to know of a problem: initial and boundary values, and every reason why it cannot solve it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jax import Array

from sciml.conditions import Dirichlet, Initial, Periodic, Robin, value_of
from sciml.domain import TIME
from sciml.errors import ProblemError
from sciml.problem import Derivative, Problem, conditions_of

Target = Callable[[Array], Array]
Focus = Mapping[str, tuple[float, float]]


class Unsuitable(ProblemError):
    """A problem of a kind that a classical solver cannot solve, with however many nodes."""


class Boundary(NamedTuple):
    """`a u + b du/dn = target` for one field on one face."""

    a: float
    b: float
    target: Target


class InitialBoundaryValues(NamedTuple):
    """Initial values by what they prescribe, boundary conditions by (field, face), and the periodic coordinates."""

    starts: dict[Derivative, Target]
    boundaries: dict[tuple[str, str], Boundary]
    periodic: set[str]


def read_conditions(problem: Problem, focus: Focus) -> InitialBoundaryValues:
    """The problem's conditions, sorted. Raises `ProblemError` with every reason why they are not what a solver needs."""
    refuse(_mistakes_of_kind(problem), problem)
    given = _sorted_conditions(problem)
    refuse([*_mistakes_of_completeness(problem, given), *_mistakes_of_focus(problem, focus, given.periodic)], problem)
    return given


def time_order(problem: Problem, field: str) -> int:
    """The highest time derivative of `field` that the equation names."""
    time_axis = problem.domain.axis(TIME)
    return max((need.index.count(time_axis) for need in problem.needs if need.field == field), default=0)


def refuse(mistakes: list[str], problem: Problem) -> None:
    """Raises `Unsuitable` where there are mistakes."""
    if mistakes:
        raise Unsuitable(mistakes, source=f"a classical solver for {problem.name}")


def mistakes_of_equation(problem: Problem) -> list[str]:
    """Why an equation by itself has no single solution: coefficients that are unknown, or another number of equations than of fields."""
    mistakes = []
    if problem.unknowns:
        mistakes.append(f"coefficients are unknown ({', '.join(problem.unknowns)}); give them values")
    if len(problem.residual_names) != len(problem.field_names):
        mistakes.append(f"{len(problem.residual_names)} equation(s) for {len(problem.field_names)} field(s)")
    return mistakes


def _mistakes_of_kind(problem: Problem) -> list[str]:
    domain = problem.domain
    if not domain.has_time:
        return [f"{domain} has no time; there is nothing to integrate"]
    mistakes = mistakes_of_equation(problem)
    if domain.dimension > 3:
        mistakes.append(f"{domain} has {domain.dimension - 1} space coordinates; at most two are supported")
    mistakes += _mistakes_of_derivatives(problem)
    allowed = (Initial, Dirichlet, Robin, Periodic)
    strange = dict.fromkeys(type(each).__name__ for each in conditions_of(problem) if not isinstance(each, allowed))
    return mistakes + [f"a condition of the kind {name} has no place in a classical solver" for name in strange]


def _mistakes_of_derivatives(problem: Problem) -> list[str]:
    time_axis = problem.domain.axis(TIME)
    orders = {name: time_order(problem, name) for name in problem.field_names}
    mistakes = []
    if set(orders.values()) not in ({1}, {2}):
        found = ", ".join(f"{name}: {order}" for name, order in orders.items())
        mistakes.append(f"every field needs the same order 1 or 2 in time (found {found})")
    if any(time_axis in need.index and set(need.index) != {time_axis} for need in problem.needs):
        mistakes.append("a derivative mixes time and space")
    return mistakes


def _sorted_conditions(problem: Problem) -> InitialBoundaryValues:
    starts: dict[Derivative, Target] = {}
    boundaries: dict[tuple[str, str], Boundary] = {}
    periodic: set[str] = set()
    for condition in conditions_of(problem):
        if isinstance(condition, Periodic):
            periodic |= {face.coordinate for face in problem.domain.faces(condition.on)}
        elif isinstance(condition, Initial):
            wanted = condition.derivatives(problem)
            for position, each in enumerate(wanted):
                starts[each] = value_of(problem, condition.value, position, len(wanted), f"Initial({each.field})")
        elif isinstance(condition, Dirichlet | Robin):
            a, b = (condition.a, condition.b) if isinstance(condition, Robin) else (1.0, 0.0)
            names = problem.field_names if condition.of is None else (condition.of,)
            for face in problem.domain.faces(condition.on):
                for position, name in enumerate(names):
                    target = value_of(problem, condition.value, position, len(names), f"condition on {face.name}")
                    boundaries[name, face.name] = Boundary(a, b, target)
    return InitialBoundaryValues(starts, boundaries, periodic)


def _mistakes_of_focus(problem: Problem, focus: Focus, periodic: set[str]) -> list[str]:
    mistakes = []
    for name, (centre, width) in focus.items():
        lower, upper = problem.domain.intervals.get(name, (np.inf, -np.inf))
        if name in {TIME, *periodic} or not (lower <= centre <= upper and width > 0):
            mistakes.append(f"focus on {name} = {centre:g}, width {width:g}: name a coordinate with faces and a place inside")
    return mistakes


def _mistakes_of_completeness(problem: Problem, given: InitialBoundaryValues) -> list[str]:
    mistakes = []
    time_axis = problem.domain.axis(TIME)
    for name in problem.field_names:
        orders = range(time_order(problem, name))
        missing = [order for order in orders if Derivative(name, (time_axis,) * order) not in given.starts]
        mistakes += [f"no Initial for {name}{'_t' if order else ''}" for order in missing]
    for coordinate in problem.domain.coordinates:
        if coordinate == TIME or coordinate in given.periodic:
            continue
        axis = problem.domain.axis(coordinate)
        if max((need.index.count(axis) for need in problem.needs), default=0) > 2:
            mistakes.append(f"derivatives of order three and more along '{coordinate}' are supported where it is periodic")
        faces = problem.domain.faces(coordinate)
        lacking = [f"{name} on {face.name}" for name in problem.field_names for face in faces if (name, face.name) not in given.boundaries]
        mistakes += [f"no boundary condition for {text}" for text in lacking]
    return mistakes
