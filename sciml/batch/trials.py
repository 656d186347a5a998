"""The trials of a search: which runs belong together, what their objective is, which one is best; read from the runs alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from sciml.batch.ending import Reason
from sciml.batch.space import Search
from sciml.batch.state import RunState, State


class Trial(NamedTuple):
    """One combination of the searched keys, and what its runs make of it."""

    number: int
    values: dict[str, Any]
    rung: int
    """The last rung that it was let on to; 0 in a search without halving."""
    objective: float | None
    """Infinite where a run of it failed (or, with `over_runs = "median"`, half of them did); None while one is not settled."""
    runs: tuple[RunState, ...]

    @property
    def order(self) -> tuple[int, float, int]:
        """Sorts the best first: those that came farthest, by objective, then by number."""
        return -self.rung, math.inf if self.objective is None else self.objective, self.number


def gather(search: Search, states: Sequence[RunState]) -> list[Trial]:
    """The trials of a search, in their order, from the states of its runs."""
    members: dict[int, list[RunState]] = {}
    for state in states:
        assert state.trial is not None
        members.setdefault(state.trial, []).append(state)
    return [
        Trial(number, dict(runs[0].searched), runs[0].rung, _objective(search, runs), tuple(runs))
        for number, runs in sorted(members.items())
    ]


def best(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the lowest objective among those that came farthest; None where none has a finite one."""
    known = sorted((trial for trial in trials if is_good(trial)), key=lambda trial: trial.order)
    return known[0] if known else None


def survivors(search: Search, trials: Sequence[Trial]) -> list[Trial]:
    """The trials of the last rung that go on to the next one, by number; none where the search has come to its end."""
    if search.halving is None:
        return []
    last = [trial for trial in trials if trial.rung == max(each.rung for each in trials)]
    ranked = sorted(filter(is_good, last), key=lambda trial: trial.order)
    return sorted(ranked[: len(last) // search.halving.factor])


def is_over(search: Search, trials: Sequence[Trial]) -> bool:
    """Whether nothing is left to propose, and nobody left to go on."""
    settled = all(trial.objective is not None for trial in trials)
    return settled and len(trials) >= search.trials and not survivors(search, trials)


def is_good(trial: Trial) -> bool:
    """Whether its objective is a number."""
    return trial.objective is not None and math.isfinite(trial.objective)


def _objective(search: Search, runs: Sequence[RunState]) -> float | None:
    if not all(_is_settled(run) for run in runs):
        return None
    numbers = [math.inf if run.objective is None else run.objective for run in runs]
    return max(numbers) if search.over_runs == "worst" else statistics.median(numbers)


def _is_settled(run: RunState) -> bool:
    """Whether it is known what becomes of a run. An attempt that was refused before it began says nothing about a trial."""
    if run.state != State.FAILED:
        return run.state in (State.OK, State.DIVERGED, State.PAUSED)
    refused = run.reason in (Reason.WORKER, Reason.CONFIG) and run.attempts[-1].get("exit_code") is None
    return not refused
