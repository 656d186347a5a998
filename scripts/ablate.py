"""What each part of the machinery is worth: problems trained as shipped and with one thing changed, to the same number of iterations.

    python scripts/ablate.py [--problems nagumo ...] [--variants hard soft ...] [--steps 8000] [--seeds 0 1 2] [--out runs/ablate]

All else is the problem's config. The second phase runs for `--steps` iterations whatever its config says, so that errors do not depend on
what else the machine does; the seconds, those of all trainings of a variant, do. One that fails goes back to Adam and begins anew: where
the iterations came out otherwise, their number stands in the table. A variant that changes nothing about a problem is left out. Rows go
to OUT/rows.jsonl as they finish and a stopped script goes on where it was. Prints a Markdown table: the worst error over the seeds, and
the median seconds.

hard, soft       Initial and Dirichlet conditions built into the network, or terms of the loss
uniform          points of the second phase drawn uniformly instead of by residual
points x 2, x 4  more collocation points
slabs 4          four time slabs of a quarter of the iterations each
balanced         terms weighted so that their gradients are of one size at the end of a first phase (after Wang, Teng & Perdikaris 2021)
continued        with four times the diffusion for a first phase and a quarter of the second, then as it is for the other three
natural units    the network sees coordinates that are not periodic in units of sqrt(D / r) and 1 / r, where these are the shorter ones
attention        points of the second phase drawn uniformly, each residual weighted by its size at the last redraw (after Anagnostopoulos
                 et al. 2024, equation 7, where that has become stationary)
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import equinox as eqx
import jax
import jax.numpy as jnp
from accuracy import UNSEEN
from jax import Array
from journal import Row, measure_missing

from sciml import Dirichlet, Initial, Problem
from sciml.derivatives import Jet, MultiIndex
from sciml.device import configure
from sciml.nets.mlp import MLP
from sciml.objective import Block, Objective
from sciml.runs import build, catalog
from sciml.runs.compile_cache import use_compile_cache
from sciml.runs.config import ProblemConfig, find_document, parse_config
from sciml.solve import prepare
from sciml.train import train

PROBLEMS = ("fisher_kpp", "nagumo", "diffusion_reaction", "reaction_rho5", "poisson_2d", "heat_2d", "burgers", "allen_cahn_smooth")
DIFFUSION = ("D", "nu")
"""What problems call it."""
REACTION = ("r", "k", "rho")
LEAST_ATTENTION = 0.1
"""Weight of a point without residual, where that of the point with the largest one is 1.1."""
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
    configure()
    keys = [
        {"problem": problem, "variant": variant, "steps": arguments.steps, "seed": seed}
        for seed in arguments.seeds
        for problem in arguments.problems
        for variant in arguments.variants
        if fits(variant, load(problem))
    ]
    print(table(measure_missing(arguments.out, keys, measure)))


def measure(problem: str, variant: str, steps: int, seed: int) -> Row:
    """One training."""
    folder = folder_of(problem)
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
        "seed": seed,
    }
    began = time.perf_counter()
    subject, settings = VARIANTS[variant](subject, settings)
    with patch.object(sys.modules["sciml.solve"], "Objective", Attentive if variant == "attention" else Objective):
        experiment = prepare(subject, **settings)
    *_, last = experiment.train()
    seconds = time.perf_counter() - began
    error = experiment.error(last.best)
    assert error is not None
    before = steps - experiment.phases[-1].steps if variant == "continued" else 0
    iterations = before + sum(phase.steps for phase in last.phases if phase.kind != "adam")
    return {"rel_l2": error.rel_l2, "iterations": iterations, "seconds": round(seconds, 1)}


def folder_of(problem: str) -> Path | None:
    """Where a problem stands that is not shipped."""
    return UNSEEN if (UNSEEN / f"{problem}.py").exists() else None


def load(name: str) -> Problem:
    """A problem with its own coefficients."""
    return catalog.load_problem(name, problems=folder_of(name))


def fits(variant: str, problem: Problem) -> bool:
    """Whether a variant can be made of a problem, and is another training."""
    soft = [each for each in problem.conditions() if isinstance(each, Initial | Dirichlet) and each.hard is False]
    if variant == "slabs 4":
        return problem.domain.has_time and not any(isinstance(each, Initial) for each in soft)
    if variant == "balanced":
        return len(prepare(problem).objective.terms) > 1
    if variant == "continued":
        return any(field.name in DIFFUSION for field in fields(problem))
    if variant == "natural units":
        return max(natural_units(problem, prepare(problem).objective)) > 1
    return True


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


def balanced(problem: Problem, settings: Arguments) -> tuple[Problem, Arguments]:
    """The gradients of all weighted terms are of the size of the equation's at the end of a first phase."""
    trial = prepare(problem, **settings)
    *_, last = train(trial.objective, trial.phases[:1])
    objective = trial.objective
    points = objective.draw(jax.random.key(settings["seed"]))
    sizes = {}
    for number, term in enumerate(objective.terms):
        block = objective.prepare_term(number, points[number])
        for row, name in enumerate(term.components):
            gradient = jax.grad(lambda theta: jnp.mean(objective.residuals(theta, number, block)[row] ** 2))(last.best)  # noqa: B023
            sizes[name] = float(jnp.linalg.norm(gradient))
    equation = sizes[objective.terms[0].components[0]]
    return problem, settings | {"weights": {name: equation / size for name, size in sizes.items() if size > 0}}


