"""One process's work on a run: from its last checkpoint to its end, or to wherever it is stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sciml.errors import Outcome
from sciml.labelled import netcdf
from sciml.runs import environment, files, metrics
from sciml.runs.build import THETA
from sciml.runs.config import Config
from sciml.runs.crash_points import reach
from sciml.runs.interrupt import Interrupt, Interrupted
from sciml.runs.listener import Listener
from sciml.runs.result import NAME as RESULT
from sciml.runs.result import PHASES, SIGNAL, STEP_LIMIT, TARGET_ERROR, WALL_LIMIT, Result, compose, training_part
from sciml.runs.stopwatch import Stopwatch
from sciml.runs.store import Checkpoint, Store

if TYPE_CHECKING:
    from sciml.dynamics.discovered import Discovered
    from sciml.dynamics.discovery import Discovery
    from sciml.solution import Solution
    from sciml.solve import Experiment
    from sciml.train import Snapshot

TRAIN = "train"
"""Where the arrays of training stand in a checkpoint, beside those of the best state."""


class Session:
    """Trains an experiment in a run directory whose lock is held. A context manager that closes the metrics file.

    In this order: `note_environment`, `restore`, `train`, `finish`.
    """

    def __init__(
        self,
        directory: Path,
        config: Config,
        experiment: Experiment | Discovery,
        watch: Stopwatch,
        interrupt: Interrupt,
        listener: Listener,
    ) -> None:
        self.directory, self.config, self.experiment = directory, config, experiment
        self.watch, self.interrupt, self.listener = watch, interrupt, listener
        self.store = Store(directory)
        self.metrics = metrics.Metrics(directory / metrics.NAME)
        self.resumed: tuple[dict[str, np.ndarray], dict[str, Any]] | None = None
        self.training: dict[str, Any] = {}
        self.best = np.zeros(0)
        self.baselines: dict[str, dict[str, Any]] = {}
        self.unknowns: dict[str, dict[str, Any]] = {}
        self.results: dict[str, Any] = {}
        """What this kind of run finds beside what all do."""
        self._ended_phases = 0
        self._saved_at = time.monotonic()
        self._saved_best: bytes | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.metrics.close()

    def note_environment(self, problem_source: str, problems: Path | None, together: int = 1) -> None:
        """Write environment.json; say what has changed since the run began, for it may change the last digits.

        `together` is how many runs one process trains, which is noted where they are several.
        """
        folder = None if problems is None else os.path.relpath(problems.resolve(), self.directory.resolve())
        path = self.directory / environment.NAME
        now = environment.collect() | {"problem_source": problem_source, "problems": folder}
        now |= {"together": together} if together > 1 else {}
        before = files.read_json(path) if path.exists() else now
        changed = environment.differences(before, now)
        if changed:
            self.listener.message(f"the last digits may differ from an uninterrupted run: {'; '.join(changed)}")
            earlier = before.pop("earlier", [])
            now["earlier"] = [*earlier, before]
        elif "earlier" in before:
            now["earlier"] = before["earlier"]
        files.write_json(path, now)

    def restore(self) -> None:
        """Go back to the latest checkpoint, if there is one; otherwise to the beginning."""
        self.store.clean()
        checkpoint = self.store.load_latest()
        if checkpoint is None:
            self.metrics.truncate(0)
            return
        if checkpoint.message:
            self.listener.message(checkpoint.message)
        self._restore(checkpoint)

    def train(self) -> None:
        """Train to the end, or until a target, a limit or a signal says otherwise. Everything is saved on return."""
        if not self.begin():
            return
        snapshots = self.experiment.train(resume=self.resumed, every=self.config.log_every)
        while True:
            with self.watch.training() as lap:
                snapshot = next(snapshots, None)
                lap.phase = None if snapshot is None else snapshot.phase
            if snapshot is None:
                return
            if self.take(snapshot):
                return

    def begin(self) -> bool:
        """Tell that the run begins; False where it has already come as far as it is to go."""
        self.listener.started(self.directory, self.config, self.experiment, self.training.get("step", 0))
        if self.training.get("outcome") == Outcome.STOPPED and self._is_at_step_limit(self.training["step"]):
            self.training |= {"ended_by": STEP_LIMIT}
            return False
        if self.training.get("ended_by") == TARGET_ERROR and self._reaches_target(self.training["error"]):
            return False
        if self.experiment.opening:
            self.listener.message(self.experiment.opening)
        return True

    def finish(self) -> Result:
        """Write the results of a run that has ended, result.json last. A stopped one only gets its result.json.

        Raises `Interrupted` after a signal.
        """
        solution = None if self.training["outcome"] == Outcome.STOPPED else self._write_results()
        result = self._result() if solution is None else dict(solution.result)
        files.write_json(self.directory / RESULT, result, crash_point="result:before-rename")
        finished = Result(self.directory, result, solution)
        self.listener.finished(finished)
        if self.interrupt.signal is not None and finished.outcome == Outcome.STOPPED:
            raise Interrupted(self.directory, self.interrupt.signal, f"step {self.training['step']}")
        return finished

    # -- one chunk ----------------------------------------------------------------------------------------------------

    def take(self, snapshot: Snapshot) -> bool:
        """Log, tell and save a snapshot; True if training ends here."""
        from sciml.solve import row

        error = self.experiment.error(snapshot.trainable)
        line = metrics.finite(row(snapshot, error) | {"seconds": self.watch.seconds["total"]})
        self.metrics.append(line)
        self.listener.snapshot(snapshot, line)
        switched = len(snapshot.phases) > self._ended_phases
        self._ended_phases = len(snapshot.phases)
        if switched:
            reach("switch")
        outcome, ended_by = self._ending(snapshot, line["error"])
        self.training = training_part(snapshot, outcome or Outcome.STOPPED, ended_by) | {"error": line["error"]}
        self.best = np.asarray(snapshot.trainable if ended_by == TARGET_ERROR else snapshot.best)
        due = time.monotonic() - self._saved_at >= self.config.execution.checkpoint_seconds
        if switched or due or outcome is not None:
            self._save(*snapshot.checkpoint())
        return outcome is not None

    def _ending(self, snapshot: Snapshot, error: float | None) -> tuple[Outcome | None, str]:
        """How and why the run ends at this snapshot; no outcome while it goes on."""
        limit = self.config.execution.wall_limit
        if snapshot.outcome is not None:
            return snapshot.outcome, PHASES
        if self._reaches_target(error):
            self.listener.message(f"step {snapshot.step}: error {error:.2e}, the target of {self.config.stop.target_error:.2e} is reached")
            return Outcome.OK, TARGET_ERROR
        if self._is_at_step_limit(snapshot.step):
            self.listener.message(
                f"step {snapshot.step}: step limit of {self.config.execution.step_limit}; "
                f"`sciml resume {self.directory} --set execution.step_limit=0` goes on"
            )
            return Outcome.STOPPED, STEP_LIMIT
        if self.interrupt.signal is not None:
            return Outcome.STOPPED, SIGNAL
        if limit is not None and self.watch.session >= limit:
            self.listener.message(f"step {snapshot.step}: wall limit of {limit:g} s; `sciml resume {self.directory}` goes on")
            return Outcome.STOPPED, WALL_LIMIT
        return None, ""

    def _is_at_step_limit(self, step: int) -> bool:
        return 0 < (self.config.execution.step_limit or 0) <= step

    def _reaches_target(self, error: float | None) -> bool:
        target = self.config.stop.target_error
        return target is not None and error is not None and error <= target

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def _save(self, arrays: Mapping[str, np.ndarray], cursor: Mapping[str, Any]) -> None:
        """Rows first, then the best state, then the checkpoint that refers to both."""
        self.metrics.sync()
        if self.best.tobytes() != self._saved_best:
            self.store.save("best", {THETA: self.best}, {"step": self.training["step"]})
            self._saved_best = self.best.tobytes()
        about = {"metrics_rows": self.metrics.rows, "seconds": self.watch.seconds, "training": self.training}
        about |= {"ended_phases": self._ended_phases, "cursor": cursor}
        self.store.save("latest", {f"{TRAIN}/{path}": array for path, array in arrays.items()} | {THETA: self.best}, about)
        self._saved_at = time.monotonic()

    def _restore(self, checkpoint: Checkpoint) -> None:
        about = checkpoint.cursor
        self.metrics.truncate(about["metrics_rows"])
        if self.metrics.rows < about["metrics_rows"]:
            missing = about["metrics_rows"] - self.metrics.rows
            self.listener.message(f"{self.metrics.path} has lost {missing} rows; training is not affected")
        self.watch.go_on(about["seconds"])
        self.training = about["training"]
        self.best = checkpoint.arrays[THETA]
        prefix = f"{TRAIN}/"
        arrays = {path.removeprefix(prefix): array for path, array in checkpoint.arrays.items() if path.startswith(prefix)}
        self.resumed = (arrays, about["cursor"])
        self._ended_phases = about["ended_phases"]

    # -- results ------------------------------------------------------------------------------------------------------

    def _write_results(self) -> Solution | Discovered:
        """All but result.json. HDF5 writes to memory only: on a full disk it would end the process."""
        import jax.numpy as jnp

        wanted = self.config.execution.report
        self.listener.message(self.experiment.closing if wanted else "writing the results")
        self.baselines = self.experiment.baselines() if wanted else {}
        self.unknowns = self.experiment.unknowns(jnp.asarray(self.best))
        self.results = metrics.finite(self.experiment.results(jnp.asarray(self.best)))
        solution = self._solution(self._result())
        files.write_bytes(self.directory / "solution.nc", netcdf(solution.labelled()))
        if wanted:
            self._report(solution)
        return self._solution(self._result())

    def _report(self, solution: Solution | Discovered) -> None:
        from sciml import figures
        from sciml.runs import report

        with files.replacing_each(self.directory / "figures") as temporary:
            figures.write_all(solution, temporary)
        solution = self._solution(self._result())
        report.write(self.directory, solution, solution.result)

    def _solution(self, result: Mapping[str, Any]) -> Solution | Discovered:
        import jax.numpy as jnp

        return self.experiment.solution(jnp.asarray(self.best), metrics.read_rows(self.metrics.path), result)

    def _result(self) -> dict[str, Any]:
        import jax
        import jax.numpy as jnp

        best = jnp.asarray(self.best)
        unknowns = self.unknowns or {
            name: {"value": float(value), "standard_error": None, "reason": "the run has not ended"}
            for name, value in self.experiment.objective.unknowns(best).items()
        }
        return compose(
            self.config, self.training, self.watch.seconds, self.experiment.error(best) or self.experiment.error_reason,
            unknowns, self.experiment.parameters, jax.devices()[0].device_kind, self.baselines,
        ) | self.results  # fmt: skip
