"""One writer per run directory: a lock that the kernel releases however its holder dies."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sciml.errors import RunError

NAME = "lock"


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


def _acquire(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RunError(
            f"{directory} is in use by {_holder(descriptor)}; wait for it, stop it, or choose another folder with --out"
        ) from error
    except OSError as error:
        raise RunError(
            f"{directory} cannot be locked ({error.strerror}): its file system has no locks; choose a folder on another one with --out"
        ) from error


def _write_holder(descriptor: int) -> None:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": started}).encode(), 0)


def _holder(descriptor: int) -> str:
    """Who holds the lock; the file is empty for the moment between locking and writing."""
    text = os.pread(descriptor, 4096, 0)
    if not text.endswith(b"}"):
        return "another process"
    holder = json.loads(text)
    return f"process {holder['pid']} on {holder['host']}, started {holder['started']}"
