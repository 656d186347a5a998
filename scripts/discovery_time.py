"""How long one discovery takes, from a table of two states and 500 noisy times to the report, and whether its equation is right.

    python scripts/discovery_time.py                   # 3 systems, 3 draws of the noise each
    python scripts/discovery_time.py --draws 1 --points 200

Each run is `sciml discover TABLE.csv` with its defaults in a process of its own: wall seconds from the command to its end, imports,
compilation, figures and report.html included; first with an empty compile cache, then once more with the programs that the first run has
kept. Noise has 2 % of each state's standard deviation. Prints a Markdown table. Wall times mean something on an idle machine only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.integrate import solve_ivp

NOISE = 0.02


class System(NamedTuple):
    """A vector field of two states, where and how long it runs, and the terms of its equations."""

    slope: Callable[[float, np.ndarray], list[float]]
    start: tuple[float, float]
    span: float
    terms: frozenset[str]


SYSTEMS = {
    "Van der Pol": System(
        lambda _, u: [u[1], (1 - u[0] ** 2) * u[1] - u[0]], (2.0, 0.0), 20.0, frozenset({"x': y", "y': x", "y': y", "y': x^2 y"})
    ),
    "Lotka-Volterra": System(
        lambda _, u: [u[0] - 0.5 * u[0] * u[1], 0.4 * u[0] * u[1] - 0.8 * u[1]], (3.0, 1.0), 25.0,
        frozenset({"x': x", "x': x y", "y': y", "y': x y"}),
    ),
    "Duffing, damped": System(
        lambda _, u: [u[1], -0.2 * u[1] + u[0] - u[0] ** 3], (0.5, 1.0), 20.0, frozenset({"x': y", "y': x", "y': y", "y': x^3"})
    ),
}  # fmt: skip


def main() -> None:
    """A row per system."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=500)
    parser.add_argument("--draws", type=int, default=3)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    print("| system | draws | exactly the true terms | seconds: median (worst) | once more, compiled: median (worst) |")
    print("|---|---|---|---|---|")
    for name, system in SYSTEMS.items():
        runs = [discover(system, arguments.points, seed) for seed in range(arguments.draws)]
        right = sum(exact for *_, exact in runs)
        first, again = ([run[number] for run in runs] for number in (0, 1))
        shown = [f"{statistics.median(each):.1f} ({max(each):.1f})" for each in (first, again)]
        print(f"| {name} | {len(runs)} | {right} | {shown[0]} | {shown[1]} |", flush=True)
    print(f"\n{arguments.points} points, {os.cpu_count()} cores, load average {load:.1f} at the start.")


def discover(system: System, points: int, seed: int) -> tuple[float, float, bool]:
    """Wall seconds of the first and of a second run of the command, and whether the first found exactly the true terms."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.csv"
        write(table, system, points, seed)
        first, result = timed(table, Path(folder), "first")
        again, _ = timed(table, Path(folder), "again")
        return first, again, set(result["coefficients"]) == system.terms


def write(table: Path, system: System, points: int, seed: int) -> None:
    """The noisy solution as a CSV file."""
    times = np.linspace(0.0, system.span, points)
    states = solve_ivp(system.slope, (0.0, system.span), system.start, "DOP853", times, rtol=1e-10, atol=1e-12).y.T
    noisy = states + NOISE * states.std(axis=0) * np.random.default_rng(seed).normal(size=states.shape)
    np.savetxt(table, np.column_stack([times, noisy]), delimiter=",", header="t,x,y", comments="")


def timed(table: Path, folder: Path, out: str) -> tuple[float, dict]:
    """Wall seconds of one run of the command, and its result."""
    variables = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    command = [sys.executable, "-m", "sciml", "discover", str(table), "--out", str(folder / out), "--quiet", "--json"]
    began = time.perf_counter()
    done = subprocess.run(command, env=variables | {"XDG_CACHE_HOME": str(folder)}, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return seconds, json.loads(done.stdout)


if __name__ == "__main__":
    main()
