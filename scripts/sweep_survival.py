"""Kill -9 of the scheduler and of the runs of a sweep at random instants; afterwards the same table as an undisturbed sweep.

    python scripts/sweep_survival.py --runs 200 --scheduler-kills 10 --run-kills 20

Says the seed of the instants and what was killed when. Exit code 1 if a run is missing, was made twice, or differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sciml.batch.load import load_sweep
from sciml.runs.lock import find_holder

PROBLEM = '''
"""The smallest problem: a line bent by a constant load."""

import sciml


class Line(sciml.Problem):
    """Poisson's equation on an interval."""

    load: float = 1.0
    domain = sciml.Box(x=(0.0, 1.0))

    def equation(self, u_xx):
        return u_xx - self.load

    def conditions(self):
        return [sciml.Dirichlet(0.0, on="x")]

    def exact(self, x):
        return self.load * x * (x - 1) / 2
'''

SWEEP = """
base = "line"
seeds = {seeds}

[set]
log_every = 5
network = {{ width = 4, depth = 1 }}
points = {{ interior = 64, boundary = 32, initial = 32, batch = 64, validation = 64 }}
phases = [{{ kind = "adam", steps = 20, until = [] }}, {{ kind = "broyden", steps = 20 }}]
execution = {{ checkpoint_seconds = 0.0, report = false }}

[axes]
"parameters.load" = [1.0, 2.0]

[engine]
retries = 50
"""

TOLD = ("run", "parameters.load", "seed", "state", "error", "residual", "steps")
"""What must be the same in both tables: all but times, and how often a run was tried."""


def main() -> int:
    """Undisturbed, disturbed, compared."""
    arguments = _arguments()
    rng = random.Random(arguments.seed)
    folder = Path(tempfile.mkdtemp(prefix="sciml-survival-", dir=arguments.out))
    (folder / "problems").mkdir()
    (folder / "problems" / "line.py").write_text(PROBLEM)
    (folder / "lines.toml").write_text(SWEEP.format(seeds=arguments.runs // 2))
    print(f"seed {arguments.seed}, {folder}", flush=True)

    begun = time.monotonic()
    assert _begin(folder, "undisturbed").wait() == 0, (folder / "undisturbed.log").read_text()
    seconds = time.monotonic() - begun
    print(f"undisturbed: {arguments.runs} runs in {seconds:.0f} s", flush=True)

    victims = ["scheduler"] * arguments.scheduler_kills + ["run"] * arguments.run_kills
    rng.shuffle(victims)
    done = sorted(rng.randrange(max(1, arguments.runs - 2)) for _ in victims)
    kills = [(runs, rng.uniform(0.0, seconds / arguments.runs), what) for runs, what in zip(done, victims, strict=True)]
    made = _disturbed(folder, kills, rng)
    return _judge(folder, made, arguments)


def _disturbed(folder: Path, kills: list[tuple[int, float, str]], rng: random.Random) -> dict[str, int]:
    """Run the sweep to its end through all kills; how many were made.

    A kill comes some seconds after so many runs have a result, or at the next chance after that.
    """
    begun, made, due = time.monotonic(), {"scheduler": 0, "run": 0}, math.inf
    scheduler = _begin(folder, "disturbed")
    while True:
        if scheduler.poll() is not None:
            if scheduler.returncode == 0:
                break
            assert scheduler.returncode == -signal.SIGKILL, (folder / "disturbed.log").read_text()
            scheduler = _begin(folder, "disturbed")
        if kills and due == math.inf and _finished(folder) >= kills[0][0]:
            due = time.monotonic() + kills[0][1]
        if time.monotonic() > due:
            what = kills[0][2]
            victim = scheduler.pid if what == "scheduler" else _running(folder, rng)
            if victim is not None:
                os.kill(victim, signal.SIGKILL)
                kills.pop(0)
                due = math.inf
                made[what] += 1
                print(f"  {time.monotonic() - begun:6.1f} s: {what} killed", flush=True)
        time.sleep(0.02)
    print(f"disturbed: {time.monotonic() - begun:.0f} s, killed {made['scheduler']} schedulers and {made['run']} runs", flush=True)
    return made


def _begin(folder: Path, name: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "sciml", "sweep", str(folder / "lines.toml"), "--problems", str(folder / "problems")]
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen([*command, "--out", str(folder / name)], stdout=log, stderr=log)


def _finished(folder: Path) -> int:
    """Runs of the disturbed sweep that have a result."""
    return sum(1 for _ in (folder / "disturbed" / "lines" / "runs").glob("*/result.json"))


def _running(folder: Path, rng: random.Random) -> int | None:
    """The process of a run that is being made."""
    holders = [find_holder(path) for path in (folder / "disturbed" / "lines" / "runs").glob("*")]
    alive = [holder.pid for holder in holders if holder is not None and holder.pid]
    return rng.choice(alive) if alive else None


def _judge(folder: Path, made: dict[str, int], arguments: argparse.Namespace) -> int:
    sweeps = [load_sweep(folder / name / "lines") for name in ("undisturbed", "disturbed")]
    tables = [[{key: row[key] for key in TOLD} for row in sweep.table] for sweep in sweeps]
    bytes_ = [[_fingerprint(run.directory) for run in sweep.runs] for sweep in sweeps]
    twice = [run.directory.name for run in sweeps[1].runs if sum(note["reason"] == "done" for note in run.attempts) > 1]
    found = {
        "complete": sum(run.state == "ok" for run in sweeps[1].runs),
        "distinct results": len({json.dumps(row) for row in tables[1]}),
        "directories": len(list((folder / "disturbed" / "lines" / "runs").iterdir())),
        "made twice": len(twice),
        "same table": tables[0] == tables[1],
        "same bytes": sum(one == other for one, other in zip(*bytes_, strict=True)),
        "attempts that were killed": sum(note["reason"] == "killed by a signal" for run in sweeps[1].runs for note in run.attempts),
        "kills": made,
    }
    print(json.dumps(found, indent=2))
    whole = arguments.runs
    right = found["complete"] == found["distinct results"] == found["directories"] == found["same bytes"] == whole
    return 0 if right and found["same table"] and not twice else 1


def _fingerprint(directory: Path) -> str:
    """A hash of what a run computed: its solution, and its metrics without seconds."""
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    steps: list[Any] = [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
    return hashlib.sha256((directory / "solution.nc").read_bytes() + json.dumps(steps).encode()).hexdigest()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="an even number")
    parser.add_argument("--scheduler-kills", type=int, default=10)
    parser.add_argument("--run-kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    parser.add_argument("--out", type=Path, default=None, help="parent of the folder that is made (default: the system's)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
