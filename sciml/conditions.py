"""What must hold besides the equation: initial and boundary conditions, integral constraints; each becomes a Term."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.derivatives import MAXIMUM_ORDER, MultiIndex
from sciml.domain import TIME, Box, Face
from sciml.errors import ProblemError, suggest
from sciml.problem import Derivative, Problem, Values, call_by_name, per_point

Value = Callable[..., Any] | float | Sequence[Any]
Known = tuple[Array, ...]
Residual = Callable[[Values, Array, Known, Mapping[str, Array]], tuple[Array, ...]]


@dataclass(frozen=True)
class Term:
    """One part of the loss: mean squares of residuals at points of one kind.

    A residual looks at a stencil of `s` points for each sample (one for most terms, two for a periodic pair, one per node for a
    quadrature): `place` maps samples of the unit cube, `(n, dimension)`, to `(s, n, d)`; `known` gives what does not depend on
    the network at these points, arrays of shape `(n,)`; `residual(values, points, known, unknowns)` gets every derivative in
    `needs` as an array of shape `(s, n)` and returns one array of shape `(n,)` for each of `components`.
    """

    name: str
    components: tuple[str, ...]
    weight: float
    needs: tuple[Derivative, ...]
    residual: Residual
    place: Callable[[Array], Array]
    dimension: int
    count: str
    known: Callable[[Array], Known] = lambda points: ()
    data: tuple[Array, Known] | None = None
    """Fixed points `(s, n, d)` and their known values: a term that is not sampled and so has no sampling noise."""


class Condition(ABC):
    """Something that must hold besides the equation. Subclasses are immutable; a user's own one needs only `terms`."""

    @abstractmethod
    def terms(self, problem: Problem) -> list[Term]:
        """The loss terms that are zero where this condition holds. Raises `ProblemError` if it does not fit the problem."""


def equation_term(problem: Problem) -> Term:
    """The residual of the problem's equation over the whole domain."""

    def residual(values: Values, points: Array, known: Known, unknowns: Mapping[str, Array]) -> tuple[Array, ...]:
        return problem.residuals({need: value[0] for need, value in values.items()}, points[0], unknowns)

    place = partial(_scale_to_box, problem.domain)
    return Term("equation", problem.residual_names, 1.0, problem.needs, residual, place, problem.domain.dimension, "interior")


@dataclass(frozen=True)
class Initial(Condition):
    """The fields (`of=None`), one field (`of="u"`) or its velocity (`of="u_t"`) at the start of time.

    `value` is a number, or a function of the coordinates by name, written with `jax.numpy`: arrays `(n,)` in, `(n,)` or a number out
    (where all fields are meant a tuple of these, one per field, or a function that returns one). `hard=None` builds it into the network
    where that is possible, `True` insists, `False` makes it a loss term of this `weight`. What does not fit the problem raises
    `ProblemError` once the problem is prepared.
    """

    value: Value
    of: str | None = None
    hard: bool | None = None
    weight: float = 1.0

    def derivatives(self, problem: Problem) -> tuple[Derivative, ...]:
        """What is prescribed: fields, or first time derivatives."""
        if not problem.domain.has_time:
            raise ProblemError(f"Initial: {problem.domain} has no time; name a coordinate '{TIME}' or use Dirichlet")
        found = _named(problem, self.of, "Initial")
        time = problem.domain.axis(TIME)
        for derivative in found:
            if derivative.index not in ((), (time,)):
                raise ProblemError(f"Initial: of='{self.of}' must be a field or its first time derivative, such as 'u' or 'u_{TIME}'")
        return found

    def terms(self, problem: Problem) -> list[Term]:
        face = problem.domain.face(TIME, -1) if problem.domain.has_time else None
        wanted = self.derivatives(problem)
        assert face is not None
        return [
            _face_term(problem, f"initial_{_label(problem, each)}", face, each, self._value(problem, each), self.weight, "initial")
            for each in wanted
        ]

    def _value(self, problem: Problem, each: Derivative) -> Callable[[Array], Array]:
        return value_of(
            problem, self.value, self.derivatives(problem).index(each), len(self.derivatives(problem)), f"Initial({each.field})"
        )


