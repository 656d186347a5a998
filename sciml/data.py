"""Measured values as a term of the loss: columns of coordinates and fields, from arrays or a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml import cells
from sciml.conditions import Condition, Known, Term
from sciml.errors import ProblemError, suggest
from sciml.problem import Derivative, Problem, Values


class Data(Condition):
    """Measured values of fields at given points: `Data({"t": [...], "x": [...]}, {"u": [...]})`, columns `(n,)`. NaN marks a missing value.

    The values are those of fields, not of what `observe` returns.

    A second set of data for the same field needs another `name`. Raises `ProblemError` for arrays of unequal length, and, once in
    a problem, for names that it does not have and points outside its domain.
    """

    def __init__(self, coordinates: Mapping[str, Any], values: Mapping[str, Any], weight: float = 1.0, name: str = "data") -> None:
        self.coordinates = {name: _column(name, column) for name, column in coordinates.items()}
        self.values = {name: _column(name, column) for name, column in values.items()}
        self.weight, self.name = weight, name
        lengths = {name: len(column) for name, column in (self.coordinates | self.values).items()}
        if len(set(lengths.values())) != 1:
            raise ProblemError(f"Data: columns of unequal length ({', '.join(f'{name}: {n}' for name, n in lengths.items())})")

    def __repr__(self) -> str:
        columns = self.coordinates | self.values
        return f"Data({', '.join(columns)}: {len(next(iter(columns.values())))} rows, weight={self.weight:g}, name={self.name!r})"

    @classmethod
    def from_csv(cls, path: str | Path, weight: float = 1.0, name: str = "data") -> Data:
        """Reads a table, comma-separated, whose header names coordinates (`t`, `x`) and fields (`u`).

        Empty cells (or NA, NaN, null) were not measured.
        Raises `ProblemError` for a file that cannot be read, and what `Data` raises. A relative path is one from the current folder.
        """
        return cls({}, _read_table(Path(path)), weight, name)

    def terms(self, problem: Problem) -> list[Term]:
        columns = self.coordinates | self.values
        domain = problem.domain
        missing = [name for name in domain.coordinates if name not in columns]
        strange = [name for name in columns if name not in domain.coordinates and name not in problem.field_names]
        mistakes = [f"Data: no column for the coordinate '{name}'; columns: {', '.join(columns)}" for name in missing]
        mistakes += [
            f"Data: '{name}' is neither a coordinate nor a field; {suggest(name, (*domain.coordinates, *problem.field_names))}"
            for name in strange
        ]
        if mistakes:
            raise ProblemError(mistakes)
        points = np.stack([columns[name] for name in domain.coordinates], axis=1)
        for row, axis in np.argwhere(~np.isfinite(points)):
            raise ProblemError(
                f"Data: row {row + 1}: the coordinate '{domain.coordinates[axis]}' is not a finite number; "
                "only measured values may be missing (NaN)"
            )
        outside = ((points < np.array(domain.lower)) | (points > np.array(domain.upper))).any(axis=1)
        if outside.any():
            raise ProblemError(f"Data: row {int(outside.argmax()) + 1} lies outside {domain}: {points[outside.argmax()].tolist()}")
        return [self._term(name, points, columns[name]) for name in problem.field_names if name in columns]

    def _term(self, name: str, points: np.ndarray, observed: np.ndarray) -> Term:
        present = np.isfinite(observed)
        if not present.any():
            raise ProblemError(f"Data: the column '{name}' has no value")
        each = Derivative(name, ())

        def residual(values: Values, points: Array, known: Known, unknowns: Mapping[str, Array]) -> tuple[Array, ...]:
            return (values[each][0] - known[0],)

        data = (jnp.asarray(points[present])[None], (jnp.asarray(observed[present]),))
        label = f"{self.name}_{name}"
        return Term(label, (label,), self.weight, (each,), residual, lambda cube: cube[None], points.shape[1], "data", data=data)


def _column(name: str, column: Any) -> np.ndarray:
    array = cells.array(column)
    if array.ndim != 1:
        raise ProblemError(f"Data: the column '{name}' must be one-dimensional, but has shape {array.shape}")
    numbers, strange = cells.numbers(array)
    mistakes = [
        f"Data: row {row + 1}, column '{name}': '{array[row]}' is not a number; write a number, or NaN where nothing was measured"
        for row in np.flatnonzero(strange)
    ]
    if mistakes:
        raise ProblemError(mistakes)
    return numbers


def _read_table(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except OSError as error:
        raise ProblemError(f"Data: cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ProblemError(f"Data: {path} is not text in UTF-8 with comma-separated columns: {error}") from error
    if len(rows) < 2:
        raise ProblemError(f"Data: {path} needs a header and at least one row")
    header = [name.strip() for name in rows[0]]
    for name in header:
        if header.count(name) > 1:
            raise ProblemError(f"Data: {path}: the column '{name}' appears twice; remove or rename one")
    columns: dict[str, list[float]] = {name: [] for name in header}
    for number, row in enumerate(rows[1:], 2):
        if not row:
            continue
        if len(row) != len(header):
            raise ProblemError(f"Data: {path}, line {number}: {len(row)} values for {len(header)} columns")
        for name, text in zip(header, row, strict=True):
            value = cells.number(text)
            if value is None:
                raise ProblemError(f"Data: {path}, line {number}, column '{name}': '{text}' is not a number")
            columns[name].append(value)
    return {name: np.array(column) for name, column in columns.items()}
