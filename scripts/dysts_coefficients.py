"""Coefficients of chaotic systems from noisy trajectories: in how many of twelve is the error below 10 %?

    python scripts/dysts_coefficients.py                  # rows go to dysts_coefficients.jsonl; run again to go on
    python scripts/dysts_coefficients.py --table          # only print what is there

Protocol (Kaptanoglu et al. 2023, arXiv 2302.10787): five trajectories of 1000 points, 100 per period, noise of `level` times the root mean
square of each state, candidates all polynomials up to degree 4; the error is |found - true| / |true| over all coefficients. The systems
are listed in the rows; scripts/peers/dysts_systems.py says how they were chosen. `sciml` runs `discover_sparse` with its defaults on that
library; weak SINDy (PySINDy 2.1.0, in an environment of its own) gets the same data and the threshold with the least AIC.
"""

from __future__ import annotations

import argparse
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

LEVELS = (0.0, 0.001, 0.01, 0.05)
REQUIREMENTS = ("pysindy==2.1.0", "dysts==0.95")
PEER = Path(__file__).with_name("peers") / "dysts_systems.py"
DEGREE = 4
Task = dict[str, Any]


def main() -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=Path("dysts_coefficients.jsonl"), help="where rows are kept")
    parser.add_argument("--systems", type=Path, default=Path("dysts_systems.npz"), help="where the trajectories are kept")
    parser.add_argument("--sides", nargs="+", default=["sciml", "weak SINDy"], choices=["sciml", "weak SINDy"])
    parser.add_argument("--table", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in arguments.rows.read_text().splitlines()] if arguments.rows.exists() else []
    if not arguments.table:
        if not arguments.systems.exists():
            python = environment(cache_folder() / "bench-dysts", REQUIREMENTS)
            subprocess.run([str(python), str(PEER), "systems", str(arguments.systems)], check=True)
        for side in arguments.sides:
            done = {(row["system"], row["level"]) for row in rows if row["side"] == side}
            todo = [task for task in tasks(arguments.systems) if (task["system"], task["level"]) not in done]
            for row in SIDES[side](todo):
                rows.append({"side": side, **row})
                with arguments.rows.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
                print(rows[-1], file=sys.stderr)
    print(table(rows))


def tasks(path: Path) -> Iterator[Task]:
    """One fit each."""
    stored = np.load(path)
    names = sorted({key.split("/")[0] for key in stored.files if "/" in key})
    for level in LEVELS:
        for index, name in enumerate(names):
            values = stored[f"{name}/values"]
            scale = np.sqrt((values**2).mean(axis=(0, 1)))
            noise = level * scale * np.random.default_rng([index, round(1000 * level)]).normal(size=values.shape)
            truth = stored[f"{name}/coefficients"]
            given = {"times": stored[f"{name}/times"], "values": values + noise, "exponents": stored["exponents"]}
            yield {"system": name, "level": level, "truth": truth, **given}


def run_sciml(todo: list[Task]) -> Iterator[dict[str, Any]]:
    """`discover_sparse` with its defaults."""
    from sciml.device import configure
    from sciml.dynamics.library import polynomials
    from sciml.dynamics.series import TimeSeries
    from sciml.dynamics.sparse import discover_sparse

    configure()
    for task in todo:
        count = len(task["values"])
        series = TimeSeries.from_arrays([task["times"]] * count, list(task["values"]), ("x", "y", "z"))
        library = polynomials(series.names, DEGREE)
        start = time.perf_counter()
        model = discover_sparse(series, library)
        seconds = time.perf_counter() - start
        powers = [tuple(sum(f.power for f in term.factors if f.weights[0][0] == i) for i in range(3)) for term in library.terms]
        order = [powers.index(tuple(int(power) for power in exponents)) for exponents in task["exponents"]]
        yield result(task, model.coefficients[order], seconds)


def run_weak_sindy(todo: list[Task]) -> Iterator[dict[str, Any]]:
    """PySINDy's weak form in its own environment."""
    if not todo:
        return
    python = environment(cache_folder() / "bench-dysts", REQUIREMENTS)
    with subprocess.Popen([str(python), str(PEER), "sindy"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for task in todo:
            process.stdin.write(json.dumps({"times": task["times"].tolist(), "values": task["values"].tolist()}) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            yield result(task, np.array(answer["coefficients"]), answer["seconds"])
        process.stdin.close()


SIDES: dict[str, Callable[[list[Task]], Iterator[dict[str, Any]]]] = {"sciml": run_sciml, "weak SINDy": run_weak_sindy}


def result(task: Task, coefficients: np.ndarray, seconds: float) -> dict[str, Any]:
    """One row."""
    error = float(np.linalg.norm(coefficients - task["truth"]) / np.linalg.norm(task["truth"]))
    exact = bool(((coefficients != 0) == (task["truth"] != 0)).all())
    return {"system": task["system"], "level": task["level"], "error": error, "exact_terms": exact, "seconds": round(seconds, 2)}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| noise | side | systems | error < 10 % | median error | exactly the true terms | seconds (median) |",
        "|---|---|---|---|---|---|---|",
    ]
    for level in LEVELS:
        for side in SIDES:
            chosen = [row for row in rows if row["side"] == side and row["level"] == level]
            if chosen:
                errors = [row["error"] for row in chosen]
                exact, seconds = np.mean([row["exact_terms"] for row in chosen]), np.median([row["seconds"] for row in chosen])
                lines.append(
                    f"| {level:.1%} | {side} | {len(chosen)} | **{np.mean(np.array(errors) < 0.1):.2f}** | {np.median(errors):.1e} "
                    f"| {exact:.2f} | {seconds:.1f} |"
                )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
