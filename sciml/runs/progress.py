"""What a run shows while it trains: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sciml.runs.listener import Listener

if TYPE_CHECKING:
    from sciml.dynamics.discovery import Discovery
    from sciml.runs.config import Config
    from sciml.runs.result import Result
    from sciml.settings import Phase
    from sciml.solve import Experiment
    from sciml.train import Snapshot

LINE_INTERVAL = 1.0
"""Seconds between two plain lines."""

BAR_WIDTH = 24


@contextmanager
def progress(console: Console, *, quiet: bool = False) -> Iterator[Listener]:
    """The listener that suits `console`, or one that shows nothing where `quiet`; the terminal is left in order."""
    if quiet:
        yield Listener()
    elif console.is_terminal:
        display = LiveProgress(console)
        try:
            yield display
        finally:
            display.live.stop()
    else:
        yield LineProgress(console)


class Pace:
    """Where a run stands in its phases, and how long the present one will last at the speed that it has shown.

    `budgets` are the steps of the planned phases. A phase that was not planned (a fall-back) has no known end.
    """

    def __init__(self, budgets: Sequence[int] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self.budgets = tuple(budgets)
        self.clock = clock
        self.begun = clock()
        self.phase = -1
        self.done = 0
        self._first = (0, self.begun)

    def advance(self, phase: int, done: int) -> None:
        """Note that `done` steps of `phase` are behind. The first note of a phase is not measured: it holds the compilation."""
        if phase != self.phase:
            self._first = (done, self.clock())
        self.phase, self.done = phase, done

    @property
    def budget(self) -> int | None:
        """Most steps of this phase."""
        return self.budgets[self.phase] if 0 <= self.phase < len(self.budgets) else None

    @property
    def last(self) -> bool:
        """Whether no other phase is planned after this one."""
        return self.phase + 1 >= len(self.budgets)

    @property
    def elapsed(self) -> float:
        """Seconds since the run began here."""
        return self.clock() - self.begun

    def left(self) -> float | None:
        """Seconds that this phase still takes if it uses up its budget; `None` while that is not known."""
        first, start = self._first
        if self.done <= first or self.budget is None:
            return None
        return max(self.budget - self.done, 0) * (self.clock() - start) / (self.done - first)


class _Display(Listener):
    """What both displays share: the text of one line and the messages between lines."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.pace = Pace()
        self.wall_limit: float | None = None

    def started(self, directory: Path, config: Config, experiment: Experiment | Discovery, step: int) -> None:
        phases: tuple[Phase, ...] = experiment.phases
        self.pace = Pace([phase.steps for phase in phases])
        self.wall_limit = config.execution.wall_limit
        plan = ", then ".join(f"{phase.kind} (at most {phase.steps:,} steps)" for phase in phases)
        self.message(f"{config.problem}: {experiment.parameters:,} parameters; {plan}")
        self.message(f"{directory}" + (f", from step {step:,}" if step else ""))

    def note(self, snapshot: Snapshot) -> None:
        """Follow the run to `snapshot` and say what has happened."""
        steps = [record.steps for record in snapshot.phases]
        if steps and sum(steps) == snapshot.step:
            self.pace.advance(len(steps) - 1, steps[-1])
        else:
            self.pace.advance(len(steps), snapshot.step - sum(steps))
        for event in snapshot.events:
            self.message(event)

    def message(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def numbers(self, row: Mapping[str, Any]) -> str:
        """Loss, noise-to-signal ratio, error and unknown coefficients of a row of metrics."""
        parts = {"loss": row.get("loss"), "nsr": row.get("nsr"), "error": relative_error(row.get("error"))}
        texts = [f"{name} {value:.2e}" for name, value in parts.items() if value is not None]
        return "  ".join(texts + [f"{name} {value:.4g}" for name, value in (row.get("unknowns") or {}).items() if value is not None])

    def times(self) -> str:
        """Time used and time left."""
        left, limit = self.pace.left(), self.wall_limit
        text = duration(self.pace.elapsed)
        if left:
            text += f", about {duration(left)} left" + ("" if self.pace.last else " in this phase")
        if limit is not None:
            text += f" (stops in {duration(max(limit - self.pace.elapsed, 0.0))})"
        return text


class LineProgress(_Display):
    """One plain line per chunk, at most one a second; every event has its line."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.last = -LINE_INTERVAL

    def snapshot(self, snapshot: Snapshot, row: Mapping[str, Any]) -> None:
        self.note(snapshot)
        now = self.pace.clock()
        if now - self.last >= LINE_INTERVAL or snapshot.outcome is not None:
            self.last = now
            budget = f"/{self.pace.budget:,}" if self.pace.budget else ""
            self.message(f"{snapshot.kind:<8}step {self.pace.done:,}{budget}  {self.numbers(row)}  {self.times()}")


class LiveProgress(_Display):
    """One line that is redrawn in place; events scroll by above it."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.live = Live(console=console, refresh_per_second=4, transient=True)

    def started(self, directory: Path, config: Config, experiment: Experiment | Discovery, step: int) -> None:
        super().started(directory, config, experiment, step)
        self.live.start()
        self.live.update(Text("compiling", style="dim"))

    def snapshot(self, snapshot: Snapshot, row: Mapping[str, Any]) -> None:
        self.note(snapshot)
        self.live.update(self._line(snapshot.kind, row))

    def finished(self, result: Result) -> None:
        self.live.stop()

    def _line(self, kind: str, row: Mapping[str, Any]) -> Table:
        done, budget = self.pace.done, self.pace.budget
        filled = round(BAR_WIDTH * min(done / budget, 1.0)) if budget else 0
        line = Table.grid(padding=(0, 2))
        line.add_row(
            f"[bold]{kind}[/bold]",
            f"[green]{'━' * filled}[/green][dim]{'━' * (BAR_WIDTH - filled)}[/dim]",
            f"{done:,}/{budget:,}" if budget else f"{done:,}",
            self.numbers(row),
            f"[dim]{self.times()}[/dim]",
        )
        return line


def relative_error(error: Any) -> float | None:
    """The relative L2 error in a row of metrics or in a result, where there is one."""
    if isinstance(error, Mapping):
        error = error.get("rel_l2")
    return float(error) if isinstance(error, int | float) else None


def duration(seconds: float) -> str:
    """Seconds as people say them: `4.2 s`, `1:05 min`, `2:01 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"
