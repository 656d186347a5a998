"""What each part of the machinery is worth: problems trained as shipped and with one thing changed, to the same number of iterations.

    python scripts/ablate.py [--problems nagumo ...] [--variants hard soft ...] [--steps 8000] [--seeds 0 1 2] [--out runs/ablate]

All else is the problem's config. The second phase runs for `--steps` iterations whatever its config says, so that errors do not depend on
what else the machine does; the seconds do. Rows go to OUT/rows.jsonl as they finish and a stopped script goes on where it was. Prints a
Markdown table: the worst error over the seeds, and the median seconds of training.

hard, soft       Initial and Dirichlet conditions built into the network, or terms of the loss
uniform          points of the second phase drawn uniformly instead of by residual
points x 2, x 4  more collocation points
slabs 4          four time slabs of a quarter of the iterations each
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from accuracy import UNSEEN
from journal import Row, measure_missing

from sciml import Dirichlet, Initial, Problem
from sciml.runs import build, catalog
from sciml.runs.compile_cache import use_compile_cache
from sciml.runs.config import ProblemConfig, find_document, parse_config
from sciml.solve import prepare

PROBLEMS = ("fisher_kpp", "nagumo", "diffusion_reaction", "reaction_rho5", "poisson_2d", "heat_2d", "burgers", "allen_cahn_smooth")
Arguments = dict[str, Any]


def main() -> None:
    """Runs what is missing, then prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--steps", type=int, default=8000, help="iterations of the second phase")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/ablate"))
    arguments = parser.parse_args()
    use_compile_cache()
    keys = [
        {"problem": problem, "variant": variant, "steps": arguments.steps, "seed": seed}
        for seed in arguments.seeds
        for problem in arguments.problems
        for variant in arguments.variants
    ]
    print(table(measure_missing(arguments.out, keys, measure)))


def measure(problem: str, variant: str, steps: int, seed: int) -> Row:
    """One training."""
    folder = UNSEEN if (UNSEEN / f"{problem}.py").exists() else None
    document, _ = find_document(problem, folder)
    config = parse_config({**document, "seed": seed}, problems=folder)
    assert isinstance(config, ProblemConfig)
    build.configure(config)
    subject = catalog.load_problem(config.problem, config.parameters, folder)
    planned = prepare(subject, network=config.network, points=config.points, phases=config.phases, seed=seed)
    first, second = planned.phases[0], planned.phases[-1]
    settings: Arguments = {
        "network": config.network,
        "points": config.points,
        "weights": config.weights,
        "phases": (first, second.model_copy(update={"steps": steps, "until": ()})),
        "time_slabs": config.time_slabs,
    }
    subject, settings = VARIANTS[variant](subject, settings)
    experiment = prepare(subject, seed=seed, **settings)
    began = time.perf_counter()
    *_, last = experiment.train()
    error = experiment.error(last.best)
    assert error is not None
    return {"rel_l2": error.rel_l2, "validation": float(last.best_validation.mean_square), "seconds": round(time.perf_counter() - began, 1)}


def as_shipped(problem: Problem, settings: Arguments) -> tuple[Problem, Arguments]:
    """Nothing changed."""
    return problem, settings


def conditions(problem: Problem, settings: Arguments, hard: bool) -> tuple[Problem, Arguments]:
    """Initial and Dirichlet conditions built in, or terms of the loss."""
    kind = type(problem)

    class Changed(kind):
        def conditions(self) -> list[Any]:
            return [replace(each, hard=hard) if isinstance(each, Initial | Dirichlet) else each for each in super().conditions()]

    return Changed(**{field.name: getattr(problem, field.name) for field in fields(problem)}), settings


def uniform(problem: Problem, settings: Arguments) -> tuple[Problem, Arguments]:
    """No choice among candidates when points are drawn."""
    return problem, settings | {"points": settings["points"].model_copy(update={"pool": 1})}


def more_points(problem: Problem, settings: Arguments, factor: int) -> tuple[Problem, Arguments]:
    """`factor` times the collocation points."""
    points = settings["points"]
    return problem, settings | {"points": points.model_copy(update={"interior": factor * points.interior})}


def slabs(problem: Problem, settings: Arguments, count: int) -> tuple[Problem, Arguments]:
    """Time marched in `count` windows that share the iterations."""
    phases = tuple(phase.model_copy(update={"steps": phase.steps // count}) for phase in settings["phases"])
    return problem, settings | {"time_slabs": count, "phases": phases}


VARIANTS: dict[str, Callable[[Problem, Arguments], tuple[Problem, Arguments]]] = {
    "as shipped": as_shipped,
    "hard": partial(conditions, hard=True),
    "soft": partial(conditions, hard=False),
    "uniform": uniform,
    "points x 2": partial(more_points, factor=2),
    "points x 4": partial(more_points, factor=4),
    "slabs 4": partial(slabs, count=4),
}


def table(rows: list[Row]) -> str:
    """Markdown: worst error over the seeds, and the median seconds beside those as shipped."""
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    lines = ["| problem | " + " | ".join(variants) + " | seeds |", "|---" * (len(variants) + 2) + "|"]
    for problem in dict.fromkeys(row["problem"] for row in rows):
        cells, seeds = [], 0
        for variant in variants:
            mine = [row for row in rows if (row["problem"], row["variant"]) == (problem, variant)]
            seeds = len(mine)
            cells.append(f"{max(row['rel_l2'] for row in mine):.1e} ({statistics.median(row['seconds'] for row in mine):.0f} s)")
        lines.append(f"| `{problem}` | " + " | ".join(cells) + f" | {seeds} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
