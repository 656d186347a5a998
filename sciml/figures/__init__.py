"""Every picture: a solution beside its reference, and the history of its training. Object-oriented matplotlib, no global state."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sciml.figures.fields import solution_figure
from sciml.figures.history import history_figure, switch_text
from sciml.figures.style import save

if TYPE_CHECKING:
    from sciml.dynamics.discovered import Discovered
    from sciml.solution import Solution

__all__ = ["history_figure", "save", "solution_figure", "switch_text", "write_all"]


def write_all(solution: Solution | Discovered, folder: Path) -> list[Path]:
    """Writes `solution.png` (four figures for discovered dynamics), and `history.png` where there is a history; returns their paths."""
    from sciml.dynamics.discovered import Discovered
    from sciml.figures import dynamics

    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(solution, Discovered):
        written = [save(draw(solution), folder / f"{name}.png") for name, draw in dynamics.FIGURES.items()]
    else:
        written = [save(solution_figure(solution), folder / "solution.png")]
    if solution.history:
        written.append(save(history_figure(solution.history, solution.result), folder / "history.png"))
    return written
