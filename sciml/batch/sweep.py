"""The scheduler of a sweep: it may die at any instant, for all that it knows stands in the plan and in the run directories."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w
from pydantic import ValidationError

import sciml
from sciml.batch import attempt, engines, plan
from sciml.batch.ending import RETRIED, Ending, Reason
from sciml.batch.plan import Plan, PlannedRun
from sciml.batch.search import go_on
from sciml.batch.settings import Engine, Planning, read_sweep
from sciml.batch.state import COMPLETE, RunState, State, read_states, run_state
from sciml.batch.trials import gather, is_over
from sciml.errors import ConfigError, RunError, ScimlError
from sciml.runs import files
from sciml.runs.interrupt import Interrupt, Interrupted, hangups_ignored, watched
from sciml.runs.lock import NAME as LOCK
from sciml.runs.lock import exclusive, find_holder
from sciml.runs.mistakes import Sections, describe_mistakes

if TYPE_CHECKING:
    from sciml.batch.load import SweepRuns

NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"

STOP = "stop"
"""The file in a sweep's directory that tells its runs to save and end, wherever they are."""

UNFINISHED = (Reason.INTERRUPTED, Reason.DISK, Reason.STOPPED)
"""Endings after which the same command goes on with the run."""

LOOK = 0.2
"""Seconds between two looks at the signals while nothing happens."""


class Listener:
    """What a sweep tells while it goes on; every method does nothing."""

    def message(self, text: str) -> None:
        """A sentence that the user should read."""

    def planned(self, plan: Plan, complete: int) -> None:
        """Runs are about to start, `complete` of them were before; in a search, before every round and rung."""

    def ended(self, run: PlannedRun, note: dict[str, Any], done: int) -> None:
        """An attempt has ended; `done` runs need no other."""


def sweep(
    source: str | Path,
    *,
    out: str | Path = "sweeps",
    overrides: Sequence[str] = (),
    problems: str | Path | None = None,
    retry_failed: bool = False,
    slurm: bool = False,
    listener: Listener | None = None,
    **engine: Any,
) -> SweepRuns:
    """Make every run of a sweep that is not complete yet, and return them all; of a search, round after round to its end.

    `source` is a sweep's file (its directory is made below `out`, and named after the file), the name of a shipped one, or the
    directory of a sweep that goes on. `overrides` are `key.path=value` texts on its base; `engine` are settings of `[engine]`
    that differ, for example `workers=4`. Runs that have used up their retries are left alone unless `retry_failed`. With `slurm`,
    the runs are tasks of Slurm's job arrays.

    Raises `ConfigError` for all that can be found before a run starts, `RunError` for a directory that cannot be used, and
    `Interrupted` after a signal, once all runs have saved. Runs that fail are values, not errors: see `SweepRuns.runs`.
    """
    from sciml.batch.load import load_sweep

    listener, folder = listener or Listener(), None if problems is None else Path(problems)
    _refuse_two_engines(slurm, engine)
    directory, read = _find(Path(source), Path(out), overrides, folder)
    with _made(directory), files.disk_errors(directory, "sweep"), exclusive(directory), hangups_ignored():
        planning = read()
        settings = _settings(planning, engine, slurm)
        executor = engines.make_engine(settings, directory, slurm)  # what cannot be had is told before anything is planned
        try:
            (directory / STOP).unlink(missing_ok=True)
            made = plan.make_plan(directory, planning, folder)
            with watched() as interrupt:
                _Scheduler(made, settings, listener, interrupt, retry_failed).run(executor)
        finally:
            executor.shutdown()
            (directory / STOP).unlink(missing_ok=True)
    return load_sweep(directory)


def _find(source: Path, out: Path, overrides: Sequence[str], problems: Path | None) -> tuple[Path, Callable[[], plan.Planning]]:
    """The directory of a sweep, and how to read what it was or is to be planned from."""
    if source.is_dir():
        if not plan.is_sweep(source):
            raise ConfigError(f"{source} is not a sweep; give a sweep's file or directory, for example sweeps/front_speed")
        if overrides:
            raise ConfigError(f"{source} is planned, and --set cannot change it; begin another sweep from its file, with another --out")
        return source, lambda: plan.read_planning(source)
    file = plan.find_sweep(str(source), problems)
    if not re.fullmatch(NAME, file.stem):
        raise ConfigError(f"'{file.stem}' cannot name a directory (letters, digits, _ - and ., at most 64); rename {file}")
    planning = read_sweep(file, overrides, problems)
    directory = out / file.stem
    if directory.is_symlink():
        raise ConfigError(f"{directory} is a link; a sweep's directory is one of its own: remove the link, or choose another --out")
    return directory, lambda: planning


@contextmanager
def _made(directory: Path) -> Iterator[None]:
    """Inside the block the directory exists; after a mistake that left it without a plan, nothing that was not there before."""
    new = [path for path in (directory, *directory.parents) if not path.exists()]
    with files.disk_errors(directory, "sweep"):
        directory.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except ConfigError:
        if new and not plan.is_sweep(directory):
            (directory / LOCK).unlink(missing_ok=True)
            with suppress(OSError):  # whatever else is there stays
                for path in new:
                    path.rmdir()
        raise


