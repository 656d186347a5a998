"""JSON, one value per line: appended, synced on request, and healed where a crash tore the last line."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sciml.errors import RunError
from sciml.runs.crash_points import reach

BLOCK = 16_384
"""Bytes at the end of a file in which its last row is looked for first."""


class JsonLines:
    """An open file of JSON lines. `rows` counts the rows in it.

    On opening, a last line that a crash tore is removed. JSON has no NaN and no infinity: both are written as null.
    `crash_point` is where a test may kill the process in the middle of a line.
    """

    def __init__(self, path: Path, crash_point: str = "") -> None:
        self.path = path
        self._crash_point = crash_point
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        lines = _whole_lines(path)
        os.ftruncate(self._descriptor, sum(map(len, lines)))
        self.rows = len(lines)

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row; it reaches the disk with the next `sync`."""
        line = (json.dumps(finite(row), allow_nan=False) + "\n").encode()
        middle = len(line) // 2
        self._write(line[:middle])
        reach(self._crash_point)
        self._write(line[middle:])
        self.rows += 1

    def truncate(self, rows: int) -> None:
        """Keep the first `rows` rows (all of them where there are fewer)."""
        lines = _whole_lines(self.path)[:rows]
        os.ftruncate(self._descriptor, sum(map(len, lines)))
        self.rows = len(lines)

    def sync(self) -> None:
        """Wait until every row is on the disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)

    def _write(self, content: bytes) -> None:
        while content:
            content = content[os.write(self._descriptor, content) :]


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add one row to a file and wait until it is on the disk."""
    lines = JsonLines(path)
    try:
        lines.append(row)
        lines.sync()
    finally:
        lines.close()


def read_rows(path: Path, cure: str = "delete that line to read the rest") -> list[dict[str, Any]]:
    """The rows of a file, without a last line that a crash tore; none where the file does not exist.

    Raises `RunError` for a line that is not a JSON object, and says what to do: `cure`.
    """
    rows: list[dict[str, Any]] = []
    for row in read_each(path):
        if isinstance(row, str):
            raise RunError(f"{row}; {cure}")
        rows.append(row)
    return rows


def read_each(path: Path) -> list[dict[str, Any] | str]:
    """The rows of a file as `read_rows` reads them, with a sentence in the place of a line that is not a JSON object."""
    return [_row(line, f"{path}, line {number}") for number, line in enumerate(_whole_lines(path) if path.exists() else [], 1)]


def last_row(path: Path) -> dict[str, Any] | None:
    """The last whole row of a file, of which only the end is read; None where there is none."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        size, block = file.seek(0, os.SEEK_END), BLOCK
        while True:
            file.seek(max(0, size - block))
            lines = file.read(min(block, size)).splitlines(keepends=True)
            whole = [line for line in (lines if block >= size else lines[1:]) if _is_whole(line)]
            if whole:
                return json.loads(whole[-1])
            if block >= size:
                return None
            block *= 16


def finite(value: Any) -> Any:
    """`value` with plain numbers for arrays of one number, and None for NaN and infinity."""
    if isinstance(value, Mapping):
        return {str(key): finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _row(line: bytes, where: str) -> dict[str, Any] | str:
    try:
        row = json.loads(line)
    except ValueError as error:
        return f"{where} cannot be read: {error}"
    return row if isinstance(row, dict) else f"{where} cannot be read: it holds no JSON object"


def _whole_lines(path: Path) -> list[bytes]:
    """The lines of a file that end as lines do, and whose last one is JSON."""
    lines = path.read_bytes().splitlines(keepends=True)
    while lines and not _is_whole(lines[-1]):
        lines.pop()
    return lines


def _is_whole(line: bytes) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
