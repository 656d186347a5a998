"""What comes out of training: a function of the coordinates that knows how far it is from an independent reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sciml.errors import CONVERGED, NO_BOUND, ProblemError, suggest
from sciml.labelled import Labelled, Variable

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

    from sciml.problem import Problem
    from sciml.reference.grid import Reference

Values = NDArray[np.floating]
Evaluate = Callable[[Any], Any]

CHUNK = 4096
"""Points per call of `evaluate`: every call has this shape, so that one compilation serves all grids."""

COARSE = 9
"""Points per axis of the grid that is shown where a problem of four coordinates or more has no reference."""


@dataclass(frozen=True)
class Error:
    """How far a solution is from its reference, on the reference's grid.

    `rel_l2` is the root-mean-square error over all fields divided by that of the reference, `fields` the same per field,
    `max_abs` the largest absolute error and `where` its coordinates. Values that are not finite give infinite errors.
    `at_floor` says that `rel_l2` is below the reference's own estimated error, and so is an upper bound at best.
    """

    rel_l2: float
    max_abs: float
    where: dict[str, float]
    fields: dict[str, float]
    reference: dict[str, Any]
    at_floor: bool

    def as_dict(self) -> dict[str, Any]:
        """The content of `error` in `result.json`."""
        return asdict(self)

    def __str__(self) -> str:
        own = self.reference["estimated_error"]
        place = ", ".join(f"{name} = {value:.4g}" for name, value in self.where.items())
        below = f"below {own:.1e}, the error of the reference itself" if own < CONVERGED else NO_BOUND
        amount = below if self.at_floor else f"{self.rel_l2:.2e}"
        return f"rel-L2 {amount}; largest {self.max_abs:.2e} at {place}; reference: {self.reference['kind']} (± {own:.1e})"


class Grid(NamedTuple):
    """Fields on a tensor grid: `coordinates` maps a name to a 1-D array, `fields` a name to an array of the grid's shape."""

    coordinates: dict[str, Values]
    fields: dict[str, Values]


def measure_error(values: Mapping[str, ArrayLike], reference: Reference) -> Error:
    """Compares `values`, one array of the grid's shape per field, with `reference`.

    Relative errors of a field that vanishes everywhere are taken relative to all fields together. Raises `ProblemError`
    for a missing field or a wrong shape.
    """
    exact = {name: np.asarray(array, float) for name, array in reference.fields.items()}
    difference = {name: _field(values, name, array.shape) - array for name, array in exact.items()}
    squares = {name: float(np.sum(array**2)) for name, array in exact.items()}
    misses = {name: _finite_or_infinite(float(np.sum(array**2))) for name, array in difference.items()}
    whole = sum(squares.values()) or float(sum(array.size for array in exact.values()))
    rel_l2 = math.sqrt(sum(misses.values()) / whole)
    max_abs, where = _largest(difference, reference.coordinates)
    return Error(
        rel_l2=rel_l2,
        max_abs=max_abs,
        where=where,
        fields={name: math.sqrt(misses[name] / (squares[name] or whole)) for name in exact},
        reference={
            "kind": reference.kind,
            "estimated_error": float(reference.estimated_error),
            "seconds": float(reference.seconds),
        },
        at_floor=rel_l2 < float(reference.estimated_error),
    )


def _as_attribute(value: Any) -> str | int | float:
    """netCDF has numbers and text, but no truth values, and nothing for None."""
    return value if isinstance(value, int | float | str) and not isinstance(value, bool) else str(value)


def evaluate_points(evaluate: Evaluate, points: Values) -> Values:
    """`evaluate` at `points` of shape `(n, dimension)`, as `(n, fields)`, in calls of one fixed shape and bounded memory."""
    chunks = []
    for start in range(0, len(points), CHUNK):
        part = points[start : start + CHUNK]
        padded = np.pad(part, ((0, CHUNK - len(part)), (0, 0)), mode="edge")
        chunks.append(np.asarray(evaluate(padded))[: len(part)])
    return np.concatenate(chunks)


