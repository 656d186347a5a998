"""Discovery on ODEBench systems: how often the found equation reproduces its trajectory, and one from another start.

    python scripts/odebench.py --data odebench.json            # rows go to odebench.jsonl; run again to go on
    python scripts/odebench.py --data odebench.json --table    # only print what is there

Protocol (d'Ascoli et al. 2024): fit on the first trajectory, 512 times on [0, 10]; noise multiplies every value by 1 + sigma N(0, 1), and a
share of the points is dropped at random. The equation found is integrated from the first start (reconstruction) and from the second
start, which it has never seen (generalisation), and compared with the noise-free trajectories; a run succeeds where R2 (variance
weighted) exceeds 0.9. An equation that cannot be integrated fails. `sciml` runs `discover_sparse` with its defaults on every row.
PySINDy (installed into an environment of its own in the user's cache folder) gets the same data and, as in the paper, a search over
its settings by prediction of the last 30 %.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # matrices are small: threads only wait for each other

import numpy as np
from peers.environments import cache_folder, environment  # pyright: ignore[reportMissingImports]

SETTINGS = ((0.0, 0.0), (0.05, 0.5))
"""(sigma, share of points dropped)."""
REQUIREMENTS = ("pysindy==2.1.0",)
MOST_EVALUATIONS = 100_000
"""Evaluations of a found equation that its integration may take: a limit that does not depend on the machine."""


def main() -> None:
    """Runs what is missing and prints the table."""
    arguments = _arguments()
    rows = [json.loads(line) for line in arguments.rows.read_text().splitlines()] if arguments.rows.exists() else []
    if not arguments.table:
        systems = json.loads(arguments.data.read_text())
        for side in arguments.sides:
            done = {(row["id"], row["sigma"]) for row in rows if row["side"] == side}
            for row in SIDES[side]([task for task in tasks(systems) if (task["id"], task["sigma"]) not in done]):
                rows.append({"side": side, **row})
                with arguments.rows.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
                print(f"{side} {row['id']} sigma {row['sigma']}: {row['reconstruction']:.4f} {row['generalisation']:.4f}", file=sys.stderr)
    print(table(rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="systems with two trajectories each, as JSON")
    parser.add_argument("--rows", type=Path, default=Path("odebench.jsonl"), help="where rows are kept")
    parser.add_argument("--sides", nargs="+", default=["sciml", "pysindy"], choices=["sciml", "pysindy"])
    parser.add_argument("--table", action="store_true", help="run nothing")
    return parser.parse_args()


def tasks(systems: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One fit each; systems of equal dimension follow one another, so that they share compiled code."""
    for sigma, dropped in SETTINGS:
        for system in sorted(systems, key=lambda each: each["dimension"]):
            first, second = system["trajectories"]
            times, values = np.array(first["t"]), np.array(first["y"]).T
            random = np.random.default_rng([system["id"], round(1000 * sigma)])
            kept = random.random(len(times)) >= dropped
            noisy = values * (1 + sigma * random.normal(size=values.shape))
            yield {
                "id": system["id"],
                "sigma": sigma,
                "times": times[kept],
                "values": noisy[kept],
                "truths": [(times, values), (np.array(second["t"]), np.array(second["y"]).T)],
            }


def run_sciml(todo: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """`discover_sparse` with its defaults."""
    import jax

    from sciml.device import configure
    from sciml.dynamics.series import TimeSeries
    from sciml.dynamics.sparse import discover_sparse

    configure()
    for task in todo:
        start = time.perf_counter()
        model = discover_sparse(TimeSeries.from_arrays(task["times"], task["values"]))
        seconds = time.perf_counter() - start
        field = jax.jit(model)
        scores = [r2(field, *truth) for truth in task["truths"]]
        yield result(task, scores, seconds, model.equations())


def run_pysindy(todo: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """PySINDy in its own environment: one JSON line per task there and back."""
    if not todo:
        return
    python = environment(cache_folder() / "bench-pysindy", REQUIREMENTS)
    script = Path(__file__).with_name("peers") / "odebench_pysindy.py"
    with subprocess.Popen([str(python), str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for task in todo:
            truths = [[times.tolist(), values.tolist()] for times, values in task["truths"]]
            request = {"times": task["times"].tolist(), "values": task["values"].tolist(), "truths": truths}
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            truths_and_paths = zip(task["truths"], answer["paths"], strict=True)
            scores = [compared(np.array(path), values) for (_, values), path in truths_and_paths]
            yield result(task, scores, answer["seconds"], answer["equations"])
        process.stdin.close()


SIDES: dict[str, Callable[[list[dict[str, Any]]], Iterator[dict[str, Any]]]] = {"sciml": run_sciml, "pysindy": run_pysindy}


def result(task: dict[str, Any], scores: list[float], seconds: float, equations: str) -> dict[str, Any]:
    """One row."""
    found = {"reconstruction": scores[0], "generalisation": scores[1], "seconds": round(seconds, 2), "equations": equations}
    return {"id": task["id"], "sigma": task["sigma"], **found}


def r2(field: Callable[[Any, Any], Any], times: np.ndarray, values: np.ndarray) -> float:
    """R2 of the trajectory from the first of `values`; zero where the integration fails, leaves the data by far or takes too long."""
    from scipy.integrate import solve_ivp

    size = np.abs(values).max()
    evaluations = itertools.count()

    def watched(t: float, state: np.ndarray) -> np.ndarray:
        if next(evaluations) > MOST_EVALUATIONS or not np.abs(state).max() < 1e4 * size:
            raise OverflowError
        return np.asarray(field(t, state))

    try:
        solution = solve_ivp(watched, (times[0], times[-1]), values[0], "LSODA", times, rtol=1e-8, atol=1e-10 * size)
    except (OverflowError, ValueError):
        return 0.0
    return compared(solution.y.T, values)


def compared(path: np.ndarray, values: np.ndarray) -> float:
    """Variance-weighted R2 of all states; zero for a path that ends early or is not finite."""
    if path.shape != values.shape or not np.isfinite(path).all():
        return 0.0
    return float(1 - ((path - values) ** 2).sum() / ((values - values.mean(axis=0)) ** 2).sum())


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: share of systems with R2 > 0.9 per side and setting."""
    lines = [
        "| sigma | points dropped | side | systems | reconstruction | generalisation | seconds per system (median, worst) |",
        "|---|---|---|---|---|---|---|",
    ]
    for sigma, dropped in SETTINGS:
        for side in SIDES:
            chosen = [row for row in rows if row["side"] == side and row["sigma"] == sigma]
            if chosen:
                shares = [sum(row[key] > 0.9 for row in chosen) / len(chosen) for key in ("reconstruction", "generalisation")]
                seconds = [row["seconds"] for row in chosen]
                lines.append(
                    f"| {sigma:g} | {dropped:.0%} | {side} | {len(chosen)} | **{shares[0]:.2f}** | **{shares[1]:.2f}** "
                    f"| {np.median(seconds):.1f}, {max(seconds):.1f} |"
                )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
