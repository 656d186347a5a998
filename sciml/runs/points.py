"""Points from a CSV file, and fields at these points to another."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sciml.errors import ConfigError


def read_points(path: Path, coordinates: Sequence[str]) -> dict[str, np.ndarray]:
    """The columns of a CSV file named as `coordinates`, each of shape (n,); other columns are left out.

    Raises `ConfigError` for a missing or repeated column and, with line and column, for what is not a finite number.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start}); save it as a CSV text file") from error
    reader = csv.reader(io.StringIO(text, newline=""))
    header = [name.strip() for name in next(reader, [])]
    _check_header(header, coordinates, path)
    lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    if not lines:
        raise ConfigError(f"{path} holds no points; below the header write one point per line")
    mistakes: list[str] = []
    columns = {name: _column(header.index(name), name, lines, mistakes) for name in coordinates}
    if mistakes:
        more = [f"... and {len(mistakes) - 10} more"] if len(mistakes) > 10 else []
        raise ConfigError(mistakes[:10] + more, str(path))
    return columns


def count_outside(points: Mapping[str, np.ndarray], intervals: Mapping[str, tuple[float, float]]) -> int:
    """How many of the points, arrays of shape (n,) by coordinate, are outside the product of `intervals`."""
    outside = [(points[name] < lower) | (points[name] > upper) for name, (lower, upper) in intervals.items()]
    return int(np.count_nonzero(np.any(outside, axis=0)))


def format_fields(points: Mapping[str, np.ndarray], fields: Mapping[str, np.ndarray]) -> str:
    """CSV text with the coordinates and fields, arrays of shape (n,), as columns; numbers keep all their digits."""
    columns = {**points, **fields}
    lines = [",".join(columns)]
    lines += [",".join(repr(float(value)) for value in row) for row in zip(*columns.values(), strict=True)]
    return "\n".join(lines) + "\n"


def _check_header(header: Sequence[str], coordinates: Sequence[str], path: Path) -> None:
    expected = ",".join(coordinates)
    mistakes = [
        f"there is no column '{name}'; the columns found are {', '.join(header) or 'none'}; the first line must name {expected}"
        for name in coordinates
        if name not in header
    ]
    mistakes += [f"the column '{name}' appears twice; keep one" for name in coordinates if header.count(name) > 1]
    if mistakes:
        raise ConfigError(mistakes, str(path))


def _column(index: int, name: str, lines: Sequence[tuple[int, list[str]]], mistakes: list[str]) -> np.ndarray:
    values = np.empty(len(lines))
    for position, (number, row) in enumerate(lines):
        cell = row[index].strip() if index < len(row) else ""
        try:
            values[position] = float(cell)
        except ValueError:
            values[position] = math.nan
        if not math.isfinite(values[position]):
            mistakes.append(f"line {number}, column {name}: '{cell}' is not a finite number")
    return values