def _refuse_two_engines(slurm: bool, changed: dict[str, Any]) -> None:
    local = [key for key in ("dask", "workers", "threads", "devices") if changed.get(key) is not None]
    if slurm and local:
        raise ConfigError(
            f"--slurm and --{local[0]} do not go together: what a run asks of Slurm stands in the sweep's file, "
            "for example [engine] slurm = { cores = 2, array = 100 }; leave one of them out"
        )


def _settings(planning: Planning, changed: dict[str, Any], slurm: bool) -> Engine:
    """`[engine]` of the sweep with what differs.

    Each run's threads are those of its own `[execution]` unless something else is said, its devices those of this machine.
    """
    given = {key: value for key, value in changed.items() if value is not None}
    unknown = [key for key in given if key not in Engine.model_fields]
    if unknown:
        raise TypeError(f"sweep() has no argument '{unknown[0]}'; settings of an engine: {', '.join(Engine.model_fields)}")
    stated = planning.engine.model_dump(exclude_none=True, exclude_unset=True)
    execution = planning.base.get("execution", {})
    here = not slurm and (given | stated).get("dask", "local") == "local" and execution.get("device") != "cpu"
    own = {"threads": execution.get("threads"), "devices": engines.cuda_devices() if here else ()}
    try:
        return Engine.model_validate(own | stated | given)
    except ValidationError as error:
        raise ConfigError(list(describe_mistakes(error, given, Sections(Engine, {})).values())) from error


