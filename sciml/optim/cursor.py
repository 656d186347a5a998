"""Where training is, and how a training that has begun is given more to do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from sciml.errors import ConfigError, Outcome, ProblemError
from sciml.settings import LBFGS, Adam, Broyden, Phase

_PHASES: TypeAdapter[Any] = TypeAdapter(tuple[Phase, ...])


class PhaseRecord(NamedTuple):
    """What became of a phase."""

    kind: str
    steps: int
    evaluations: int
    loss: float
    ended_by: str


@dataclass
class Cursor:
    """Where training is: everything but arrays, and nothing but numbers and text, so that it can be written as JSON."""

    asked: list[dict[str, Any]]
    """Phases that were asked for."""
    plan: list[dict[str, Any]]
    """Phases to be executed: those asked for, and what a failed one has put in after itself."""
    places: list[int]
    """Where in the plan each phase that was asked for stands (the last attempt at it)."""
    position: int = 0
    phase_step: int = 0
    step: int = 0
    evaluations: int = 0
    evaluations_before: int = 0
    """Evaluations before the phase."""
    began_with: tuple[float, float, float] = (math.inf, math.inf, math.inf)
    """The `Validation` of the state that the phase began with."""
    running: bool = False
    goes_on: bool = False
    """Whether the phase began with the parameters and the curvature of the slab before."""
    growth: int = 1
    """Factor on the number of fixed points, doubled once if a second phase fails on too few."""
    good_at: int = 0
    """Last step of a second phase at which the validation residual was below that of its start."""
    recovered_at: int = -1
    redraws: int = 0
    cycles: int = 0
    rollbacks: int = 0
    best: tuple[float, float, float] = (math.inf, math.inf, math.inf)
    """The `Validation` of the best state: mean square, worst residual, level."""
    slab: int = 0
    """The slab of time that is trained."""
    slab_validations: list[tuple[float, float, float]] = field(default_factory=list)
    """The `Validation` of the slabs that are done."""
    plateau_marks: list[float] = field(default_factory=list)
    """Best validation level at the start of each plateau trigger's window."""
    records: list[PhaseRecord] = field(default_factory=list)
    switch: dict[str, Any] | None = None
    outcome: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return asdict(replace(self, records=[])) | {"records": [record._asdict() for record in self.records]}

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Cursor:
        """The inverse of `as_dict`. Raises `ConfigError` for what another version of sciml has written."""
        if missing := cls.__dataclass_fields__.keys() - stored.keys():
            raise ConfigError(f"the checkpoint says nothing of '{min(missing)}': another version of sciml wrote it; run anew")
        known = {key: value for key, value in stored.items() if key in cls.__dataclass_fields__}
        known["records"] = [PhaseRecord(**record) for record in stored["records"]]
        known["began_with"] = tuple(stored["began_with"])
        known["best"] = tuple(stored["best"])
        known["slab_validations"] = [tuple(each) for each in stored["slab_validations"]]
        return cls(**known)


def given_phases(phases: Sequence[Phase]) -> tuple[Phase, ...]:
    """A user's own phases. Raises `ProblemError` for what is none."""
    for each in phases:
        if not isinstance(each, Adam | LBFGS | Broyden):
            raise ProblemError(f"phases: {each!r} is no phase; write sciml.Adam(steps=500), sciml.Broyden(steps=2000) or sciml.LBFGS()")
    return tuple(phases)


def dump_phases(phases: Sequence[Phase]) -> list[dict[str, Any]]:
    """Phases as the cursor holds them."""
    return [phase.model_dump(mode="json") for phase in phases]


def load_phases(stored: Sequence[Mapping[str, Any]]) -> list[Phase]:
    """The inverse of `dump_phases`."""
    return list(_PHASES.validate_python(stored))


def extend(cursor: Cursor, phases: list[Phase], asked: Sequence[Phase]) -> None:
    """More budget than when training began: longer phases of the same kinds, or more of them. Changes `cursor` and `phases`.

    Raises `ConfigError` for a phase that cannot become longer.
    """
    before = [phase["steps"] for phase in cursor.asked]
    cursor.places = list(cursor.places)  # those of the checkpoint stay what they are
    for number, phase in enumerate(asked):
        if number >= len(before):
            phases.append(phase)
            cursor.places.append(len(phases) - 1)
        elif phase.steps > before[number]:
            cursor.places[number] = _lengthen(cursor, phases, cursor.places[number], phase.steps - before[number])
    cursor.asked, cursor.plan = dump_phases(asked), dump_phases(phases)
    if cursor.outcome == Outcome.OK and cursor.position < len(phases):
        cursor.outcome = None


def _lengthen(cursor: Cursor, phases: list[Phase], place: int, more: int) -> int:
    """A phase that is not over, or whose budget was the last thing to end, goes on; after another end a new one like it begins.

    Returns the place of what goes on. Raises `ConfigError` for a phase that another has followed: it cannot be entered again.
    """
    phase = phases[place]
    if place < min(cursor.position, len(phases) - 1):
        raise ConfigError(f"phase {place} ({phase.kind}) is over, and others followed it; lengthen the last one, or add another")
    finished = place == len(phases) - 1 < cursor.position
    if finished and cursor.records[-1].ended_by != "budget":
        phases.append(phase.model_copy(update={"steps": more}))
        return len(phases) - 1
    phases[place] = phase.model_copy(update={"steps": phase.steps + more})
    if finished:
        cursor.records.pop()
        cursor.position, cursor.running = place, True
    return place
