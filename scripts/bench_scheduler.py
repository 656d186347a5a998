"""What a sweep costs beyond its runs: wall time of N short runs by one worker, less that of the runs' own processes.

    python scripts/bench_scheduler.py [--runs 20] [--repeats 3]

The compile cache is warm. `attempts.jsonl` has the wall seconds of each run's process; what a sweep of one run takes beyond its process is
what a sweep does once (start, plan, count at the end), and what N runs take beyond that is the scheduler's. A few runs are typed by hand,
to say where the time of a short run goes: starting Python and importing, compiling, training, the rest (checks, error, files).
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
from collections.abc import Sequence
from pathlib import Path

from sweep_survival import PROBLEM

from sciml.runs.jsonl import read_rows

TYPED = 5
"""Runs that are typed by hand."""

CONFIG = """
problem = "line"
log_every = 5
network = { width = 4, depth = 1 }
points = { interior = 64, boundary = 32, initial = 32, batch = 64, validation = 64 }
phases = [{ kind = "adam", steps = 20, until = [] }, { kind = "broyden", steps = 20 }]
execution = { report = false }
"""


def main() -> None:
    """Both in turns, then a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sciml-scheduler-") as name:
        folder = Path(name)
        (folder / "problems").mkdir()
        (folder / "problems" / "line.py").write_text(PROBLEM)
        (folder / "line.toml").write_text(CONFIG)
        (folder / "lines.toml").write_text(f'base = "line.toml"\nseeds = {arguments.runs}\n[engine]\nworkers = 1\n')
        (folder / "one.toml").write_text('base = "line.toml"\nseeds = 1\n[engine]\nworkers = 1\n')
        single(folder, "warming up", 1)
        typed = single(folder, "typed", TYPED)
        once = [swept(folder, "one", f"one-{number}")[0] for number in range(arguments.repeats)]
        beyond, inside = zip(*(swept(folder, "lines", f"swept-{number}") for number in range(arguments.repeats)), strict=True)
        parts = where_it_goes(folder / "typed", typed / TYPED)
    each = [(seconds - statistics.median(once)) / (arguments.runs - 1) for seconds in beyond]
    print("| seconds | median | lowest | highest |\n|---|---|---|---|")
    print(row("the scheduler, for each run", each))
    print(row("a sweep, once: start, plan, count", once))
    print(row("a run's process in the sweep", [seconds / arguments.runs for seconds in inside]))
    print("\n| of a run typed by hand | seconds |\n|---|---|")
    print(f"| all of it | {typed / TYPED:.2f} |")
    for what, seconds in parts.items():
        print(f"| {what} | {seconds:.2f} |")


def row(what: str, seconds: Sequence[float]) -> str:
    """A line of the table."""
    return f"| {what} | {statistics.median(seconds):.3f} | {min(seconds):.3f} | {max(seconds):.3f} |"


def single(folder: Path, name: str, runs: int) -> float:
    """Seconds of runs that are typed one after the other."""
    begun = time.perf_counter()
    for seed in range(runs):
        command(folder, "run", str(folder / "line.toml"), "--seed", str(seed), "--out", str(folder / name))
    return time.perf_counter() - begun


def swept(folder: Path, sweep: str, name: str) -> tuple[float, float]:
    """Seconds of a sweep beyond its runs' processes, and of these."""
    begun = time.perf_counter()
    command(folder, "sweep", str(folder / f"{sweep}.toml"), "--out", str(folder / name))
    wall = time.perf_counter() - begun
    inside = sum(note["seconds"] for path in (folder / name).glob("*/runs/*/attempts.jsonl") for note in read_rows(path))
    return wall - inside, inside


def command(folder: Path, *words: str) -> None:
    """A command of sciml, with a compile cache of this script."""
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
    options = ["--problems", str(folder / "problems"), "--quiet"]
    subprocess.run([sys.executable, "-m", "sciml", *words, *options], check=True, stdout=subprocess.DEVNULL, env=environment)


def where_it_goes(out: Path, seconds: float) -> dict[str, float]:
    """Means over the runs below `out`, each of which took so many seconds as a process."""
    spent = [json.loads(path.read_text())["seconds"] for path in out.glob("*/result.json")]
    total, compiling, training = (statistics.mean(each[name] for each in spent) for name in ("total", "compile", "training"))
    return {
        "starting Python, importing": seconds - total,
        "compiling, or reading what was compiled": compiling,
        "training": training,
        "checks, error, files": total - compiling - training,
    }


if __name__ == "__main__":
    main()
