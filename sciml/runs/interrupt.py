"""Ctrl-C, SIGTERM and SIGUSR2: a handler only sets a flag, the loop looks at it between chunks, saves and stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from sciml.errors import ScimlError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


class Interrupted(ScimlError):
    """A run or a sweep that saved and stopped because a signal asked for it. Exit code 130 for Ctrl-C, 143 for the others."""

    def __init__(self, directory: Path, number: int, where: str, command: str = "resume") -> None:
        self.directory = directory
        self.signal = signal.Signals(number)
        self.exit_code = 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
        saved = "saved; " if command == "resume" else ""  # a sweep says of each run how it ended
        super().__init__(f"stopped by {self.signal.name} at {where}; {saved}`sciml {command} {directory}` goes on")


class Interrupt:
    """`signal` is the number of the first signal that asked this process to stop; None while there was none."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal is not None:
            raise KeyboardInterrupt
        self.signal = self.signal or number


@contextmanager
def watched() -> Iterator[Interrupt]:
    """Catches the signals inside the block; a Ctrl-C after another signal raises `KeyboardInterrupt` at once.

    Only the main thread receives signals; in any other, the flag stays unset.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def hangups_ignored() -> Iterator[None]:
    """Inside the block, and in what is started there, the process outlives the terminal that it was typed into."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)