def evaluate_grid(evaluate: Evaluate, coordinates: Mapping[str, ArrayLike], fields: Sequence[str]) -> Grid:
    """`evaluate` on the tensor grid of `coordinates` (in the order of the domain); its columns are named by `fields`."""
    axes = {name: np.atleast_1d(np.asarray(axis, float)) for name, axis in coordinates.items()}
    shape = tuple(axis.size for axis in axes.values())
    count = math.prod(shape)
    columns = np.empty((count, len(fields)))
    for start in range(0, count, CHUNK):
        stop = min(start + CHUNK, count)
        places = np.unravel_index(np.arange(start, stop), shape)
        points = np.stack([axis[place] for axis, place in zip(axes.values(), places, strict=True)], axis=-1)
        columns[start:stop] = evaluate_points(evaluate, points)
    return Grid(axes, {name: columns[:, number].reshape(shape) for number, name in enumerate(fields)})


@dataclass(frozen=True, eq=False, repr=False)
class Solution:
    """A trained network as a function of the coordinates, `solution(t=0.5, x=0.2)`, with its error and its history.

    `evaluate` maps points `(n, dimension)` to `(n, fields)`; `compared_with` is a reference or finds one at the first use of
    `reference`; `history` holds the rows of `metrics.jsonl` and `result` the content of `result.json`; `parameters` is the vector of
    trainable numbers, from which another run may start (`warm_start`).
    """

    problem: Problem
    evaluate: Evaluate
    compared_with: Reference | Callable[[], Reference | None] | None = None
    unknowns: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    parameters: Any = None

    def __call__(self, **coordinates: ArrayLike) -> Values | dict[str, Values]:
        """The fields at `coordinates`, which broadcast against each other; points outside the domain are extrapolated.

        One field comes back as an array of the broadcast shape, several as a dictionary of such arrays. Raises `ProblemError`
        for a coordinate that is missing or unknown, and for shapes that do not broadcast.
        """
        arrays = self._broadcast(coordinates)
        shape = arrays[0].shape
        points = np.stack([array.ravel() for array in arrays], axis=-1)
        names = self.problem.observable_names
        columns = evaluate_points(self.evaluate, points) if len(points) else np.empty((0, len(names)))
        values = {name: columns[:, number].reshape(shape) for number, name in enumerate(names)}
        return next(iter(values.values())) if len(values) == 1 else values

    @cached_property
    def reference(self) -> Reference | None:
        """The exact or classical solution; None where there is none."""
        return self.compared_with() if callable(self.compared_with) else self.compared_with

    def on_grid(self) -> Grid:
        """The fields on the reference's grid, or on an even grid over the domain where there is no reference."""
        return self._grid

    def error(self) -> Error:
        """The error against the reference; raises `ProblemError` for a problem that has none."""
        if self.reference is None:
            raise ProblemError(
                f"{self.problem.name} has no reference to compare with; write a method `exact` or `reference` into the problem"
            )
        return measure_error(self._grid.fields, self.reference)

    def to_xarray(self) -> xarray.Dataset:
        """Fields on the grid of `on_grid`; with a reference also `u_reference` and `u_error`, solution minus reference."""
        import xarray

        return xarray.Dataset(*self.labelled())

    def labelled(self) -> Labelled:
        """What `to_xarray` returns, as plain arrays."""
        coordinates, fields = self._grid
        axes = tuple(coordinates)
        variables: dict[str, Variable] = {
            name: (axes, values, {"long_name": f"{name}, solution", "units": "1"}) for name, values in fields.items()
        }
        if self.reference is not None:
            for name, values in fields.items():
                exact = np.asarray(self.reference.fields[name], float)
                note = {"long_name": f"{name}, reference ({self.reference.kind})", "units": "1"}
                variables[f"{name}_reference"] = (axes, exact, note)
                note = {"long_name": f"{name}, solution minus reference", "units": "1"}
                variables[f"{name}_error"] = (axes, values - exact, note)
        labels: dict[str, Variable] = {name: ((name,), axis, {"long_name": name, "units": "1"}) for name, axis in coordinates.items()}
        return Labelled(variables, labels, self._attributes())

    def plot(self, path: str | Path | None = None) -> Figure:
        """Solution, reference and error as a matplotlib figure, also written to `path` where one is given."""
        from sciml import figures

        figure = figures.solution_figure(self)
        if path is not None:
            figures.save(figure, Path(path))
        return figure

    def __repr__(self) -> str:
        coordinates = ", ".join(self.problem.domain.coordinates)
        fields = ", ".join(f"{name}({coordinates})" for name in self.problem.observable_names)
        parts = [f"Solution of {self.problem.name}: {fields} on {self.problem.domain}"]
        if self.unknowns:
            parts.append(", ".join(f"{name} = {value:.6g}" for name, value in self.unknowns.items()))
        if self.reference is not None:
            parts.append(str(self.error()))
        return "; ".join(parts)

    @cached_property
    def _grid(self) -> Grid:
        coordinates = self.reference.coordinates if self.reference is not None else _even_grid(self.problem)
        return evaluate_grid(self.evaluate, coordinates, self.problem.observable_names)

    def _broadcast(self, coordinates: Mapping[str, ArrayLike]) -> list[Values]:
        known = self.problem.domain.coordinates
        mistakes = [
            f"'{name}' is not a coordinate of {self.problem.domain}; {suggest(name, known)}" for name in coordinates if name not in known
        ]
        example = ", ".join(f"{name}=..." for name in known)
        mistakes += [f"coordinate '{name}' is missing; write solution({example})" for name in known if name not in coordinates]
        if mistakes:
            raise ProblemError(mistakes)
        arrays = {name: np.asarray(coordinates[name], float) for name in known}
        try:
            return list(np.broadcast_arrays(*arrays.values()))
        except ValueError as error:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
            raise ProblemError(f"the coordinates' shapes do not broadcast against each other: {shapes}") from error

    def _attributes(self) -> dict[str, str | int | float]:
        attributes: dict[str, str | int | float] = {
            "title": f"Solution of {self.problem.name}",
            "problem": self.problem.name,
            "description": " ".join((type(self.problem).__doc__ or "").split()),
            "source": "sciml, physics-informed network",
        }
        attributes |= {f"coefficient_{name}": _as_attribute(value) for name, value in self.problem.coefficients.items()}
        attributes |= {f"unknown_{name}": value for name, value in self.unknowns.items()}
        if self.reference is not None:
            error = self.error()
            attributes |= {
                "reference": self.reference.kind,
                "reference_estimated_error": float(self.reference.estimated_error),
                "rel_l2": error.rel_l2,
                "max_abs": error.max_abs,
            }
        return attributes