def continued(problem: Problem, settings: Arguments) -> tuple[Problem, Arguments]:
    """From the solution with four times the diffusion."""
    first, second = settings["phases"]
    name = next(field.name for field in fields(problem) if field.name in DIFFUSION)
    easier = replace(problem, **{name: 4 * getattr(problem, name)})
    quarter = second.steps // 4
    shorter: Arguments = {**settings, "phases": (first, second.model_copy(update={"steps": quarter}))}
    experiment = prepare(easier, **shorter)
    *_, last = experiment.train()
    rest = second.model_copy(update={"steps": second.steps - quarter})
    return problem, settings | {"phases": (rest,), "warm_start": last.best}


class InUnits(eqx.Module):
    """A perceptron whose inputs are multiplied first."""

    inner: MLP
    factors: tuple[float, ...] = eqx.field(static=True)

    def __call__(self, inputs: Array) -> Array:
        return self.inner(inputs * jnp.asarray(self.factors, inputs.dtype))

    def jet(self, inputs: Jet, indices: tuple[MultiIndex, ...]) -> Jet:
        """As that of the perceptron."""
        factors = jnp.asarray(self.factors)[:, None]
        return self.inner.jet({index: factors * value for index, value in inputs.items()}, indices)


def natural_units(problem: Problem, objective: Objective) -> tuple[float, ...]:
    """For each input of the network, how many natural units are in one of its own; one where these are longer, or it is periodic."""
    found = {field.name: float(getattr(problem, field.name)) for field in fields(problem)}
    rate = next((found[name] for name in REACTION if name in found), None)
    diffusion = next((found[name] for name in DIFFUSION if name in found), None)
    features, factors = objective.model.features, []
    for axis, kind in enumerate(features.kinds):
        half = (features.domain.upper[axis] - features.domain.lower[axis]) / 2
        if kind != "linear":
            factors += [1.0] * ((2 if kind == "periodic" else 1) * features.harmonics)
        elif features.domain.coordinates[axis] == "t":
            factors.append(max(1.0, half * rate) if rate else 1.0)
        else:
            factors.append(max(1.0, half / math.sqrt(diffusion / rate)) if rate and diffusion else 1.0)
    return tuple(factors)


def in_natural_units(problem: Problem, settings: Arguments) -> tuple[Problem, Arguments]:
    """The same network, drawn by the same seed, with scaled inputs."""
    objective = prepare(problem, **settings).objective
    return problem, settings | {"network": InUnits(objective.model.network, natural_units(problem, objective))}


class Attentive(Objective):
    """Weights points of a second phase by the size of their residuals instead of choosing points by it."""

    def redraw(self, key: Array, theta: Array, counts: Any = None) -> tuple[Array, ...]:
        """Uniform points of the equation with their weight, mean square one, as a further coordinate."""
        first, *rest = self.draw(key, counts)
        size = self.residual_size(theta, first)
        weight = LEAST_ATTENTION + size / jnp.max(size)
        weight = weight / jnp.sqrt(jnp.mean(weight**2))
        return (jnp.concatenate([first, weight[None, :, None]], axis=-1), *rest)

    def prepare(self, points: Any) -> tuple[Block, ...]:
        """The weights are known values of their blocks."""
        count = self.terms[0].dimension
        first, *rest = super().prepare((points[0][..., :count], *points[1:]))
        if points[0].shape[-1] > count:
            first = first._replace(known=(points[0][0, :, count].reshape(first.points.shape[0], -1),))
        return (first, *rest)

    def block_residuals(self, theta: Array, number: int, block: Block) -> Array:
        """Weighted where there are weights: not in a first phase, and not for validation."""
        residuals = super().block_residuals(theta, number, block)
        return residuals * block.known[0] if number == 0 and block.known else residuals


VARIANTS: dict[str, Callable[[Problem, Arguments], tuple[Problem, Arguments]]] = {
    "as shipped": as_shipped,
    "hard": partial(conditions, hard=True),
    "soft": partial(conditions, hard=False),
    "uniform": uniform,
    "points x 2": partial(more_points, factor=2),
    "points x 4": partial(more_points, factor=4),
    "slabs 4": partial(slabs, count=4),
    "balanced": balanced,
    "continued": continued,
    "natural units": in_natural_units,
    "attention": as_shipped,
}


def table(rows: list[Row]) -> str:
    """Markdown: worst error over the seeds, and the median seconds beside those as shipped."""
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    lines = ["| problem | " + " | ".join(variants) + " | seeds |", "|---" * (len(variants) + 2) + "|"]
    for problem in dict.fromkeys(row["problem"] for row in rows):
        cells, seeds = [], 0
        for variant in variants:
            mine = [row for row in rows if (row["problem"], row["variant"]) == (problem, variant)]
            if not mine:
                cells.append("")
                continue
            seeds = len(mine)
            others = sorted({row["iterations"] for row in mine} - {row["steps"] for row in mine})
            after = f", {' and '.join(f'{each:,}' for each in others)} iterations" if others else ""
            cells.append(f"{max(row['rel_l2'] for row in mine):.1e} ({statistics.median(row['seconds'] for row in mine):.0f} s{after})")
        lines.append(f"| `{problem}` | " + " | ".join(cells) + f" | {seeds} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
