"""Equations from series that are sampled too seldom in part: a model that grows from the well sampled part beside smoothing alone.

    python scripts/undersampled.py              # worst of 3 seeds
    python scripts/undersampled.py --seeds 0

Two trajectories each, cubic polynomials as candidates, noise as a share of each state's standard deviation. "grown" is `discover_sparse`
with its defaults; "smoothed" the same with growth switched off: it begins with the weak form of the smoothed data, as where nothing is
undersampled.
"missed" is the largest share of a state's values that the cubic through their four neighbours misses by half the state's spread.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import NamedTuple
from unittest.mock import patch

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # matrices are small: threads only wait for each other

import numpy as np
from scipy.integrate import solve_ivp

from sciml.device import configure
from sciml.dynamics import sparse
from sciml.dynamics.growing import grow
from sciml.dynamics.library import polynomials
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.undersampling import sampling

NOISE = (0.0, 0.01)
DEGREE = 3


class System(NamedTuple):
    """True coefficients by state and term, starts, and how it is sampled."""

    terms: tuple[dict[str, float], ...]
    starts: tuple[tuple[float, ...], ...]
    step: float
    points: int


LORENZ = ({"x": -10.0, "y": 10.0}, {"x": 28.0, "y": -1.0, "x z": -1.0}, {"z": -8 / 3, "x y": 1.0})
ATTRACTOR = ((1.0, 2.0, 20.0), (-5.0, -7.0, 18.0))
SPIKES = (
    {"1": 3.2, "y": 1.0, "z": -1.0, "x^2": 3.0, "x^3": -1.0},
    {"1": 1.0, "y": -1.0, "x^2": -5.0},
    {"1": 0.0384, "x": 0.024, "z": -0.006},
)
SYSTEMS = {
    "Van der Pol, mu = 5, every 0.25": System(({"y": 1.0}, {"x": -1.0, "y": 5.0, "x^2 y": -5.0}), ((2.0, 0.0), (0.5, 3.0)), 0.25, 160),
    "Van der Pol, mu = 20, every 0.2": System(({"y": 1.0}, {"x": -1.0, "y": 20.0, "x^2 y": -20.0}), ((2.0, 0.0), (0.5, 3.0)), 0.2, 200),
    "Lorenz, every 0.1": System(LORENZ, ATTRACTOR, 0.1, 300),
    "Lorenz, every 0.15": System(LORENZ, ATTRACTOR, 0.15, 300),
    "Hindmarsh-Rose, every 1": System(SPIKES, ((-1.0, -4.0, 3.0), (-1.3, -7.0, 3.2)), 1.0, 400),
}


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    seeds = parser.parse_args().seeds
    configure()
    row(SYSTEMS["Van der Pol, mu = 5, every 0.25"], 0.0, 0)  # compiles what both sides share
    print("| system | noise | missed | error of coefficients: grown | smoothed | exact terms: grown | smoothed | seconds | seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, system in SYSTEMS.items():
        for noise in NOISE:
            rows = [row(system, noise, seed) for seed in (seeds if noise else seeds[:1])]
            worst = {key: max(each[key] for each in rows) for key in rows[0]}
            exact = [f"{sum(each[f'{side} exact'] for each in rows)} of {len(rows)}" for side in ("grown", "smoothed")]
            errors = [f"{worst[side]:.1e}" for side in ("grown", "smoothed")]
            seconds = [f"{worst[f'{side} seconds']:.1f}" for side in ("grown", "smoothed")]
            print("|", " | ".join([name, f"{noise:.0%}", f"{worst['missed']:.0%}", *errors, *exact, *seconds]), "|", flush=True)


def row(system: System, noise: float, seed: int) -> dict[str, float]:
    """Both sides on one data set."""
    names = ("x", "y", "z")[: len(system.terms)]
    library = polynomials(names, DEGREE)
    truth = np.array([[terms.get(term, 0.0) for terms in system.terms] for term in library.names()])
    times = system.step * np.arange(system.points)
    random = np.random.default_rng(seed)
    values = []
    for start in system.starts:
        field = lambda _, state: library.numpy(np.array([state]))[0] @ truth  # noqa: E731
        path = solve_ivp(field, (0, times[-1]), start, "DOP853", times, rtol=1e-10, atol=1e-11).y.T
        values.append(path + noise * path.std(axis=0) * random.normal(size=path.shape))
    series = TimeSeries.from_arrays([times] * len(values), values, names)

    found = {"missed": float(sampling(series).missed.max())}
    for side, grows in (("smoothed", lambda *_: None), ("grown", grow)):
        began = time.perf_counter()
        with patch.object(sparse, "grow", grows):
            coefficients = sparse.discover_sparse(series, library, resamples=0).coefficients
        found[f"{side} seconds"] = time.perf_counter() - began
        found[side] = float(np.linalg.norm(coefficients - truth) / np.linalg.norm(truth))
        found[f"{side} exact"] = bool(((coefficients != 0) == (truth != 0)).all())
    return found


if __name__ == "__main__":
    main()
