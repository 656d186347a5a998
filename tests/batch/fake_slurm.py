"""A Slurm of one machine: its commands as executables, job arrays as real processes, with signals, requeueing and states as Slurm's.

What a test does to a cluster (hold the queue, preempt a job, let its time run out, kill it) are the methods of `FakeSlurm`. The state is
a folder with one JSON file per task of an array; each task has a process of its own that starts it, waits for it and starts it again.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol")
OVER = ("COMPLETED", "FAILED", "CANCELLED", "PREEMPTED", "OUT_OF_MEMORY", "TIMEOUT")


class FakeSlurm:
    """The cluster behind `folder`, for a test."""

    def __init__(self, folder: Path, slots: int = 2) -> None:
        self.folder, self.bin = folder, folder / "bin"
        for each in (folder, self.bin, folder / "tasks", folder / "slots"):
            each.mkdir()
        for number in range(slots):
            (folder / "slots" / str(number)).touch()
        for command in COMMANDS:
            path = self.bin / command
            path.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {command} "$@"\n')
            path.chmod(0o755)

    def tasks(self) -> list[dict[str, Any]]:
        """All tasks that were ever submitted, in order."""
        return sorted((read(path) for path in (self.folder / "tasks").glob("*.json")), key=lambda task: task["order"])

    def hold(self) -> None:
        """Nothing starts any more."""
        (self.folder / "hold").touch()

    def release(self) -> None:
        (self.folder / "hold").unlink()

    def forget(self) -> None:
        """Slurm forgets jobs that ended some minutes ago."""
        for task in self.tasks():
            if task["state"] in OVER:
                self._path(task).rename(self._path(task).with_suffix(".forgotten"))

    def preempt(self, task: dict[str, Any], requeue: bool = True) -> None:
        """`PreemptMode=REQUEUE`, or `CANCEL`, with a grace time."""
        with changed(self._path(task)) as state:
            state |= {"requeue": True} if requeue else {"wanted": "PREEMPTED"}
        send(task, signal.SIGCONT, signal.SIGTERM)

    def run_out(self, task: dict[str, Any]) -> None:
        """The end of the time limit is near: the signal that the batch script asked for."""
        name, _, before = task["options"]["signal"].partition("@")
        assert int(before) < 60 * int(task["options"]["time"])
        send(task, signal.Signals[f"SIG{name}"])

    def kill(self, task: dict[str, Any], state: str = "FAILED") -> None:
        """All processes of a task die at once."""
        with changed(self._path(task)) as now:
            now["wanted"] = state
        send(task, signal.SIGKILL)

    def end(self) -> None:
        """Leave no process behind."""
        self.hold()
        for task in self.tasks():
            if psutil.pid_exists(task["pid"]):
                runner = psutil.Process(task["pid"])
                for process in [runner, *runner.children(recursive=True)]:
                    process.kill()

    def _path(self, task: dict[str, Any]) -> Path:
        return self.folder / "tasks" / f"{task['id']}.json"


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def write(path: Path, state: dict[str, Any]) -> None:
    """In one step: who reads beside it sees all of it, or what was there before."""
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(state))
    temporary.replace(path)


@contextmanager
def changed(path: Path) -> Iterator[dict[str, Any]]:
    with (path.parent.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = read(path)
        yield state
        write(path, state)


def send(task: dict[str, Any], *numbers: int) -> None:
    """Signals for every process of a job's steps, which are below its batch shell; SIGKILL takes the shell, too."""
    runner = psutil.Process(task["pid"])
    shells = runner.children()
    step = [process for process in runner.children(recursive=True) if process not in shells]
    for number in numbers:
        for process in [*step, *(shells if number == signal.SIGKILL else [])]:
            if process.is_running():
                process.send_signal(number)


# -- the commands ---------------------------------------------------------------------------------------------------------


