"""Seconds that planning, `sciml status`, `table`, `report` and `sciml.load` take for a sweep of many finished runs.

    python scripts/bench_status.py --runs 10000

Plans a real sweep over seeds, lays out the directory of each run with its config, attempt and result, and times the commands.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tomli_w

from sciml.batch.plan import Plan, make_plan
from sciml.batch.settings import read_sweep
from sciml.runs import files

REPEATS = 5


def main() -> None:
    """Plan, lay out, time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory(prefix="sciml-status-") as name:
        folder = Path(name)
        (folder / "many.toml").write_text(f'base = "fisher_kpp"\nseeds = {runs}\n')
        begun = time.perf_counter()
        plan = make_plan(folder, read_sweep(folder / "many.toml"), None)
        print(f"plan of {runs:,} runs: {time.perf_counter() - begun:.1f} s")
        lay_out(plan, random.Random(0))
        sciml, python = [sys.executable, "-m", "sciml"], [sys.executable, "-c"]
        commands = {
            "sciml status": [*sciml, "status", name],
            "sciml status --json": [*sciml, "status", name, "--json"],
            "sciml table --to csv": [*sciml, "table", name, "--to", "csv"],
            "sciml report": [*sciml, "report", name],
            "sciml.load(DIR).table": [*python, "import sys, sciml; sciml.load(sys.argv[1]).table", name],
        }
        for what, command in commands.items():
            seconds = sorted(timed(command) for _ in range(REPEATS))
            print(f"{what}: {seconds[0]:.2f} s best, {seconds[REPEATS // 2]:.2f} s median of {REPEATS}")


def lay_out(plan: Plan, rng: random.Random) -> None:
    """The directory of every run as it is when the run has ended well; contents as long as real ones."""
    for run in plan.runs:
        directory = plan.run_directory(run)
        directory.mkdir(parents=True)
        (directory / "config.toml").write_text(tomli_w.dumps(run.config))
        (directory / "lock").write_text("{}")
        note = {
            "attempt": 1,
            "reason": "done",
            "detail": "",
            "again": False,
            "exit_code": 0,
            "seconds": 12.5,
            "ended": "2026-01-01",
        }
        (directory / "attempts.jsonl").write_text(json.dumps(note) + "\n")
        files.write_json(directory / "result.json", result(run.config["seed"], 10 ** rng.uniform(-9, -6)))


def result(seed: int, error: float) -> dict[str, object]:
    """What `result.json` of a run of `fisher_kpp` holds."""
    phase = {"kind": "broyden", "steps": 20000, "evaluations": 21000, "loss": 1e-15, "ended_by": "plateau", "seconds": 60.0}
    reference = {"kind": "exact", "estimated_error": 1e-16, "seconds": 0.5}
    return {
        "schema_version": 1,
        "outcome": "ok",
        "problem": "fisher_kpp",
        "seed": seed,
        "seconds": {"total": 70.0, "compile": 8.0, "training": 61.0},
        "ended_by": "phases",
        "steps": 21000,
        "parameters": 921,
        "precision": "float64",
        "device": "cpu",
        "phases": [{**phase, "kind": "adam"}, phase],
        "switch": {"step": 1000, "nsr": 0.05, "threshold": 0.1, "by": "noise"},
        "error": {"rel_l2": error, "max_abs": error, "where": {"t": 1.0, "x": 0.5}, "fields": {"u": error}, "reference": reference},
        "validation": {"mean_square": error**2, "worst": 10 * error},
        "unknowns": {},
        "baselines": {"method_of_lines": {"rel_l2": 1e-13, "seconds": 0.6, "reason": None}},
    }


def timed(command: list[str]) -> float:
    """Seconds that a command takes."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
