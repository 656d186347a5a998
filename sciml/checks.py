"""What can be found wrong with a problem before anything is trained."""

from __future__ import annotations

import os
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.conditions import Condition, Dirichlet, Initial, Periodic, Robin, Term, equation_term
from sciml.device import random_key
from sciml.domain import TIME, Box
from sciml.errors import ProblemError
from sciml.objective import Objective
from sciml.problem import Problem, conditions_of
from sciml.sampling import shifted, sobol_integers
from sciml.settings import Broyden, Phase

_KNOWN = (Initial, Dirichlet, Robin, Periodic)
_TOLERANCE = 1e-8


def check_conditions(problem: Problem) -> None:
    """Raises `ProblemError` for conditions that do not fit the problem, and if a field lacks an initial or boundary condition that the
    equation's order calls for.

    Problems with data or with conditions of the user's own are taken as complete.
    """
    conditions = conditions_of(problem)
    terms_of(problem, conditions)
    if any(not isinstance(condition, _KNOWN) for condition in conditions):
        return
    mistakes = [
        text
        for name in problem.field_names
        for axis in range(problem.domain.dimension)
        if (text := _missing(problem, conditions, name, axis))
    ]
    if mistakes:
        raise ProblemError(mistakes, f"conditions of {problem.name}")


def terms_of(problem: Problem, conditions: Sequence[Condition]) -> list[Term]:
    """The loss terms of all conditions. Raises `ProblemError` that lists what is wrong with each condition."""
    terms, mistakes = [], []
    for number, condition in enumerate(conditions, 1):
        try:
            terms += condition.terms(problem)
        except ProblemError as error:
            mistakes += [f"condition {number} ({_label(condition)}): {mistake}" for mistake in error.mistakes]
    if mistakes:
        raise ProblemError(mistakes, f"conditions of {problem.name}")
    return terms


def _missing(problem: Problem, conditions: Sequence[Condition], name: str, axis: int) -> str | None:
    coordinate = problem.domain.coordinates[axis]
    order = max((need.index.count(axis) for need in problem.needs if need.field == name), default=0)
    if coordinate == TIME:
        given = {
            len(each.index)
            for condition in conditions
            if isinstance(condition, Initial)
            for each in condition.derivatives(problem)
            if each.field == name
        }
        lacking = [derivative for derivative in range(min(order, 2)) if derivative not in given]
        if not lacking:
            return None
        of = f"{name}_{TIME}" if lacking[0] else name
        start = f"'{of}' at {TIME}={problem.domain.lower[axis]:g}"
        return f"{start} is not given, but the equation has {name}_{TIME * order}; add sciml.Initial(value, of='{of}')"
    faces = [
        face.side
        for condition in conditions
        if not isinstance(condition, Initial)
        for face in _faces(problem, condition, name)
        if face.axis == axis
    ]
    if order >= 2 and set(faces) != {-1, 1}:
        side = "" if not faces else "+" if -1 in faces else "-"
        return _unbounded(name, coordinate, side, order, side)
    if order == 1 and not faces:
        return _unbounded(name, coordinate, "", order, "-")
    return None


def _unbounded(name: str, coordinate: str, side: str, order: int, cure: str) -> str:
    return (
        f"'{name}' has no condition on the boundary '{coordinate}{side}', but the equation has {name}_{coordinate * order}; "
        f"add for example sciml.Dirichlet(0.0, on='{coordinate}{cure}')"
    )


def _faces(problem: Problem, condition: Condition, name: str) -> tuple:
    of = getattr(condition, "of", None)
    if of is not None and problem.derivative(of).field != name:
        return ()
    return problem.domain.faces(condition.on)  # type: ignore[attr-defined]


def check_hard_conditions(problem: Problem, hard: Sequence[Condition], objective: Objective) -> None:
    """Raises `ProblemError` if the ansatz violates one of the hard conditions: it then contradicts another one.

    Every hard condition's own residual is measured on the model, on points of its face that include the corners.
    """
    terms = [(condition, term) for condition in hard for term in condition.terms(problem)]
    measured = jax.jit(lambda theta: [_violation(objective, term, theta) for _, term in terms])(objective.start)
    tolerance = _TOLERANCE if objective.dtype == jnp.float64 else 1e-3
    mistakes = []
    for (condition, term), (residual, points, size) in zip(terms, measured, strict=True):
        finite = jnp.where(jnp.isfinite(residual), residual, jnp.inf)
        worst = int(jnp.argmax(finite >= 0.999 * jnp.max(finite)))  # the corners come first
        if not residual[worst] <= tolerance * (size if size > 0 else 1.0):
            mistakes.append(_contradiction(problem, hard, condition, term.name, np.asarray(points[worst]), float(residual[worst])))
    if mistakes:
        raise ProblemError(mistakes, f"conditions of {problem.name}")