@dataclass(frozen=True)
class Dirichlet(Condition):
    """The fields, or the field `of`, on the faces `on` ("x" both, "x-" lower, "x+" upper); all else as for `Initial`."""

    value: Value
    on: str
    of: str | None = None
    hard: bool | None = None
    weight: float = 1.0

    def terms(self, problem: Problem) -> list[Term]:
        wanted = _named(problem, self.of, "Dirichlet", order=0)
        return [
            _face_term(
                problem,
                f"dirichlet_{each.field}_{face.name}",
                face,
                each,
                value_of(problem, self.value, position, len(wanted), f"Dirichlet on {face.name}"),
                self.weight,
            )
            for face in problem.domain.faces(self.on)
            for position, each in enumerate(wanted)
        ]


@dataclass(frozen=True)
class Robin(Condition):
    """`a u + b du/dn = value` on the faces `on`, with the outward normal n; always a loss term. All else as for `Initial`."""

    value: Value
    on: str
    of: str | None = None
    a: float = 1.0
    b: float = 1.0
    hard: bool | None = None
    weight: float = 1.0
    label: str = field(default="robin", repr=False)

    def terms(self, problem: Problem) -> list[Term]:
        wanted = _named(problem, self.of, type(self).__name__, order=0)
        return [
            self._term(problem, face, each, position, len(wanted))
            for face in problem.domain.faces(self.on)
            for position, each in enumerate(wanted)
        ]

    def _term(self, problem: Problem, face: Face, each: Derivative, position: int, total: int) -> Term:
        normal = Derivative(each.field, (face.axis,))
        target = value_of(problem, self.value, position, total, f"{self.label} on {face.name}")

        def residual(values: Values, points: Array, known: Known, unknowns: Mapping[str, Array]) -> tuple[Array, ...]:
            return (self.a * values[each][0] + self.b * face.side * values[normal][0] - known[0],)

        name = f"{self.label}_{each.field}_{face.name}"
        return _on_face(problem, name, face, (each, normal), residual, target, self.weight)


@dataclass(frozen=True)
class Neumann(Robin):
    """The outward normal derivative of the fields, or of the field `of`, on the faces `on`: `-u_x` on "x-", `u_x` on "x+".

    Zero for all fields on both faces of a coordinate can be built in; all else is a loss term. The rest is as for `Initial`.
    """

    a: float = field(default=0.0, init=False)
    b: float = field(default=1.0, init=False)
    label: str = field(default="neumann", init=False, repr=False)


@dataclass(frozen=True)
class Periodic(Condition):
    """Equal values (and normal derivatives below the equation's order) on the two faces of the coordinate `on`."""

    on: str
    hard: bool | None = None
    weight: float = 1.0

    def terms(self, problem: Problem) -> list[Term]:
        faces = problem.domain.faces(self.on)
        if len(faces) != 2:
            raise ProblemError(
                f"Periodic: on='{self.on}' must name a coordinate, both of whose faces are joined; write on='{faces[0].coordinate}'"
            )
        axis = faces[0].axis
        highest = max((need.index.count(axis) for need in problem.needs), default=1)
        return [self._term(problem, faces, name, (axis,) * order) for name in problem.field_names for order in range(max(highest, 1))]

    def _term(self, problem: Problem, faces: tuple[Face, ...], name: str, index: MultiIndex) -> Term:
        each = Derivative(name, index)

        def residual(values: Values, points: Array, known: Known, unknowns: Mapping[str, Array]) -> tuple[Array, ...]:
            return (values[each][0] - values[each][1],)

        place = partial(_scale_to_faces, problem.domain, faces)
        label = f"periodic_{self.on}_{_label(problem, each)}"
        return Term(label, (label,), self.weight, (each,), residual, place, problem.domain.dimension - 1, "boundary")


