"""A directory as an object: a sweep as its runs and one table, a run as its Solution."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sciml.batch.plan import is_sweep, read_search
from sciml.batch.space import Search
from sciml.batch.state import WELL, RunState, State, count_states, read_states
from sciml.batch.status import values_text
from sciml.batch.table import READ, Row, combinations, measure_of, median_and_best, spread_over_seeds, table_rows
from sciml.batch.trials import Trial, best, gather, is_over
from sciml.errors import RunError

if TYPE_CHECKING:
    from sciml.dynamics.discovered import Discovered
    from sciml.solution import Solution


class SweepRun(NamedTuple):
    """One run of a sweep."""

    directory: Path
    values: dict[str, Any]
    """What the axes are here, by key."""
    state: State
    reason: str
    """Why it failed, diverged or stopped; empty for a run that is ok."""
    result: dict[str, Any]
    """The content of `result.json`; empty where there is none yet."""
    attempts: tuple[dict[str, Any], ...]

    def __repr__(self) -> str:
        parts = dict.fromkeys((str(self.state), self.reason, values_text(self.values)))
        return f"{self.directory.name}: {', '.join(part for part in parts if part)}"

    def load(self) -> Solution | Discovered:
        """The best state of the run as a Solution, or as discovered dynamics."""
        from sciml.runs.load import load

        return load(self.directory)


class SweepRuns:
    """The runs of a sweep as they stand when it is loaded: `runs` in the plan's order, and `table`, a row per run."""

    def __init__(self, directory: Path, states: list[RunState], search: Search | None = None) -> None:
        self.directory = directory
        self._states, self._search = states, search
        self.runs = tuple(SweepRun(each.directory, each.values, each.state, each.reason, each.result, each.attempts) for each in states)

    def __repr__(self) -> str:
        return f"{self.directory}: {', '.join(f'{count} {state}' for state, count in self.counts.items())}"

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def counts(self) -> dict[str, int]:
        """How many runs stand how: ok, diverged, failed, stopped, running, waiting."""
        return count_states(self._states)

    @property
    def complete(self) -> bool:
        """Whether every run went as far as it was to go, and a search has come to its end."""
        over = self._search is None or is_over(self._search, self.trials)
        return over and all(run.state in WELL for run in self.runs)

    @property
    def trials(self) -> list[Trial]:
        """The trials of a search: `number`, `values`, `rung`, `objective` (infinite for one that failed). None in other sweeps."""
        return [] if self._search is None else gather(self._search, self._states)

    @property
    def best(self) -> SweepRun:
        """The best run of the best trial of a search; of another sweep, that of the combination with the lowest median over seeds.

        Runs are compared by the objective of a search, else by their error, that of their forecast, or their residual. A seed that
        failed counts as infinite; where that makes all medians infinite, the best single run it is. Raises `RunError` where no run
        ended well.
        """
        measure = measure_of(self._states)
        if self._search is None:
            states = min(combinations(self._states), key=lambda members: median_and_best(members, measure))
        else:
            trial = best(self.trials)
            states = () if trial is None else trial.runs
        known = {state.index: value for state in states if state.state in WELL and (value := READ[measure](state)) is not None}
        if not known:
            raise RunError(f"{self.directory} has no run that ended well yet; `sciml status {self.directory}` says why")
        return self.runs[min(known, key=lambda index: (known[index], index))]

    @property
    def table(self) -> list[Row]:
        """A dictionary per run with the same keys, for example for `pandas.DataFrame`; see `sciml.table`."""
        return table_rows(self._states)

    @property
    def over_seeds(self) -> list[Row]:
        """Median, worst, best and spread of the errors over the seeds of each combination of the other axes."""
        return spread_over_seeds(self._states)


def load(directory: str | Path, problems: str | Path | None = None) -> Solution | Discovered | SweepRuns:
    """What a directory holds: the Solution of a run (see `sciml.Solution`), discovered dynamics, or the runs of a sweep.

    `problems` is a folder to look in first for the problem's file. Loading a run sets the precision of its config, and so must
    come before other JAX code that needs another one. Raises `RunError` for a directory that cannot be read.
    """
    directory = Path(directory)
    if is_sweep(directory):
        return load_sweep(directory)
    from sciml.runs import load as runs_load

    return runs_load.load(directory, problems)


def load_sweep(directory: str | Path) -> SweepRuns:
    """The runs of a sweep, or of a folder of runs."""
    directory = Path(directory)
    return SweepRuns(directory, read_states(directory), read_search(directory))
