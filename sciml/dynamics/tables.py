"""Where series come from: arrays, CSV files, data frames and datasets, laid out as trajectories. Their cells are not looked at here."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sciml import cells
from sciml.errors import ProblemError, suggest

Where = Callable[[int, int], str]
"""(trajectory, row) -> where its reader finds it: "line 7", or "row 6 of trajectory 2"."""


class Draft(NamedTuple):
    """The fields of a `TimeSeries` whose cells may still be anything, with the places where a reader finds them."""

    times: tuple[np.ndarray, ...]
    values: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    controls: tuple[np.ndarray, ...]
    control_names: tuple[str, ...]
    time_name: str
    where: Where
    source: str


def rows(trajectories: int) -> Where:
    """Places in arrays: "row 6 of trajectory 2"."""
    return lambda index, row: f"row {row + 1}" + (f" of trajectory {index + 1}" if trajectories > 1 else "")


# ── arrays ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def from_arrays(
    times: Any, values: Any, names: Sequence[str] | None, controls: Any, control_names: Sequence[str] | None, time_name: str
) -> Draft:
    """Arrays of one trajectory, or lists of those of several."""
    several = isinstance(times, list | tuple) and len(times) > 0 and np.ndim(times[0]) == 1
    grids = tuple(map(cells.array, times if several else [times]))
    states = tuple(map(_columns, values if several else [values]))
    inputs = () if controls is None else tuple(map(_columns, controls if several else [controls]))
    names, control_names = _default_names("x", names, states), _default_names("u", control_names, inputs)
    return Draft(grids, states, names, inputs, control_names, time_name, rows(len(grids)), "time series")


def _columns(given: Any) -> np.ndarray:
    array = cells.array(given)
    return array[:, None] if array.ndim == 1 else array


def _default_names(letter: str, names: Sequence[str] | None, arrays: Sequence[np.ndarray]) -> tuple[str, ...]:
    if names is not None or not arrays:
        return _listed(names or ())
    count = arrays[0].shape[1] if arrays[0].ndim == 2 else 1
    return tuple(f"{letter}{index}" for index in range(count)) if count > 1 else (letter,)


def _listed(names: Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


# ── tables ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def from_csv(path: Path, controls: Sequence[str], trajectory: str) -> Draft:
    """A CSV file with a header. Raises `ProblemError` for a file that is none, naming the line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        reader = csv.reader(text.splitlines(), delimiter=max(",;\t", key=text.partition("\n")[0].count), skipinitialspace=True)
        lines = [(f"line {reader.line_num}", [cell.strip() for cell in row]) for row in reader if any(cell.strip() for cell in row)]
    except OSError as error:
        others = [str(each) for each in path.parent.glob("*.csv")] if path.parent.is_dir() else []
        hint = suggest(str(path), others) if others else "give the path of a CSV file"
        raise ProblemError(f"cannot read the table {path.absolute()}: {error.strerror}; {hint}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ProblemError(f"cannot read the table ({error}); give a CSV file in UTF-8", source=str(path)) from error
    if mistakes := _csv_mistakes(lines):
        raise ProblemError(mistakes, source=str(path))
    header = lines[0][1]
    columns = [np.array([row[index] for _, row in lines[1:]], dtype=object) for index in range(len(header))]
    return _from_columns(header, columns, controls, trajectory, [place for place, _ in lines[1:]], str(path))


def _csv_mistakes(lines: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    if len(lines) < 2:
        return ["needs a header and at least two rows of numbers"]
    (first, header), *body = lines
    if all(cells.number(cell) is not None for cell in header):
        return [f"{first}: the first line holds numbers ({', '.join(header)}); write a line of names above it, as in t,x,y"]
    ragged = [f"{place}: {len(row)} cells where the header has {len(header)}" for place, row in body if len(row) != len(header)]
    commas = [
        f"{place}, column '{name}': '{cell}' is not a number: its decimals are commas; write points instead"
        for place, row in body
        for name, cell in zip(header, row, strict=False)
        if "," in cell and cells.number(cell.replace(",", ".", 1)) is not None
    ]
    return ragged or commas[:1]


def from_frame(frame: Any, controls: Sequence[str], trajectory: str) -> Draft:
    """A data frame of pandas, or a series of it. Raises `ProblemError` for an index that may or may not be time."""
    if not hasattr(frame, "iloc"):
        raise ProblemError(f"a {type(frame).__name__} is no data frame; give a DataFrame or a Series of pandas")
    if frame.ndim == 1:
        frame = frame.to_frame("x" if frame.name is None else frame.name)
    columns = [*_levels(frame.index), *(frame.iloc[:, place] for place in range(frame.shape[1]))]
    header = ["t" if column.name is None else str(column.name) for column in columns]
    places = [f"row {row + 1}" for row in range(len(frame))]
    return _from_columns(header, [np.asarray(column) for column in columns], controls, trajectory, places, "data frame")


def _levels(index: Any) -> list[Any]:
    """The levels of an index that is time; none of one that numbers the rows."""
    if any(name is not None for name in index.names) or index.dtype.kind in "fMm":
        return [index.get_level_values(level) for level in range(index.nlevels)]
    if np.array_equal(index, np.arange(len(index))):
        return []
    raise ProblemError(
        "the index has no name, so that it may be time, or only number the rows; if it is time, give frame.rename_axis('t'), "
        "if the first column is, frame.reset_index(drop=True)",
        source="data frame",
    )


def _from_columns(
    header: Sequence[str], columns: Sequence[np.ndarray], controls: Sequence[str], trajectory: str, places: Sequence[str], source: str
) -> Draft:
    """Columns under a header, time first; `places[row]` says where the reader finds a row."""
    table, controls = dict(zip(header, columns, strict=True)), _listed(controls)
    time_name, *others = [name for name in header if name != trajectory] or [""]
    names = tuple(name for name in others if name not in controls)
    mistakes = [f"every column needs a name of its own; the header is {', '.join(header)}"] * ("" in table or len(table) < len(header))
    mistakes += ["there are no rows"] * (not places)
    mistakes += [f"no column '{name}' for a control; {suggest(name, others)}" for name in controls if name not in others]
    mistakes += [f"no column is left for a state; columns: {', '.join(header)}"] * (not names)
    if mistakes:
        raise ProblemError(mistakes, source=source)
    groups: dict[Any, list[int]] = {}
    for row, label in enumerate(table.get(trajectory, [""] * len(places))):
        groups.setdefault(label, []).append(row)
    members = list(groups.values())
    states, inputs = _beside(table, names), _beside(table, controls)
    return Draft(
        tuple(table[time_name][member] for member in members),
        tuple(states[member] for member in members),
        names,
        tuple(inputs[member] for member in members),
        controls,
        time_name,
        lambda index, row: places[members[index][row]],
        source,
    )


def _beside(table: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Columns of a table side by side `(rows, names)`, each cell as it is."""
    stacked = np.empty((len(next(iter(table.values()))), len(names)), dtype=object)
    for index, name in enumerate(names):
        stacked[:, index] = np.fromiter(table[name], dtype=object)
    return stacked


# ── datasets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def from_dataset(given: Any, controls: Sequence[str], trajectory: str, time: str) -> Draft:
    """A dataset or a data array of xarray. Raises `ProblemError` for dimensions that are neither time nor trajectory."""
    dataset, controls = _dataset(given, trajectory, time), _listed(controls)
    names = tuple(str(name) for name in dataset.data_vars if name not in controls)
    mistakes = [f"no variable '{name}' for a control; {suggest(name, names)}" for name in controls if name not in dataset.data_vars]
    mistakes += [f"no variable is left for a state; variables: {', '.join(map(str, dataset.data_vars)) or 'none'}"] * (not names)
    mistakes += [
        f"variable '{name}' lies along ({', '.join(map(str, variable.dims))}); only '{time}' and '{trajectory}' can be used"
        for name, variable in dataset.data_vars.items()
        if not {time} <= set(variable.dims) <= {time, trajectory}
    ]
    if mistakes:
        raise ProblemError(mistakes, source="dataset")
    parts = [
        _part(dataset.isel({trajectory: index}, missing_dims="ignore"), names, controls, time)
        for index in range(dataset.sizes.get(trajectory, 1))
    ]
    grids, states, inputs = zip(*parts, strict=True)
    return Draft(grids, states, names, inputs, controls, time, rows(len(parts)), "dataset")


def _part(dataset: Any, names: Sequence[str], controls: Sequence[str], time: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, states and controls of one trajectory, up to the last row with a value."""
    table = {name: dataset[name].values for name in (time, *names, *controls)}
    states = _beside(table, names)
    numbers, strange = cells.numbers(states)
    length = np.flatnonzero((strange | ~np.isnan(numbers)).any(axis=1)).max(initial=-1) + 1
    return table[time][:length], states[:length], _beside(table, controls)[:length]


def _dataset(given: Any, trajectory: str, time: str) -> Any:
    """A dataset with times; a data array becomes one, with channels along a dimension that is neither time nor trajectory."""
    import xarray

    if not isinstance(given, xarray.Dataset | xarray.DataArray):
        raise ProblemError(f"a {type(given).__name__} is no dataset; give a Dataset or a DataArray of xarray")
    if time not in given.sizes:
        known = ", ".join(map(str, given.sizes)) or "none"
        raise ProblemError(f"no dimension '{time}'; write time=... with the name of the one that is time; known: {known}", source="dataset")
    if time not in given.coords:
        raise ProblemError(f"the dimension '{time}' has no times; give it some: dataset.assign_coords({time}=times)", source="dataset")
    if isinstance(given, xarray.Dataset):
        return given
    others = [dimension for dimension in given.dims if dimension not in (time, trajectory)]
    if len(others) != 1:
        return given.to_dataset(name=given.name or "x")
    (channel,) = others
    labels = [label if isinstance(label, str) else f"{channel}_{label}" for label in given[channel].values.tolist()]
    if len({time, *labels}) <= len(labels):
        raise ProblemError(f"every channel needs a name of its own; those along '{channel}' are {', '.join(labels)}", source="dataset")
    return given.assign_coords({channel: labels}).to_dataset(dim=channel)