def _violation(objective: Objective, term: Term, theta: Array) -> tuple[Array, Array, Array]:
    """Residual of a term on the model, the points, and the size that the residual is to be compared with."""
    inside = shifted(sobol_integers(64, term.dimension), random_key(0), objective.dtype)
    points = term.place(jnp.concatenate([_corners(term.dimension, objective.dtype), inside]))
    known = term.known(points)
    residual = jnp.abs(objective.term_residuals(theta, term, points, known)[0])
    inner = equation_term(objective.problem)
    fields = objective.evaluate_fields(theta, inner.place(shifted(sobol_integers(64, inner.dimension), random_key(1), objective.dtype))[0])
    size = jnp.max(jnp.stack([jnp.max(jnp.abs(value)) for value in (*known, fields)]))
    return residual, points[0], size


def _contradiction(problem: Problem, hard: Sequence[Condition], condition: Condition, name: str, point: np.ndarray, amount: float) -> str:
    others = [other for other in hard if other is not condition]
    touching = [other for other in others if _touches(problem, other, point)]
    against = f" contradicts {', '.join(map(_label, touching or others))}" if others else " cannot be met by the ansatz"
    return (
        f"the hard condition {_label(condition)} ({name}){against}: at {where(problem.domain, point)} it is violated by {amount:.3g}; "
        "correct the values, or make one of them a loss term with hard=False"
    )


def _label(condition: Condition) -> str:
    place = getattr(condition, "on", None)
    return type(condition).__name__ + (f" on '{place}'" if place else "")


def _touches(problem: Problem, condition: Condition, point: np.ndarray) -> bool:
    faces = [problem.domain.face(TIME, -1)] if isinstance(condition, Initial) else problem.domain.faces(condition.on)  # type: ignore[attr-defined]
    return any(abs(point[face.axis] - face.value) < 1e-6 * (1 + abs(face.value)) for face in faces)


def _corners(dimension: int, dtype) -> Array:
    grid = (
        np.stack(np.meshgrid(*[[0.0, 1.0]] * dimension, indexing="ij"), axis=-1).reshape(-1, dimension) if dimension else np.zeros((1, 0))
    )
    return jnp.asarray(grid, dtype)


def check_starts(objectives: Sequence[Objective], starts: Sequence[Array]) -> None:
    """Checks the initial parameters of one objective, or of several that differ in their seed alone.

    Raises `ProblemError` if a residual is not finite at one of them, saying which and where, or if the gradient is not.
    """
    measure = jax.jit(lambda instance, theta: _at_start(objectives[0].at(instance), theta))
    for objective, theta in zip(objectives, starts, strict=True):
        _check_start(objective, *measure(objective.instance, theta))


def _check_start(objective: Objective, drawn: Sequence[Array], found: Sequence[Array], gradient: Array) -> None:
    for term, points, array in zip(objective.terms, drawn, found, strict=True):
        residuals = np.asarray(array)
        bad = ~np.isfinite(residuals)
        if bad.any():
            component, place = np.argwhere(bad)[0]
            at = where(objective.problem.domain, np.asarray(points[0, place]))
            raise ProblemError(
                f"{term.components[component]} of {objective.problem.name} is not finite at the start "
                f"({residuals[component, place]} at {at}, and at {bad.any(axis=0).sum()} of {bad.shape[1]} points); "
                "look for a division by zero, a root or a logarithm of the untrained field"
            )

    if not bool(jnp.all(jnp.isfinite(gradient))):
        raise ProblemError(
            f"the residuals of {objective.problem.name} are finite at the start, but their gradient is not; "
            "look for a root, an absolute value or a power that is taken at zero"
        )


def _at_start(objective: Objective, theta: Array) -> tuple[tuple[Array, ...], list[Array], Array]:
    points = objective.draw(jax.random.fold_in(objective.key, 1 << 22))
    batch = objective.prepare(points)
    residuals = [objective.residuals(theta, number, blocks) for number, blocks in enumerate(batch)]
    return points, residuals, objective.value_and_gradient(theta, batch)[1]


def check_memory(phases: Sequence[Phase], parameters: int, bytes_each: int) -> None:
    """Raises `ProblemError` if a dense inverse Hessian does not fit into half of the machine's memory."""
    if not any(isinstance(phase, Broyden) for phase in phases):
        return
    needed, available = 3 * parameters**2 * bytes_each, memory_bytes()
    if needed > available / 2:
        raise ProblemError(
            f"a 'broyden' phase holds a dense matrix of {parameters} x {parameters} numbers: {needed / 2**30:.1f} GiB needed, "
            f"{available / 2**30:.1f} GiB in this machine; "
            'use kind = "lbfgs", or a smaller network (network.width, network.depth)'
        )


def memory_bytes() -> int:
    """Physical memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def where(domain: Box, point: np.ndarray) -> str:
    """A point as text, `(t=0, x=-1)`."""
    return "(" + ", ".join(f"{name}={value:.4g}" for name, value in zip(domain.coordinates, point.tolist(), strict=True)) + ")"
