"""Hard conditions: u = lift + vanishing * network, exact for every network (Lagaris et al. 1998; Sukumar & Srivastava 2022)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from sciml.conditions import Condition, Dirichlet, Initial, Neumann, Periodic, Robin, value_of
from sciml.derivatives import Jet, MultiIndex, compose, coordinates_jet, elementwise, multiply, stack
from sciml.domain import TIME, Box, Face
from sciml.errors import ProblemError
from sciml.nets.features import Kind
from sciml.nets.seam import Seam, find_seam
from sciml.problem import Problem, conditions_of

PointFunction = Callable[[Array], Array]

SATURATION = 0.3
"""Share of the time interval over which the factor of a hard velocity rises (docs/decisions/006-hard-velocity.md)."""


@dataclass(frozen=True)
class Blend:
    """One coordinate along which a field is prescribed: values at faces, or at the start with or without a velocity."""

    axis: int
    faces: tuple[tuple[Face, PointFunction], ...]
    velocity: PointFunction | None = None
    seams: tuple[Seam, ...] = ()


class Ansatz:
    """The lift and the vanishing factor of every field; `kinds` says which coordinates are periodic or even."""

    def __init__(self, domain: Box, kinds: tuple[Kind, ...], blends: dict[str, tuple[Blend, ...]]) -> None:
        self.domain, self.kinds, self.blends = domain, kinds, blends

    @property
    def trivial(self) -> bool:
        return not any(self.blends.values())

    def starts(self, name: str) -> bool:
        """Whether a field's value at the start of time is hard."""
        return self.domain.has_time and any(blend.axis == self.domain.axis(TIME) for blend in self.blends[name])

    def has_velocity(self, name: str) -> bool:
        """Whether a field's velocity at the start of time is hard."""
        return any(blend.velocity is not None for blend in self.blends[name])

    @property
    def seams(self) -> tuple[Seam, ...]:
        """The kinks that are inputs of the network; none where a field is free at the start, at which they are singular."""
        if not all(self.starts(name) for name in self.blends):
            return ()
        found = [seam for blends in self.blends.values() for blend in blends for seam in blend.seams]
        largest = {(seam.axis, seam.diffusivity): seam for seam in sorted(found, key=lambda seam: seam.size)}
        return tuple(largest.values())

    def lift(self, point: Array) -> Array:
        """A function `(dimension,) -> (fields,)` that satisfies the hard conditions by transfinite interpolation (Gordon & Hall 1973)."""
        return jnp.stack([_lift(self.domain, blends, point) for blends in self.blends.values()])

    def vanishing(self, points: Array, indices: tuple[MultiIndex, ...]) -> Jet:
        """The jet of a function `(fields, n)`, zero exactly where a field is prescribed; `points` has shape `(n, dimension)`."""
        return stack([self._vanishing(blends, coordinates_jet(points), indices) for blends in self.blends.values()])

    def _vanishing(self, blends: Sequence[Blend], coordinates: Jet, indices: tuple[MultiIndex, ...]) -> Jet:
        factor: Jet = {(): jnp.ones_like(coordinates[()][:1])}
        for blend in blends:
            lower, upper = self.domain.lower[blend.axis], self.domain.upper[blend.axis]
            axis, length = blend.axis, upper - lower
            own = {index: value[axis : axis + 1] / length for index, value in coordinates.items() if index in ((), (axis,))}
            share = {**own, (): own[()] - lower / length}
            rest = {**{index: -value for index, value in share.items()}, (): 1.0 - share[()]}
            if len(blend.faces) == 2:
                share = {index: 4.0 * value for index, value in multiply(share, rest, indices).items()}
            elif blend.velocity is not None:
                share = compose(elementwise(_saturating_square), share, indices)
            elif blend.faces[0][0].side > 0:
                share = rest
            factor = multiply(factor, share, indices)
        return factor


def _lift(domain: Box, blends: Sequence[Blend], point: Array) -> Array:
    if not blends:
        return jnp.zeros((), point.dtype)
    *earlier, blend = blends
    axis = blend.axis

    def below(at: Array) -> Array:
        return _lift(domain, earlier, at)

    def gap(face: Face, target: PointFunction) -> Array:
        at = point.at[axis].set(face.value)
        return target(at) - below(at)

    total = below(point)
    if len(blend.faces) == 2:
        (lower, at_lower), (upper, at_upper) = blend.faces
        share = (point[axis] - lower.value) / (upper.value - lower.value)
        return total + (1 - share) * gap(lower, at_lower) + share * gap(upper, at_upper)
    face, target = blend.faces[0]
    total = total + gap(face, target)
    if blend.velocity is not None:
        start = point.at[axis].set(face.value)
        slope = jax.jvp(below, (start,), (jnp.zeros_like(point).at[axis].set(1.0),))[1]
        total = total + (point[axis] - face.value) * (blend.velocity(start) - slope)
    for seam in blend.seams:
        total = total + seam.smoothing(point)
    return total


