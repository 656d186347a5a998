"""Error against wall time: sciml and its peers on the same problems, the same machine, in turns, under equal wall limits.

    python scripts/bench_accuracy.py [--limits 120 300] [--seeds 0 1 2] [--problems burgers ...] [--out runs/bench_accuracy]

Every run is a process of its own that starts from nothing: imports and compilation (from an empty cache) are part of its time, counted
from the first line of its script. What a run has at a limit: ours the state that it would return then, the one with the lowest mean
absolute residual, which knows no reference; a peer the lowest error that it has told by then or tells next, which is in its favour.
`after` is when it had that. One run, stopped at the longest limit, serves all limits; but DeepXDE's recipe depends on the limit, and has
a run for each. Rows go to OUT/rows.jsonl as they finish and a stopped script goes on where it was. Prints a Markdown table and writes
OUT/error_against_time.png. DeepXDE, jinns and scimba are installed into environments of their own, the JAX peers with the jax of ours;
their recipes stand in scripts/peers/. All are judged on the same grid against the same reference. A machine that does something else
meanwhile gives no result: the column `load` is the machine's load average at the start of each run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from bench_step import REQUIREMENTS as DEEPXDE
from journal import Row, measure_missing
from peers.environments import cache_folder, environment

PROBLEMS = ("fisher_kpp", "burgers", "allen_cahn", "diffusion_reaction")
PEERS = Path(__file__).parent / "peers"
JAX = f"jax=={version('jax')}"
REQUIREMENTS = {
    "deepxde": DEEPXDE,
    "jinns": ("jinns==1.10.2", JAX),
    "scimba": ("scimba==1.4.1", JAX),
}
RECIPES = {"sciml": PROBLEMS, "deepxde": PROBLEMS, "jinns": PROBLEMS[:3], "scimba": PROBLEMS[:3]}
NAMES = {"sciml": "sciml", "deepxde": "DeepXDE", "jinns": "jinns", "scimba": "scimba"}
COLOURS = {"sciml": "#0072b2", "deepxde": "#d55e00", "jinns": "#009e73", "scimba": "#cc79a7"}


def main() -> None:
    """Runs what is missing, then draws and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=PROBLEMS)
    parser.add_argument("--limits", type=float, nargs="+", default=[120.0, 300.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/bench_accuracy"))
    parser.add_argument("--tools", nargs="+", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--environments", type=Path, default=cache_folder(), help="where the peers' environments are or go")
    arguments = parser.parse_args()
    measure = partial(measure_one, environments=arguments.environments, out=arguments.out)
    rows = measure_missing(arguments.out, plan(arguments), measure, hidden=("curve",))
    draw(rows, arguments.problems, arguments.out / "error_against_time.png")
    print(table(rows, arguments.problems, arguments.limits))


def plan(arguments: argparse.Namespace) -> Iterator[Row]:
    """What identifies each run, side by side, so that a script stopped early has compared something."""
    for seed in arguments.seeds:
        for problem in arguments.problems:
            for tool in arguments.tools:
                for limits in [[each] for each in arguments.limits] if tool == "deepxde" else [arguments.limits]:
                    if problem in RECIPES[tool]:
                        yield {"tool": tool, "problem": problem, "limits": limits, "seed": seed}


def measure_one(tool: str, problem: str, limits: list[float], seed: int, environments: Path, out: Path) -> Row:
    """One run of one tool, and what it had at each limit."""
    if tool == "sciml":
        return of_sciml(problem, limits, seed)
    python = environment(environments / f"bench-{tool}", REQUIREMENTS[tool])
    return of_peer(tool, python, problem, limits, seed, out)


def run_sciml(problem: str, limit: float, seed: int, *overrides: str) -> tuple[dict[str, Any], list[Row], float]:
    """`sciml run` as a user types it, stopped at the limit: its result, its metrics and its wall seconds."""
    with tempfile.TemporaryDirectory() as folder:
        settings = ["--seed", str(seed), "--out", folder, "--quiet", "--json"]
        for override in (f"execution.wall_limit={limit}", *overrides):
            settings += ["--set", override]
        began = time.perf_counter()
        command = [sys.executable, "-m", "sciml", "run", problem, *settings]
        done = subprocess.run(command, env=os.environ | {"XDG_CACHE_HOME": folder}, capture_output=True, text=True)
        wall = time.perf_counter() - began
        if done.returncode not in (0, 1) or not done.stdout:
            raise SystemExit(f"sciml run {problem} failed:\n{done.stderr}")
        result = json.loads(done.stdout)
        steps = [json.loads(line) for line in (Path(result["directory"]) / "metrics.jsonl").read_text().splitlines()]
    return result, steps, wall


def of_sciml(problem: str, limits: list[float], seed: int) -> Row:
    """The error is that of the state that a run of each limit returns."""
    result, steps, wall = run_sciml(problem, max(limits), seed)
    before = wall - result["seconds"]["total"]
    judged = [(before + step["seconds"], step["error"], step["level"]) for step in steps if None not in (step["error"], step["level"])]
    at = {}
    for limit in limits:
        seconds, error, _ = min((each for each in judged if each[0] <= limit), key=lambda each: each[2])
        at[f"{limit:g}"] = {"rel_l2": error, "seconds": round(seconds, 1)}
    return {"at": at, "ended": result["ended_by"], "curve": thinned([(round(seconds, 2), error) for seconds, error, _ in judged])}


def of_peer(tool: str, python: Path, problem: str, limits: list[float], seed: int, out: Path) -> Row:
    """The peer's script in the peer's environment, on the grid of our reference."""
    grid = out / f"{problem}.npz"
    if not grid.exists():
        store_reference(problem, grid)
    command = [python, PEERS / f"{tool}_pde.py", problem, grid, str(max(limits)), str(seed)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    steps = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    curve = [(step["seconds"], step["rel_l2"]) for step in steps if math.isfinite(step["rel_l2"])]
    if done.returncode != 0 or not curve:
        raise SystemExit(f"{NAMES[tool]} on {problem} failed:\n{done.stderr}")
    at = {}
    for limit in limits:
        last = next((number for number, (seconds, _) in enumerate(curve) if seconds > limit), len(curve) - 1)
        seconds, error = min(curve[: last + 1], key=lambda each: each[1])
        at[f"{limit:g}"] = {"rel_l2": error, "seconds": round(seconds, 1)}
    return {"at": at, "ended": round(curve[-1][0], 1), "curve": thinned(curve)}


def store_reference(problem: str, path: Path) -> None:
    """The reference as points `(n, 2)`, space first, and values."""
    from sciml.reference import Reference
    from sciml.reference.of_problem import problem_reference
    from sciml.runs.catalog import load_problem

    reference = problem_reference(load_problem(problem))
    assert isinstance(reference, Reference)
    times, positions = np.meshgrid(reference.coordinates["t"], reference.coordinates["x"], indexing="ij")
    np.savez(path, points=np.stack([positions.ravel(), times.ravel()], axis=1), u=np.asarray(reference.fields["u"]).ravel())


def thinned(curve: list[tuple[float, float]], count: int = 200) -> list[tuple[float, float]]:
    """At most `count` points, the last among them."""
    step = max(1, len(curve) // count)
    return [*curve[:-1:step], curve[-1]]


def table(rows: list[Row], problems: list[str], limits: list[float]) -> str:
    """Worst seed of each side with its seconds, and how many times larger each peer's error is than ours."""
    tools = [tool for tool in RECIPES if any(row["tool"] == tool for row in rows)]
    heads = [text for tool in tools for text in (NAMES[tool], "after", *(["times ours"] if tool != "sciml" else []))]
    lines = ["| " + " | ".join(["problem", "wall limit", *heads, "seeds", "load"]) + " |", "|---" * (len(heads) + 4) + "|"]
    for problem in problems:
        found = {tool: [row for row in rows if (row["tool"], row["problem"]) == (tool, problem)] for tool in tools}
        mine = [row for each in found.values() for row in each]
        if not mine:
            continue
        for limit in limits:
            judged = {tool: [row["at"][f"{limit:g}"] for row in each if f"{limit:g}" in row["at"]] for tool, each in found.items()}
            worst = {tool: max(each, key=lambda at: at["rel_l2"]) for tool, each in judged.items() if each}
            cells = [f"`{problem}`", f"{limit:g} s"]
            for tool in tools:
                at = worst.get(tool)
                cells += ["", ""] if at is None else [f"{at['rel_l2']:.1e}", f"{at['seconds']:.0f} s"]
                if tool != "sciml":
                    cells.append(times(at["rel_l2"] / worst["sciml"]["rel_l2"]) if at is not None and "sciml" in worst else "")
            loads = [row["load"] for row in mine]
            cells += [str(min(len(each) for each in judged.values() if each)), f"{min(loads):g} to {max(loads):g}"]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def times(ratio: float) -> str:
    """How many times larger, with two digits at least."""
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"


def draw(rows: list[Row], problems: list[str], path: Path) -> None:
    """One panel per problem, a line per run."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(problems), figsize=(3.6 * len(problems), 3.6), sharey=True, squeeze=False, layout="constrained")
    for axis, problem in zip(axes[0], problems, strict=True):
        for row in rows:
            if row["problem"] == problem:
                axis.loglog(*zip(*row["curve"], strict=True), color=COLOURS[row["tool"]], alpha=0.6, lw=1.2)
        axis.set_title(problem)
        axis.set_xlabel("wall time, s (imports and compilation included)")
        axis.grid(alpha=0.3)
    for tool in dict.fromkeys(row["tool"] for row in rows):
        axes[0, 0].plot([], [], color=COLOURS[tool], label=NAMES[tool])
    axes[0, 0].legend()
    axes[0, 0].set_ylabel("relative L2 error")
    figure.savefig(path, dpi=160)


if __name__ == "__main__":
    main()
