"""The smallest search: a line bent by a constant load, whose network and learning rate are searched for."""

from __future__ import annotations

from pathlib import Path

PROBLEM = """
import sciml


class Line(sciml.Problem):
    load: float = 1.0
    domain = sciml.Box(x=(0.0, 1.0))

    def equation(self, u_xx):
        return u_xx - self.load

    def conditions(self):
        return [sciml.Dirichlet(0.0, on="x", hard=False)]

    def exact(self, x):
        return self.load * x * (x - 1) / 2
"""

SEARCH = """
base = "line"

[set]
log_every = 10
network = { width = 4, depth = 1 }
points = { interior = 64, boundary = 32, initial = 32, batch = 64, validation = 64 }
phases = [{ kind = "adam", steps = 40, until = [] }]
execution = { report = false, checkpoint_seconds = 0.0 }

[search]
objective = "error"
trials = 6
round = 2

[search.space]
"network.width" = { from = 2, to = 6 }
"phases.0.learning_rate" = { from = 1e-3, to = 1e-1, scale = "log" }
"""


def write_problem(folder: Path) -> Path:
    """A folder for `--problems`."""
    problems = folder / "problems"
    problems.mkdir()
    (problems / "line.py").write_text(PROBLEM)
    return problems