class Integral(Condition):
    """The integral of `integrand` over the coordinate `over` equals `value`: a constraint or a conservation law.

    `integrand` takes fields, derivatives and coordinates by name, as an equation does; `value` is a number or a function of the
    other coordinates. Gauss-Legendre quadrature with `nodes` nodes. At each point of the remaining coordinates one residual.
    """

    def __init__(
        self, integrand: Callable[..., Any], over: str, value: Value, nodes: int = 64, weight: float = 1.0, name: str = "integral"
    ) -> None:
        self.integrand, self.over, self.value = integrand, over, value
        self.nodes, self.weight, self.name = nodes, weight, name

    def terms(self, problem: Problem) -> list[Term]:
        domain = problem.domain
        if self.over not in domain.coordinates:
            raise ProblemError(f"Integral: there is no coordinate '{self.over}' in {domain}; {suggest(self.over, domain.coordinates)}")
        from inspect import signature

        names = tuple(signature(self.integrand).parameters)
        arguments = tuple(name if name in domain.coordinates else _named(problem, name, "Integral", MAXIMUM_ORDER)[0] for name in names)
        axis = domain.axis(self.over)
        lower, upper = domain.intervals[self.over]
        node, weight = np.polynomial.legendre.leggauss(self.nodes)
        positions, weights = lower + (upper - lower) * (node + 1) / 2, weight * (upper - lower) / 2
        target = value_of(problem, self.value, 0, 1, f"Integral over {self.over}")

        def place(cube: Array) -> Array:
            others = _scale_to_box(domain, jnp.insert(cube, axis, 0.5, axis=1))[0]
            return jnp.stack([others.at[:, axis].set(position) for position in positions])

        def residual(values: Values, points: Array, known: Known, unknowns: Mapping[str, Array]) -> tuple[Array, ...]:
            given = [values[a] if isinstance(a, Derivative) else points[:, :, domain.axis(a)] for a in arguments]
            inside = jnp.broadcast_to(self.integrand(*given), points.shape[:2])
            return (jnp.asarray(weights, inside.dtype) @ inside - known[0],)

        needs = tuple(a for a in arguments if isinstance(a, Derivative))
        return [
            Term(
                self.name,
                (self.name,),
                self.weight,
                needs,
                residual,
                place,
                domain.dimension - 1,
                "boundary",
                lambda points: (target(points[0]),),
            )
        ]


def value_of(problem: Problem, value: Value, position: int, total: int, what: str) -> Callable[[Array], Array]:
    """The `position`-th of `total` prescribed fields as a function of points `(n, d)`, with shapes checked."""
    given: Any = value
    if isinstance(given, Mapping):
        each = f"one per field ({', '.join(problem.field_names)})"
        raise ProblemError(f"{what}: a dictionary; give a tuple of numbers or functions, {each}, or name one field with of=")
    if isinstance(given, tuple | list) and len(given) == total:
        return value_of(problem, given[position], 0, 1, what)
    whole: Any = given

    def at(points: Array) -> Array:
        result = call_by_name(whole, problem.domain, points, what)
        if isinstance(result, (tuple, list)):
            if len(result) != total:
                raise ProblemError(f"{what}: {len(result)} values for {total} fields ({', '.join(problem.field_names)})")
            result = result[position]
        elif total > 1 and callable(given):
            raise ProblemError(
                f"{what}: return a tuple with one value per field ({', '.join(problem.field_names)}), or name one field with of="
            )
        return per_point(result, points.shape[0], what, points.dtype)

    return at


def _named(problem: Problem, of: str | None, what: str, order: int = 1) -> tuple[Derivative, ...]:
    if of is None:
        return tuple(Derivative(name, ()) for name in problem.field_names)
    found = problem.derivative(of)
    if found.field not in problem.field_names:
        raise ProblemError(f"{what}: there is no field '{found.field}'; {suggest(found.field, problem.field_names)}")
    if len(found.index) > order:
        raise ProblemError(f"{what}: of='{of}' must name a field ({', '.join(problem.field_names)})")
    return (found,)


def _label(problem: Problem, derivative: Derivative) -> str:
    suffix = "".join(problem.domain.coordinates[axis] for axis in derivative.index)
    return f"{derivative.field}_{suffix}" if suffix else derivative.field


def _face_term(
    problem: Problem, name: str, face: Face, each: Derivative, target: Callable[[Array], Array], weight: float, count: str = "boundary"
) -> Term:
    def residual(values: Values, points: Array, known: Known, unknowns: Mapping[str, Array]) -> tuple[Array, ...]:
        return (values[each][0] - known[0],)

    return _on_face(problem, name, face, (each,), residual, target, weight, count)


def _on_face(
    problem: Problem,
    name: str,
    face: Face,
    needs: tuple[Derivative, ...],
    residual: Residual,
    target: Callable[[Array], Array],
    weight: float,
    count: str = "boundary",
) -> Term:
    place = partial(_scale_to_faces, problem.domain, (face,))
    return Term(name, (name,), weight, needs, residual, place, problem.domain.dimension - 1, count, lambda points: (target(points[0]),))


def _scale_to_box(domain: Box, cube: Array) -> Array:
    lower, upper = jnp.asarray([domain.lower], cube.dtype), jnp.asarray([domain.upper], cube.dtype)
    return (lower + (upper - lower) * cube)[None]


def _scale_to_faces(domain: Box, faces: Sequence[Face], cube: Array) -> Array:
    axis = faces[0].axis
    box = _scale_to_box(domain, jnp.insert(cube, axis, 0.5, axis=1))[0]
    return jnp.stack([box.at[:, axis].set(face.value) for face in faces])
