"""Runs of the command line that are killed, and what must be the same bytes afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from sciml.runs.store import Store

CONFIG = """
problem = "fisher_kpp"
log_every = 20
phases = [
    {kind = "adam", steps = 600, until = []},
    {kind = "lbfgs", steps = 200, redraw = 100},
    {kind = "broyden", steps = 600, redraw = 200},
]

[network]
width = 8
depth = 2

[points]
interior = 512
boundary = 64
initial = 64
batch = 256
validation = 512

[execution]
checkpoint_seconds = 0.1
report = {report}
"""


class Killable:
    """The same run, each time in a folder of its own: to be begun, killed and resumed by other processes."""

    def __init__(self, folder: Path, cache: Path, report: bool = False) -> None:
        self.folder = folder
        self.cache = cache
        self.config = folder / "config.toml"
        self.config.write_text(CONFIG.replace("{report}", str(report).lower()))

    @property
    def directory(self) -> Path | None:
        """The run directory, once it is there."""
        return next(iter(self.folder.glob("fisher_kpp-*")), None)

    def begin(self, crash_at: str = "") -> subprocess.Popen[str]:
        return self._start(["run", str(self.config), "--out", str(self.folder)], crash_at)

    def resume(self, crash_at: str = "") -> subprocess.Popen[str]:
        """Go on as a user would: `resume` where there is something to resume, `run` before that."""
        if self.directory is None or not (self.directory / "config.toml").exists():
            return self.begin(crash_at)
        return self._start(["resume", str(self.directory)], crash_at)

    def complete(self) -> dict[str, Any]:
        """Resume to the end; what the directory then holds."""
        process = self.resume()
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        return content(self.directory)

    def _start(self, arguments: list[str], crash_at: str) -> subprocess.Popen[str]:
        environment = os.environ | {"SCIML_CRASH_AT": crash_at, "XDG_CACHE_HOME": str(self.cache)}
        command = [sys.executable, "-m", "sciml", *arguments]
        return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def kill(process: subprocess.Popen[str]) -> bool:
    """Kill -9; whether the process was still there to be killed."""
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


def wait_for_row(killable: Killable, process: subprocess.Popen[str], kind: str, timeout: float = 200.0) -> None:
    """Wait until metrics.jsonl has a row of a phase of this kind."""
    end = time.monotonic() + timeout
    while time.monotonic() < end and process.poll() is None:
        directory = killable.directory
        path = directory / "metrics.jsonl" if directory else None
        if path is not None and path.exists() and f'"kind": "{kind}"' in path.read_text():
            return
        time.sleep(0.01)
    raise AssertionError(f"no {kind} step was seen: {process.communicate()[1] if process.poll() is not None else 'too slow'}")


def content(directory: Path) -> dict[str, Any]:
    """All that must be the same bytes however often a run was interrupted: everything but seconds."""
    latest, best = Store(directory).load_latest(), Store(directory).load_best()
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return {
        "arrays": {path: (array.dtype.str, array.shape, array.tobytes()) for path, array in latest.arrays.items()},
        "cursor": latest.cursor["cursor"],
        "training": latest.cursor["training"],
        "best": {path: array.tobytes() for path, array in best.arrays.items()},
        "metrics": [without_seconds(row) for row in rows],
        "solution": (directory / "solution.nc").read_bytes(),
        "result": without_seconds(json.loads((directory / "result.json").read_text())),
        "config": (directory / "config.toml").read_text(),
        "files": sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if "checkpoints" not in path.parts),
    }


def without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_seconds(part) for key, part in value.items() if key != "seconds"}
    return [without_seconds(part) for part in value] if isinstance(value, list) else value
