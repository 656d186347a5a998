"""One writer per run directory: a lock that the kernel releases however its holder dies, or a lease where there are no locks."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from sciml.errors import RunError
from sciml.runs.lease import leased, read_lease

NAME = "lock"

WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""What some network file systems answer."""

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
    """Holds the lock of an existing run directory, or a lease of it where its file system has no locks.

    Raises `RunError`, naming the holder, when another process has it.
    """
    descriptor = os.open(directory / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if _lock(descriptor, directory):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, _signed(), 0)
            yield
        else:
            with _lease(directory):
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
        return _holder(os.pread(descriptor, 4096, 0))
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        text = read_lease(directory, _is_gone)
        return None if text is None else _holder(text)
    finally:
        os.close(descriptor)
    return None


def _lock(descriptor: int, directory: Path) -> bool:
    """Whether the lock was taken; False where the file system has none."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError as error:
            if time.monotonic() > end:
                raise _in_use(directory, _holder(os.pread(descriptor, 4096, 0))) from error
            time.sleep(0.01)
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
            return False


@contextmanager
def _lease(directory: Path) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(leased(directory, _signed(), _is_gone))
        except BlockingIOError as error:
            raise _in_use(directory, find_holder(directory) or Holder()) from error
        yield


def _in_use(directory: Path, holder: Holder) -> RunError:
    return RunError(f"{directory} is in use by {holder}; wait for it, stop it, or choose another folder with --out")


def _signed() -> bytes:
    holder = Holder(os.getpid(), socket.gethostname(), datetime.now(UTC).isoformat(timespec="seconds"))
    return json.dumps(holder._asdict()).encode()


def _holder(text: bytes) -> Holder:
    return Holder(**json.loads(text)) if text.endswith(b"}") else Holder()


def _is_gone(text: bytes) -> bool:
    """Whether a holder ran on this machine and does not any more."""
    holder = _holder(text)
    if not holder.is_here:
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