def _saturating_square(share: Array) -> Array:
    """s^2 near the start and nearly constant after `SATURATION`, so that what is left for the network does not grow like 1 / s^2."""
    return (1.0 + SATURATION**2) * share**2 / (share**2 + SATURATION**2)


def build_ansatz(problem: Problem, window: Box | None = None) -> tuple[Ansatz, list[Condition], list[Condition]]:
    """Splits the problem's conditions: the ansatz of the hard ones, the hard ones, and the soft ones.

    `window` is the box that the network sees, where it is not the problem's own (see `sciml.slabs`).
    Raises `ProblemError` where a condition is asked to be hard that cannot be.
    """
    conditions = conditions_of(problem)
    hard = [condition for condition in conditions if _is_hard(problem, condition)]
    soft = [condition for condition in conditions if condition not in hard]
    blends = {name: tuple(_blends(problem, hard, name)) for name in problem.field_names}
    ansatz = Ansatz(window or problem.domain, _kinds(problem, hard), blends)
    return ansatz, hard, soft


def _is_hard(problem: Problem, condition: Condition) -> bool:
    asked = getattr(condition, "hard", False)
    if asked is False:
        return False
    if isinstance(condition, (Initial, Dirichlet, Periodic)):
        return True
    possible = isinstance(condition, Neumann) and _is_zero_flux(problem, condition)
    if asked and not possible:
        raise ProblemError(
            f"{type(condition).__name__} on '{getattr(condition, 'on', '')}' cannot be hard: that exists for Initial, "
            "Dirichlet, Periodic, and for Neumann(0.0) of all fields on both faces of a coordinate; write hard=False"
        )
    return possible


def _is_zero_flux(problem: Problem, condition: Robin) -> bool:
    everything = condition.of is None or len(problem.field_names) == 1
    return not callable(condition.value) and condition.value == 0 and everything and len(problem.domain.faces(condition.on)) == 2


def _kinds(problem: Problem, hard: Sequence[Condition]) -> tuple[Kind, ...]:
    kinds: list[Kind] = ["linear"] * problem.domain.dimension
    for condition in hard:
        if isinstance(condition, (Periodic, Neumann)):
            axis = problem.domain.faces(condition.on)[0].axis
            if kinds[axis] != "linear":
                raise ProblemError(f"two hard conditions, periodic or zero flux, on the coordinate '{condition.on}'; keep one")
            kinds[axis] = "periodic" if isinstance(condition, Periodic) else "even"
    return tuple(kinds)


def _blends(problem: Problem, hard: Sequence[Condition], name: str) -> list[Blend]:
    """Space first, then time, so that the velocity is blended against what the boundary already says."""
    faces: dict[int, list[tuple[Face, PointFunction]]] = {}
    start: dict[int, PointFunction] = {}
    for condition in hard:
        if isinstance(condition, Dirichlet):
            wanted = problem.field_names if condition.of is None else (problem.derivative(condition.of).field,)
            if name in wanted:
                target = _at_point(value_of(problem, condition.value, wanted.index(name), len(wanted), f"Dirichlet on '{condition.on}'"))
                for face in problem.domain.faces(condition.on):
                    if any(face == other for other, _ in faces.get(face.axis, [])):
                        raise ProblemError(f"two hard Dirichlet conditions for '{name}' on {face.name}; keep one")
                    faces.setdefault(face.axis, []).append((face, target))
        elif isinstance(condition, Initial):
            derivatives = condition.derivatives(problem)
            for position, each in enumerate(derivatives):
                if each.field == name:
                    if len(each.index) in start:
                        raise ProblemError(f"two hard Initial conditions for '{name}'; keep one")
                    start[len(each.index)] = _at_point(value_of(problem, condition.value, position, len(derivatives), f"Initial({name})"))
    blends = [Blend(axis, tuple(sorted(found, key=lambda item: item[0].side))) for axis, found in sorted(faces.items())]
    if 1 in start and 0 not in start:
        raise ProblemError(
            f"Initial(of='{name}_{TIME}') is hard, but the value of '{name}' at the start is not; make both hard or both soft"
        )
    if 0 in start:
        face = problem.domain.face(TIME, -1)
        seams = () if blends or start.keys() != {0} else _seams(problem, hard, name, start[0])
        blends.append(Blend(face.axis, ((face, start[0]),), start.get(1), seams))
    return blends


def _seams(problem: Problem, hard: Sequence[Condition], name: str, initial: PointFunction) -> tuple[Seam, ...]:
    """One after the other: what smooths a field along one axis has a kink along the next."""
    time = problem.domain.face(TIME, -1)
    seams: list[Seam] = []

    def smoothed(point: Array, earlier: tuple[Seam, ...]) -> Array:
        return sum((seam.smoothing(point) for seam in earlier), start=initial(point.at[time.axis].set(time.value)))

    for axis, kind in enumerate(_kinds(problem, hard)):
        if kind == "periodic":
            seam = find_seam(problem, name, axis, partial(smoothed, earlier=tuple(seams)))
            seams += [] if seam is None else [seam]
    return tuple(seams)


def _at_point(target: Callable[[Array], Array]) -> PointFunction:
    return lambda point: target(point[None])[0]
