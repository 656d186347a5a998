"""Every picture: a solution beside its reference, and the history of its training. Object-oriented matplotlib, no global state."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sciml.figures.fields import solution_figure
from sciml.figures.history import history_figure, switch_text
from sciml.figures.style import save

if TYPE_CHECKING:
    from sciml.solution import Solution

__all__ = ["history_figure", "save", "solution_figure", "switch_text", "write_all"]


def write_all(solution: Solution, folder: Path) -> list[Path]:
    """Writes `solution.png`, and `history.png` where there is a history, into `folder`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [save(solution_figure(solution), folder / "solution.png")]
    if solution.history:
        written.append(save(history_figure(solution.history, solution.result), folder / "history.png"))
    return written
