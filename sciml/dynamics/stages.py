"""Stages of a discovery: windows that grow, each starting where the stage before has it, and the phases that train them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.dynamics.first_look import Start
from sciml.dynamics.integrate import FIXED
from sciml.dynamics.noise import Noise
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.shooting import Shooting, cut
from sciml.dynamics.vector_fields import VectorField
from sciml.errors import ProblemError
from sciml.optim.cursor import PhaseRecord, given_phases
from sciml.settings import LBFGS, Adam, Broyden, Integrator, Phase, Plateau
from sciml.settings import Noise as NoiseTrigger
from sciml.settings import Shooting as ShootingSettings

DENSE_LIMIT = 1500
"""Trainable numbers up to which "auto" takes the dense second-order method."""

BRIEF = 8
"""Sampling intervals per window, at most, where much happens between two samples."""

MOST_SUBSTEPS = 16
"""Fixed steps between two times of a series, at most."""

FEW = 100
"""Trainable numbers of a field up to which the Gauss-Newton refit is the second phase."""


@dataclass(frozen=True)
class Before:
    """What the stages that are over have used up."""

    steps: int = 0
    evaluations: int = 0
    records: tuple[PhaseRecord, ...] = ()
    switch: dict[str, Any] | None = None

    def after(self, cursor: Mapping[str, Any]) -> Before:
        """With the stage that ended at a cursor of `train`."""
        records = tuple(PhaseRecord(**record) for record in cursor["records"])
        return Before(
            self.steps + cursor["step"],
            self.evaluations + cursor["evaluations"],
            (*self.records, *records),
            self.switch or cursor["switch"],
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "evaluations": self.evaluations,
            "records": [each._asdict() for each in self.records],
            "switch": self.switch,
        }

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Before:
        return cls(stored["steps"], stored["evaluations"], tuple(PhaseRecord(**each) for each in stored["records"]), stored["switch"])


def lengths(series: TimeSeries, settings: ShootingSettings, brief: bool = False) -> tuple[int, ...]:
    """Sampling intervals per window of each stage; windows that must stay brief do not grow by themselves."""
    longest = max(len(times) for times in series.times) - 1
    total = sum(len(times) - 1 for times in series.times)
    first = settings.intervals or int(np.clip(total // 8, 2, BRIEF if brief else 16))
    last = settings.longest or (first if brief else max(first, longest // 4))
    found = [min(first, last, longest)]
    while found[-1] * settings.growth <= last:
        found.append(found[-1] * settings.growth)
    return tuple(found)


def stage_of(
    field: VectorField,
    series: TimeSeries,
    noise: Noise,
    integrator: Integrator,
    begin: Start,
    length: int | None,
    continuity: float,
    seed: int,
) -> Shooting:
    """The objective on windows of `length` sampling intervals, anchored at the first look\'s states."""
    windows = cut(series, length)
    anchors = np.stack([begin.states[index][row] for index, row in zip(windows.trajectory, windows.begin, strict=True)])
    return Shooting(field, series, noise, integrator, length, anchors, begin.scale, begin.sigma, continuity, seed)


def fixed_steps(stage: Shooting) -> Integrator | None:
    """The fewest fixed steps that follow a field through all windows, to the tolerance; None where even many are not enough.

    Twice as many as the start needs: training changes the field, and what was found is refitted with controlled steps.
    """
    before, substeps = None, 1
    while substeps <= MOST_SUBSTEPS:
        states = stage.followed(substeps)
        if before is not None and np.isfinite(states).all() and np.max(np.abs(states - before)) < 10 * stage.integrator.rtol:
            return stage.integrator.model_copy(update={"solver": FIXED, "substeps": substeps})
        before, substeps = states, 2 * substeps
    return None


def check_start(stage: Shooting) -> None:
    """Raises `ProblemError` where the field, or what is observed of it, cannot even be evaluated at the data."""
    field, anchors, windows = stage.field, stage.anchors, stage.windows
    jax.eval_shape(field.observe, jax.ShapeDtypeStruct(anchors.shape[1:], anchors.dtype))
    slopes = stage.slopes(windows.times[:, 0], np.asarray(anchors))
    if not np.isfinite(slopes).all():
        window = int(np.argwhere(~np.isfinite(slopes).all(axis=1))[0, 0])
        at = ", ".join(f"{name} = {float(value):.4g}" for name, value in zip(field.states, anchors[window], strict=True))
        raise ProblemError(
            f"the vector field is not finite at t = {stage.windows.times[window, 0]:g}, {at}; guard its divisions and logarithms"
        )


def carry(before: Shooting, theta: Array, after: Shooting, paths: Array | None = None) -> Array:
    """Parameters of a stage from those of another with other windows: each new window starts on the old one's path."""
    known = np.asarray(jax.jit(lambda theta: before.paths(theta).states)(theta) if paths is None else paths)
    old, new = before.windows, after.windows
    states = np.empty((after.count, after.states))
    for window, (trajectory, begin) in enumerate(zip(new.trajectory, new.begin, strict=True)):
        source = np.flatnonzero((old.trajectory == trajectory) & (old.begin <= begin))[-1]
        states[window] = known[source, begin - old.begin[source]]
    states = np.where(np.isfinite(states), states, np.asarray(after.anchors))
    raw = after.raw_of(jnp.asarray(states))
    return jnp.concatenate([theta[: before.field_size], raw.ravel()])


def resolve_phases(phases: Literal["auto"] | Sequence[Phase], stages: Sequence[Shooting]) -> tuple[Phase, ...]:
    """ "auto" as explicit phases: Adam until the spread over the windows says so (a plateau where there are fewer than eight).

    A field with few numbers then goes to the refit, which is Gauss-Newton; a network first to the dense second-order method, or to
    L-BFGS where it is large.
    """
    if phases != "auto":
        return given_phases(phases)
    few = stages[0].field_size <= FEW
    first = Adam(
        steps=300 if few else 1500,
        learning_rate=0.02 if few else 3e-3,
        decay="cosine",
        clip=100.0,
        until=(NoiseTrigger(window=16), Plateau(window=100)) if stages[0].stochastic()[0] else (Plateau(window=100),),
    )
    if few:
        return (first,)
    until = (Plateau(window=200, improvement=0.02),)
    dense = max(stage.parameters for stage in stages) <= DENSE_LIMIT
    return (first, Broyden(steps=1000, redraw=0, until=until) if dense else LBFGS(steps=1000, redraw=0, until=until))
