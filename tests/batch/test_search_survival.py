"""A search of real runs whose scheduler is killed in the middle proposes, lets go on and finds the same as an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from search_files import SEARCH, write_problem

import sciml
from sciml.runs.lock import find_holder

SMALL = SEARCH.replace("trials = 6", "trials = 4") + "[search.halving]\nfirst = 10\nfactor = 2\n"


def test_a_search_that_is_killed_goes_on_to_the_same_plan(tmp_path: Path) -> None:
    problems = write_problem(tmp_path)
    (tmp_path / "lines.toml").write_text(SMALL)
    undisturbed = begin(tmp_path, problems, "undisturbed")
    _, errors = undisturbed.communicate()
    assert undisturbed.returncode == 0, errors

    for reached in (in_second_round, in_second_rung):
        scheduler = begin(tmp_path, problems, "disturbed")
        try:
            wait_for(lambda reached=reached: reached(tmp_path / "disturbed" / "lines"), scheduler)
        finally:
            scheduler.send_signal(signal.SIGKILL)
            scheduler.communicate()
    scheduler = begin(tmp_path, problems, "disturbed")
    _, errors = scheduler.communicate()
    assert scheduler.returncode == 0, errors

    plans = [(tmp_path / name / "lines" / "plan.jsonl").read_bytes() for name in ("undisturbed", "disturbed")]
    assert plans[0] == plans[1]
    one, other = (sciml.load(tmp_path / name / "lines") for name in ("undisturbed", "disturbed"))
    assert one.counts == other.counts == {"ok": 1, "paused": 3}
    assert one.complete
    assert other.complete
    told = ("run", "trial", "rung", "state", "objective", "error", "residual", "steps")
    assert [[row[key] for key in told] for row in one.table] == [[row[key] for key in told] for row in other.table]
    assert sorted(row["steps"] for row in one.table) == [10, 10, 20, 40]
    assert other.best.load().error().rel_l2 == one.best.result["error"]["rel_l2"]


def in_second_round(directory: Path) -> bool:
    """Whether a run of the second round is being made."""
    rounds = [line for line in lines(directory) if line.get("round") == 1]
    return bool(rounds) and any(is_held(directory, run["name"]) for run in rounds[0]["runs"])


def in_second_rung(directory: Path) -> bool:
    """Whether a run that went on is being made."""
    names = [run["name"] for line in lines(directory) if "round" in line for run in line["runs"]]
    return any(is_held(directory, names[index]) for line in lines(directory) if "rung" in line for index in line["runs"])


def lines(directory: Path) -> list[dict[str, Any]]:
    path = directory / "plan.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()[1:]] if path.exists() else []


def is_held(directory: Path, name: str) -> bool:
    return find_holder(directory / "runs" / name) is not None


def begin(folder: Path, problems: Path, out: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sciml", "sweep", str(folder / "lines.toml"), "--problems", str(problems), "--out", str(folder / out)]
    return subprocess.Popen(
        [*command, "--workers", "2", "--threads", "1"], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)
    )


def wait_for(look: Callable[[], bool], scheduler: subprocess.Popen[str]) -> None:
    while not look():
        assert scheduler.poll() is None, scheduler.communicate()[1]
        time.sleep(0.02)
