"""How well a search proposes, on a function that costs nothing and fails on half of its space.

    python scripts/bench_search.py [--trials 32] [--round 4] [--seeds 20]

Minimises (x - 0.45)^2 + (log10 y + 2)^2 over x in [0, 1] and y in [1e-4, 1e-1]; every trial with x > 1/2 fails. Prints for each method how
many trials failed and the lowest value, once with failures told as infinite values (what a search does), once with failures left out.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from pathlib import Path
from typing import Any

from sciml.batch.propose import propose
from sciml.batch.settings import Planning, read_sweep

SWEEP = """
base = "fisher_kpp"
[search]
objective = "error"
method = "{method}"
trials = {trials}
round = {round}
seed = {seed}
[search.space]
"parameters.D" = {{ from = 0.0, to = 1.0 }}
"parameters.r" = {{ from = 1e-4, to = 1e-1, scale = "log" }}
"""


def main() -> None:
    """A row of a table for each method and treatment of failures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--round", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    print(f"| method | failures are | failed of {arguments.trials} (mean) | lowest value (median) | worst of {arguments.seeds} seeds |")
    print("|---|---|---|---|---|")
    for method, told in (("tpe", True), ("tpe", False), ("random", True), ("sobol", True)):
        found = [_searched(_planning(arguments, method, seed), told) for seed in range(arguments.seeds)]
        failed, lowest = [sum(map(math.isinf, each)) for each in found], [min(each) for each in found]
        treated = "infinite" if told else "left out"
        print(f"| {method} | {treated} | {statistics.mean(failed):.1f} | {statistics.median(lowest):.1e} | {max(lowest):.1e} |", flush=True)


def _searched(planning: Planning, told: bool) -> list[float]:
    """The values of all trials of one search."""
    finished: list[tuple[dict[str, Any], float]] = []
    assert planning.search is not None
    for number in range(planning.search.trials // planning.search.round):
        known = [trial for trial in finished if told or math.isfinite(trial[1])]
        finished += [(values, _value(values)) for values in propose(planning, known, number)]
    return [value for _, value in finished]


def _value(values: dict[str, Any]) -> float:
    x, y = values["parameters.D"], values["parameters.r"]
    return math.inf if x > 0.5 else (x - 0.45) ** 2 + (math.log10(y) + 2) ** 2


def _planning(arguments: argparse.Namespace, method: str, seed: int) -> Planning:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "search.toml"
        path.write_text(SWEEP.format(method=method, trials=arguments.trials, round=arguments.round, seed=seed))
        return read_sweep(path)


if __name__ == "__main__":
    main()
