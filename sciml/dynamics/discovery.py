"""A discovery as an experiment that a run can train, stop and resume: windows that grow, then a refit and a forecast."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.dynamics import vector_fields
from sciml.dynamics.discovered import Discovered
from sciml.dynamics.finishing import join, read_out
from sciml.dynamics.noise import Noise
from sciml.dynamics.refit import recall
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.shooting import Shooting
from sciml.dynamics.stages import Before, carry
from sciml.dynamics.starting_fields import FieldSettings
from sciml.dynamics.stored import stored_field
from sciml.dynamics.vector_fields import VectorField
from sciml.errors import Outcome, ProblemError
from sciml.settings import Integrator, Phase
from sciml.train import Snapshot, train

if TYPE_CHECKING:
    import xarray


class Discovery:
    """A series with its vector field, windows and phases: everything resolved and checked, nothing trained. No files."""

    reference = error_reason = None
    opening, closing = "", "fitting through the solver, then forecasting"
    """What happens before and after training, in words."""

    def __init__(
        self,
        name: str,
        series: TimeSeries,
        held_out: TimeSeries | None,
        field: VectorField,
        noise: Noise,
        stages: Sequence[Shooting],
        phases: tuple[Phase, ...],
        settings: FieldSettings,
        integrator: Integrator,
    ) -> None:
        self.name, self.series, self.held_out, self.field, self.noise = name, series, held_out, field, noise
        self.stages, self.phases, self.settings = tuple(stages), phases, settings
        self.integrator = integrator
        """What the fit, the forecast and all that is reported are computed with; a network may be trained with another."""
        self._found: tuple[bytes, Discovered] | None = None

    @property
    def problem(self) -> Discovery:
        """What a run calls its problem: its name is all that is asked of it."""
        return self

    @property
    def objective(self) -> Shooting:
        return self.stages[-1]

    @property
    def parameters(self) -> int:
        return self.stages[-1].parameters

    def train(self, resume: tuple[dict[str, np.ndarray], dict[str, Any]] | None = None, every: int = 100) -> Iterator[Snapshot]:
        """Trains stage after stage, each window state starting where the stage before has it; yields a Snapshot per chunk."""
        first, before, at, start = 0, Before(), None, None
        if resume is not None:
            arrays, cursor = resume
            first, before, at = int(cursor["stage"]), Before.of(cursor["before"]), (arrays, cursor["training"])
        for number in range(first, len(self.stages)):
            for snapshot in train(self.stages[number], self.phases, every, at, start):
                at = snapshot.checkpoint()
                yield self._joined(snapshot, number, before)
            assert at is not None  # what a resumed stage began with, where it was over already
            arrays, cursor = at
            if cursor["outcome"] != Outcome.OK or number + 1 == len(self.stages):
                return
            start = carry(self.stages[number], jnp.asarray(arrays["best"]), self.stages[number + 1])
            before, at = before.after(cursor), None

    def error(self, trainable: Array) -> None:
        """There is no reference: the truth behind measured data is not known."""

    def baselines(self) -> dict[str, dict[str, Any]]:
        """Those of a forecast stand beside it, in `results`."""
        return {}

    def unknowns(self, trainable: Array) -> dict[str, dict[str, Any]]:
        """The unknown coefficients of a given vector field; see `Discovered.coefficients`."""
        found = self.solution(trainable)
        named = self.field.coefficients()
        return {name: {"value": each.value, "standard_error": each.standard_error, "lower": each.lower, "upper": each.upper,
                       "reason": each.reason} for name, each in found.coefficients.items() if name in named}  # fmt: skip

    def results(self, trainable: Array) -> dict[str, Any]:
        """What `result.json` holds beside that of any run."""
        return self.solution(trainable).as_dict()

    def solution(self, trainable: Array, history: Sequence[Mapping[str, Any]] = (), result: Mapping[str, Any] | None = None) -> Discovered:
        """What was found: refitted through the solver, read out and forecast at the first call for a state."""
        key = np.asarray(trainable).tobytes()
        if self._found is None or self._found[0] != key:
            self._found = (key, self._finish(trainable))
        return self._found[1].with_history(history, result or {})

    def restore(self, trainable: Array, stored: xarray.Dataset, result: Mapping[str, Any]) -> None:
        """Takes what was found for a state from a run's `solution.nc` and `result.json`, so that `solution` computes nothing."""
        about = stored.attrs
        shooting = (self._stage(trainable) or self.stages[-1].with_integrator(self.integrator)).with_windows(
            int(about["intervals"]) or None
        )
        if "anchors" in stored:
            shooting = shooting.with_anchors(stored["anchors"].values)
        shooting = shooting.with_noise(stored["sigma"].values, float(about["continuity"]))
        if (sparse := stored_field(stored, self.field)) is not None:
            shooting = shooting.with_field(sparse)
        numbers = stored["theta"].values, stored["covariance"].values
        fit = recall(shooting, *numbers, result["coefficients"], float(about.get("degrees", np.nan)), bool(about["converged"]))
        found = Discovered(self.name, self.series, self.held_out, shooting, fit, float(about["seconds"]))
        self._found = (np.asarray(trainable).tobytes(), found)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _stage(self, theta: Array) -> Shooting | None:
        """The stage that trained these numbers; None where none has as many."""
        fitting = (stage.with_integrator(self.integrator) for stage in reversed(self.stages) if stage.parameters == theta.size)
        return next(fitting, None)

    def _finish(self, theta: Array) -> Discovered:
        stage = self._stage(theta)
        if stage is None:
            counts = " or ".join(dict.fromkeys(str(stage.parameters) for stage in self.stages))
            raise ProblemError(f"{self.name}: {theta.size} trained numbers do not fit its vector field, which has {counts}; train it anew")
        began = time.perf_counter()
        shooting, fit = (read_out if vector_fields.has_network(self.field) else join)(stage, theta)
        return Discovered(self.name, self.series, self.held_out, shooting, fit, time.perf_counter() - began)

    def _joined(self, snapshot: Snapshot, number: int, before: Before) -> Snapshot:
        last = number + 1 == len(self.stages)
        over = snapshot.outcome == Outcome.OK and not last

        def checkpoint() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
            arrays, cursor = snapshot.checkpoint()
            return arrays, {"stage": number, "before": before.as_dict(), "training": cursor}

        return snapshot._replace(
            step=before.steps + snapshot.step,
            phase=len(before.records) + snapshot.phase,
            evaluations=before.evaluations + snapshot.evaluations,
            phases=(*before.records, *snapshot.phases),
            switch=before.switch or snapshot.switch,
            outcome=None if over else snapshot.outcome,
            budget=len(self.stages) * snapshot.budget,
            checkpoint=checkpoint,
        )
