"""THE loop: phases and triggers in jitted chunks, yielding Snapshots. Pure: no files, no prints, no clocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.errors import ConfigError, Outcome
from sciml.objective import Trainable, Validation
from sciml.optim import second_order
from sciml.optim.cursor import Cursor, PhaseRecord, dump_phases, extend, load_phases
from sciml.optim.runners import Lane, Programs, Reading, Window, next_multiple
from sciml.optim.second_order import Ended
from sciml.settings import Adam, Noise, Phase
from sciml.slabs import March

CYCLES = 3
"""Times that a failed second phase may go back to a first-order one (docs/design.md, 3.3)."""

SUCCESS = 1e-4
"""A second phase that has lowered the validation level by this factor has converged rather than failed when it ends."""

FAILURE = 0.1
"""A second phase that ends on a plateau without having lowered the validation level of its start by this factor has failed."""

LEFT_BEHIND = 1e3
"""A slab of time that went on from the one before and ends at a level this many times above all earlier ones has failed."""

OVERFIT = 1000
"""Iterations of a second phase with a validation residual above that of its start after which it has failed: it fits its points alone."""

BEST_EVERY = 100
"""Steps between the states among which the best one is found, whatever the size of a chunk."""

_ENDED_BY = {
    Ended.NOISE: "noise",
    Ended.PLATEAU: "plateau",
    Ended.LINE_SEARCH: "line search",
    Ended.STAGNATED: "stagnation",
    Ended.DIVERGED: "diverged",
    Ended.OVERFIT: "overfitting",
}


class Snapshot(NamedTuple):
    """The state of training after a chunk; see docs/design.md, 3.4."""

    step: int
    phase: int
    kind: str
    evaluations: int
    loss: float
    terms: dict[str, float]
    nsr: float | None
    nsr_bound: float | None
    nsr_terms: dict[str, float]
    nsr_windows: tuple[Window, ...]
    """The windows that have ended since the last snapshot."""
    gradient_norm: float
    validation: float
    worst: float
    level: float
    unknowns: dict[str, float]
    events: tuple[str, ...]
    phases: tuple[PhaseRecord, ...]
    switch: dict[str, Any] | None
    outcome: Outcome | None
    trainable: Array
    best: Array
    best_validation: Validation
    """The residuals of the best state on points that are never trained on."""
    budget: int
    """Steps of all planned phases together."""
    checkpoint: Callable[[], tuple[dict[str, np.ndarray], dict[str, Any]]]


def train(
    objective: Trainable,
    phases: Sequence[Phase],
    every: int = 100,
    resume: tuple[dict[str, np.ndarray], dict[str, Any]] | None = None,
    start: Array | None = None,
    programs: Programs | None = None,
) -> Iterator[Snapshot]:
    """Trains through `phases`, yielding a Snapshot after every chunk of at most `every` steps.

    With `resume` (what `Snapshot.checkpoint` gave) it goes on with the same bytes as if it had never stopped. More `phases`
    than were planned, or longer ones, extend a finished training. `start` replaces the initial parameters.
    `programs`, those of the same objective or of one with another seed, saves their compilation.
    """
    training = Training(objective, phases, every, start, programs)
    if resume is not None:
        training.restore(*resume)
    while training.cursor.outcome is None:
        yield training.advance()


class Training:
    """The mutable host side of a training: which phase, which points, which state."""

    def __init__(
        self, objective: Trainable, phases: Sequence[Phase], every: int, start: Array | None = None, programs: Programs | None = None
    ) -> None:
        self.objective, self.every = objective, every
        self.phases: list[Phase] = list(phases)
        self.cursor = Cursor(dump_phases(phases), dump_phases(phases), list(range(len(phases))))
        self.theta = objective.start if start is None else start
        self.best = self.theta
        self.instance = objective.instance
        self.state: Any = None
        self.points: tuple[Array, ...] | None = None
        self.batch: Any = None
        self.programs = programs or Programs(objective)
        self.validation_batch = self._validation_batch()

    @property
    def march(self) -> March | None:
        return self.instance.march

    # -- one chunk ----------------------------------------------------------------------------------------------------

    def advance(self) -> Snapshot:
        """One chunk, and what follows from it."""
        return advance_together([self])[0]

    def chunk(self) -> Generator[Lane, Any, Snapshot]:
        """The same, by whoever carries out each `Lane` that it yields and sends back the state at its end."""
        cursor = self.cursor
        events: list[str] = []
        if cursor.position >= len(self.phases):
            self._next_slab()
        runner = self._runner(cursor.position)
        if not cursor.running:
            self._begin(runner)
        elif runner.redraws(cursor.phase_step) and cursor.recovered_at != cursor.phase_step:
            self._redraw(runner)
        executed, settings = len(cursor.records), self.phases[cursor.position]
        limit = min(settings.steps, runner.next_stop(cursor.phase_step, self.every))
        reading, validation, ended = yield from self._train_until(limit, runner, settings)
        if reading.rollbacks > cursor.rollbacks:
            events.append(f"step {cursor.step}: not finite; back to the last good state, learning rate x {reading.scale:.3g}")
            cursor.rollbacks = reading.rollbacks
        if ended != Ended.RUNNING or cursor.phase_step >= settings.steps:
            self._end(settings, reading, ended, events)
        return self._snapshot(executed, settings, reading, validation, events)

    def _train_until(self, limit: int, runner: Any, settings: Phase) -> Generator[Lane, Any, tuple[Reading, Validation, Ended]]:
        """Steps up to `limit` or the end of the phase, judged every `BEST_EVERY` steps whatever the size of a chunk."""
        cursor = self.cursor
        origin = cursor.step - cursor.phase_step
        windows: tuple[Window, ...] = ()
        while True:
            until = min(limit, next_multiple(cursor.phase_step, BEST_EVERY))
            self.state = yield Lane(runner, self.instance, self.state, self.batch, until)
            reading = runner.read(self.instance, self.state, self.batch)
            windows += tuple(each._replace(step=origin + each.step) for each in reading.windows if each.step > cursor.phase_step)
            cursor.step += reading.step - cursor.phase_step
            cursor.phase_step = reading.step
            cursor.evaluations = cursor.evaluations_before + reading.evaluations
            self.theta = jnp.copy(self.state.theta)  # the next chunk donates the state's own buffers
            validation = self._validate(self.theta)
            ended = Ended(reading.ended)
            judged = cursor.phase_step % BEST_EVERY == 0
            over = ended != Ended.RUNNING or cursor.phase_step >= settings.steps
            if judged or over:
                self._keep(validation, not isinstance(settings, Adam))
            if judged and not over:
                ended = self._judge(settings, float(validation.mean_square))
            if over or ended != Ended.RUNNING or cursor.phase_step >= limit:
                return reading._replace(windows=windows), validation, ended

    def _keep(self, validation: Validation, fixed_points: bool = False) -> None:
        """The current state is the best so far, if it is.

        On fixed points none is whose mean square is above that of the phase's start: a solution that jumps in a thin layer has a low level.
        """
        mean_square, worst, level = map(float, validation)
        if level < self._best_level and not (fixed_points and mean_square > self.cursor.began_with[0]):
            self.cursor.best, self.best = (mean_square, worst, level), self.theta

    @property
    def _best_level(self) -> float:
        return self.cursor.best[2]

    def _judge(self, settings: Phase, mean_square: float) -> Ended:
        """Whether a second phase is to end, and why (a first-order phase decides on the device)."""
        cursor = self.cursor
        if mean_square <= cursor.began_with[0]:
            cursor.good_at = cursor.phase_step
        if self._may_go_back(settings) and cursor.phase_step - cursor.good_at >= OVERFIT:
            return Ended.OVERFIT
        return Ended.PLATEAU if self._is_flat(settings) else Ended.RUNNING

    def _is_flat(self, settings: Phase) -> bool:
        """Whether a second phase's best validation level has stopped falling."""
        cursor = self.cursor
        flat = False
        for number, each in enumerate(() if isinstance(settings, Adam) else settings.until):
            if cursor.phase_step % next_multiple(each.window - 1, BEST_EVERY) == 0:
                flat = flat or self._best_level > (1 - each.improvement) * cursor.plateau_marks[number]
                cursor.plateau_marks[number] = self._best_level
        return flat

    def _begin(self, runner: Any, metric: Any = None) -> None:
        cursor = self.cursor
        cursor.goes_on = metric is not None
        cursor.running, cursor.phase_step, cursor.rollbacks, cursor.recovered_at, cursor.good_at = True, 0, 0, -1, 0
        cursor.plateau_marks = [math.inf] * len(self.phases[cursor.position].until)
        if self._best_level == math.inf:
            self._keep(self._validate(self.theta))  # the start may be the best state there is
        if runner.fixed_points:
            self._draw()
        self.state = self.objective.replicate(runner.begin(self.instance, self.theta, self.batch, cursor.step, metric))
        mean_square, worst, level = map(float, self._validate(self.theta))
        cursor.evaluations_before, cursor.began_with = cursor.evaluations, (mean_square, worst, level)

    def _redraw(self, runner: Any) -> None:
        self._draw()
        self.state = runner.refresh(self.instance, self.state, self.batch)

    def _draw(self) -> None:
        self.points = self.programs.redraw(self.instance, self._key(), self.theta, self.cursor.growth)
        self.batch = self.programs.prepare(self.instance, self.points)

    def _key(self) -> Array:
        self.cursor.redraws += 1
        return jax.random.fold_in(jax.random.fold_in(self.instance.key, 1 << 21), self.cursor.redraws)

    # -- the end of a phase -------------------------------------------------------------------------------------------

    def _end(self, settings: Phase, reading: Reading, ended: Ended, events: list[str]) -> None:
        cursor = self.cursor
        if self._recover(settings, reading, ended, events):
            return
        ended_by, failed = _ENDED_BY.get(ended, "budget"), self._has_failed(settings, ended)
        cursor.records.append(
            PhaseRecord(settings.kind, cursor.phase_step, cursor.evaluations - cursor.evaluations_before, reading.loss, ended_by)
        )
        events.append(f"{settings.kind} ended by {ended_by} at step {cursor.step}")
        if isinstance(settings, Adam) and cursor.position + 1 < len(self.phases) and cursor.switch is None:
            threshold = next((each.threshold for each in settings.until if isinstance(each, Noise)), None)
            cursor.switch = {"step": cursor.step, "nsr": reading.nsr, "threshold": threshold, "by": ended_by}
        if failed:
            self._go_back(settings, events)
        last = cursor.position + 1 == len(self.phases)
        more = self.march is not None and cursor.slab + 1 < len(self.march.frozen)
        if not last or (ended != Ended.RUNNING and not more):
            self.state, self.points, self.batch = None, None, None  # kept only where more steps may follow
        cursor.running = False
        cursor.position += 1
        if ended == Ended.DIVERGED or (last and not math.isfinite(self._best_level)):
            cursor.outcome = Outcome.DIVERGED
        elif last and not more:
            cursor.outcome = Outcome.OK

    def _next_slab(self) -> None:
        """The next slab of time: where the best parameters of this one fit it better than untrained ones, a second phase goes on
        from them with its curvature; otherwise all phases begin anew."""
        cursor, march = self.cursor, self.march
        assert march is not None
        cursor.slab_validations.append(cursor.best)
        cursor.slab += 1
        moved = self.objective.replicate(March(march.number + 1, march.frozen.at[march.number].set(self.best)))
        self.instance = self.instance._replace(march=moved)
        self.validation_batch = self._validation_batch()
        cursor.best = (math.inf, math.inf, math.inf)
        cursor.growth, cursor.cycles, cursor.plan, cursor.places = 1, 0, cursor.asked, list(range(len(cursor.asked)))
        metric = self._runner(cursor.position - 1).metric_of(self.state)
        self.phases = load_phases(cursor.asked)
        second = next((number for number, phase in enumerate(self.phases) if not isinstance(phase, Adam)), None)
        fresh, carried = (self._validate(theta).level for theta in (self.objective.start, self.best))
        goes_on = second is not None and metric is not None and carried < fresh
        self.theta = self.best if goes_on else self.objective.start
        cursor.position = second if goes_on and second is not None else 0
        self._begin(self._runner(cursor.position), metric if goes_on else None)

    def _validation_batch(self) -> Any:
        return self.programs.draw_validation(self.instance)

    def _validate(self, theta: Array) -> Validation:
        return self.programs.validate(self.instance, theta, self.validation_batch)

    def _recover(self, settings: Phase, reading: Reading, ended: Ended, events: list[str]) -> bool:
        """A second phase that fails first gets new points, twice as many the first time, and keeps its curvature.

        Where no points are sampled, a search that fails has converged.
        """
        cursor = self.cursor
        if ended not in (Ended.LINE_SEARCH, Ended.STAGNATED) or cursor.phase_step >= settings.steps or not self.objective.counts("fixed"):
            return False
        if 0 <= cursor.recovered_at and cursor.phase_step - cursor.recovered_at <= 2 * second_order.STAGNATION_WINDOW:
            return False
        cursor.recovered_at = cursor.phase_step
        cursor.growth = 2
        events.append(f"step {cursor.step}: {_ENDED_BY[ended]}; points redrawn")
        runner = self._runner(cursor.position)
        self.state = self.state._replace(ended=jnp.zeros_like(self.state.ended))
        self._redraw(runner)
        return True

    def _has_failed(self, settings: Phase, ended: Ended) -> bool:
        """Whether the phase that ends has gained too little, and going back may help."""
        best, start = self._best_level, self.cursor.began_with[2]
        if self._left_behind:
            return True
        if ended in (Ended.LINE_SEARCH, Ended.STAGNATED):
            return bool(self.objective.counts("fixed")) and self.cursor.cycles < CYCLES and best > SUCCESS * start
        return self._may_go_back(settings) and (ended == Ended.OVERFIT or (ended == Ended.PLATEAU and best > FAILURE * start))

    @property
    def _left_behind(self) -> bool:
        """Whether the slab goes on from the one before and is far worse than all earlier ones."""
        return self.cursor.goes_on and self._best_level > LEFT_BEHIND * max(level for *_, level in self.cursor.slab_validations)

    def _may_go_back(self, settings: Phase) -> bool:
        """Whether this is a second phase right after a first-order one, and not too many have failed."""
        cursor = self.cursor
        straight = bool(cursor.records) and cursor.records[-1].kind == "adam" and not isinstance(settings, Adam)
        return straight and cursor.cycles < CYCLES and bool(self.objective.counts("fixed"))

    def _go_back(self, settings: Phase, events: list[str]) -> None:
        """From the best state a shorter, slower first-order phase, and then the second one again; a slab that was to go on begins anew."""
        cursor = self.cursor
        before = [phase for phase in self.phases[: cursor.position] if isinstance(phase, Adam)]
        if self._left_behind:
            self.theta, again = self.objective.start, load_phases(cursor.asked)
            events.append(f"step {cursor.step}: slab {cursor.slab + 1} could not go on from the one before; it begins anew")
        elif before:
            slower = _slower(before[-1])
            self.theta, again = self.best, [slower, settings]
            events.append(
                f"step {cursor.step}: {settings.kind} gained little; back to {slower.optimizer} at learning rate {slower.learning_rate:.2g}"
            )
        else:
            return
        cursor.cycles += 1
        self.phases[cursor.position + 1 : cursor.position + 1] = again
        cursor.plan = dump_phases(self.phases)
        cursor.places = [place + len(again) if place >= cursor.position else place for place in cursor.places]

    # -- what is seen from outside ------------------------------------------------------------------------------------

    def _snapshot(self, position: int, settings: Phase, reading: Reading, validation: Validation, events: list[str]) -> Snapshot:
        cursor = self.cursor
        unknowns = self.programs.unknowns(self.theta)
        return Snapshot(
            step=cursor.step,
            phase=position,
            kind=settings.kind,
            evaluations=cursor.evaluations,
            loss=reading.loss,
            terms=reading.terms,
            nsr=reading.nsr,
            nsr_bound=reading.nsr_bound,
            nsr_terms=reading.nsr_terms,
            nsr_windows=reading.windows,
            gradient_norm=reading.gradient_norm,
            validation=float(validation.mean_square),
            worst=float(validation.worst),
            level=float(validation.level),
            unknowns=unknowns,
            events=tuple(events),
            phases=tuple(cursor.records),
            switch=cursor.switch,
            outcome=None if cursor.outcome is None else Outcome(cursor.outcome),
            trainable=self._solution(self.theta),
            best=self._solution(self.best),
            best_validation=self._best_validation(),
            budget=sum(phase.steps for phase in self.phases) * (1 if self.march is None else len(self.march.frozen)),
            checkpoint=self.checkpoint,
        )

    def _solution(self, theta: Array) -> Array:
        """The parameters of all slabs, those of the present one being `theta`; `theta` itself where time is not marched."""
        return theta if self.march is None else self.march.frozen.at[self.march.number].set(theta)

    def _best_validation(self) -> Validation:
        """Over all slabs so far."""
        means, worst, levels = zip(*self.cursor.slab_validations, self.cursor.best, strict=True)
        return Validation(sum(means) / len(means), max(worst), sum(levels) / len(levels))

    def checkpoint(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays by path and a JSON-able cursor: all that the next chunk depends on. Valid until the next chunk runs."""
        tree = {"theta": self.theta, "best": self.best, "state": self.state, "points": self.points, "march": self.march}
        arrays = {_path(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
        return arrays, self.cursor.as_dict()

    def restore(self, arrays: dict[str, np.ndarray], cursor: dict[str, Any]) -> None:
        """The inverse of `checkpoint`."""
        asked = self.phases
        self.cursor = Cursor.of(cursor)
        self.phases = load_phases(self.cursor.plan)
        if self.march is not None and dump_phases(asked) != self.cursor.asked:
            raise ConfigError(
                "the phases of a training in time slabs cannot be changed once it has begun; begin another run with longer ones"
            )
        extend(self.cursor, self.phases, asked)
        dtype = self.objective.dtype
        self.theta, self.best = jnp.asarray(arrays["theta"], dtype), jnp.asarray(arrays["best"], dtype)
        if self.march is not None:
            march = self.objective.replicate(March(*(jnp.asarray(arrays[f"march/{name}"]) for name in March._fields)))
            self.instance = self.instance._replace(march=march)
            self.validation_batch = self._validation_batch()
        ahead = self.march is not None and self.cursor.position >= len(self.phases)  # the next slab may take over the curvature
        if "state/theta" not in arrays or not (self.cursor.running or ahead):
            return
        runner = self._runner(min(self.cursor.position, len(self.phases) - 1))
        if runner.fixed_points:
            self.points = tuple(jnp.asarray(arrays[f"points/{number}"], dtype) for number in range(len(self.objective.terms)))
            self.batch = self.programs.prepare(self.instance, self.points)
        template = jax.eval_shape(lambda theta: runner.begin(self.instance, theta, self.batch, 0), self.theta)
        leaves, structure = jax.tree_util.tree_flatten_with_path(template)
        paths = [_path((jax.tree_util.DictKey("state"), *path)) for path, _ in leaves]
        if missing := [path for path in paths if path not in arrays]:
            raise ConfigError(
                f"the checkpoint holds no {missing[0]}: another version of sciml wrote it, in the middle of a phase; run anew"
            )
        filled = [jnp.asarray(arrays[path], leaf.dtype) for path, (_, leaf) in zip(paths, leaves, strict=True)]
        self.state = self.objective.replicate(jax.tree_util.tree_unflatten(structure, filled))
        self.theta = jnp.copy(self.state.theta)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _runner(self, position: int) -> Any:
        return self.programs.runner(self.phases[position])


def advance_together(trainings: Sequence[Training]) -> list[Snapshot]:
    """One chunk of each training. Those that share their programs and are in the same first-order phase are one computation.

    A training whose phase ends early goes on from there by itself, or with those that have come as far.
    """
    chunks = [training.chunk() for training in trainings]
    waiting = {number: next(chunk) for number, chunk in enumerate(chunks)}
    snapshots: dict[int, Snapshot] = {}
    while waiting:
        for number, state in _carry_out(waiting).items():
            try:
                waiting[number] = chunks[number].send(state)
            except StopIteration as end:
                snapshots[number] = end.value
                del waiting[number]
    return [snapshots[number] for number in range(len(trainings))]


def _carry_out(waiting: Mapping[int, Lane]) -> dict[int, Any]:
    """The states that trainings wait for."""
    groups: dict[int, list[int]] = {}
    for number, lane in waiting.items():
        groups.setdefault(id(lane.runner), []).append(number)
    states = {}
    for numbers in groups.values():
        lanes = [waiting[number] for number in numbers]
        states |= zip(numbers, lanes[0].runner.advance(lanes), strict=True)
    return states


def _slower(phase: Adam) -> Adam:
    """What a first-order phase is repeated as."""
    return phase.model_copy(update={"steps": max(500, min(phase.steps, 2000)), "learning_rate": 0.3 * phase.learning_rate})


def _path(path: tuple[Any, ...]) -> str:
    """A leaf's path as text: `state/triggers/0/variance`."""
    return "/".join(str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path)
