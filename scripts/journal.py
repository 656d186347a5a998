"""Rows of a measurement that takes hours: written as they finish, so that a script that was stopped goes on where it was."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def measure_missing(folder: Path, keys: Iterable[Row], measure: Callable[..., Row], hidden: tuple[str, ...] = ()) -> list[Row]:
    """The rows of `folder`/rows.jsonl that belong to `keys`, those not there yet measured by `measure(**key)`.

    A row is its key, the machine's load average before the measurement as `load`, and what was measured. Each new row is printed without
    what is `hidden`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rows.jsonl"
    rows: list[Row] = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    wanted = []
    for key in keys:
        row = next((row for row in rows if key.items() <= row.items()), None)
        if row is None:
            load = round(os.getloadavg()[0], 2)
            row = key | {"load": load} | measure(**key)
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print({name: value for name, value in row.items() if name not in hidden}, file=sys.stderr, flush=True)
        wanted.append(row)
    return wanted
