"""What a solution is compared with: fields on a tensor grid, how wrong they may be and what they cost."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from sciml.errors import ProblemError
from sciml.problem import call_by_name

if TYPE_CHECKING:
    from sciml.problem import Problem

DEFAULT_SHAPES: Mapping[int, tuple[int, ...]] = {1: (1001,), 2: (101, 201), 3: (31, 41, 41), 4: (9, 17, 17, 17)}


@dataclass(frozen=True)
class Reference:
    """Fields on a tensor grid, with an estimate of their relative L2 error.

    `kind` says where they come from ("exact", "fourier_etdrk4", ...). `coordinates` maps each coordinate to a strictly
    increasing array of shape (n_i,); `fields` maps each field to an array of shape (n_1, ..., n_d), axes in the order of
    `coordinates`. `estimated_error` is relative L2 on this grid; `seconds` is the wall time of the solve behind it.
    Raises `ProblemError` where these contradict each other. All arrays become float64.
    """

    kind: str
    coordinates: dict[str, np.ndarray]
    fields: dict[str, np.ndarray]
    estimated_error: float
    seconds: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "coordinates", {name: _float64(array) for name, array in self.coordinates.items()})
        object.__setattr__(self, "fields", {name: _float64(array) for name, array in self.fields.items()})
        mistakes = [*_coordinate_mistakes(self.coordinates), *_field_mistakes(self.fields, self.shape)]
        if not (math.isfinite(self.estimated_error) and self.estimated_error >= 0):
            mistakes.append(f"estimated_error is {self.estimated_error!r}; give a finite relative L2 error of at least 0")
        if not (math.isfinite(self.seconds) and self.seconds >= 0):
            mistakes.append(f"seconds is {self.seconds!r}; give the measured wall time")
        if mistakes:
            raise ProblemError(mistakes, source=f"reference '{self.kind}'")

    @property
    def shape(self) -> tuple[int, ...]:
        """Points per coordinate."""
        return tuple(len(array) for array in self.coordinates.values())

    def points(self) -> np.ndarray:
        """The grid as a list of points, shape (n_1 * ... * n_d, d), the last coordinate running fastest."""
        return grid_points(self.coordinates)


def grid_points(coordinates: Mapping[str, np.ndarray]) -> np.ndarray:
    """The tensor grid of 1-D `coordinates` as points, shape (n_1 * ... * n_d, d), the last coordinate running fastest."""
    axes = np.meshgrid(*coordinates.values(), indexing="ij")
    return np.stack([axis.ravel() for axis in axes], axis=1)


def uniform_grid(intervals: Mapping[str, tuple[float, float]], shape: Sequence[int] | None = None) -> dict[str, np.ndarray]:
    """Equally spaced coordinates over `intervals`, both ends included; 1001, 101 x 201, 31 x 41 x 41 or 9 x 17 x 17 x 17 points by default.

    Raises `ProblemError` for a `shape` of another length, and for more than four coordinates without a `shape`.
    """
    if shape is None:
        shape = DEFAULT_SHAPES.get(len(intervals))
    if shape is None or len(shape) != len(intervals):
        raise ProblemError(f"a grid over ({', '.join(intervals)}) needs a shape of {len(intervals)} numbers, not {shape}")
    return {name: np.linspace(*intervals[name], count) for name, count in zip(intervals, shape, strict=True)}


def exact_reference(problem: Problem, coordinates: Iterable[str], fields: Sequence[str], shape: Sequence[int] | None = None) -> Reference:
    """The `Reference` that `problem.exact` gives on a uniform grid over the problem's domain, in float64.

    `coordinates` and `fields` are names, in the order of the domain and of the values of `problem.exact`. The estimated
    error is what rounding may do: how far the values move when every coordinate moves inwards by one unit in the last place, plus
    the rounding of the values themselves. Raises `ProblemError` where `exact` returns another number of fields.
    """
    grid = uniform_grid({name: problem.domain.intervals[name] for name in coordinates}, shape)
    start = time.perf_counter()
    values = _on_grid(problem, grid, fields)
    seconds = time.perf_counter() - start
    moved = _on_grid(problem, {name: np.nextafter(array, array.mean()) for name, array in grid.items()}, fields)
    rounding = relative_l2(values, moved) + float(np.finfo(np.float64).eps)
    return Reference("exact", grid, values, rounding, seconds)


def relative_l2(truth: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
    """|other - truth| / |truth| in the discrete L2 norm over all fields; absolute where `truth` is zero."""
    difference = math.sqrt(sum(float(np.sum((other[name] - truth[name]) ** 2)) for name in truth))
    size = math.sqrt(sum(float(np.sum(truth[name] ** 2)) for name in truth))
    return difference / size if size > 0 else difference


def _on_grid(problem: Problem, grid: Mapping[str, np.ndarray], fields: Sequence[str]) -> dict[str, np.ndarray]:
    with jax.enable_x64(True):
        points = jnp.asarray(grid_points(grid))
        values = call_by_name(problem.exact, problem.domain, points, f"exact solution of {problem.name}")  # type: ignore[attr-defined]
    columns = values if isinstance(values, tuple | list) else (values,)
    if len(columns) != len(fields):
        raise ProblemError(f"exact returns {len(columns)} field(s); the equation has {len(fields)}: {', '.join(fields)}")
    shape = tuple(len(array) for array in grid.values())
    count = math.prod(shape)
    grids = {name: np.broadcast_to(_float64(column), count).reshape(shape) for name, column in zip(fields, columns, strict=True)}
    return observed(problem, grids)


def observed(problem: Problem, fields: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a problem reports of its fields on a grid, in float64."""
    with jax.enable_x64(True):
        found = problem.observables({name: jnp.asarray(values) for name, values in fields.items()})
    return {name: _float64(values) for name, values in found.items()}


def _float64(array: Any) -> np.ndarray:
    return np.asarray(array, dtype=np.float64)


def _coordinate_mistakes(coordinates: Mapping[str, np.ndarray]) -> list[str]:
    if not coordinates:
        return ["there are no coordinates"]
    mistakes = []
    for name, array in coordinates.items():
        if array.ndim != 1 or len(array) == 0:
            mistakes.append(f"coordinate '{name}' has shape {array.shape}; give one value per grid line, shape (n,)")
        elif not (np.all(np.isfinite(array)) and np.all(np.diff(array) > 0)):
            mistakes.append(f"coordinate '{name}' is not finite and strictly increasing")
    return mistakes


def _field_mistakes(fields: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> list[str]:
    mistakes = [] if fields else ["there are no fields"]
    for name, array in fields.items():
        if array.shape != shape:
            mistakes.append(f"field '{name}' has shape {array.shape}; the grid has {shape}")
        elif not np.all(np.isfinite(array)):
            mistakes.append(f"field '{name}' is not finite at {np.count_nonzero(~np.isfinite(array))} grid points")
    return mistakes