class _Scheduler:
    """Submits what is to be done, notes what has ended, submits again what may go better, until nothing is left."""

    def __init__(self, made: Plan, settings: Engine, listener: Listener, interrupt: Interrupt, retry_failed: bool) -> None:
        self.plan, self.settings, self.listener, self.interrupt = made, settings, listener, interrupt
        self.retry_failed = retry_failed
        self.ended: queue.SimpleQueue[tuple[Sequence[PlannedRun], Future[dict[str, Any]]]] = queue.SimpleQueue()
        self.pending: dict[int, Future[dict[str, Any]]] = {}
        self.allowed: dict[int, int] = {}
        """Failed attempts that each run may have."""
        self.done = 0
        self.disk_full = ""

    def run(self, engine: engines.Engine) -> None:
        """Raises `Interrupted` after a signal, `RunError` when the disk is full, once every run has ended."""
        stop = self.plan.directory / STOP
        if (version := self.plan.header.get("sciml")) != sciml.__version__:
            self.listener.message(f"planned by sciml {version}; from now on its runs are made by {sciml.__version__}")
        waiting = self._find_waiting(self.plan.runs)
        try:
            while True:
                for run, state in waiting:
                    before = attempt.count_failures(state.attempts) if self.retry_failed else 0
                    self.allowed[run.index] = before + self.settings.retries + 1
                for runs in together(waiting, self.settings.ensemble):
                    self._submit(engine, runs)
                self._wait(engine, stop)
                more = self._grow()
                if not more:
                    break
                waiting = self._find_waiting(more)
        except engines.EngineLostError:
            raise  # its runs may go on where they are: the next scheduler waits for them
        except BaseException:
            stop.touch()
            self._kill_if_impatient()
            raise
        engine.shutdown()
        self._say_why_it_ends()

    def _find_waiting(self, runs: Sequence[PlannedRun]) -> list[tuple[PlannedRun, RunState]]:
        """What is to be done among `runs`, in the order in which it is to begin."""
        states = [run_state(self.plan, run) for run in self.plan.runs]
        waiting = [(run, states[run.index]) for run in runs if self._is_to_do(states[run.index])]
        self.done = len(states) - len(waiting)
        self.listener.planned(self.plan, sum(state.state in COMPLETE for state in states))
        self._refuse_changed_problems(bool(waiting))
        return sorted(waiting, key=lambda pair: (pair[1].state != State.RUNNING, pair[0].index))  # adopted runs already have their cores

    def _grow(self) -> list[PlannedRun]:
        """The runs that a search begins or goes on with, once all that were planned are settled."""
        if self.interrupt.signal is not None or self.disk_full:
            return []
        self._refuse_changed_problems(self.plan.search is not None)
        before = self.plan.runs
        self.plan = go_on(self.plan) or self.plan
        return [run for run in self.plan.runs if run.index >= len(before) or run != before[run.index]]

    def _is_to_do(self, state: RunState) -> bool:
        if state.state in COMPLETE or state.state == State.PAUSED:
            return False
        exhausted = attempt.count_failures(state.attempts) > self.settings.retries and state.reason in RETRIED
        return self.retry_failed or not exhausted or state.state == State.RUNNING

    def _submit(self, engine: engines.Engine, runs: Sequence[PlannedRun]) -> None:
        first, *others = (self._task(run, self.allowed[run.index]) for run in runs)
        future = engine.submit(first._replace(others=tuple(others)))
        self.pending |= {run.index: future for run in runs}
        future.add_done_callback(lambda future: self.ended.put((runs, future)))

    def _task(self, run: PlannedRun, failures: int) -> attempt.Task:
        problem = run.config["problem"]
        return attempt.Task(
            directory=str(self.plan.run_directory(run)),
            config=tomli_w.dumps(self.plan.run_config(run)),
            problem=problem,
            source=self.plan.header["sources"].get(problem, ""),
            problems=None if self.plan.problems is None else str(self.plan.problems),
            version=sciml.__version__,
            failures=failures,
            time_limit=self.settings.time_limit,
            stall=self.settings.stall,
            grace=self.settings.grace,
            stop=str(self.plan.directory / STOP),
            step_limit=run.step_limit,
        )

    def _wait(self, engine: engines.Engine, stop: Path) -> None:
        while self.pending:
            if self.interrupt.signal is not None and not stop.exists():
                self.listener.message("stopping: the runs save and end; a second Ctrl-C kills them")
                stop.touch()
            if stop.exists() or self.disk_full:
                for future in list(self.pending.values()):
                    engine.cancel(future)
            self._look(engine)
            try:
                runs, future = self.ended.get(timeout=LOOK)
            except queue.Empty:
                continue
            for run in runs:
                del self.pending[run.index]
            if not future.cancelled() and not isinstance(future.exception(), CancelledError):
                for run, note in zip(runs, self._notes(runs, future), strict=True):
                    self._take(engine, run, note)

        self._look(engine)

    def _look(self, engine: engines.Engine) -> None:
        if told := engine.look():
            self.listener.message(told)

    def _notes(self, runs: Sequence[PlannedRun], future: Future[dict[str, Any]]) -> list[dict[str, Any]]:
        """What an attempt ended with, for each run; a worker that was lost leaves it to us to note."""
        try:
            note = future.result()
            return [note, *note.pop("others", ())]
        except Exception as error:  # noqa: BLE001 (whatever Dask raises for a worker that is gone)
            ending = Ending(Reason.ERROR, f"its worker was lost: {type(error).__name__}: {error}")
            return [attempt.write_note(self._task(run, self.allowed[run.index]), ending, together=len(runs)) for run in runs]

    def _take(self, engine: engines.Engine, run: PlannedRun, note: dict[str, Any]) -> None:
        again = note["again"] and not self.disk_full and self.interrupt.signal is None
        self.done += not note["again"] and note["reason"] not in UNFINISHED
        self.listener.ended(run, note, self.done)
        if note["reason"] == Reason.DISK:
            self.disk_full = note["detail"]
        if again:
            self._submit(engine, [run])

    def _refuse_changed_problems(self, anything_to_do: bool) -> None:
        changed = self.plan.changed_problems() if anything_to_do else []
        if changed:
            raise RunError(
                f"the problem '{changed[0]}' has changed since {self.plan.directory} was planned; undo that, or begin another sweep "
                "with another --out"
            )

    def _kill_if_impatient(self) -> None:
        runs = [run for run in self.plan.runs if run.index in self.pending] if self.interrupt.signal is not None else []
        holders = [find_holder(self.plan.run_directory(run)) for run in runs]
        for process in {holder.pid for holder in holders if holder is not None and holder.is_here}:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def _say_why_it_ends(self) -> None:
        directory = self.plan.directory
        if self.interrupt.signal is not None:
            raise Interrupted(directory, self.interrupt.signal, f"{self.done} of {len(self.plan.runs)} runs", "sweep")
        if self.disk_full:
            raise RunError(f"{self.disk_full}\nno further run was started; `sciml sweep {directory}` goes on when there is room")
        if self.plan.search is not None and not is_over(self.plan.search, gather(self.plan.search, read_states(directory))):
            self.listener.message(f"the search is not over: some runs stopped early; `sciml sweep {directory}` goes on with them")


def together(waiting: Sequence[tuple[PlannedRun, RunState]], most: int) -> list[list[PlannedRun]]:
    """Runs in the order in which they are to be made, with up to `most` of those that differ in their seed alone as one.

    A run that has failed before, or that another process holds, is by itself: what ends its process must not end that of others.
    """
    groups: list[list[PlannedRun]] = []
    open_groups: dict[str, list[PlannedRun]] = {}
    for run, state in waiting:
        alone = state.state == State.RUNNING or attempt.has_failed(state.attempts) or run.config.get("kind") != "pde"
        same = [run.step_limit, {name: value for name, value in run.config.items() if name != "seed"}]
        key = str(run.index) if alone else json.dumps(same, sort_keys=True)
        if len(open_groups.get(key, ())) in (0, most):
            open_groups[key] = []
            groups.append(open_groups[key])
        open_groups[key].append(run)
    return groups


__all__ = ["Interrupted", "Listener", "ScimlError", "sweep"]
