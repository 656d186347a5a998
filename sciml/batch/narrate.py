"""What a sweep shows on the terminal: a line per attempt that ended, or a status that is drawn anew."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from sciml.batch.ending import Reason
from sciml.batch.plan import Plan, PlannedRun
from sciml.batch.space import Search
from sciml.batch.status import counted, describe, headline, left_text, status, values_text
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
        try:
            _print(self.console, text)
        except (OSError, SystemExit):  # Rich raises the latter for a broken pipe
            self.console.quiet = True  # nobody reads any more; the sweep goes on

    def planned(self, plan: Plan, complete: int) -> None:
        self.plan = plan
        trials = "" if plan.search is None else f", {1 + (plan.runs[-1].trial or 0)} of {plan.search.trials} trials"
        rung = max(run.rung for run in plan.runs)
        tail = (f", rung {rung}" if rung else "") + (f", {complete} of them complete" if complete else "")
        self.message(f"{plan.directory}: {counted(len(plan.runs), 'run')}{trials}{tail}")

    def ended(self, run: PlannedRun, note: dict[str, Any], done: int) -> None:
        assert self.plan is not None
        total = str(len(self.plan.runs))
        outcome = _outcome(self.plan.run_directory(run), note, self.plan.search)
        text = f"{done:>{len(total)}}/{total}  {run.name}  {outcome}  {values_text(run.values)}"
        self.message(f"{text}  " + ("(another process made it)" if note["adopted"] else duration(note["seconds"])))


def watch(directory: Path, console: Console, as_json: bool = False) -> None:
    """Show the status until nobody works on the sweep any more: drawn anew on a terminal, elsewhere a line per change."""
    if as_json:
        for found in _changes(directory):
            _print(console, json.dumps(found))
        return
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            for found in _looks(directory):
                live.update(Text(describe(found)), refresh=True)
        return
    for found in _changes(directory):
        _print(console, headline(found) + left_text(found) if _is_worked_on(found) else describe(found))


def _changes(directory: Path) -> Iterator[dict[str, Any]]:
    """The status whenever the counts have changed, and at the end."""
    counts = None
    for found in _looks(directory):
        if found["counts"] != counts or not _is_worked_on(found):
            yield found
        counts = found["counts"]


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


def _outcome(directory: Path, note: dict[str, Any], search: Search | None) -> str:
    """How an attempt ended, and the number by which its run is judged."""
    if note["reason"] not in (Reason.DONE, Reason.STEPS):
        detail = f" ({note['detail'].splitlines()[0]})" if note["detail"] else ""
        return note["reason"] + detail + (", again later" if note["again"] else "")
    said = "ok" if note["reason"] == Reason.DONE else "paused"
    try:
        result = read_result(directory) or {}
    except RunError:
        return said
    name = "error" if search is None else search.objective
    value = (result.get("error") or {}).get("rel_l2") if search is None else search.read(result)
    return said if value is None else f"{said}, {name} {value:.1e}"
