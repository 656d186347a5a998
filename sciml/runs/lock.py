"""One writer per run directory: a lock that the kernel releases however its holder dies."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from sciml.errors import RunError

NAME = "lock"

PATIENCE = 0.5
"""Seconds for which a busy lock is tried again: whoever only looks (`find_holder`) has it for a moment."""


class Holder(NamedTuple):
    """The process that has a lock; `pid` is 0 for the moment between locking and writing."""

    pid: int = 0
    host: str = ""
    started: str = ""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, started {self.started}" if self.pid else "another process"

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine, so that a signal reaches it."""
        return self.pid > 0 and self.host == socket.gethostname()


@contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Holds the lock of an existing run directory. Raises `RunError`, naming the holder, when another process has it."""
    descriptor = os.open(directory / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _acquire(descriptor, directory)
        _write_holder(descriptor)
        yield
    finally:
        os.close(descriptor)


def find_holder(directory: Path) -> Holder | None:
    """Who holds the lock of a directory at this moment; None where nobody does."""
    try:
        descriptor = os.open(directory / NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(descriptor)
    finally:
        os.close(descriptor)
    return None


def _acquire(descriptor: int, directory: Path) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > end:
                raise RunError(
                    f"{directory} is in use by {_holder(descriptor)}; wait for it, stop it, or choose another folder with --out"
                ) from error
            time.sleep(0.01)
        except OSError as error:
            raise RunError(
                f"{directory} cannot be locked ({error.strerror}): its file system has no locks; choose a folder on another one with --out"
            ) from error


def _write_holder(descriptor: int) -> None:
    holder = Holder(os.getpid(), socket.gethostname(), datetime.now(UTC).isoformat(timespec="seconds"))
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder._asdict()).encode(), 0)


def _holder(descriptor: int) -> Holder:
    text = os.pread(descriptor, 4096, 0)
    return Holder(**json.loads(text)) if text.endswith(b"}") else Holder()
