"""Step times of every phase on this machine's default device, in both precisions; meant for a GPU, runs anywhere.

    python scripts/bench_gpu.py [--widths 20 64] [--points 4096 65536]

For each width (four hidden layers, tanh), point count and precision: milliseconds per Adam step and per Broyden and L-BFGS
iteration of Burgers' equation as `sciml run` trains it, medians of five chunks of fifty, after compilation. Each precision runs in a
process of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

CHUNK, REPEATS = 50, 5


def main() -> None:
    """Measures both precisions and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[20, 64])
    parser.add_argument("--points", type=int, nargs="+", default=[4096, 65536])
    parser.add_argument("--precision", choices=("float32", "float64"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.precision:
        for row in measure(arguments.precision, arguments.widths, arguments.points):
            print(json.dumps(row), flush=True)
        return
    rows = []
    for precision in ("float32", "float64"):
        command = [sys.executable, __file__, "--precision", precision, "--widths", *map(str, arguments.widths)]
        command += ["--points", *map(str, arguments.points)]
        rows += [json.loads(line) for line in subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout.splitlines()]
    print(f"Device: {rows[0]['device']}\n")
    print("| width | parameters | points | precision | adam | broyden | lbfgs |\n|---|---|---|---|---|---|---|")
    for row in rows:
        times = " | ".join(f"{row[kind]:.2f} ms" for kind in ("adam", "broyden", "lbfgs"))
        print(f"| {row['width']} | {row['parameters']:,} | {row['points']:,} | {row['precision']} | {times} |")


def measure(precision: Any, widths: list[int], points: list[int]) -> Iterator[dict[str, Any]]:
    """One row per width and point count."""
    import jax

    import sciml
    from sciml.runs.catalog import load_problem

    phases = {"adam": sciml.Adam, "broyden": sciml.Broyden, "lbfgs": sciml.LBFGS}
    for width in widths:
        for count in points:
            row: dict[str, Any] = {"width": width, "points": count, "precision": precision, "device": jax.devices()[0].device_kind}
            for kind, phase in phases.items():
                experiment = sciml.prepare(
                    load_problem("burgers", {}),
                    network=sciml.Network(width=width, depth=4),
                    points=sciml.Points(interior=count, batch=count),
                    phases=[phase(steps=CHUNK * (REPEATS + 1), until=())],
                    precision=precision,
                )
                row["parameters"] = experiment.parameters
                row[kind] = milliseconds(experiment)
            yield row


def milliseconds(experiment: Any) -> float:
    """Median time of a step over chunks, the first one (compilation) left out."""
    seconds, began = [], time.perf_counter()
    for _ in experiment.train(every=CHUNK):
        seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
    return statistics.median(seconds[1:]) / CHUNK * 1e3


if __name__ == "__main__":
    main()