def sbatch(folder: Path, script: str) -> int:
    text = Path(script).read_text()
    given = [shlex.split(line.removeprefix("#SBATCH --"))[0].partition("=") for line in text.splitlines() if line.startswith("#SBATCH ")]
    options = {key: value for key, _, value in given}
    if options.get("partition") == "nowhere":
        print("sbatch: error: Batch job submission failed: Invalid partition name specified", file=sys.stderr)
        return 1
    with (folder / "next").open("a+") as counter:
        fcntl.flock(counter, fcntl.LOCK_EX)
        counter.write("x")
        counter.flush()
        job = 100 + counter.tell()
    array = re.fullmatch(r"0-(\d+)%(\d+)", options["array"]) if "array" in options else None
    numbers = list(range(int(array[1]) + 1)) if array else [None]
    for number in numbers:
        task = {"id": str(job) if number is None else f"{job}_{number}", "job": job, "number": number, "name": options["job-name"]}
        task |= {"options": options, "script": text, "state": "PENDING", "restarts": 0, "requeue": False, "wanted": "", "pid": 0}
        path = folder / "tasks" / f"{task['id']}.json"
        write(path, task | {"order": [job, number or 0]})
        with (folder / "runners.log").open("a") as log:
            runner = subprocess.Popen(
                [sys.executable, __file__, "run", str(path)], start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        with changed(path) as state:
            state["pid"] = runner.pid
    print(f"Submitted batch job {job}")
    return 0


def srun(folder: Path, *arguments: str) -> int:
    rest, streams = list(arguments), {}
    while rest[0].startswith("--"):
        option = rest.pop(0)
        if option in ("--output", "--error"):
            streams[option] = rest.pop(0)
        else:
            assert option == "--unbuffered" or option.startswith("--cpus-per-task="), option
    array = os.environ.get("SLURM_ARRAY_JOB_ID", "")
    for option, number in (("--output", 1), ("--error", 2)):
        name = streams[option].replace("%A", array).replace("%a", os.environ.get("SLURM_ARRAY_TASK_ID", ""))
        name = name.replace("%j", os.environ["SLURM_JOB_ID"]).replace("%t", "0")
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0"}
    os.execvp("sh", ["sh", "-c", 'exec "$@"', "sh", *rest])
    return 0


def squeue(folder: Path, *arguments: str) -> int:
    *flags, names, shape = arguments
    assert flags == ["--me", "--noheader", "--array", "--states=all"], flags
    assert shape == "--format=%j|%K|%i|%T", shape
    if (folder / "down").exists():
        print("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", file=sys.stderr)
        return 1
    wanted = names.removeprefix("--name=").split(",")
    for path in (folder / "tasks").glob("*.json"):
        task = read(path)
        if task["name"] in wanted:
            print(f"{task['name']}|{'N/A' if task['number'] is None else task['number']}|{task['id']}|{task['state']}")
    return 0


def scancel(folder: Path, *names: str) -> int:
    for name in names:
        with changed(folder / "tasks" / f"{name}.json") as task:
            running = task["state"] == "RUNNING"
            task |= {"wanted": "CANCELLED"} if running else {"state": "CANCELLED"}
        if running:
            send(task, signal.SIGCONT, signal.SIGTERM)
    return 0


def scontrol(folder: Path, command: str, name: str) -> int:
    assert command == "requeue"
    with changed(folder / "tasks" / f"{name}.json") as task:
        task["requeue"] = True
    return 0


def run(path: Path) -> int:
    """The life of one task: what slurmctld and slurmstepd do for it."""
    folder = path.parent.parent
    ctypes.CDLL(None).prctl(36, 1)  # a subreaper, so that no process of the job gets away
    while True:
        slot = wait_for_slot(path, folder)
        if slot is None:
            return 0
        code = run_once(read(path), path.with_suffix(".sh"))
        for process in psutil.Process().children(recursive=True):
            process.kill()
            process.wait()
        with changed(path) as task:
            if again := task["requeue"]:
                task |= {"state": "PENDING", "requeue": False, "restarts": task["restarts"] + 1}
            else:
                task["state"] = task["wanted"] or ("FAILED" if code else "COMPLETED")
        slot.close()
        if not again:
            return 0


def wait_for_slot(path: Path, folder: Path) -> Any:
    while True:
        for each in [] if (folder / "hold").exists() else sorted((folder / "slots").iterdir()):
            slot = each.open()
            try:
                fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                slot.close()
                continue
            with changed(path) as task:
                if task["state"] == "PENDING" and task["pid"]:
                    task["state"] = "RUNNING"
                    return slot
            slot.close()
        if read(path)["state"] == "CANCELLED":
            return None
        time.sleep(0.05)


def run_once(task: dict[str, Any], script: Path) -> int:
    given = {"SLURM_JOB_ID": str(1000 * task["job"] + (task["number"] or 0)), "SLURM_RESTART_COUNT": str(task["restarts"])}
    if task["number"] is None:
        given = given | {"SLURM_JOB_ID": str(task["job"])}
    else:
        given |= {"SLURM_ARRAY_JOB_ID": str(task["job"]), "SLURM_ARRAY_TASK_ID": str(task["number"])}
    script.write_text(task["script"])
    return subprocess.run(["bash", str(script)], env=os.environ | given, check=False).returncode


if __name__ == "__main__":
    if sys.argv[1] == "run":
        sys.exit(run(Path(sys.argv[2])))
    assert sys.argv[1] in COMMANDS
    sys.exit(globals()[sys.argv[1]](Path(os.environ["FAKE_SLURM"]), *sys.argv[2:]))
