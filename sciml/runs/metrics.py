"""metrics.jsonl: one row per snapshot, appended; goes back to where a checkpoint stands."""

from __future__ import annotations

from pathlib import Path

from sciml.runs.jsonl import JsonLines
from sciml.runs.jsonl import finite as finite
from sciml.runs.jsonl import read_rows as read_rows

NAME = "metrics.jsonl"


class Metrics(JsonLines):
    """The open metrics file of a run."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, crash_point="metrics:mid-line")
