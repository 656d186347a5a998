"""TimeSeries: what was measured when. Irregular times, gaps, several trajectories of unequal length, control inputs."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sciml import cells
from sciml.errors import ProblemError, suggest

Where = Callable[[int, int], str]
"""(trajectory, row) -> where its reader finds it: "line 7", or "row 6 of trajectory 2"."""


MISTAKES = 10
"""Ragged lines of a table that are named one by one."""


@dataclass(frozen=True)
class TimeSeries:
    """Measurements of `channels` quantities along one or several trajectories.

    `times[i]` is `(n_i,)` and strictly increasing, `values[i]` is `(n_i, channels)` with NaN where nothing was measured,
    `controls[i]` is `(n_i, controls)` without gaps (empty when there are no controls). Raises `ProblemError` where shapes
    contradict each other, times do not increase or a number is infinite. `from_csv`, `from_arrays`, `from_pandas` and
    `from_xarray` also refuse what nothing can be learned from: one point, a channel that never changes or has no value.
    """

    times: tuple[np.ndarray, ...]
    values: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    controls: tuple[np.ndarray, ...] = ()
    control_names: tuple[str, ...] = ()
    time_name: str = "t"

    def __post_init__(self) -> None:
        controls = self.controls or tuple(np.zeros((len(times), 0)) for times in self.times)
        for name, arrays in (("times", self.times), ("values", self.values), ("controls", controls)):
            object.__setattr__(self, name, tuple(np.asarray(array, dtype=np.float64) for array in arrays))
        mistakes = _shape_mistakes(self) or _entry_mistakes(self, _rows(len(self.times)))
        if mistakes:
            raise ProblemError(mistakes, source="time series")

    @classmethod
    def from_arrays(
        cls,
        times: Any,
        values: Any,
        names: Sequence[str] | None = None,
        controls: Any = None,
        control_names: Sequence[str] | None = None,
        time_name: str = "t",
    ) -> TimeSeries:
        """One trajectory from arrays, `(n,)` and `(n,)` or `(n, channels)`; several from lists of such arrays. NaN was not measured.

        `controls` are `(n,)` or `(n, controls)` at the same times. Names are x, or x0, x1, ..., and u, or u0, u1, ..., where none are
        given. Raises `ProblemError` for times that do not increase, and for channels without information, naming row and channel.
        """
        several = isinstance(times, list | tuple) and len(times) > 0 and np.ndim(times[0]) == 1
        listed_times = list(times) if several else [times]
        listed_values = [_columns(each) for each in (values if several else [values])]
        listed_controls = [] if controls is None else [_columns(each) for each in (controls if several else [controls])]
        names = _default_names("x", names, listed_values)
        control_names = _default_names("u", control_names, listed_controls) if listed_controls else ()
        series = cls(tuple(map(np.asarray, listed_times)), tuple(listed_values), names, tuple(listed_controls), control_names, time_name)
        _check_informative(series, _rows(len(series.times)), "time series")
        return series

    @classmethod
    def from_csv(cls, path: str | Path, *, controls: Sequence[str] = (), trajectory: str = "trajectory") -> TimeSeries:
        """Reads a table with a header: the first column is time, the others are channels.

        Empty cells (or NA, NaN, null) were not measured. `controls` names columns that are inputs, not states: between rows they run in
        straight lines. Rows with equal entries in the column `trajectory`, where there is one, belong together. Commas, semicolons and
        tabs separate. Raises `ProblemError`, naming line and column.
        """
        source = Path(path)
        try:
            text = source.read_text(encoding="utf-8-sig")
        except OSError as error:
            others = [str(each) for each in source.parent.glob("*.csv")] if source.parent.is_dir() else []
            hint = suggest(str(path), others) if others else "give the path of a CSV file"
            raise ProblemError(f"cannot read the table {source.absolute()}: {error.strerror}; {hint}") from error
        except UnicodeDecodeError as error:
            raise ProblemError(f"cannot read the table ({error}); give a CSV file in UTF-8", source=str(path)) from error
        head = text.partition("\n")[0]
        reader = csv.reader(text.splitlines(), delimiter=max(",;\t", key=head.count), skipinitialspace=True)
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(cell.strip() for cell in row)]
        if len(rows) < 2:
            raise ProblemError("needs a header and at least two rows of numbers", source=str(path))
        header = rows[0][1]
        ragged = [f"line {line}: {len(row)} cells where the header has {len(header)}" for line, row in rows[1:] if len(row) != len(header)]
        if ragged:
            more = [f"{len(ragged) - MISTAKES} more lines like these"] * (len(ragged) > MISTAKES)
            raise ProblemError(ragged[:MISTAKES] + more, source=str(path))
        if all(cells.number(cell) is not None for cell in header):
            raise ProblemError(
                f"line {rows[0][0]}: the first line holds numbers ({', '.join(header)}); write a line of names above it, as in t,x,y",
                source=str(path),
            )
        table = {name: [row[index] for _, row in rows[1:]] for index, name in enumerate(header)}
        if len(table) != len(header) or "" in table:
            raise ProblemError(f"every column needs a name of its own; the header is {', '.join(header)}", source=str(path))
        return _from_table(cls, table, controls, trajectory, [f"line {line}" for line, _ in rows[1:]], str(path))

    @classmethod
    def from_pandas(cls, frame: Any, *, controls: Sequence[str] = (), trajectory: str = "trajectory") -> TimeSeries:
        """From a data frame laid out as `from_csv` expects a table: the first column is time. Raises `ProblemError`, naming the row."""
        table = {str(name): list(frame[name]) for name in frame.columns}
        return _from_table(cls, table, controls, trajectory, [f"row {row + 1}" for row in range(len(frame))], "data frame")

    @classmethod
    def from_xarray(cls, dataset: Any, *, controls: Sequence[str] = (), trajectory: str = "trajectory", time: str = "t") -> TimeSeries:
        """From a dataset whose variables lie along the dimension `time`, and along `trajectory` where it has one.

        Points past the end of a shorter trajectory are NaN in all variables. Raises `ProblemError`, naming the variable.
        """
        names = [str(name) for name in dataset.data_vars]
        mistakes = [f"no dimension '{time}'; {suggest(time, [str(dim) for dim in dataset.sizes])}"] * (time not in dataset.sizes)
        mistakes += [f"no variable '{name}' for a control; {suggest(name, names)}" for name in controls if name not in names]
        mistakes += [
            f"variable '{name}' lies along ({', '.join(map(str, dataset[name].dims))}); only '{time}' and '{trajectory}' can be used"
            for name in names
            if not {time} <= set(dataset[name].dims) <= {time, trajectory}
        ]
        if mistakes:
            raise ProblemError(mistakes, source="dataset")
        count = dataset.sizes.get(trajectory, 1)
        grid = np.asarray(dataset[time].values, dtype=np.float64)

        def column(name: str, index: int) -> np.ndarray:
            variable = dataset[name]
            return np.asarray((variable.isel({trajectory: index}) if trajectory in variable.dims else variable).values, dtype=np.float64)

        channels = [name for name in names if name not in controls]
        kept, values, inputs = [], [], []
        for index in range(count):
            measured = np.stack([column(name, index) for name in channels], axis=1)
            rows = np.flatnonzero(~np.isnan(measured).all(axis=1))
            rows = np.arange(rows[-1] + 1 if rows.size else 0)
            kept.append(grid[rows])
            values.append(measured[rows])
            inputs.append(np.stack([column(name, index) for name in controls], axis=1)[rows] if controls else np.zeros((rows.size, 0)))
        return cls.from_arrays(kept, values, channels, inputs, controls, time)

    @property
    def channels(self) -> int:
        """How many quantities were measured."""
        return len(self.names)

    @property
    def points(self) -> int:
        """Rows of all trajectories together."""
        return sum(len(times) for times in self.times)

    def split(self, hold_out: int | float) -> tuple[TimeSeries, TimeSeries]:
        """(train, held out): the last points of every trajectory are held out, a number of them or a share below one.

        Raises `ProblemError` where fewer than two points of a trajectory would remain.
        """
        counts = [round(hold_out * len(times)) if isinstance(hold_out, float) else hold_out for times in self.times]
        for index, (times, count) in enumerate(zip(self.times, counts, strict=True)):
            if not 1 <= count <= len(times) - 2:
                raise ProblemError(
                    f"hold_out = {hold_out} takes {count} of the {len(times)} points of trajectory {index + 1}; "
                    f"hold out at least 1 and leave at least 2"
                )
        train, held_out = (
            replace(self, times=part(self.times), values=part(self.values), controls=part(self.controls))
            for part in (
                lambda arrays: tuple(array[:-count] for array, count in zip(arrays, counts, strict=True)),
                lambda arrays: tuple(array[-count:] for array, count in zip(arrays, counts, strict=True)),
            )
        )
        _check_informative(train, _rows(len(self.times)), f"what hold_out = {hold_out} leaves to learn from")
        return train, held_out


def _columns(values: Any) -> np.ndarray:
    array = np.asarray(values)
    return array[:, None] if array.ndim == 1 else array


def _default_names(letter: str, names: Sequence[str] | None, arrays: Sequence[np.ndarray]) -> tuple[str, ...]:
    if names is not None:
        return tuple(names)
    count = arrays[0].shape[-1]
    return tuple(f"{letter}{index}" for index in range(count)) if count > 1 else (letter,)


def _rows(trajectories: int) -> Where:
    return lambda index, row: f"row {row + 1}" + (f" of trajectory {index + 1}" if trajectories > 1 else "")


# ── tables ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _from_table(
    cls: type[TimeSeries], table: Mapping[str, list[Any]], controls: Sequence[str], trajectory: str, places: list[str], source: str
) -> TimeSeries:
    """A series from columns of cells; `places[row]` says where the reader finds a row."""
    time_name, *others = [name for name in table if name != trajectory] or [""]
    controls = (controls,) if isinstance(controls, str) else controls
    mistakes = [f"no column '{name}' for a control; {suggest(name, others)}" for name in controls if name not in others]
    names = tuple(name for name in others if name not in controls)
    if not names:
        mistakes.append(f"no column is left for a state; columns: {', '.join(table)}")
    if mistakes:
        raise ProblemError(mistakes, source=source)
    numbers = {name: [cells.number(cell) for cell in table[name]] for name in (time_name, *others)}
    texts = [
        f"{place}, column '{name}': {cell!r} is not a number; write a number, or leave the cell empty where nothing was measured"
        for name, column in numbers.items()
        for place, cell, number in zip(places, table[name], column, strict=True)
        if number is None
    ]
    if texts and all(cells.number(str(cell).replace(",", ".", 1)) is not None for column in table.values() for cell in column):
        raise ProblemError(f"{texts[0].partition(';')[0]}: its decimals are commas; write points instead", source=source)
    if texts:
        raise ProblemError(texts, source=source)
    columns = {name: np.array(column, dtype=np.float64) for name, column in numbers.items()}
    groups: dict[Any, list[int]] = {}
    for row, label in enumerate(table.get(trajectory, [""] * len(places))):
        groups.setdefault(label, []).append(row)
    members = list(groups.values())

    def gathered(wanted: Sequence[str]) -> tuple[np.ndarray, ...]:
        return tuple(np.stack([columns[name][rows] for name in wanted], axis=1) for rows in members)

    arrays = (tuple(columns[time_name][rows] for rows in members), gathered(names), gathered(controls) if controls else ())
    draft = _Draft(*arrays[:2], names, arrays[2] or tuple(np.zeros((len(rows), 0)) for rows in members), tuple(controls), time_name)
    where: Where = lambda index, row: places[members[index][row]]  # noqa: E731
    if mistakes := _entry_mistakes(draft, where):
        raise ProblemError(mistakes, source=source)
    series = cls(*draft)
    _check_informative(series, where, source)
    return series


class _Draft(NamedTuple):
    """The fields of a TimeSeries before they are checked."""

    times: tuple[np.ndarray, ...]
    values: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    controls: tuple[np.ndarray, ...]
    control_names: tuple[str, ...]
    time_name: str


# ── what can be wrong ─────────────────────────────────────────────────────────────────────────────────────────────────


def _shape_mistakes(series: TimeSeries) -> list[str]:
    if not series.times or len(series.values) != len(series.times) or len(series.controls) != len(series.times):
        counts = f"{len(series.times)} times, {len(series.values)} values, {len(series.controls)} controls"
        return [f"needs one array of times, values (and controls) per trajectory; got {counts}"]
    named = (*series.names, *series.control_names, series.time_name)
    mistakes = [f"two columns have the name '{name}'" for name in sorted(set(named)) if named.count(name) > 1]
    for index, (times, values, controls) in enumerate(zip(series.times, series.values, series.controls, strict=True)):
        expected = (len(times),) if times.ndim == 1 else None
        if expected is None or values.shape != (*expected, len(series.names)) or controls.shape != (*expected, len(series.control_names)):
            mistakes.append(
                f"trajectory {index + 1}: times {times.shape}, values {values.shape}, controls {controls.shape}; expected (n,), "
                f"(n, {len(series.names)}) and (n, {len(series.control_names)})"
            )
    return mistakes


def _entry_mistakes(series: TimeSeries | _Draft, where: Where) -> list[str]:
    """Rows and columns of numbers that cannot be: infinite ones, gaps in times or controls, times that do not increase."""
    mistakes: list[str] = []
    for index, (times, values, controls) in enumerate(zip(series.times, series.values, series.controls, strict=True)):
        for row in np.flatnonzero(~np.isfinite(times)):
            mistakes.append(
                f"{where(index, int(row))}, column '{series.time_name}': the time is missing or infinite; every row needs its time"
            )
        for row in np.flatnonzero(np.diff(times) <= 0) + 1:
            before, here = float(times[row - 1]), float(times[row])
            said = f"is repeated (also in {where(index, int(row) - 1)}); average or drop one of the rows, or add a column 'trajectory'"
            if here < before:
                said = f"comes after {before:g} ({where(index, int(row) - 1)}); sort the rows by time, or add a column 'trajectory'"
            mistakes.append(f"{where(index, int(row))}, column '{series.time_name}': the time {here:g} {said}")
        for row, column in np.argwhere(np.isinf(values)):
            mistakes.append(
                f"{where(index, int(row))}, column '{series.names[column]}': infinite; leave the value out where it was not measured"
            )
        for row, column in np.argwhere(~np.isfinite(controls)):
            name = series.control_names[column]
            mistakes.append(f"{where(index, int(row))}, column '{name}': a control needs a finite value in every row; fill the gap first")
    return mistakes


def _check_informative(series: TimeSeries, where: Where, source: str) -> None:
    """Raises `ProblemError` where there is nothing to learn from: one point, or a channel that is constant or has no value."""
    mistakes = [
        f"{where(index, 0) + ': ' if len(times) else ''}trajectory {index + 1} has {len(times)} point; at least 2 are needed, drop it"
        for index, times in enumerate(series.times)
        if len(times) < 2
    ]
    for channel, name in enumerate(series.names):
        column = np.concatenate([values[:, channel] for values in series.values])
        measured = column[~np.isnan(column)]
        if measured.size == 0:
            mistakes.append(f"column '{name}' has no value in any row; leave the column out")
        elif measured.size > 1 and np.ptp(measured) == 0:
            rows = f"in all {measured.size} rows where it was measured"
            mistakes.append(f"column '{name}' is {measured[0]:g} {rows}: nothing to learn; leave it out or make it a control")
    if mistakes:
        raise ProblemError(mistakes, source=source)
