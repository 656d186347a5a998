"""Networks in a vector field: what their prior is worth, and whether several starts, the weaker given up early, would be.

    python scripts/network_fields.py [--priors 5 10000] [--seeds 0 1 2] [--cases ...] [--out runs/network_fields]

Five discoveries with noisy data, the last values held out: whole fields (an oscillator, hares and lynxes, a spiral), one with a state
that nobody measured, one of accelerations. The network itself forecasts, without terms in its place. `--priors` are values of
`sciml.dynamics.vector_fields.PRIOR`; 10,000 is as good as none. Per seed: the misfit in training after `EARLY` steps and at its end,
the error of the forecast as a share of the held-out values' standard deviation, and the share of them inside the 95 % band. Rows go to
OUT/rows.jsonl as they finish and a stopped script goes on where it was. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jax
import numpy as np
from jax import Array
from journal import Row, measure_missing
from scipy.integrate import solve_ivp

import sciml
from sciml.dynamics import discovery, vector_fields
from sciml.dynamics.preparing import prepare
from sciml.dynamics.refit import QUIETEST, Refit, as_it_is
from sciml.dynamics.shooting import Shooting
from sciml.runs.catalog import load_problem
from sciml.runs.compile_cache import use_compile_cache

EARLY = 200
"""Steps of the first stage after which the weaker would be given up."""


def oscillator(end: float, count: int, noise: float, channels: int) -> sciml.TimeSeries:
    """Noisy values of a Van der Pol oscillator: position alone, or position and velocity."""
    times = np.linspace(0.0, end, count)
    found = solve_ivp(lambda _, s: [s[1], (1 - s[0] ** 2) * s[1] - s[0]], (0.0, end), [1.0, 0.0], t_eval=times, rtol=1e-10)
    values = found.y[:channels].T
    return sciml.TimeSeries.from_arrays(
        times, values + noise * np.random.default_rng(0).standard_normal(values.shape), ("x", "v")[:channels]
    )


CASES: dict[str, tuple[Callable[[], sciml.TimeSeries], dict[str, Any]]] = {
    "oscillator": (lambda: oscillator(16.0, 81, 0.05, 2), {"vector_field": sciml.NeuralField(), "hold_out": 20}),
    "oscillator, position alone": (
        lambda: oscillator(12.0, 60, 0.015, 1),
        {"vector_field": sciml.NeuralField(second_order=True), "hold_out": 12},
    ),
    "fitzhugh_nagumo, voltage alone": (
        lambda: load_problem("fitzhugh_nagumo").measured,
        {"vector_field": sciml.NeuralField(hidden=1), "hold_out": 8},
    ),
    "hare_lynx": (lambda: load_problem("hare_lynx").measured, {"vector_field": sciml.NeuralField(), "hold_out": 5}),
    "spiral, noise 0.02": (
        lambda: load_problem("spiral", {"noise_level": 0.02}).measured,
        {"vector_field": sciml.NeuralField(), "hold_out": 8},
    ),
}


def main() -> None:
    """Runs what is missing, then prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--priors", type=float, nargs="+", default=[vector_fields.PRIOR, 10_000.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--out", type=Path, default=Path("runs/network_fields"))
    arguments = parser.parse_args()
    use_compile_cache()
    keys = [
        {"case": case, "prior": prior, "seed": seed} for seed in arguments.seeds for case in arguments.cases for prior in arguments.priors
    ]
    print(table(measure_missing(arguments.out, keys, measure)))


def measure(case: str, prior: float, seed: int) -> Row:
    """One discovery."""
    series, settings = CASES[case]
    began = time.perf_counter()
    with patch.object(vector_fields, "PRIOR", prior), patch.object(discovery, "read_out", network_alone):
        experiment = prepare(series(), seed=seed, **settings)
        early, snapshot = math.nan, None
        for snapshot in experiment.train(every=EARLY):
            early = snapshot.validation if snapshot.step == EARLY else early
        assert snapshot is not None
        found = experiment.solution(snapshot.best)
        band = found.bands[0]
    assert experiment.held_out is not None
    truth = experiment.held_out.values[0]
    inside = (truth >= band.lower) & (truth <= band.upper)
    return {
        "early": early,
        "late": float(snapshot.best_validation.mean_square),
        "forecast": float(np.sqrt(np.mean((band.values - truth) ** 2)) / np.std(truth)),
        "inside": float(inside[np.isfinite(truth)].mean()),
        "width": float(np.median((band.upper - band.lower) / np.std(truth, axis=0))),
        "seconds": round(time.perf_counter() - began, 1),
    }


def network_alone(stage: Shooting, theta: Array) -> tuple[Shooting, Refit]:
    """In place of the terms that would be read out of the network."""
    paths = jax.jit(lambda theta: stage.paths(theta).states)(theta)
    own = as_it_is(stage, theta, stage.unscaled(theta, paths))
    return stage.with_noise(np.maximum(own.sigma, QUIETEST * np.asarray(stage.channel_size))), own


def table(rows: list[Row]) -> str:
    """Markdown: best, median and worst over the seeds."""
    lines = [
        "| discovery | prior | forecast error: best, median, worst | of the seed with the least early misfit | inside the 95 % band "
        "| width of the band | misfit after training | seeds | seconds |",
        "|---" * 9 + "|",
    ]
    for case in dict.fromkeys(row["case"] for row in rows):
        for prior in dict.fromkeys(row["prior"] for row in rows):
            mine = [row for row in rows if (row["case"], row["prior"]) == (case, prior)]
            errors = [row["forecast"] for row in mine]
            early = min(mine, key=lambda row: row["early"])["forecast"]
            middle = {what: statistics.median(row[what] for row in mine) for what in ("inside", "width", "late", "seconds")}
            lines.append(
                f"| {case} | {prior:g} | {min(errors):.2g}, {statistics.median(errors):.2g}, {max(errors):.2g} | {early:.2g} "
                f"| {100 * middle['inside']:.0f} % | {middle['width']:.2g} | {middle['late']:.1e} | {len(mine)} | {middle['seconds']:.0f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
