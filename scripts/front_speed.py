"""The speed of a Fisher-KPP front over diffusion D and growth r, measured on the solutions of a sweep, against 2 sqrt(r D).

    python scripts/front_speed.py [--sweep front_speed] [--out sweeps]

Makes (or goes on with) the sweep `configs/sweeps/front_speed.toml`, follows the place where u = 1/2, and writes `front_speed.png`
and `front_speed.csv` beside the runs. Kolmogorov, Petrovskii & Piskunov (1937): fronts of steep initial data move at 2 sqrt(r D). The
exact solution of the problem is the wave of Ablowitz & Zeppetella (1979), whose tail decays more slowly: it moves at 5/sqrt(6) sqrt(r D),
2 % faster. A front that was computed well lies on the second line, just above the first.
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path

import matplotlib
import numpy as np
import xarray

import sciml
from sciml.batch.load import SweepRuns
from sciml.figures.style import BLUE, GREY, STYLE, VERMILION, new_figure, save

MINIMAL, EXACT = 2.0, 5 / math.sqrt(6)
"""Speeds over sqrt(r D): of the slowest wave, and of the one with a closed form."""


def main() -> None:
    """Sweep, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweep", default="front_speed", help="the sweep's name, file or directory")
    parser.add_argument("--out", type=Path, default=Path("sweeps"))
    arguments = parser.parse_args()
    made = sciml.sweep(arguments.sweep, out=arguments.out)
    rows = measure(made)
    with (made.directory / "front_speed.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print("  ".join(f"{name} {value:.5g}" for name, value in row.items()))
    print(draw(rows, made.directory / "front_speed.png"))


def measure(made: SweepRuns) -> list[dict[str, float]]:
    """D, r, the measured speed, both theoretical ones and the run's error, for each run that is ok."""
    rows = []
    for run in made.runs:
        if run.state == "ok":
            diffusion, growth = run.values["parameters.D"], run.values["parameters.r"]
            with xarray.open_dataset(run.directory / "solution.nc", engine="h5netcdf") as solution:
                speed = front_speed(solution["u"].transpose("t", "x").values, solution["t"].values, solution["x"].values)
            scale = math.sqrt(growth * diffusion)
            error = run.result["error"]["rel_l2"]
            theory = {"minimal": MINIMAL * scale, "exact": EXACT * scale}
            rows.append({"D": diffusion, "r": growth, "measured": speed, **theory, "rel_l2": error})
    return rows


def front_speed(u: np.ndarray, t: np.ndarray, x: np.ndarray) -> float:
    """Slope of the straight line through the places where u falls through 1/2, over the times at which the front is inside."""
    places, times = [], []
    for time, profile in zip(t, u, strict=True):
        below = np.flatnonzero((profile[:-1] >= 0.5) & (profile[1:] < 0.5))
        if below.size:
            left = below[-1]
            share = (profile[left] - 0.5) / (profile[left] - profile[left + 1])
            places.append(x[left] + share * (x[left + 1] - x[left]))
            times.append(time)
    return float(np.polyfit(times, places, 1)[0])


def draw(rows: list[dict[str, float]], path: Path) -> Path:
    """The measured speeds over sqrt(r D), with both lines."""
    with matplotlib.rc_context(STYLE):
        figure = new_figure(4.2)
        axis = figure.add_subplot()
        scale = np.linspace(0, 1.1 * max(row["minimal"] / MINIMAL for row in rows), 50)
        axis.plot(scale, EXACT * scale, color=GREY, label=r"this wave, $5/\sqrt{6}\,\sqrt{rD}$ (Ablowitz & Zeppetella 1979)")
        axis.plot(scale, MINIMAL * scale, color=BLUE, linestyle="--", label=r"slowest wave, $2\sqrt{rD}$ (Kolmogorov et al. 1937)")
        measured = [(row["minimal"] / MINIMAL, row["measured"]) for row in rows]
        axis.scatter(*zip(*measured, strict=True), color=VERMILION, zorder=3, label="measured")
        axis.set(xlabel=r"$\sqrt{rD}$", ylabel="speed of the front", title="Fisher-KPP fronts of a sweep over D and r", xlim=(0, None))
        axis.set_ylim(0, None)
        axis.legend(loc="upper left")
        return save(figure, path)


if __name__ == "__main__":
    main()
