"""What a sweep costs beyond its runs: N short runs typed one after the other, beside the same ones as a sweep with one worker.

    python scripts/bench_scheduler.py [--runs 20] [--repeats 3]

The compile cache is warm for both. Prints the seconds per run of each, the difference, the seconds of planning, which a sweep does once,
and where the time of a short run goes: starting Python and importing, compiling, training, the rest (checks, error, files).
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
from pathlib import Path

from sweep_survival import PROBLEM

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
        typed = [single(folder, f"typed-{number}", arguments.runs) for number in range(arguments.repeats)]
        planned = [swept(folder, "one", f"one-{number}") for number in range(arguments.repeats)]
        made = [swept(folder, "lines", f"swept-{number}") for number in range(arguments.repeats)]
        parts = where_it_goes(folder / "typed-0", typed[0] / arguments.runs)
    alone, whole, one = (statistics.median(seconds) for seconds in (typed, made, planned))
    print("| seconds per run | |\n|---|---|")
    print(f"| typed one after the other | {alone / arguments.runs:.2f} |")
    print(f"| as a sweep of {arguments.runs}, planning included | {whole / arguments.runs:.2f} |")
    print(f"| scheduler, per run, planning included | {(whole - alone) / arguments.runs:+.2f} |")
    print(f"| scheduler, for each further run | {(whole - one) / (arguments.runs - 1) - alone / arguments.runs:+.2f} |")
    for what, seconds in parts.items():
        print(f"| of a run: {what} | {seconds:.2f} |")


def single(folder: Path, name: str, runs: int) -> float:
    """Seconds of runs that are typed one after the other."""
    begun = time.perf_counter()
    for seed in range(runs):
        command(folder, "run", str(folder / "line.toml"), "--seed", str(seed), "--out", str(folder / name))
    return time.perf_counter() - begun


def swept(folder: Path, sweep: str, name: str) -> float:
    """Seconds of a sweep."""
    begun = time.perf_counter()
    command(folder, "sweep", str(folder / f"{sweep}.toml"), "--out", str(folder / name))
    return time.perf_counter() - begun


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
