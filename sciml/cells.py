"""What a cell of a table says: a number, a moment in time, that nothing was measured, or none of these."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from sciml.errors import ProblemError

MISSING = frozenset({"", "na", "<na>", "nan", "nat", "n/a", "null", "none", "-"})
"""Cells that stand for a value that was not measured, in lower case; so do `None`, NaN and the `NA` of pandas, written out."""


def number(cell: Any) -> float | None:
    """A cell as a number, NaN where nothing was measured, None where it is something else: text, a date, a complex number."""
    if not isinstance(cell, np.complexfloating | np.datetime64 | np.timedelta64):  # which `float` would silently make numbers
        with suppress(TypeError, ValueError, OverflowError):
            return float(cell)
    return math.nan if _is_missing(cell) else None


def moment(cell: Any) -> np.datetime64 | np.timedelta64 | None:
    """A cell as a date (in UTC where it has a zone; text as in ISO 8601) or a duration, NaT where it is empty, None where it is neither."""
    if isinstance(cell, np.datetime64 | np.timedelta64):
        return cell
    if isinstance(cell, timedelta):
        return np.timedelta64(cell)
    with suppress(AttributeError, ValueError, OverflowError):
        said = datetime.fromisoformat(cell.isoformat() if isinstance(cell, date) else cell.strip())
        return np.datetime64(said.astimezone(UTC).replace(tzinfo=None) if said.tzinfo else said)
    return np.datetime64("NaT") if _is_missing(cell) else None


def array(given: Any) -> np.ndarray:
    """Cells as an array, as they are; masked numbers are NaN. Raises `ProblemError` for rows of unequal length."""
    if isinstance(given, np.ma.MaskedArray):
        if given.dtype.kind in "biuf":
            return np.ma.filled(given.astype(np.float64), np.nan)
        cells = np.array(np.ma.getdata(given), dtype=object)
        cells[np.ma.getmaskarray(given)] = None
        return cells
    try:
        return np.asarray(given)
    except ValueError as error:
        raise ProblemError("an array has rows of unequal length; fill them up with NaN where nothing was measured") from error


def numbers(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells as floats, NaN where nothing was measured; and True where a cell is no number."""
    if array.dtype.kind in "biuf":
        return array.astype(np.float64, copy=False), np.zeros(array.shape, dtype=bool)
    return _each(array, number, "float64")


def moments(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells as dates or, where there are none of these, as durations, NaT where there is none; and True where a cell is neither."""
    if array.dtype.kind in "Mm":
        return array.astype(f"{array.dtype.kind}8[us]"), np.zeros(array.shape, dtype=bool)
    told = [each.dtype.kind for each in map(moment, array.flat) if each is not None and not np.isnat(each)]
    kind = "m" if told and set(told) == {"m"} else "M"

    def of_this_kind(cell: Any) -> np.datetime64 | np.timedelta64 | None:
        found = moment(cell)
        if found is None or found.dtype.kind == kind:
            return found
        missing = np.timedelta64("NaT") if kind == "m" else np.datetime64("NaT")
        return missing if np.isnat(found) else None

    return _each(array, of_this_kind, f"{kind}8[us]")


def _is_missing(cell: Any) -> bool:
    return str(cell).strip().lower() in MISSING


def _each(array: np.ndarray, read: Callable[[Any], Any], dtype: str) -> tuple[np.ndarray, np.ndarray]:
    cells = [read(cell) for cell in array.flat]
    strange = np.array([cell is None for cell in cells], dtype=bool)
    return np.array(cells, dtype=dtype).reshape(array.shape), strange.reshape(array.shape)
