"""TimeSeries: what was measured when. Irregular times, gaps, several trajectories of unequal length, control inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from sciml import cells
from sciml.dynamics import tables
from sciml.dynamics.tables import Draft, Where
from sciml.errors import ProblemError

UNITS = {
    "ms": np.timedelta64(1, "ms"),
    "s": np.timedelta64(1, "s"),
    "min": np.timedelta64(1, "m"),
    "h": np.timedelta64(1, "h"),
    "d": np.timedelta64(1, "D"),
    "y": np.timedelta64(31_557_600, "s"),
}
"""Units of time in which dates are counted; a year has 365.25 days."""


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
        given = (self.times, self.values, self.names, self.controls, self.control_names, self.time_name)
        checked = _checked(Draft(*given, tables.rows(len(self.times)), "time series"))
        for name in ("times", "values", "controls"):
            object.__setattr__(self, name, getattr(checked, name))

    @classmethod
    def from_arrays(
        cls,
        times: Any,
        values: Any,
        names: Sequence[str] | None = None,
        controls: Any = None,
        control_names: Sequence[str] | None = None,
        time_name: str = "t",
        unit: str | None = None,
    ) -> TimeSeries:
        """One trajectory from arrays, `(n,)` and `(n,)` or `(n, channels)`; several from lists of such arrays.

        NaN, `None` and masked values were not measured. `controls` are `(n,)` or `(n, controls)` at the same times. Names are x, or
        x0, x1, ..., and u, or u0, u1, ..., where none are given. Times that are dates are counted from the earliest on, in the `unit`
        "ms", "s", "min", "h", "d" or "y" (365.25 days); durations need it, too. Raises `ProblemError` for cells that are no numbers,
        times that do not increase, and channels without information, naming row and channel.
        """
        return _series(cls, tables.from_arrays(times, values, names, controls, control_names, time_name), unit)

    @classmethod
    def from_csv(
        cls, path: str | Path, *, controls: Sequence[str] = (), trajectory: str = "trajectory", unit: str | None = None
    ) -> TimeSeries:
        """Reads a table with a header: the first column is time, the others are channels.

        Empty cells (or NA, NaN, null) were not measured. `controls` names columns that are inputs, not states: between rows they run in
        straight lines. Rows with equal entries in the column `trajectory`, where there is one, belong together. Times may be dates as in
        2026-01-31 or 2026-01-31T12:30, in a `unit` as in `from_arrays`. Commas, semicolons and tabs separate. Raises `ProblemError`,
        naming line and column.
        """
        return _series(cls, tables.from_csv(Path(path), controls, trajectory), unit)

    @classmethod
    def from_pandas(
        cls, frame: Any, *, controls: Sequence[str] = (), trajectory: str = "trajectory", unit: str | None = None
    ) -> TimeSeries:
        """From a data frame, or a `Series` of one channel; options as in `from_csv`.

        Time is the index where it has a name or holds dates or fractions, else the first column. Raises `ProblemError`, naming row and
        column, and for any other index that does not number the rows from 0 on.
        """
        return _series(cls, tables.from_frame(frame, controls, trajectory), unit)

    @classmethod
    def from_xarray(
        cls, dataset: Any, *, controls: Sequence[str] = (), trajectory: str = "trajectory", time: str = "t", unit: str | None = None
    ) -> TimeSeries:
        """From a dataset whose variables lie along the dimension `time`, and along `trajectory` where it has one.

        A `DataArray` is one channel, or has one more dimension along which its channels lie. Points past the end of a shorter trajectory
        are NaN in all variables. `unit` is as in `from_arrays`. Raises `ProblemError`, naming the variable.
        """
        return _series(cls, tables.from_dataset(dataset, controls, trajectory, time), unit)

    @property
    def rows(self) -> int:
        """Measured values of the channel that has most."""
        return max(int(sum(np.isfinite(values[:, channel]).sum() for values in self.values)) for channel in range(self.channels))

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

        Raises `ProblemError` for anything else, and where fewer than two points of a trajectory would remain.
        """
        if not (isinstance(hold_out, Integral) or (isinstance(hold_out, Real) and 0 < hold_out < 1)):
            raise ProblemError(f"hold_out = {hold_out!r}; write how many of the last points to hold out, or a share between 0 and 1")
        counts = [int(hold_out) if isinstance(hold_out, Integral) else round(hold_out * len(times)) for times in self.times]
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
        _check_informative(train, tables.rows(len(self.times)), f"what hold_out = {hold_out} leaves to learn from")
        return train, held_out


def _series(cls: type[TimeSeries], draft: Draft, unit: str | None) -> TimeSeries:
    """The series of a draft, from which something can be learned."""
    draft = _checked(draft, unit)
    series = cls(draft.times, draft.values, draft.names, draft.controls, draft.control_names, draft.time_name)
    _check_informative(series, draft.where, draft.source)
    return series


# ── from cells to numbers ─────────────────────────────────────────────────────────────────────────────────────────────


