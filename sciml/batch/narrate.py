"""What a sweep shows on the terminal: a line per attempt that ended, or a status that is drawn anew."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from sciml.batch.ending import Reason
from sciml.batch.plan import Plan, PlannedRun
from sciml.batch.status import describe, headline, left_text, status, values_text
from sciml.batch.sweep import Listener
from sciml.errors import RunError
from sciml.runs.progress import duration
from sciml.runs.result import read_result

PAUSE = 2.0
"""Seconds between two looks of `--watch`."""


class Narrator(Listener):
    """Prints one line for each attempt that has ended."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.plan: Plan | None = None
        self.begun = time.monotonic()

    def message(self, text: str) -> None:
        _print(self.console, text)

    def planned(self, plan: Plan, complete: int) -> None:
        self.plan = plan
        trials = "" if plan.search is None else f", {1 + (plan.runs[-1].trial or 0)} of {plan.search.trials} trials"
        rung = max(run.rung for run in plan.runs)
        tail = (f", rung {rung}" if rung else "") + (f", {complete} of them complete" if complete else "")
        self.message(f"{plan.directory}: {len(plan.runs)} runs{trials}{tail}")

    def ended(self, run: PlannedRun, note: dict[str, Any], done: int) -> None:
        assert self.plan is not None
        total = str(len(self.plan.runs))
        text = f"{done:>{len(total)}}/{total}  {run.name}  {_outcome(self.plan.run_directory(run), note)}  {values_text(run.values)}"
        self.message(f"{text}  " + ("(another process made it)" if note["adopted"] else duration(note["seconds"])))


def watch(directory: Path, console: Console) -> None:
    """Show the status until nobody works on the sweep any more: drawn anew on a terminal, elsewhere a line per change."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            for found in _looks(directory):
                live.update(Text(describe(found)), refresh=True)
        return
    counts, found = None, None
    for found in _looks(directory):
        if found["counts"] != counts and _is_worked_on(found):
            _print(console, headline(found) + left_text(found))
        counts = found["counts"]
    assert found is not None
    _print(console, describe(found))


def _looks(directory: Path) -> Iterator[dict[str, Any]]:
    """The status, every `PAUSE` seconds, up to the first at which nobody works on the sweep."""
    while _is_worked_on(found := status(directory)):
        yield found
        time.sleep(PAUSE)
    yield found


def _is_worked_on(found: dict[str, Any]) -> bool:
    return bool(found["scheduler"] or found["counts"].get("running"))


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)


def _outcome(directory: Path, note: dict[str, Any]) -> str:
    if note["reason"] not in (Reason.DONE, Reason.STEPS):
        detail = f" ({note['detail'].splitlines()[0]})" if note["detail"] else ""
        return note["reason"] + detail + (", again later" if note["again"] else "")
    try:
        error = ((read_result(directory) or {}).get("error") or {}).get("rel_l2")
    except RunError:
        error = None
    said = "ok" if note["reason"] == Reason.DONE else "paused"
    return said if error is None else f"{said}, error {error:.1e}"