def _even_grid(problem: Problem) -> dict[str, Values]:
    from sciml.reference.grid import DEFAULT_SHAPES, uniform_grid

    dimension = problem.domain.dimension
    return uniform_grid(problem.domain.intervals, DEFAULT_SHAPES.get(dimension, (COARSE,) * dimension))


def _field(values: Mapping[str, ArrayLike], name: str, shape: tuple[int, ...]) -> Values:
    if name not in values:
        raise ProblemError(f"the reference has a field '{name}' that the solution does not have; {suggest(name, tuple(values))}")
    array = np.asarray(values[name], float)
    if array.shape != shape:
        raise ProblemError(f"field '{name}': the solution's shape {array.shape} is not the reference's shape {shape}")
    return array


def _finite_or_infinite(value: float) -> float:
    return value if math.isfinite(value) else math.inf


def _largest(difference: Mapping[str, Values], coordinates: Mapping[str, ArrayLike]) -> tuple[float, dict[str, float]]:
    """The largest absolute entry over all fields, and its coordinates; an entry that is not finite counts as infinite."""
    worst = np.max([np.where(np.isfinite(array), np.abs(array), np.inf) for array in difference.values()], axis=0)
    place = np.unravel_index(int(np.argmax(worst)), worst.shape)
    where = {name: float(np.asarray(axis)[index]) for (name, axis), index in zip(coordinates.items(), place, strict=True)}
    return float(worst[place]), where
