"""Two processes never write into one run directory, and a dead one never keeps others out."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sciml.errors import RunError
from sciml.runs import lease
from sciml.runs.lock import exclusive, find_holder

HOLDER = """
import sys, time
from pathlib import Path
from sciml.runs.lock import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_second_is_told_who_holds_it(tmp_path: Path) -> None:
    with exclusive(tmp_path):
        here = rf"in use by process {os.getpid()} on {socket.gethostname()}, started 20.*--out"
        with pytest.raises(RunError, match=here), exclusive(tmp_path):
            pass
    with exclusive(tmp_path):
        pass


def test_a_killed_holder_releases_it(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(RunError, match=f"in use by process {holder.pid}"), exclusive(tmp_path):
                pass
        finally:
            holder.kill()
    with exclusive(tmp_path):
        pass


def test_a_holder_that_has_not_yet_signed(tmp_path: Path) -> None:
    with exclusive(tmp_path):
        (tmp_path / "lock").write_text("")
        with pytest.raises(RunError, match="in use by another process"), exclusive(tmp_path):
            pass


WITHOUT_FLOCK = """
import errno, fcntl
def refused(descriptor, operation):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = refused
from sciml.runs import lease
lease.RENEWED = 0.05
"""


@pytest.fixture
def without_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    monkeypatch.setattr(lease, "RENEWED", 0.05)


def held_elsewhere(folder: Path, code: str = HOLDER) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WITHOUT_FLOCK + code, str(folder)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    return holder


def leases(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("lease-*"))


@pytest.mark.usefixtures("without_flock")
def test_without_locks_there_is_a_lease(tmp_path: Path) -> None:
    assert find_holder(tmp_path) is None
    for number in (1, 2):
        with exclusive(tmp_path):
            assert find_holder(tmp_path).pid == os.getpid()
            assert leases(tmp_path) == [f"lease-{number}"]
            with pytest.raises(RunError, match=f"in use by process {os.getpid()} on"), exclusive(tmp_path):
                pass
        assert find_holder(tmp_path) is None


@pytest.mark.usefixtures("without_flock")
def test_a_killed_holder_has_no_lease(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path) as holder:
        assert find_holder(tmp_path).pid == holder.pid
        with pytest.raises(RunError, match=f"in use by process {holder.pid}"), exclusive(tmp_path):
            pass
        holder.kill()
    assert find_holder(tmp_path) is None
    with exclusive(tmp_path):
        assert leases(tmp_path) == ["lease-2"]


@pytest.mark.usefixtures("without_flock")
def test_the_lease_of_another_machine_lives_while_it_is_renewed(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    path = tmp_path / "lease-7"
    path.write_text('{"pid": 5, "host": "elsewhere", "started": "2026-01-01"}')
    with pytest.raises(RunError, match="in use by process 5 on elsewhere, started 2026-01-01"), exclusive(tmp_path):
        pass
    old = path.stat().st_mtime - lease.LIFETIME
    os.utime(path, (old, old))
    assert find_holder(tmp_path) is None
    with exclusive(tmp_path):
        assert leases(tmp_path) == ["lease-8"]
        before = (tmp_path / "lease-8").stat().st_mtime_ns
        while (tmp_path / "lease-8").stat().st_mtime_ns == before:  # renewed by itself
            time.sleep(0.01)


@pytest.mark.usefixtures("without_flock")
def test_only_one_of_many_takes_over(tmp_path: Path) -> None:
    (tmp_path / "lease-1").touch()
    os.utime(tmp_path / "lease-1", (0, 0))
    start, stop = threading.Barrier(16), threading.Barrier(16)
    taken = []

    def take(number: int) -> None:
        start.wait()
        try:
            with lease.leased(tmp_path, b"%d" % number, lambda text: False):
                taken.append(number)
                stop.wait()
        except BlockingIOError:
            stop.wait()

    threads = [threading.Thread(target=take, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1


def test_a_holder_that_slept_through_its_lease_is_ended(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path) as holder:
        (tmp_path / "lease-2").touch()  # its successor
        _, errors = holder.communicate(timeout=300)
    assert holder.returncode == 1
    assert "was taken over by another process" in errors
