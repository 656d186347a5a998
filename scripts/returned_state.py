"""By what a training should choose the state that it returns: the error of the choice over that of the best state.

    python scripts/returned_state.py [allen_cahn burgers fisher_kpp reaction_diffusion_rho5] [--seconds 180] [--seed 0]

Trains each config for so long, and looks at the state every 100 steps of its second phases. Had the training ended at any of these looks,
each measure of the residuals on points that are never trained on would have chosen one of the states until then. Prints, for each measure,
the geometric mean and the largest of (error of the chosen state / lowest error until then) over all ends.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from sciml.objective import Objective
from sciml.runs import build
from sciml.runs.compile_cache import use_compile_cache
from sciml.runs.config import ProblemConfig, find_document, parse_config
from sciml.solve import Experiment

PROBLEMS = ("allen_cahn", "burgers", "fisher_kpp", "reaction_diffusion_rho5")
TRIMMED = 0.99
"""Share of the residuals, the smallest ones, that the trimmed mean keeps."""
MEASURES: dict[str, Callable[[Array], Array]] = {
    "mean square": lambda sizes: jnp.mean(sizes**2, axis=1),
    "mean absolute residual": lambda sizes: jnp.mean(sizes, axis=1) ** 2,
    "trimmed mean square": lambda sizes: jnp.mean(jnp.sort(sizes, axis=1)[:, : int(TRIMMED * sizes.shape[1]) or 1] ** 2, axis=1),
    "geometric mean": lambda sizes: jnp.exp(2 * jnp.mean(jnp.log(sizes + jnp.finfo(sizes.dtype).tiny), axis=1)),
}
"""Of the absolute residuals `(components, n)` of a term; the components' weighted sum counts."""
LOSS, LAST = "loss on the training points", "none: the last state"


def main() -> None:
    """One training per problem, then a row for each measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", nargs="*", default=list(PROBLEMS))
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    use_compile_cache()
    print("| problem | steps | measure | mean factor | largest |", "|---|---|---|---|---|", sep="\n", flush=True)
    for problem in arguments.problems:
        steps, errors, measured = watch(experiment(problem, arguments.seed), arguments.seconds)
        for name, values in measured.items():
            logarithms = [math.log(factor) for factor in factors(errors, values)]
            mean, largest = math.exp(sum(logarithms) / len(logarithms)), math.exp(max(logarithms))
            print(f"| `{problem}` | {steps:,} | {name} | {mean:.2f} | {largest:.1f} |", flush=True)


def experiment(problem: str, seed: int) -> Experiment:
    """The shipped config with this seed."""
    document, _ = find_document(problem, None)
    config = parse_config({**document, "seed": seed})
    assert isinstance(config, ProblemConfig)
    build.configure(config)
    made = build.build(config, build.load_subject(config, None))
    assert isinstance(made, Experiment)
    return made


def watch(made: Experiment, seconds: float) -> tuple[int, list[float], dict[str, list[float]]]:
    """Steps, and at each look into a second phase the error and every measure."""
    measure, begun = jax.jit(lambda theta, batch: weigh(made.objective, theta, batch)), time.monotonic()
    batch = made.programs.draw_validation(made.objective.instance)
    errors: list[float] = []
    measured: dict[str, list[float]] = {name: [] for name in (*MEASURES, LOSS, LAST)}
    step = 0
    for snapshot in made.train(every=100):
        step = snapshot.step
        if snapshot.kind != "adam":
            error = made.error(snapshot.trainable)
            assert error is not None
            errors.append(error.rel_l2)
            for name, value in measure(snapshot.trainable, batch).items():
                measured[name].append(float(value))
            measured[LOSS].append(snapshot.loss)
            measured[LAST].append(-step)
        if time.monotonic() - begun > seconds:
            break
    return step, errors, measured


def weigh(objective: Objective, theta: Array, batch: tuple) -> dict[str, Array]:
    """All measures of a state."""
    sizes = [jnp.abs(objective.residuals(theta, number, block)) for number, block in enumerate(batch)]
    return {name: jnp.vdot(objective.weights, jnp.concatenate([of(each) for each in sizes])) for name, of in MEASURES.items()}


def factors(errors: list[float], values: list[float]) -> list[float]:
    """The error of the state with the lowest value over the lowest error, for every end."""
    found = []
    for end in range(1, len(errors) + 1):
        chosen = min(range(end), key=values.__getitem__)
        found.append(errors[chosen] / min(errors[:end]))
    return found


if __name__ == "__main__":
    main()
