"""A forecast from 50 noisy values of a Van der Pol oscillator: how far from the truth, and does its band hold what it says?

    python scripts/van_der_pol.py --data gpode_vdp_uniform.npz gpode_vdp_nonuniform.npz

The tasks of Hegde et al. (2022, Variational multiple shooting for Bayesian ODEs with Gaussian processes): x' = y, y' = mu (1 - x^2) y - x
with mu = 0.5, 50 values on [0, 7] with noise of variance 0.05, forecast on [7, 14]. `sciml.discover` runs with its defaults. Beside each
stored task stand further draws of its noise on the same solution at the same times (integrated by SciPy), because one trajectory says
little of a band. Coverage counts values with fresh noise of the same variance, since a band is for what will be measured.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

import sciml

PUBLISHED = {"gpode_vdp_uniform": 0.0284, "gpode_vdp_nonuniform": 0.0223}
"""Mean square errors of FIM-ODE, fine-tuned, as its authors' notebook prints them; Gaussian processes with shooting: 0.13 and 0.21."""
TERMS = {"x': y", "y': x", "y': y", "y': x^2 y"}
FRESH = 20
"""Draws of the noise on the forecast's true values that the coverage is counted over."""


def main() -> None:
    """A row per task and kind of draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="files with train_ts, train_ys, test_ts, test_ys, obs_noise_var, x0, mu"
    )
    parser.add_argument("--draws", type=int, default=10)
    arguments = parser.parse_args()
    header = ("task", "data sets", "mean square error: median (worst)", "published", "inside the 95 % band", "exactly the true terms")
    print(f"| {' | '.join(header)} | seconds each (median) |")
    print("|---|---|---|---|---|---|---|")
    for path in arguments.data:
        task = {name: np.asarray(value) for name, value in np.load(path).items()}
        show(path.stem, "as stored", [measure(task, task["train_ys"][0], 0)], PUBLISHED.get(path.stem))
        show(path.stem, "drawn anew", [measure(task, drawn(task, draw), draw) for draw in range(1, arguments.draws + 1)], None)


def drawn(task: dict[str, np.ndarray], draw: int) -> np.ndarray:
    """The true solution at the task's times with another draw of its noise."""
    noise = np.sqrt(float(task["obs_noise_var"])) * np.random.default_rng(draw).standard_normal((len(task["train_ts"]), 2))
    return solution(task, task["train_ts"]) + noise


def solution(task: dict[str, np.ndarray], times: np.ndarray) -> np.ndarray:
    """The true states `(n, 2)`."""
    mu = float(task["mu"])
    field = lambda _, state: [state[1], mu * (1 - state[0] ** 2) * state[1] - state[0]]  # noqa: E731
    found = solve_ivp(field, (0.0, float(times[-1])), task["x0"], "DOP853", times, rtol=1e-10, atol=1e-10)
    return found.y.T


def measure(task: dict[str, np.ndarray], values: np.ndarray, draw: int) -> dict[str, Any]:
    """One discovery and its forecast."""
    times = task["train_ts"].astype(float)
    begun = time.perf_counter()
    found = sciml.discover(sciml.TimeSeries.from_arrays(times, values.astype(float), ("x", "y")), progress=False)
    ahead = task["test_ts"] > times[-1]
    band = found.forecast(task["test_ts"][ahead].astype(float))
    seconds = time.perf_counter() - begun
    truth = task["test_ys"][0][ahead]
    noise = np.sqrt(float(task["obs_noise_var"])) * np.random.default_rng([draw, 1]).standard_normal((FRESH, *truth.shape))
    inside = (truth + noise >= band.lower) & (truth + noise <= band.upper)
    right = set(found.coefficients) == TERMS
    return {"error": float(np.mean((band.values - truth) ** 2)), "inside": float(inside.mean()), "right": right, "seconds": seconds}


def show(name: str, what: str, rows: list[dict[str, Any]], published: float | None) -> None:
    """One row of the table."""
    column = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    errors = column["error"]
    print(
        f"| {name}, {what} | {len(rows)} | **{np.median(errors):.4f}** ({errors.max():.4f}) | {published or ''} "
        f"| {column['inside'].mean():.0%} | {column['right'].sum()} of {len(rows)} | {np.median(column['seconds']):.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