def _checked(draft: Draft, unit: str | None = None) -> Draft:
    """The gate of every series: cells become floats, and dates the time since the earliest. Raises `ProblemError`."""
    times, values, controls = (tuple(map(cells.array, arrays)) for arrays in (draft.times, draft.values, draft.controls))
    controls = controls or tuple(np.zeros((*each.shape, 0)) for each in times)
    draft = draft._replace(times=times, values=values, controls=controls)
    mistakes = _shape_mistakes(draft)
    if not mistakes:
        draft, mistakes = _read_times(draft, unit)
        gaps = "a number; write a number, or NaN where nothing was measured"
        values, strange_values = _read(cells.numbers, draft.values, draft.names, draft.where, gaps)
        controls, strange_controls = _read(cells.numbers, draft.controls, draft.control_names, draft.where, "a number; write a number")
        draft = draft._replace(values=values, controls=controls)
        mistakes = [*mistakes, *strange_values, *strange_controls] or _entry_mistakes(draft)
    if mistakes:
        raise ProblemError(mistakes, source=draft.source)
    return draft


def _read_times(draft: Draft, unit: str | None) -> tuple[Draft, list[str]]:
    """Times in floats, counted in `unit` where they are dates or durations; and what is wrong with them."""
    name, where = draft.time_name, draft.where
    numbers, mistakes = _read(cells.numbers, draft.times, (name,), where, "a number; write a number, or a date as in 2026-01-31")
    if not mistakes:
        needless = f"unit={unit!r} is for dates, but the times are numbers already; leave it out"
        return draft._replace(times=numbers), [] if unit is None else [needless]
    moments, strange = _read(cells.moments, draft.times, (name,), where, "a date as other times are; write it as in 2026-01-31")
    if all(np.isnat(each).all() for each in moments):
        return draft, mistakes
    if unit not in UNITS:
        said = "say in which unit to count time" if unit is None else f"{unit!r} is no unit of time"
        strange.append(f"column '{name}' holds dates or durations; {said}: unit='d' (command line: --unit d), or {', '.join(UNITS)}")
    if not strange and len({each.dtype.kind for each in moments}) > 1:
        strange.append(f"column '{name}' holds dates in some trajectories and durations in others; write one or the other")
    if strange:
        return draft, strange
    return draft._replace(times=_counted(moments, UNITS[str(unit)]), time_name=f"{name} [{unit}]"), []


def _read(
    reader: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    arrays: Sequence[np.ndarray],
    names: Sequence[str],
    where: Where,
    advice: str,
) -> tuple[tuple[np.ndarray, ...], list[str]]:
    """The cells of arrays, `(n,)` or `(n, names)`, and a mistake for each that is not what `advice` says."""
    read = [reader(array) for array in arrays]
    mistakes = [
        f"{where(index, place // len(names))}, column '{names[place % len(names)]}': '{arrays[index].flat[place]}' is not {advice}"
        for index, (_, strange) in enumerate(read)
        for place in np.flatnonzero(strange).tolist()
    ]
    return tuple(array for array, _ in read), mistakes


def _counted(moments: Sequence[np.ndarray], unit: np.timedelta64) -> tuple[np.ndarray, ...]:
    """Dates as the time since the earliest of all trajectories, durations as they are."""
    joined = np.concatenate(moments)
    origin = np.fmin.reduce(joined) if joined.dtype.kind == "M" else np.timedelta64(0)
    return tuple((each - origin) / unit for each in moments)


# ── what can be wrong ─────────────────────────────────────────────────────────────────────────────────────────────────


def _shape_mistakes(series: Draft) -> list[str]:
    if not series.times or len(series.values) != len(series.times) or len(series.controls) != len(series.times):
        counts = f"{len(series.times)} times, {len(series.values)} values, {len(series.controls)} controls"
        return [f"needs one array of times, values (and controls) per trajectory; got {counts}"]
    named = (*series.names, *series.control_names, series.time_name)
    mistakes = [f"two columns have the name '{name}'" for name in sorted(set(named)) if named.count(name) > 1]
    for index, (times, values, controls) in enumerate(zip(series.times, series.values, series.controls, strict=True)):
        expected = times.shape if times.ndim == 1 else None
        if expected is None or values.shape != (*expected, len(series.names)) or controls.shape != (*expected, len(series.control_names)):
            mistakes.append(
                f"trajectory {index + 1}: times {times.shape}, values {values.shape}, controls {controls.shape}; expected (n,), "
                f"(n, {len(series.names)}) and (n, {len(series.control_names)})"
            )
    return mistakes


def _entry_mistakes(series: Draft) -> list[str]:
    """Rows and columns of numbers that cannot be: infinite ones, gaps in times or controls, times that do not increase."""
    mistakes, where = [], series.where
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
        f"{where(index, 0) + ': trajectory' if len(times) else 'trajectory'} {index + 1} has {'1 point' if len(times) else 'no points'}; "
        "at least 2 are needed, drop it"
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
