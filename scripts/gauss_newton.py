"""Gauss-Newton beside self-scaled Broyden as the second phase of a network: error after equal seconds, from the same end of Adam.

    python scripts/gauss_newton.py [--problems burgers ...] [--seconds 30 90] [--seeds 0] [--points 4096] [--redraw 5 50]

Gauss-Newton forms J'J of all residuals, solves (J'J + damping I) step = -J'r by Cholesky, and takes the largest step (the smallest damping,
in powers of four) whose actual decrease is at least a tenth of the predicted one. Points are drawn anew, by residual, every `--redraw`
iterations, each number two columns. Broyden has its own redraws every 500 iterations; a phase that fails does not go back to Adam here.
Broyden's error is that of its best state by validation, which costs it time, Gauss-Newton's that of its last. Compilation does
not count: both are started twice, and the clock runs for the second start. Rows go to `--out` as they finish. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from journal import Row, measure_missing
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from sciml.device import optimised
from sciml.jacobian import linearise, prepare_rows
from sciml.objective import Objective
from sciml.runs import build, catalog
from sciml.runs.compile_cache import use_compile_cache
from sciml.runs.config import ProblemConfig, find_document, parse_config
from sciml.solve import Experiment, prepare
from sciml.train import train

PROBLEMS = ("burgers", "diffusion_reaction", "allen_cahn_smooth")
TRUSTED = 0.1
"""Least share of the predicted decrease that a step must bring."""
EVERY = 50
"""Iterations of Broyden between two looks at the clock."""
LADDER = 4.0
"""Factor between the dampings that are tried."""
HIGHEST = 1e12


def main() -> None:
    """Runs what is missing, then prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS))
    parser.add_argument("--seconds", type=float, nargs="+", default=[30.0, 90.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--points", type=int, default=4096, help="interior points of both methods")
    parser.add_argument("--redraw", type=int, nargs="+", default=[5, 50], help="iterations of Gauss-Newton on the same points")
    parser.add_argument("--out", type=Path, default=Path("runs/gauss_newton"))
    arguments = parser.parse_args()
    use_compile_cache()
    seconds = sorted(arguments.seconds)
    keys = [
        {"problem": problem, "redraw": redraw, "points": arguments.points, "limits": seconds, "seed": seed}
        for seed in arguments.seeds
        for problem in arguments.problems
        for redraw in (0, *arguments.redraw)
    ]
    print(table(measure_missing(arguments.out, keys, measure), seconds))


def measure(problem: str, redraw: int, points: int, limits: Sequence[float], seed: int) -> Row:
    """One training; Broyden where `redraw` is 0."""
    document, _ = find_document(problem, None)
    config = parse_config({**document, "seed": seed})
    assert isinstance(config, ProblemConfig)
    build.configure(config)
    subject = catalog.load_problem(config.problem, config.parameters, None)
    drawn = config.points.model_copy(update={"interior": points})
    experiment = prepare(subject, network=config.network, points=drawn, weights=config.weights, phases=config.phases, seed=seed)
    *_, adam = train(experiment.objective, experiment.phases[:1])
    begin = (lambda: gauss_newton(experiment, adam.trainable, redraw, seed)) if redraw else (lambda: broyden(experiment, adam.trainable))
    warm = begin()
    for _ in range(2 * redraw or 600 // EVERY):
        next(warm)
    found: dict[str, Any] = {"adam": error(experiment, adam.trainable)}
    for limit, (theta, iterations) in zip(limits, at_seconds(begin(), limits), strict=True):
        found |= {f"error_{limit:g}": error(experiment, theta), f"iterations_{limit:g}": iterations}
    return found


def at_seconds(states: Iterator[tuple[Array, int]], limits: Sequence[float]) -> Iterator[tuple[Array, int]]:
    """The first state after each of `limits`, or the last one of all; the time between two requests does not count."""
    spent, state = 0.0, None
    for limit in limits:
        while spent < limit:
            began = time.perf_counter()
            following = next(states, None)
            spent += time.perf_counter() - began
            if following is None:
                break
            state = following
        assert state is not None
        yield state


def broyden(experiment: Experiment, theta: Array) -> Iterator[tuple[Array, int]]:
    """The second phase without a budget: its best state so far, every `EVERY` iterations."""
    phase = experiment.phases[-1].model_copy(update={"steps": 10**7, "until": ()})
    for snapshot in train(experiment.objective, (phase,), EVERY, start=theta, programs=experiment.programs):
        yield snapshot.best, snapshot.step


def gauss_newton(experiment: Experiment, theta: Array, redraw: int, seed: int) -> Iterator[tuple[Array, int]]:
    """Levenberg's method with the largest radius that can be trusted, on points that are drawn anew."""
    draw, prepared, value, normal = compiled(experiment.objective)
    damping = None
    key = jax.random.fold_in(jax.random.key(seed), 7)
    rows, batch = prepared(draw(key, theta))
    for iteration in itertools.count():
        if iteration and iteration % redraw == 0:
            rows, batch = prepared(draw(jax.random.fold_in(key, iteration), theta))
        matrix, slope, loss = (np.asarray(each) for each in normal(theta, rows))
        damping = 1e-3 * float(matrix.diagonal().max()) if damping is None else damping
        step, damping = trusted_step(matrix, slope, damping, lambda step: float(loss - value(theta + step, batch)))  # noqa: B023
        theta = theta + step
        yield theta, iteration + 1


@cache
def compiled(objective: Objective) -> tuple[Callable[..., Any], ...]:
    """Points by residual, their blocks, the loss, and the normal equations with the loss."""

    def normal(theta: Array, rows: Any) -> tuple[Array, Array, Array]:
        residuals, jacobian = linearise(objective, theta, rows)[:2]
        return jacobian.T @ jacobian, jacobian.T @ residuals, residuals @ residuals

    return (
        optimised(lambda key, theta: objective.redraw(key, theta)),
        optimised(lambda points: (prepare_rows(objective, points), objective.prepare(points))),
        optimised(lambda theta, batch: objective.value_and_gradient(theta, batch)[0]),
        optimised(normal),
    )


def trusted_step(matrix: np.ndarray, slope: np.ndarray, damping: float, decrease: Callable[[Array], float]) -> tuple[Array, float]:
    """The step of the smallest damping on the ladder through `damping` that brings `TRUSTED` of what it predicts; zero if none does."""

    def trial(damping: float) -> Array | None:
        damped = matrix.copy()
        damped[np.diag_indices_from(damped)] += damping
        try:
            step = -cho_solve(cho_factor(damped, overwrite_a=True, check_finite=False), slope, check_finite=False)
        except LinAlgError:
            return None
        predicted = -2 * slope @ step - step @ (matrix @ step)
        return jnp.asarray(step) if decrease(jnp.asarray(step)) >= TRUSTED * predicted > 0 else None

    step = trial(damping)
    if step is None:
        while step is None and damping < HIGHEST:
            damping *= LADDER
            step = trial(damping)
        return jnp.zeros(slope.size) if step is None else step, damping
    least = np.finfo(float).eps * matrix.diagonal().max()
    while damping > least and (longer := trial(damping / LADDER)) is not None:
        step, damping = longer, damping / LADDER
    return step, damping


def error(experiment: Experiment, theta: Array) -> float:
    """Relative L2 against the problem's reference."""
    found = experiment.error(theta)
    assert found is not None
    return found.rel_l2


def table(rows: list[Row], seconds: Sequence[float]) -> str:
    """Markdown: per problem and method the worst error over the seeds after each of `seconds`, and the iterations by then."""
    redraws = list(dict.fromkeys(row["redraw"] for row in rows))
    names = {each: f"Gauss-Newton, new points every {each}" if each else "Broyden" for each in redraws}
    heads = [f"{names[each]}, {limit:g} s" for each in redraws for limit in seconds]
    lines = ["| problem | after Adam | " + " | ".join(heads) + " |", "|---" * (len(heads) + 2) + "|"]
    for problem in dict.fromkeys(row["problem"] for row in rows):
        mine = [row for row in rows if row["problem"] == problem]
        cells = [f"{max(row['adam'] for row in mine):.0e}"]
        for redraw in redraws:
            each = [row for row in mine if row["redraw"] == redraw]
            worst = [{what: max(row[f"{what}_{limit:g}"] for row in each) for what in ("error", "iterations")} for limit in seconds]
            cells += [f"{found['error']:.1e} ({found['iterations']:,})" for found in worst]
        lines.append(f"| `{problem}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
