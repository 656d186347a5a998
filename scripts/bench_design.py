"""The measurements behind docs/decisions 001 to 004, on this machine: jets, micro-batches, block sizes, sine and cosine.

    python scripts/bench_design.py [--repeats 9]

Each table times one choice against its alternatives in one process, in turns, float64; medians in milliseconds of a value and
gradient of Burgers' residual, jitted and warmed up. A machine that does something else meanwhile gives no result.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

import sciml
from sciml import objective as objectives
from sciml.device import optimised
from sciml.elementary import sine_and_cosine
from sciml.runs.catalog import load_problem

SIZES = ((20, 3, 2048), (30, 3, 4096), (64, 4, 4096))
"""Width, hidden layers, points."""


class Opaque(eqx.Module):
    """A network that hides that it can carry jets, so that nested `jvp` differentiates it."""

    network: Any

    def __call__(self, inputs: jax.Array) -> jax.Array:
        return self.network(inputs)


def main() -> None:
    """Prints four Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    load = os.getloadavg()[0]
    print("## Jets and nested jvp (001)\n")
    table(("network, points", "jets", "nested jvp"), [(name(size), derivatives(size)) for size in SIZES], repeats)
    print("\n## Micro-batches of a stochastic pass (002)\n")
    table(("network, points", "8", "32"), [(name(size), micro_batches(size)) for size in SIZES], repeats)
    counts = (4096, 2048, 1024, 512, 128)
    print("\n## Points in a block (003)\n")
    table(("network, points", *map(str, counts)), [(name(size), blocks(size, counts)) for size in SIZES], repeats)
    print("\n## Sine and cosine of 40,960 numbers (004)\n")
    table(("", "sciml", "jax.numpy", "one tanh"), [("both, or one tanh", elementary())], repeats)
    print(f"\n{os.cpu_count()} cores, jax {jax.__version__}, load average {load:.1f} at the start.")


def name(size: tuple[int, int, int]) -> str:
    """How a row is called."""
    width, depth, points = size
    return f"{depth} x {width}, {points:,}"


def experiment(size: tuple[int, int, int], block: int | None = None, wrap: Callable[[Any], Any] = lambda network: network) -> Any:
    """Burgers' equation with a network of this size and all its other settings left as they are."""
    width, depth, points = size
    network = sciml.Network(width=width, depth=depth)
    points = sciml.Points(interior=points, batch=points)
    problem = load_problem("burgers")
    plain = sciml.prepare(problem, network=network, points=points, block=block)
    module = wrap(plain.objective.model.network)
    return sciml.prepare(problem, network=module, points=points, block=block)


def derivatives(size: tuple[int, int, int]) -> list[Callable[[], Any]]:
    """With jets, and without."""
    return [on_fixed_points(experiment(size)), on_fixed_points(experiment(size, wrap=Opaque))]


def blocks(size: tuple[int, int, int], counts: tuple[int, ...]) -> list[Callable[[], Any]]:
    """In blocks of so many points."""
    return [on_fixed_points(experiment(size, block=min(count, size[2]))) for count in counts]


def micro_batches(size: tuple[int, int, int]) -> list[Callable[[], Any]]:
    """The number is a constant of the objective, read when the pass is traced."""
    calls, before = [], objectives.MICRO_BATCHES
    for count in (8, 32):
        objectives.MICRO_BATCHES = count
        objective = experiment(size).objective
        points = objective.points
        counts = {"interior": points.batch, "boundary": points.boundary, "initial": points.initial}
        one = optimised(lambda theta, step, objective=objective, counts=counts: objective.sample_and_evaluate(theta, step, counts).gradient)
        one(objective.start, jnp.asarray(0))
        calls.append(lambda one=one, objective=objective: one(objective.start, jnp.asarray(1)))
    objectives.MICRO_BATCHES = before
    return calls


def on_fixed_points(experiment: Any) -> Callable[[], Any]:
    """A value and gradient as a second-order phase computes it."""
    objective = experiment.objective
    batch = jax.jit(lambda key: objective.prepare(objective.draw(key)))(jax.random.key(0))
    one = optimised(objective.value_and_gradient)
    return lambda: one(objective.start, batch)


def elementary() -> list[Callable[[], Any]]:
    """Ours, the library's, and a tanh to compare with."""
    numbers = jnp.linspace(-20.0, 20.0, 40960).reshape(20, 2048)
    ours = optimised(lambda x: sum(sine_and_cosine(x)))
    library = optimised(lambda x: jnp.sin(x) + jnp.cos(x))
    return [lambda: ours(numbers), lambda: library(numbers), lambda: jnp.tanh(numbers)]


def table(header: tuple[str, ...], rows: list[tuple[str, list[Callable[[], Any]]]], repeats: int) -> None:
    """Times the calls of each row in turns and prints the medians."""
    print("| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|")
    for label, calls in rows:
        seconds: list[list[float]] = [[] for _ in calls]
        for call in calls:
            jax.block_until_ready(call())
        for _ in range(repeats):
            for call, times in zip(calls, seconds, strict=True):
                times.append(once(call))
        print(f"| {label} | " + " | ".join(f"{1e3 * statistics.median(times):.2f}" for times in seconds) + " |", flush=True)


def once(call: Callable[[], Any], calls: int = 20) -> float:
    """Seconds of one of twenty calls in a row."""
    began = time.perf_counter()
    jax.block_until_ready([call() for _ in range(calls)])
    return (time.perf_counter() - began) / calls


if __name__ == "__main__":
    main()
