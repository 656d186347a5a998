"""What a cell of a table says: a number, that nothing was measured, or neither."""

from __future__ import annotations

from typing import Any

MISSING = frozenset({"", "na", "nan", "n/a", "null", "none", "-"})
"""Cells that stand for a value that was not measured, in lower case."""


def number(cell: Any) -> float | None:
    """A cell as a number, NaN where nothing was measured, None where it is text."""
    if isinstance(cell, str) and cell.strip().lower() in MISSING:
        return float("nan")
    try:
        return float("nan") if cell is None else float(cell)
    except (TypeError, ValueError):
        return None
