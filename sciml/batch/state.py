"""How every run of a sweep stands, read from its directory alone: for the scheduler after a restart, and for whoever looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from sciml.batch import attempt
from sciml.batch.ending import FAILURES, Reason, has_reached
from sciml.batch.plan import Plan, PlannedRun, is_sweep, read_plan
from sciml.errors import ConfigError, RunError
from sciml.runs.config import read_toml
from sciml.runs.lock import find_holder
from sciml.runs.result import is_complete, read_result


class State(StrEnum):
    """How a run stands."""

    OK = "ok"
    DIVERGED = "diverged"
    FAILED = "failed"
    PAUSED = "paused"
    """At its step limit: the rung of a search, or `execution.step_limit`."""
    STOPPED = "stopped"
    RUNNING = "running"
    WAITING = "waiting"


COMPLETE = frozenset({State.OK, State.DIVERGED})
WELL = frozenset({State.OK, State.PAUSED})
"""States of runs that went as far as they were to go."""


@dataclass(frozen=True)
class RunState:
    """A run of a sweep, and how it stands."""

    index: int
    name: str
    values: dict[str, Any]
    directory: Path
    state: State
    result: dict[str, Any]
    """The content of `result.json`; empty where there is none."""
    reason: str = ""
    """Why it failed, diverged or stopped."""
    detail: str = ""
    trial: int | None = None
    """The trial of a search that it belongs to; None in other sweeps."""
    searched: Mapping[str, Any] = field(default_factory=dict)
    """The values of the searched keys."""
    rung: int = 0
    objective: float | None = None
    """The objective of the search, where the run went well and has it."""

    @cached_property
    def attempts(self) -> tuple[dict[str, Any], ...]:
        """The notes of all attempts, first to last; read when they are asked for."""
        return tuple(attempt.read_attempts(self.directory))


def read_states(directory: Path) -> list[RunState]:
    """How the runs of a sweep stand, in the plan's order; or those of any folder that holds run directories, by name.

    Raises `ConfigError` for a directory that is neither.
    """
    if is_sweep(directory):
        plan = read_plan(directory)
        return [run_state(plan, run) for run in plan.runs]
    found = list(_runs_below(directory))
    if not found:
        raise ConfigError(f"{directory} is neither a sweep nor a folder of runs; give one, for example sweeps/front_speed or runs")
    return found


def run_state(plan: Plan, run: PlannedRun) -> RunState:
    """How one run of a plan stands."""
    directory = plan.run_directory(run)
    if directory.is_symlink():
        detail = f"{directory} is a link, and so not this run; remove the link"
        return RunState(run.index, run.name, run.values, directory, State.FAILED, {}, Reason.CONFIG, detail)
    state = _state(run.index, run.name, run.values, directory, run.step_limit)
    if plan.search is None:
        return state
    objective = plan.search.read(state.result) if state.state in WELL else None
    searched = {key: run.values[key] for key in plan.keys}
    return replace(state, trial=run.trial, searched=searched, rung=run.rung, objective=objective)


def count_states(states: Sequence[RunState]) -> dict[str, int]:
    """How many runs stand how."""
    counts = Counter(each.state for each in states)
    return {str(state): counts[state] for state in State if counts[state]}


def _runs_below(directory: Path) -> Iterator[RunState]:
    folders = sorted(path.parent for path in directory.glob("*/config.toml")) if directory.is_dir() else []
    for index, folder in enumerate(folders):
        config = read_toml(folder / "config.toml")
        values = {"problem": config.get("problem"), "seed": config.get("seed")}
        yield _state(index, folder.name, values, folder)


def _state(index: int, name: str, values: dict[str, Any], directory: Path, step_limit: int | None = None) -> RunState:
    try:
        result = read_result(directory)
        if is_complete(result):
            assert result is not None
            outcome = State(result["outcome"])
            return RunState(index, name, values, directory, outcome, result, "" if outcome == State.OK else str(outcome))
        attempts = attempt.read_attempts(directory)
    except RunError as error:
        return RunState(index, name, values, directory, State.FAILED, {}, "error", str(error))
    last = attempts[-1] if attempts else {}
    reason = last.get("reason", "")
    if find_holder(directory) is not None:
        state = State.RUNNING
    elif has_reached(result, step_limit):
        state = State.PAUSED
    elif reason in FAILURES and not last["again"]:
        state = State.FAILED
    elif reason == Reason.STOPPED:
        state = State.STOPPED
    else:
        state = State.WAITING
    return RunState(index, name, values, directory, state, result or {}, reason, last.get("detail", ""))
