"""Two processes never write into one run directory, and a dead one never keeps others out."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sciml.errors import RunError
from sciml.runs.lock import exclusive

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
