"""What a run tells while it goes on; the command line draws its progress from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sciml.dynamics.discovery import Discovery
    from sciml.runs.config import Config
    from sciml.runs.result import Result
    from sciml.solve import Experiment
    from sciml.train import Snapshot


class Listener:
    """Base of all listeners; every method does nothing. All are called from the thread that trains."""

    def message(self, text: str) -> None:
        """A sentence that the user should read: a skipped checkpoint, a changed environment, why a run ends early."""

    def started(self, directory: Path, config: Config, experiment: Experiment | Discovery, step: int) -> None:
        """Training begins at `step` (0, or where a checkpoint stands)."""

    def snapshot(self, snapshot: Snapshot, row: Mapping[str, Any]) -> None:
        """A chunk of training has ended; `row` is what went into metrics.jsonl."""

    def finished(self, result: Result) -> None:
        """The run has ended (complete, stopped or diverged), or was complete before."""
