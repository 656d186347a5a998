"""Every error that a user can cause (what, where, what to type next), and the outcome of a run."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from enum import StrEnum
from traceback import FrameSummary, extract_tb


class Outcome(StrEnum):
    """How a run ended. A failed run is a value, so that a batch of runs survives it."""

    OK = "ok"
    DIVERGED = "diverged"
    STOPPED = "stopped"


SHOWN = 20
"""Mistakes that an error spells out."""


class ScimlError(Exception):
    """Base of all errors raised on purpose. `exit_code` is what the command line returns."""

    exit_code = 1


class ConfigError(ScimlError):
    """A config, an override or a command line that cannot be used. Lists every mistake found."""

    exit_code = 2

    def __init__(self, mistakes: str | Sequence[str], source: str = "") -> None:
        self.mistakes = [mistakes] if isinstance(mistakes, str) else list(mistakes)
        head = f"{source}: " if source else ""
        if len(self.mistakes) == 1:
            super().__init__(head + self.mistakes[0])
        else:
            lines = [f"  {number}. {text}" for number, text in enumerate(self.mistakes[:SHOWN], 1)]
            lines += [f"  and {len(self.mistakes) - SHOWN} more"] if len(self.mistakes) > SHOWN else []
            super().__init__("\n".join([f"{head}{len(self.mistakes)} mistakes", *lines]))


class ProblemError(ConfigError):
    """A problem whose equation, domain, conditions or data contradict each other."""


class RunError(ScimlError):
    """A run directory that cannot be read or written, or a run that could not finish."""


CONVERGED = 0.1
"""Estimated error of a reference from which on it says nothing: its solver has not converged."""

NO_BOUND = "not known, for the reference has not converged"


def failing_frame(error: BaseException, file: str) -> FrameSummary | None:
    """The last line of a file that an error passed through; None where it did not."""
    return next((frame for frame in reversed(extract_tb(error.__traceback__)) if frame.filename == file), None)


def suggest(name: str, known: Sequence[str]) -> str:
    """A sentence that helps after an unknown `name`: the closest known one, or all of them."""
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return "known: " + (", ".join(known) if known else "none") + "."
