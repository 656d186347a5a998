"""One writer per directory where the file system has no locks: a file that its holder renews, and that grows old when it dies."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "lease-"

RENEWED = 10.0
"""Seconds between two renewals."""

LIFETIME = 90.0
"""Seconds after which a lease that was not renewed has no holder. The clocks of two machines may differ by half of it."""


@contextmanager
def leased(directory: Path, holder: bytes, is_gone: Callable[[bytes], bool]) -> Iterator[None]:
    """Holds the lease of a directory; `holder` says who does. Raises `BlockingIOError` while another process has it.

    Leases are numbered, and the highest number counts. Whoever takes over creates the next one, which only one process can; a number
    never comes back, so that two who found the same old lease cannot both go on, and a holder that slept too long sees that it has a
    successor. It is ended at once, for nothing that it would write now belongs there. A holder of which `is_gone` is known has no lease.
    """
    last, holding = _last(directory, is_gone)
    if holding is not None:
        raise BlockingIOError
    number = last + 1
    mine = _path(directory, number)
    try:
        with mine.open("xb") as file:
            file.write(holder)
    except FileExistsError as error:
        raise BlockingIOError from error
    *older, highest = _numbers(directory)
    if highest != number:
        raise BlockingIOError
    for each in older:
        _path(directory, each).unlink(missing_ok=True)
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(directory, number, ended), name="sciml-lease", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()
        os.utime(mine, (0, 0))


def read_lease(directory: Path, is_gone: Callable[[bytes], bool]) -> bytes | None:
    """Who holds the lease of a directory at this moment; None where nobody does."""
    return _last(directory, is_gone)[1]


def _renew(directory: Path, number: int, ended: threading.Event) -> None:
    while not ended.wait(RENEWED):
        try:
            if _numbers(directory)[-1:] == [number]:
                os.utime(_path(directory, number))
                continue
        except OSError:  # the file system does not answer, which may last; the next turn sees whether there is a successor
            continue
        print(f"error: {directory} was taken over by another process while this one slept", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(1)


def _last(directory: Path, is_gone: Callable[[bytes], bool]) -> tuple[int, bytes | None]:
    """The highest number, 0 where there is none, and who holds that lease; None where nobody does."""
    while numbers := _numbers(directory):
        path = _path(directory, numbers[-1])
        try:
            text, age = path.read_bytes(), time.time() - path.stat().st_mtime
        except FileNotFoundError:  # somebody has just taken over
            continue
        return numbers[-1], text if age < LIFETIME and not is_gone(text) else None
    return 0, None


def _numbers(directory: Path) -> list[int]:
    """The numbers of all leases, in order."""
    found = [re.fullmatch(rf"{PREFIX}(\d+)", name) for name in os.listdir(directory)]
    return sorted(int(match[1]) for match in found if match)


def _path(directory: Path, number: int) -> Path:
    return directory / f"{PREFIX}{number}"
