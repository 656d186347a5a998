"""What one self-scaled Broyden iteration costs: evaluations of loss and gradient, the update of the matrix, and the memory's floor.

    python scripts/bench_second_phase.py [--parameters 500 1000 2000 4000] [--problem burgers] [--iterations 200] [--repeats 5]

For networks of about these many parameters, on 2,048 points. An iteration is timed as training runs it, in one compiled loop after the
same number of iterations as warm-up; loss with gradient and the update are timed alone, each in a compiled loop of its own. An update must
read the matrix once, to multiply it with the new gradient; writing it can wait, as it does here for sixteen updates. The floor is half of
the time of an in-place scaling (one read, one write) of a matrix of the same size, measured in the same run. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from sciml import Network, Points, prepare
from sciml.device import optimised
from sciml.objective import Objective
from sciml.optim import second_order
from sciml.optim.broyden import PENDING, SelfScaledBroyden
from sciml.optim.second_order import Pair
from sciml.runs.catalog import load_problem
from sciml.settings import LineSearch

POINTS = 2048
HEADS = (
    "parameters",
    "iteration",
    "evaluations in it",
    "one evaluation",
    "all of them",
    "update",
    "memory's floor",
    "update over floor",
    "the rest",
)
LOOP = 50
"""Repetitions inside one compiled call."""
ROUNDS = 4
"""The same for updates of the matrix, each of which writes it once for all of them."""


def main() -> None:
    """One row per size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=int, nargs="+", default=[500, 1000, 2000, 4000])
    parser.add_argument("--problem", default="burgers")
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    print(f"`{arguments.problem}`, {POINTS:,} points, {os.cpu_count()} cores, {platform.machine()}, jax {jax.__version__}, float64;")
    print(f"load average before the first row {os.getloadavg()[0]:.1f}. Microseconds, medians of {arguments.repeats}.\n")
    print("| " + " | ".join(HEADS) + " |")
    print("|---" * len(HEADS) + "|", flush=True)
    for wanted in arguments.parameters:
        print(row(arguments.problem, width_of(wanted), arguments.iterations, arguments.repeats), flush=True)


def width_of(parameters: int) -> int:
    """The width of three hidden layers between two inputs and one output with about this many parameters, `2 w^2 + 6 w + 1`."""
    return round((-6 + (36 + 8 * (parameters - 1)) ** 0.5) / 4)


def row(problem: str, width: int, iterations: int, repeats: int) -> str:
    """All parts of an iteration for one size."""
    experiment = prepare(load_problem(problem), network=Network(width=width), points=Points(interior=POINTS))
    objective = experiment.objective
    iteration, evaluations = time_iterations(objective, iterations, repeats)
    evaluation = time_evaluation(objective, repeats)
    update = time_update(objective.parameters, repeats)
    floor = 0.5 * time_scaling(objective.parameters, repeats)
    rest = iteration - evaluations * evaluation - update
    return (
        f"| {objective.parameters:,} | {micro(iteration)} | {evaluations:.2f} | {micro(evaluation)} | {micro(evaluations * evaluation)} "
        f"| {micro(update)} | {micro(floor)} | {update / floor:.2f} | {micro(rest)} |"
    )


def micro(seconds: float) -> str:
    """Microseconds."""
    return f"{1e6 * seconds:,.0f}"


def time_iterations(objective: Objective, iterations: int, repeats: int) -> tuple[float, float]:
    """Seconds and evaluations of one iteration, as training runs it."""
    batch = jax.jit(objective.prepare)(jax.jit(objective.draw)(objective.key))
    metric = SelfScaledBroyden()

    def advance(state: Any, batch: Any, until: Any) -> Any:
        return second_order.advance(metric, state, until, lambda theta: objective.value_and_gradient(theta, batch), LineSearch())

    run = optimised(advance, donate_argnums=0)
    state = second_order.begin(metric, objective.start, lambda theta: objective.value_and_gradient(theta, batch))
    state = jax.block_until_ready(run(jax.tree.map(jnp.copy, state), batch, jnp.asarray(iterations)))
    seconds, evaluations = [], []
    for repeat in range(repeats):
        before, step = int(state.evaluations), int(state.step)
        began = time.perf_counter()
        state = jax.block_until_ready(run(state, batch, jnp.asarray((repeat + 2) * iterations)))
        seconds.append((time.perf_counter() - began) / max(int(state.step) - step, 1))
        evaluations.append((int(state.evaluations) - before) / max(int(state.step) - step, 1))
        if int(state.step) - step < iterations:
            print(f"the iterations ended at step {int(state.step)} ({second_order.Ended(int(state.ended)).name})", file=sys.stderr)
            break
    return statistics.median(seconds), statistics.median(evaluations)


def time_evaluation(objective: Objective, repeats: int) -> float:
    """Seconds of one loss with its gradient."""
    batch = jax.jit(objective.prepare)(jax.jit(objective.draw)(objective.key))

    def descend(theta: Any) -> Any:  # each depends on the one before, so that none is left out
        return jax.lax.fori_loop(0, LOOP, lambda _, theta: theta - 1e-9 * objective.value_and_gradient(theta, batch)[1], theta)

    return timed(descend, (objective.start,), repeats)


def time_update(size: int, repeats: int) -> float:
    """Seconds of one update of the matrix, the product with the new gradient included."""
    metric = SelfScaledBroyden()
    vectors = jax.random.normal(jax.random.key(0), (2, size))

    def loop(inverse: Any, natural: Any) -> Any:
        def once(number: Any, carry: Any) -> Any:
            inverse, natural = carry
            gradient = vectors[0] * (1.0 + 1e-3 * number)
            step = -1e-3 * natural
            change = step + 1e-4 * vectors[1]
            pair = Pair(step, change, jnp.asarray(1e-3), gradient, gradient + change, natural, jnp.asarray(False))
            return metric.update(inverse, pair, jnp.asarray(True), jnp.asarray(False))

        def round_of(number: Any, carry: Any) -> Any:
            inverse, natural = jax.lax.fori_loop(PENDING * number, PENDING * (number + 1), once, carry)
            return metric.settle(inverse), natural

        return jax.lax.fori_loop(0, ROUNDS, round_of, (inverse, natural))

    return timed(loop, (metric.start(size, jnp.float64), vectors[0]), repeats, ROUNDS * PENDING)


def time_scaling(size: int, repeats: int) -> float:
    """Seconds of one in-place scaling of the matrix: one read, one write."""
    return timed(
        lambda matrix: jax.lax.fori_loop(0, LOOP, lambda number, matrix: (1.0 + 1e-9 * number) * matrix, matrix), (jnp.eye(size),), repeats
    )


def timed(function: Callable[..., Any], arguments: Sequence[Any], repeats: int, times: int = LOOP) -> float:
    """Seconds of one of the `times` repetitions inside `function`, median; its arguments are given up to it, as in training."""
    run = optimised(function, donate_argnums=tuple(range(len(arguments))))
    jax.block_until_ready(run(*jax.tree.map(jnp.copy, tuple(arguments))))
    seconds = []
    for _ in range(repeats):
        given = jax.block_until_ready(jax.tree.map(jnp.copy, tuple(arguments)))
        began = time.perf_counter()
        jax.block_until_ready(run(*given))
        seconds.append((time.perf_counter() - began) / times)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
