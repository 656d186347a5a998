"""Unknown coefficients beside a classical fit: the same noisy data, the estimates, their standard errors, and how often these hold.

    python scripts/inverse.py [--draws 0 1 2] [--noises 0.001 0.01] [--coverage 50] [--out runs/inverse]

`fisher_kpp_inverse`: D and r from 200 noisy values. First `sciml run` for each noise and draw of the data, in a process of its own from an
empty compile cache; its result holds the classical fit (least squares through the method of lines, sciml/reference/least_squares.py)
beside ours. Then coverage: over many draws of the data, how often the truth lies within 1.96 standard errors. There ours starts from the
solution of the first draw and takes self-scaled Broyden alone, to its own minimum for the new data, which is what a user with a second
experiment would do. Rows go to OUT/rows.jsonl as they finish and a stopped script goes on where it was. Prints two Markdown tables.
"""

from __future__ import annotations

import argparse
import functools
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench_accuracy import run_sciml
from journal import Row, measure_missing

PROBLEM = "fisher_kpp_inverse"
TRUTH = {"D": 0.01, "r": 5.0}
QUANTILE = 1.96
WARM_STEPS = 600
COVERAGE_NOISE = 0.01


def main() -> None:
    """Runs what is missing, then prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--noises", type=float, nargs="+", default=[0.001, 0.01])
    parser.add_argument("--coverage", type=int, default=50, help="draws of the data")
    parser.add_argument("--methods", nargs="+", default=["classical", "ours"], choices=["classical", "ours"], help="in the coverage")
    parser.add_argument("--limit", type=float, default=300.0, help="wall seconds of each run")
    parser.add_argument("--out", type=Path, default=Path("runs/inverse"))
    arguments = parser.parse_args()
    rows = measure_missing(arguments.out, plan(arguments), lambda method, noise, draw: MEASURES[method](noise, draw, arguments.limit))
    print(table_of_runs(rows), table_of_coverage(rows), sep="\n\n")


def plan(arguments: argparse.Namespace) -> Iterator[Row]:
    """What identifies each row."""
    for noise in arguments.noises:
        for draw in arguments.draws:
            yield {"method": "run", "noise": noise, "draw": draw}
    for draw in range(arguments.coverage):
        for method in arguments.methods:
            yield {"method": method, "noise": COVERAGE_NOISE, "draw": draw}


def of_run(noise: float, draw: int, limit: float) -> Row:
    """A whole run: ours and the classical fit."""
    result, _, wall = run_sciml(PROBLEM, limit, 0, f"parameters.noise={noise}", f"parameters.draw={draw}")
    fit = result["baselines"].get("least_squares", {})
    return {
        "seconds": round(wall, 1),
        "ended": result["ended_by"],
        "ours": result["unknowns"],
        "classical": fit.get("unknowns", {}),
        "classical_seconds": fit.get("seconds"),
    }


def of_classical(noise: float, draw: int, limit: float) -> Row:
    """The classical fit alone."""
    from sciml.reference import least_squares
    from sciml.runs.catalog import load_problem

    fit = least_squares(load_problem(PROBLEM, {"noise": noise, "draw": draw}))
    return {"found": fit.unknowns, "seconds": round(fit.seconds, 2)}


def of_ours(noise: float, draw: int, limit: float) -> Row:
    """From the solution of the first draw to the minimum for this one."""
    from sciml import Broyden, prepare

    problem, settings = configured(noise, draw)
    experiment = prepare(problem, phases=[Broyden(steps=WARM_STEPS)], warm_start=first_solution(noise), **settings)
    *_, last = experiment.train()
    return {"found": experiment.unknowns(last.best), "steps": last.step}


@functools.cache
def first_solution(noise: float) -> Any:
    """The trained parameters for the first draw, from scratch."""
    from sciml import prepare

    problem, settings = configured(noise, 0)
    *_, last = prepare(problem, **settings).train()
    return last.best


def configured(noise: float, draw: int) -> tuple[Any, dict[str, Any]]:
    """The problem and the settings of its config."""
    from sciml.runs.catalog import load_problem
    from sciml.runs.config import load_config

    config: Any = load_config(PROBLEM, ())
    problem = load_problem(PROBLEM, {"noise": noise, "draw": draw})
    return problem, {"network": config.network, "points": config.points, "weights": config.weights}


MEASURES = {"run": of_run, "classical": of_classical, "ours": of_ours}

# ── report ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def table_of_runs(rows: Sequence[Row]) -> str:
    """Each run: both estimates, how far apart they are in standard errors of the classical fit, and the ratio of these errors."""
    lines = [
        "| noise | draw | coefficient | ours | least squares | apart, standard errors | ours off the truth | ratio of standard errors "
        "| wall, ours | least squares | load |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in (row for row in rows if row["method"] == "run"):
        for name, ours in row["ours"].items():
            fit = row["classical"].get(name, {})
            both = bool(fit.get("standard_error")) and ours["standard_error"] is not None
            apart = f"{abs(ours['value'] - fit['value']) / fit['standard_error']:.2f}" if both else ""
            ratio = f"{ours['standard_error'] / fit['standard_error']:.2f}" if both else ""
            off = f"{100 * abs(ours['value'] / TRUTH[name] - 1):.2f} %"
            lines.append(
                f"| {row['noise']:g} | {row['draw']} | {name} | {estimate(ours)} | {estimate(fit)} | {apart} | {off} | {ratio} "
                f"| {row['seconds']:.0f} s | {row['classical_seconds'] or math.nan:.1f} s | {row['load']:g} |"
            )
    return "\n".join(lines)


def estimate(found: Row) -> str:
    """A value with its standard error."""
    if not found:
        return "none"
    spread = found["standard_error"]
    return f"{found['value']:.6g}" + ("" if spread is None else f" ± {spread:.2g}")


def table_of_coverage(rows: Sequence[Row]) -> str:
    """How often the truth lies within the confidence interval, and how the standard errors compare with the spread of the estimates."""
    lines = [
        "| method | coefficient | draws | truth within 1.96 standard errors | spread of the estimates | standard error, median |",
        "|---|---|---|---|---|---|",
    ]
    for method in ("classical", "ours"):
        found = [row["found"] for row in rows if row["method"] == method]
        for name, truth in TRUTH.items():
            known = [each[name] for each in found if each[name]["standard_error"] is not None]
            if len(known) < 2:
                continue
            within = sum(abs(each["value"] - truth) <= QUANTILE * each["standard_error"] for each in known)
            spread = statistics.stdev(each["value"] for each in known)
            error = statistics.median(each["standard_error"] for each in known)
            lines.append(f"| {method} | {name} | {len(found)} | {100 * within / len(found):.0f} % | {spread:.2g} | {error:.2g} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
