"""Would several starts of a network, of which the weaker are given up early, find better dynamics? How much the seeds differ, and when.

    python scripts/restarts.py [--seeds 0 1 2 3 4 5 6 7] [--out runs/restarts]

Four discoveries with a network in the vector field, its last values held out: a whole field, a field beside known physics, a field with a
state that nobody measured, and one of accelerations. Per seed: the misfit in training after `EARLY` steps and at its end, and the error of
the forecast, as a share of the held-out values' standard deviation. If seeds differ at the end, and the early misfit tells which are
good, starting several pays. Rows go to OUT/rows.jsonl as they finish and a stopped script goes on where it was. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from journal import Row, measure_missing
from scipy.integrate import solve_ivp
from scipy.stats import spearmanr

import sciml
from sciml.dynamics.preparing import prepare
from sciml.runs.catalog import load_problem
from sciml.runs.compile_cache import use_compile_cache

EARLY = 200
"""Steps of the first stage after which the weaker would be given up."""


def oscillator() -> sciml.TimeSeries:
    """60 positions of a Van der Pol oscillator with 1 % of noise, no velocities."""
    times = np.linspace(0.0, 12.0, 60)
    values = solve_ivp(lambda _, s: [s[1], (1 - s[0] ** 2) * s[1] - s[0]], (0.0, 12.0), [1.0, 0.0], t_eval=times, rtol=1e-10).y[:1].T
    return sciml.TimeSeries.from_arrays(times, values + 0.015 * np.random.default_rng(0).standard_normal(values.shape), ("x",))


CASES: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "spiral": (lambda: load_problem("spiral").measured, {"vector_field": sciml.NeuralField(), "hold_out": 5}),
    "lotka_volterra_ude": (lambda: load_problem("lotka_volterra_ude"), {"vector_field": sciml.UniversalField(), "hold_out": 6}),
    "fitzhugh_nagumo, hidden": (
        lambda: load_problem("fitzhugh_nagumo").measured,
        {"vector_field": sciml.NeuralField(hidden=1), "hold_out": 8},
    ),
    "oscillator, second order": (oscillator, {"vector_field": sciml.NeuralField(second_order=True), "hold_out": 12}),
}


def main() -> None:
    """Runs what is missing, then prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(8)))
    parser.add_argument("--out", type=Path, default=Path("runs/restarts"))
    arguments = parser.parse_args()
    use_compile_cache()
    keys = [{"case": case, "seed": seed} for case in CASES for seed in arguments.seeds]
    print(table(measure_missing(arguments.out, keys, measure)))


def measure(case: str, seed: int) -> Row:
    """One discovery."""
    subject, settings = CASES[case]
    began = time.perf_counter()
    experiment = prepare(subject(), seed=seed, **settings)
    early, snapshot = math.nan, None
    for snapshot in experiment.train(every=EARLY):
        if snapshot.step == EARLY:
            early = snapshot.validation
    assert snapshot is not None
    found = experiment.solution(snapshot.best)
    assert experiment.held_out is not None
    spread = float(np.std(np.concatenate(experiment.held_out.values)))
    return {
        "early": early,
        "late": float(snapshot.best_validation.mean_square),
        "forecast": found.scores["held_out"]["model"].rmse / spread,
        "terms": len(found.coefficients),
        "seconds": round(time.perf_counter() - began, 1),
    }


def table(rows: list[Row]) -> str:
    """Markdown: best, median and worst over the seeds, and how well the early misfit ranks them."""
    lines = [
        "| discovery | misfit at the end: best, median, worst | forecast error: best, median, worst "
        "| of the seed with the least early misfit | of that with the least late one | rank correlation early, late | early, forecast "
        "| seeds |",
        "|---" * 8 + "|",
    ]
    for case in dict.fromkeys(row["case"] for row in rows):
        mine = [row for row in rows if row["case"] == case]
        column = {what: [row[what] for row in mine] for what in ("early", "late", "forecast")}
        chosen = [min(mine, key=lambda row: row[what])["forecast"] for what in ("early", "late")]
        ranks = [float(spearmanr(column["early"], column[what]).statistic) for what in ("late", "forecast")]
        cells = [three(column["late"]), three(column["forecast"]), *(f"{each:.3f}" for each in chosen), *(f"{each:.2f}" for each in ranks)]
        lines.append(f"| {case} | " + " | ".join(cells) + f" | {len(mine)} |")
    return "\n".join(lines)


def three(values: list[float]) -> str:
    """Best, median, worst."""
    return f"{min(values):.3g}, {statistics.median(values):.3g}, {max(values):.3g}"


if __name__ == "__main__":
    main()
