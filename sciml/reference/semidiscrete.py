"""A problem discretised in space: ordinary differential equations for the values at the nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.conditions import Dirichlet, Initial, Periodic, Robin, value_of
from sciml.domain import TIME, Face
from sciml.errors import ProblemError
from sciml.problem import Derivative, Problem
from sciml.reference.spectral import chebyshev_axis, fourier_axis

Target = Callable[[Array], Array]
Focus = Mapping[str, tuple[float, float]]


class _Boundary(NamedTuple):
    """`a u + b du/dn = target` for one field on one face."""

    a: float
    b: float
    target: Target


class Semidiscrete:
    """The initial value problem y' = rate(t, y) that collocation at `points` nodes per space coordinate makes of a problem.

    `focus` maps a coordinate to the centre and width of a front at which its nodes are drawn together.

    The state `y` is one vector: the values of all fields at the free nodes, then, where the equations are of second order in
    time, their velocities. Values on faces follow from the boundary conditions. Raises `ProblemError` with every reason why
    the problem cannot be treated so.
    """

    def __init__(self, problem: Problem, points: int, focus: Focus | None = None) -> None:
        _refuse(_mistakes_of_kind(problem), problem)
        self.problem = problem
        self.fields = problem.field_names
        self.time_axis = problem.domain.axis(TIME)
        self.space = [name for name in problem.domain.coordinates if name != TIME]
        self.order = max(need.index.count(self.time_axis) for need in problem.needs)
        self.starts, self.boundaries, periodic = _sort_conditions(problem)
        _refuse(_mistakes_of_completeness(problem, self.order, self.starts, self.boundaries, periodic), problem)
        _refuse(_mistakes_of_focus(problem, focus or {}, periodic), problem)
        self.axes = [
            fourier_axis(interval, points) if name in periodic else chebyshev_axis(interval, points, (focus or {}).get(name))
            for name, interval in problem.domain.intervals.items()
            if name != TIME
        ]
        self.free = tuple(axis.free for axis in self.axes)
        self.shape = tuple(len(axis.nodes[axis.free]) for axis in self.axes)

    def initial_state(self) -> np.ndarray:
        """The state at the start of time."""
        keys = [Derivative(name, (self.time_axis,) * order) for order in range(self.order) for name in self.fields]

        def state() -> Array:
            points = self._free_points(self.problem.domain.intervals[TIME][0])
            return jnp.concatenate([self.starts[key](points) for key in keys])

        return np.asarray(jax.jit(state)())

    def rate(self, t: Array | float, y: Array) -> Array:
        """dy/dt for a state of shape (size,)."""
        constant, matrix = self._affine(t, y)
        highest = jnp.linalg.solve(matrix, -constant[..., None])[..., 0].T.ravel()
        return highest if self.order == 1 else jnp.concatenate([y[y.size // 2 :], highest])

    def on_grid(self, states: np.ndarray, grid: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """States (times, size) at the times of `grid` as fields of the grid's shape, axes in the order of the domain."""
        values = np.asarray(jax.jit(jax.vmap(self._values, out_axes=1))(grid[TIME], states))
        for position, (name, axis) in enumerate(zip(self.space, self.axes, strict=True), start=2):
            values = np.moveaxis(np.tensordot(axis.interpolation(grid[name]), values, axes=(1, position)), 0, position)
        return {name: np.moveaxis(values[index], 0, self.time_axis) for index, name in enumerate(self.fields)}

    def _affine(self, t: Array | float, y: Array) -> tuple[Array, Array]:
        """The residuals as constant + matrix @ (highest time derivatives): shapes (n, fields), (n, fields, fields)."""
        points = self._free_points(t)
        known = self._known(t, y)
        zero = jnp.zeros((len(self.fields), points.shape[0]))
        constant = self._residuals(known, points, zero)
        columns = [self._residuals(known, points, zero.at[index].set(1.0)) - constant for index in range(len(self.fields))]
        return constant, jnp.stack(columns, axis=-1)

    def _residuals(self, known: Mapping[Derivative, Array], points: Array, highest: Array) -> Array:
        top = {Derivative(name, (self.time_axis,) * self.order): highest[index] for index, name in enumerate(self.fields)}
        return jnp.stack(self.problem.residuals({**known, **top}, points, {}), axis=-1)

    def _known(self, t: Array | float, y: Array) -> dict[Derivative, Array]:
        values = self._values(t, y)
        velocities = y[y.size // 2 :].reshape(len(self.fields), -1)
        known = {}
        for need in self.problem.needs:
            field = self.fields.index(need.field)
            if self.time_axis not in need.index:
                known[need] = self._differentiate(values[field], need.index)[self.free].ravel()
            elif len(need.index) < self.order:
                known[need] = velocities[field]
        return known

    def _differentiate(self, values: Array, index: Sequence[int]) -> Array:
        for name in (self.problem.domain.coordinates[axis] for axis in index):
            position = self.space.index(name)
            values = _apply(self.axes[position].derivative, values, position)
        return values

    def _values(self, t: Array | float, y: Array) -> Array:
        """All fields at all nodes, faces included, shape (fields, n_1, ..., n_d)."""
        size = len(self.fields) * int(np.prod(self.shape))
        inside = y[:size].reshape(len(self.fields), *self.shape)
        whole = jnp.zeros((len(self.fields), *(len(axis.nodes) for axis in self.axes))).at[(slice(None), *self.free)].set(inside)
        for position, axis in enumerate(self.axes):
            if not axis.periodic:
                for field in range(len(self.fields)):
                    whole = whole.at[field].set(self._with_faces(whole[field], field, position, t))
        return whole

    def _with_faces(self, values: Array, field: int, position: int, t: Array | float) -> Array:
        """Sets the values on both faces of one coordinate so that its boundary conditions hold."""
        axis, name = self.axes[position], self.space[position]
        faces = [self.problem.domain.face(name, side) for side in (-1, 1)]
        conditions = [self.boundaries[self.fields[field], face.name] for face in faces]
        lines = jnp.moveaxis(values, position, 0)
        inner = lines.at[0].set(0.0).at[-1].set(0.0)
        known = [
            condition.target(self._face_points(position, face, t)).reshape(lines.shape[1:])
            - condition.b * face.side * jnp.tensordot(axis.derivative[end], inner, axes=1)
            for condition, face, end in zip(conditions, faces, (0, -1), strict=True)
        ]
        corners = np.array(
            [
                [condition.a * (row == column) + condition.b * face.side * axis.derivative[row, column] for column in (0, -1)]
                for condition, face, row in zip(conditions, faces, (0, -1), strict=True)
            ]
        )
        ends = jnp.tensordot(np.linalg.inv(corners), jnp.stack(known), axes=1)
        return jnp.moveaxis(lines.at[0].set(ends[0]).at[-1].set(ends[1]), 0, position)

    def _face_points(self, position: int, face: Face, t: Array | float) -> Array:
        return self._points([np.array([face.value]) if i == position else axis.nodes for i, axis in enumerate(self.axes)], t)

    def _free_points(self, t: Array | float) -> Array:
        return self._points([axis.nodes[axis.free] for axis in self.axes], t)

    def _points(self, nodes: Sequence[np.ndarray], t: Array | float) -> Array:
        """The tensor grid of space `nodes` at one time, shape (n, dimension)."""
        columns = [jnp.asarray(column.ravel()) for column in np.meshgrid(*nodes, indexing="ij")]
        columns.insert(self.time_axis, jnp.full(columns[0].shape, t))
        return jnp.stack(columns, axis=-1)

    def check(self) -> None:
        """Raises `ProblemError` where an equation cannot be solved for its highest time derivatives."""

        def compare(t: Array, y: Array) -> tuple[Array, Array, Array]:
            constant, matrix = self._affine(t, y)
            points = self._free_points(t)
            probe = 1.0 + jnp.arange(len(self.fields), dtype=float)[:, None] + jnp.zeros(points.shape[0])
            found = self._residuals(self._known(t, y), points, probe)
            return matrix, found, constant + jnp.einsum("nij,jn->ni", matrix, probe)

        start = self.problem.domain.intervals[TIME][0]
        matrix, found, linear = map(np.asarray, jax.jit(compare)(start, self.initial_state()))
        if not np.allclose(found, linear, rtol=1e-9, atol=1e-9 * float(1 + np.abs(found).max())):
            _refuse(["the equation is not linear in its highest time derivative"], self.problem)
        if not np.all(np.linalg.cond(matrix) < 1e12):
            _refuse(["the equation does not determine the highest time derivative of every field everywhere"], self.problem)


def _apply(matrix: np.ndarray, values: Array, position: int) -> Array:
    return jnp.moveaxis(jnp.tensordot(matrix, values, axes=(1, position)), 0, position)


def _refuse(mistakes: list[str], problem: Problem) -> None:
    if mistakes:
        raise ProblemError(mistakes, source=f"method of lines for {problem.name}")


def _mistakes_of_kind(problem: Problem) -> list[str]:
    domain = problem.domain
    if not domain.has_time:
        return [f"{domain} has no time; there is nothing to integrate"]
    mistakes = []
    if domain.dimension not in (2, 3):
        mistakes.append(f"{domain} has {domain.dimension - 1} space coordinates; one or two are supported")
    if problem.unknowns:
        mistakes.append(f"coefficients are unknown ({', '.join(problem.unknowns)}); give them values")
    if len(problem.residual_names) != len(problem.field_names):
        mistakes.append(f"{len(problem.residual_names)} equation(s) for {len(problem.field_names)} field(s)")
    mistakes += _mistakes_of_derivatives(problem)
    allowed = (Initial, Dirichlet, Robin, Periodic)
    strange = dict.fromkeys(type(each).__name__ for each in problem.conditions() if not isinstance(each, allowed))
    return mistakes + [f"a condition of the kind {name} has no place in a classical solver" for name in strange]


def _mistakes_of_derivatives(problem: Problem) -> list[str]:
    time_axis = problem.domain.axis(TIME)
    orders = {
        name: max((need.index.count(time_axis) for need in problem.needs if need.field == name), default=0)
        for name in problem.field_names
    }
    mistakes = []
    if set(orders.values()) not in ({1}, {2}):
        found = ", ".join(f"{name}: {order}" for name, order in orders.items())
        mistakes.append(f"every field needs the same order 1 or 2 in time (found {found})")
    if any(time_axis in need.index and set(need.index) != {time_axis} for need in problem.needs):
        mistakes.append("a derivative mixes time and space")
    return mistakes


def _sort_conditions(
    problem: Problem,
) -> tuple[dict[Derivative, Target], dict[tuple[str, str], _Boundary], set[str]]:
    """Initial values by what they prescribe, boundary conditions by (field, face), and the periodic coordinates."""
    starts: dict[Derivative, Target] = {}
    boundaries: dict[tuple[str, str], _Boundary] = {}
    periodic: set[str] = set()
    for condition in problem.conditions():
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
                    boundaries[name, face.name] = _Boundary(a, b, target)
    return starts, boundaries, periodic


def _mistakes_of_focus(problem: Problem, focus: Focus, periodic: set[str]) -> list[str]:
    mistakes = []
    for name, (centre, width) in focus.items():
        lower, upper = problem.domain.intervals.get(name, (0.0, 0.0))
        if name in periodic or not (lower <= centre <= upper and width > 0):
            mistakes.append(f"focus on {name} = {centre:g}, width {width:g}: name a coordinate with faces and a place inside")
    return mistakes


def _mistakes_of_completeness(
    problem: Problem,
    order: int,
    starts: Mapping[Derivative, Target],
    boundaries: Mapping[tuple[str, str], _Boundary],
    periodic: set[str],
) -> list[str]:
    mistakes = []
    time_axis = problem.domain.axis(TIME)
    for name in problem.field_names:
        missing = [each for each in range(order) if Derivative(name, (time_axis,) * each) not in starts]
        mistakes += [f"no Initial for {name}{'_t' if each else ''}" for each in missing]
    for coordinate in problem.domain.coordinates:
        if coordinate == TIME or coordinate in periodic:
            continue
        axis = problem.domain.axis(coordinate)
        if max((need.index.count(axis) for need in problem.needs), default=0) > 2:
            mistakes.append(f"derivatives of order three and more along '{coordinate}' are supported where it is periodic")
        faces = problem.domain.faces(coordinate)
        lacking = [f"{name} on {face.name}" for name in problem.field_names for face in faces if (name, face.name) not in boundaries]
        mistakes += [f"no boundary condition for {text}" for text in lacking]
    return mistakes


