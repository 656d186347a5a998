"""A problem discretised in space: ordinary differential equations for the values at the nodes."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.domain import TIME, Face
from sciml.problem import Derivative, Problem
from sciml.reference.initial_boundary import Focus, read_conditions, refuse, time_order
from sciml.reference.spectral import chebyshev_axis, fourier_axis


class Semidiscrete:
    """The initial value problem y' = rate(t, y) that collocation at `points` nodes per space coordinate makes of a problem.

    `focus` maps a coordinate to the centre and width of a front at which its nodes are drawn together.

    The state `y` is one vector: the values of all fields at the free nodes, then, where the equations are of second order in
    time, their velocities. Values on faces follow from the boundary conditions. Raises `ProblemError` with every reason why
    the problem cannot be treated so.
    """

    def __init__(self, problem: Problem, points: int, focus: Focus | None = None) -> None:
        focus = focus or {}
        self.starts, self.boundaries, periodic = read_conditions(problem, focus)
        self.problem = problem
        self.fields = problem.field_names
        self.time_axis = problem.domain.axis(TIME)
        self.order = time_order(problem, self.fields[0])
        self.space = [name for name in problem.domain.coordinates if name != TIME]
        self.axes = [
            fourier_axis(interval, points) if name in periodic else chebyshev_axis(interval, points, focus.get(name))
            for name, interval in problem.domain.intervals.items()
            if name != TIME
        ]
        self.free = tuple(axis.free for axis in self.axes)
        self.shape = tuple(len(axis.nodes[axis.free]) for axis in self.axes)

    def with_coefficients(self, values: Mapping[str, Any]) -> Semidiscrete:
        """The same, with other coefficients in the equation (traced ones, too); initial and boundary values stay as they are."""
        changed = copy.copy(self)
        changed.problem = dataclasses.replace(self.problem, **values)  # type: ignore[type-var]
        return changed

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
        values = np.asarray(jax.jit(jax.vmap(self.all_values, out_axes=1))(grid[TIME], states))
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
        values = self.all_values(t, y)
        velocities = y[y.size // 2 :].reshape(len(self.fields), -1) if self.order == 2 else None
        known = {}
        for need in self.problem.needs:
            field = self.fields.index(need.field)
            if self.time_axis not in need.index:
                known[need] = self._differentiate(values[field], need.index)[self.free].ravel()
            elif velocities is not None and len(need.index) == 1:
                known[need] = velocities[field]
        return known

    def _differentiate(self, values: Array, index: Sequence[int]) -> Array:
        for name in (self.problem.domain.coordinates[axis] for axis in index):
            position = self.space.index(name)
            values = _apply(self.axes[position].derivative, values, position)
        return values

    def all_values(self, t: Array | float, y: Array) -> Array:
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
        columns.insert(self.time_axis, jnp.full(math.prod(len(each) for each in nodes), t))
        return jnp.stack(columns, axis=-1)

    def check(self) -> None:
        """Raises `ProblemError` where an equation cannot be solved for its highest time derivatives."""

        def compare(t: Array, y: Array) -> tuple[Array, Array, Array]:
            constant, matrix = self._affine(t, y)
            points = self._free_points(t)
            probe = jnp.stack([jnp.full(points.shape[0], 2.0 + index) for index in range(len(self.fields))])
            found = self._residuals(self._known(t, y), points, probe)
            return matrix, found, constant + jnp.einsum("nij,jn->ni", matrix, probe)

        start = self.problem.domain.intervals[TIME][0]
        matrix, found, linear = map(np.asarray, jax.jit(compare)(start, self.initial_state()))
        if not np.isfinite(found).all():
            refuse([f"the equation is not finite at the start, {TIME} = {start:g}"], self.problem)
        if not np.allclose(found, linear, rtol=1e-9, atol=1e-9 * float(1 + np.abs(found).max())):
            refuse(["the equation is not linear in its highest time derivative"], self.problem)
        if not np.all(np.linalg.cond(matrix) < 1e12):
            refuse(["the equation does not determine the highest time derivative of every field everywhere"], self.problem)


def _apply(matrix: np.ndarray, values: Array, position: int) -> Array:
    return jnp.moveaxis(jnp.tensordot(matrix, values, axes=(1, position)), 0, position)
