"""The loop: chunks, resuming, seeds, roll-back, what ends a phase, the best state, fall-back, more budget, compilations."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from small_problems import TINY, Decay, experiment, same_bytes

import sciml
from sciml import train as loop
from sciml.optim import second_order
from sciml.train import Snapshot, Training, train

Checkpoint = tuple[dict[str, np.ndarray], dict[str, Any]]

FIRST = sciml.Adam(steps=130, learning_rate=0.01, until=())
THREE = (FIRST, sciml.LBFGS(steps=60, memory=5, redraw=25), sciml.Broyden(steps=100, redraw=40))


@pytest.fixture(scope="module")
def decay() -> sciml.Experiment:
    return experiment(Decay())


class Record:
    """A whole training: its snapshots, and the checkpoint after each."""

    def __init__(self, made: sciml.Experiment, phases: Sequence[Any], every: int = 100, resume: Checkpoint | None = None) -> None:
        self.made = made
        self.snapshots: list[Snapshot] = []
        self.checkpoints: list[Checkpoint] = []
        for snapshot in train(made.objective, phases, every, resume):
            self.snapshots.append(snapshot)
            self.checkpoints.append(stored(snapshot))

    @property
    def last(self) -> Snapshot:
        return self.snapshots[-1]

    @property
    def events(self) -> list[str]:
        return [event for snapshot in self.snapshots for event in snapshot.events]

    def at(self, step: int) -> int:
        return [snapshot.step for snapshot in self.snapshots].index(step)


def stored(snapshot: Snapshot) -> Checkpoint:
    """A checkpoint as it comes back from the disk."""
    arrays, cursor = snapshot.checkpoint()
    return {name: array.copy() for name, array in arrays.items()}, json.loads(json.dumps(cursor))


def row(snapshot: Snapshot) -> dict[str, Any]:
    """Everything in a snapshot, arrays as bytes."""
    found = snapshot._asdict() | {"trainable": np.asarray(snapshot.trainable).tobytes(), "best": np.asarray(snapshot.best).tobytes()}
    return {name: repr(value) for name, value in found.items() if name != "checkpoint"}


@pytest.fixture(scope="module")
def whole(decay: sciml.Experiment) -> Record:
    """Three phases, in chunks of 25."""
    return Record(decay, THREE, every=25)


# -- what a training is -------------------------------------------------------------------------------------------------


def test_phases_run_one_after_the_other(whole: Record) -> None:
    assert [(record.kind, record.steps, record.ended_by) for record in whole.last.phases] == [
        ("adam", 130, "budget"),
        ("lbfgs", 60, "budget"),
        ("broyden", 100, "budget"),
    ]
    assert whole.last.outcome == sciml.Outcome.OK
    assert all(snapshot.outcome is None for snapshot in whole.snapshots[:-1])
    assert whole.last.step == 290
    assert whole.last.evaluations == sum(record.evaluations for record in whole.last.phases) > 290
    assert [snapshot.step for snapshot in whole.snapshots] == [25, 50, 75, 100, 125, 130, 155, 180, 190, 215, 230, 240, 265, 270, 290]


def test_a_snapshot_belongs_to_its_own_phase(whole: Record) -> None:
    """Also the last one of a phase."""
    for snapshot in whole.snapshots:
        assert snapshot.kind == THREE[snapshot.phase].kind
        assert snapshot.phase == (snapshot.step > 130) + (snapshot.step > 190)


def test_it_solves_the_problem(decay: sciml.Experiment, whole: Record) -> None:
    error = decay.error(whole.last.best)
    assert error is not None
    assert error.rel_l2 < 1e-5  # still falling tenfold every few steps, so that another rounding ends elsewhere
    assert whole.last.validation < 1e-8


def test_snapshots_stay_valid(whole: Record) -> None:
    """A later chunk may use up the device's buffers, but not those that a snapshot holds."""
    for snapshot in whole.snapshots:
        assert np.all(np.isfinite(np.asarray(snapshot.trainable)))
        assert np.all(np.isfinite(np.asarray(snapshot.best)))


def test_noise_is_reported_while_points_are_fresh(whole: Record) -> None:
    for snapshot in whole.snapshots:
        assert (snapshot.nsr is not None) == (snapshot.kind == "adam")
        assert set(snapshot.nsr_terms) == ({"equation"} if snapshot.kind == "adam" else set())


def test_every_window_is_told_once_whatever_the_size_of_a_chunk(decay: sciml.Experiment) -> None:
    """Its end counted over all phases, its ratio the same as a trigger sees; without a trigger windows of the default length."""
    phases = [sciml.Adam(steps=60), sciml.Adam(steps=130, until=(sciml.Noise(window=16, threshold=1e-12),)), sciml.Adam(steps=70, until=())]
    records = [Record(decay, phases, every=every) for every in (10, 25, 100)]
    windows = [tuple(window for snapshot in record.snapshots for window in snapshot.nsr_windows) for record in records]
    assert windows[0] == windows[1] == windows[2]
    assert [window.step for window in windows[0]] == [*range(60 + 16, 60 + 130, 16), 190 + 64]
    assert [window.bound is None for window in windows[0]] == [False] * 8 + [True]
    for record in records:
        for snapshot in record.snapshots:
            if snapshot.nsr_windows:
                assert snapshot.nsr == snapshot.nsr_windows[-1].nsr == snapshot.nsr_windows[-1].terms["equation"]
                assert snapshot.nsr_bound == snapshot.nsr_windows[-1].bound


# -- the same bytes -----------------------------------------------------------------------------------------------------


def test_the_size_of_a_chunk_changes_no_byte(decay: sciml.Experiment, whole: Record) -> None:
    """Parameters, optimiser state, losses and the best state, at every step at which both report."""
    other = Record(decay, THREE, every=100)
    assert len(other.snapshots) < len(whole.snapshots)
    for snapshot, (arrays, cursor) in zip(other.snapshots, other.checkpoints, strict=True):
        position = whole.at(snapshot.step)
        assert same_bytes(arrays, whole.checkpoints[position][0])
        assert cursor == whole.checkpoints[position][1]
        since = {"nsr_windows": ""}  # those since the last snapshot: the test of windows looks at them
        assert row(snapshot) | since == row(whole.snapshots[position]) | since


@pytest.mark.parametrize("step", [25, 130, 155, 180, 215, 230, 265])
def test_resuming_changes_no_byte(decay: sciml.Experiment, whole: Record, step: int) -> None:
    """In the middle of each phase, at the switch, and where points are about to be drawn anew."""
    position = whole.at(step)
    resumed = Record(decay, THREE, every=25, resume=whole.checkpoints[position])
    assert [row(snapshot) for snapshot in resumed.snapshots] == [row(snapshot) for snapshot in whole.snapshots[position + 1 :]]
    assert same_bytes(resumed.checkpoints[-1][0], whole.checkpoints[-1][0])
    assert resumed.checkpoints[-1][1] == whole.checkpoints[-1][1]


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (25, "state/optimizer/0/mu"),
        (155, "state/metric/steps"),
        (215, "state/metric/coefficients"),
        (215, "points/0"),
        (230, "state/natural"),
    ],
)
def test_what_a_checkpoint_holds_matters(decay: sciml.Experiment, whole: Record, step: int, name: str) -> None:
    """Without it the rest of the training would be another one: none of these is recomputed from the parameters."""
    arrays, cursor = whole.checkpoints[whole.at(step)]
    resumed = Training(decay.objective, THREE, 25, None)
    resumed.restore(arrays | {name: np.zeros_like(arrays[name])}, cursor)
    try:
        after = stored(resumed.advance())
    except ValueError:
        return
    assert name == "state/natural" or not same_bytes(after[0], whole.checkpoints[whole.at(step) + 1][0])


def test_a_checkpoint_of_another_version(decay: sciml.Experiment, whole: Record) -> None:
    arrays, cursor = whole.checkpoints[whole.at(215)]
    arrays = {name: value for name, value in arrays.items() if name != "state/metric/columns"}
    with pytest.raises(sciml.ConfigError, match="holds no state/metric/columns: another version"):
        Training(decay.objective, THREE, 25, None).restore(arrays, cursor)


def test_seeds_differ_in_network_and_points(decay: sciml.Experiment) -> None:
    first, again, other = decay.objective, experiment(Decay()).objective, experiment(Decay(), seed=1).objective
    assert first.start.tobytes() == again.start.tobytes()
    assert first.start.tobytes() != other.start.tobytes()
    counts = {"interior": 32}

    def fresh(objective) -> bytes:
        return np.asarray(objective.sample_and_evaluate(decay.start, jnp.asarray(3), counts).components).tobytes()

    assert fresh(first) == fresh(again) != fresh(other)


# -- one compilation ----------------------------------------------------------------------------------------------------


def test_each_function_of_a_phase_is_compiled_once(decay: sciml.Experiment) -> None:
    """However long its last chunk is; phases with equal settings share theirs."""
    short = sciml.Adam(steps=30, until=())
    training = Training(
        decay.objective, (short, sciml.Broyden(steps=25, redraw=10), sciml.LBFGS(steps=15, memory=5, redraw=10), short), 7, None
    )
    while training.cursor.outcome is None:
        training.advance()
    programs = training.programs
    first, broyden, lbfgs, again = map(programs.runner, training.phases)
    assert first is again
    compiled = [first._advance, programs.redraw, programs.prepare, programs.validate]
    compiled += [getattr(runner, name) for runner in (broyden, lbfgs) for name in ("_begin", "_advance", "_refresh", "_components")]
    assert [function._cache_size() for function in compiled] == [1] * len(compiled)


# -- values that are not finite -----------------------------------------------------------------------------------------


class Cliff(Decay):
    """A coefficient that is drawn to `goal`, and an equation that is undefined where it exceeds `edge`."""

    k: sciml.Unknown = sciml.Unknown(0.5)
    goal: float = 0.55
    edge: float = 0.59

    def equation(self, u, u_t):
        return {"ode": u_t + u, "cliff": jnp.where(self.k > self.edge, jnp.nan, self.k - self.goal) + 0 * u}


def test_a_loss_that_is_not_finite_is_rolled_back() -> None:
    """To the last good state, at half the learning rate, until the steps are small enough."""
    made = experiment(Cliff())
    record = Record(made, [sciml.Adam(steps=60, learning_rate=0.5, until=())], every=1)
    told = [event for event in record.events if "not finite" in event]
    assert told[0] == "step 2: not finite; back to the last good state, learning rate x 0.5"
    assert 1 <= len(told) <= 3
    assert told == [event for event in told if f"x {0.5 ** (told.index(event) + 1):.3g}" in event]
    assert record.snapshots[1].trainable.tobytes() == made.start.tobytes()
    assert record.last.outcome == sciml.Outcome.OK
    assert abs(record.last.unknowns["k"] - 0.55) < 0.04
    assert all(math.isfinite(snapshot.loss) for snapshot in record.snapshots)


def test_after_three_roll_backs_it_has_diverged() -> None:
    """The goal lies behind the edge; the phases after it do not run, and the best state is one that is finite."""
    made = experiment(Cliff(goal=5.0))
    record = Record(made, [sciml.Adam(steps=300, learning_rate=0.1, until=()), sciml.Adam(steps=10, until=())], every=20)
    assert record.last.outcome == sciml.Outcome.DIVERGED
    assert [(phase.kind, phase.ended_by) for phase in record.last.phases] == [("adam", "diverged")]
    assert record.last.phases[0].steps < 300
    assert record.events[-1].startswith("adam ended by diverged at step")
    assert made.objective.unknowns(record.last.best)["k"] <= 0.59
    assert "learning rate x 0.0625" in "".join(record.events)


# -- what ends a first phase --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("until", "by", "threshold"),
    [
        ((sciml.Noise(window=8, threshold=1e6, patience=1, rise=1.01),), "noise", 1e6),
        ((sciml.Plateau(window=10, improvement=0.9),), "plateau", None),
        ((sciml.Noise(window=8, threshold=1e-12),), "budget", 1e-12),
        ((sciml.Noise(window=8, threshold=1e-12), sciml.Plateau(window=10, improvement=0.9)), "plateau", 1e-12),
    ],
    ids=["noise", "plateau", "budget", "either"],
)
def test_the_switch_tells_the_truth(decay: sciml.Experiment, until: tuple, by: str, threshold: float | None) -> None:
    phase = sciml.Adam(steps=400, learning_rate=0.01, until=until)
    record = Record(decay, [phase, phase], every=50)
    switch = record.last.switch
    assert switch is not None
    assert (switch["by"], switch["threshold"]) == (by, threshold)
    assert record.last.phases[0].ended_by == by
    assert switch["step"] == record.last.phases[0].steps
    assert (switch["step"] == 400) == (by == "budget")
    assert switch["step"] == 20 or by != "plateau"
    assert f"adam ended by {by} at step {switch['step']}" in record.events
    assert switch["nsr"] == record.snapshots[record.at(switch["step"])].nsr > 0


def test_a_second_phase_on_a_plateau(decay: sciml.Experiment, monkeypatch) -> None:
    """Its measure is the best validation level."""
    monkeypatch.setattr(loop, "BEST_EVERY", 5)
    phase = sciml.LBFGS(steps=200, memory=5, redraw=0, until=(sciml.Plateau(window=10, improvement=0.999999999),))
    record = Record(decay, [phase], every=50)
    assert [(each.ended_by, each.steps) for each in record.last.phases] == [("plateau", 20)]


# -- the best state -----------------------------------------------------------------------------------------------------


def test_the_best_state_by_validation_is_returned(decay: sciml.Experiment, monkeypatch) -> None:
    """With steps so large that the loss goes up and down; not the last one, and not the one with the lowest training loss."""
    monkeypatch.setattr(loop, "BEST_EVERY", 5)
    record = Record(decay, [sciml.Adam(steps=60, learning_rate=0.3, until=())], every=5)
    levels = [snapshot.level for snapshot in record.snapshots]
    lowest = int(np.argmin(levels))
    assert lowest != len(levels) - 1
    assert record.last.best.tobytes() == record.snapshots[lowest].trainable.tobytes()
    assert record.last.trainable.tobytes() == record.snapshots[-1].trainable.tobytes() != record.last.best.tobytes()
    for number, snapshot in enumerate(record.snapshots):
        assert snapshot.best.tobytes() == record.snapshots[int(np.argmin(levels[: number + 1]))].trainable.tobytes()


# -- fall-back ----------------------------------------------------------------------------------------------------------


class Stuck(Decay):
    """A constant part of the loss, beside which all progress is too small to count."""

    def equation(self, u, u_t):
        return {"ode": u_t + u, "constant": 1e5 + 0 * u}


def stagnating(last: int = 7) -> tuple:
    return (sciml.Adam(steps=20, learning_rate=0.01, until=()), sciml.LBFGS(steps=100, memory=5), sciml.Broyden(steps=last))


@pytest.fixture(scope="module")
def stuck() -> Record:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(second_order, "STAGNATION_WINDOW", 5)
        return Record(experiment(Stuck()), stagnating(), every=10)


def test_a_second_phase_that_fails_gets_more_points_first(stuck: Record) -> None:
    """Twice as many, and its curvature is kept; then it goes on."""
    redrawn = stuck.at(25)
    assert stuck.snapshots[redrawn].events == ("step 25: stagnation; points redrawn",)
    assert stuck.checkpoints[redrawn][0]["points/0"].shape == (1, 2 * TINY.interior, 1)
    assert stuck.checkpoints[redrawn][0]["state/metric/steps"].any()
    assert stuck.snapshots[redrawn + 1].kind == "lbfgs"


def test_then_it_goes_back_to_the_first_phase_at_most_three_times(stuck: Record) -> None:
    """Each time slower; the phases that were planned after it still run."""
    assert [phase.kind for phase in stuck.last.phases] == ["adam", "lbfgs"] * (1 + loop.CYCLES) + ["broyden"]
    failed = [phase.ended_by for phase in stuck.last.phases if phase.kind == "lbfgs"]
    assert failed[0] == "stagnation"
    assert set(failed) <= {"stagnation", "line search"}
    back = [event for event in stuck.events if "gained little; back to adam" in event]
    assert [event.rsplit(" ", 1)[1] for event in back] == ["0.003", "0.0009", "0.00027"]
    assert stuck.last.outcome == sciml.Outcome.OK
    assert stuck.last.switch["step"] == 20


def test_resuming_after_a_fall_back(stuck: Record, monkeypatch) -> None:
    """The plan that grew is in the checkpoint; what was asked for is not taken for more budget."""
    monkeypatch.setattr(second_order, "STAGNATION_WINDOW", 5)
    assert [phase["kind"] for phase in stuck.checkpoints[-1][1]["plan"]] == ["adam", "lbfgs"] * (1 + loop.CYCLES) + ["broyden"]
    position = len(stuck.snapshots) - 2
    resumed = Record(stuck.made, stagnating(), 10, stuck.checkpoints[position])
    assert [row(snapshot) for snapshot in resumed.snapshots] == [row(snapshot) for snapshot in stuck.snapshots[position + 1 :]]


def test_more_budget_after_a_fall_back(stuck: Record, monkeypatch) -> None:
    """It goes to the phase that was asked to be longer, wherever that now stands in the plan."""
    monkeypatch.setattr(second_order, "STAGNATION_WINDOW", 5)
    extended = Record(stuck.made, stagnating(last=12), resume=stuck.checkpoints[-1])
    assert extended.last.phases[: len(stuck.last.phases)] == stuck.last.phases
    assert [phase.kind for phase in extended.last.phases[len(stuck.last.phases) :]] == ["broyden"]


def test_budget_is_added_as_often_as_it_is_asked_for(stuck: Record, monkeypatch) -> None:
    """Where the last phase ended by itself, what was added is the last one from then on."""
    monkeypatch.setattr(second_order, "STAGNATION_WINDOW", 5)
    first = Record(stuck.made, stagnating(last=12), resume=stuck.checkpoints[-1])
    second = Record(stuck.made, stagnating(last=16), resume=first.checkpoints[-1])
    third = Record(stuck.made, stagnating(last=20), resume=second.checkpoints[-1])
    steps = [each.last.step for each in (stuck, first, second, third)]
    assert steps == sorted(set(steps))


def judged_by(monkeypatch, measure) -> sciml.Experiment:
    """An experiment whose validation is a function of the squared distance from the start."""
    validate = lambda self, theta, batch: measure(jnp.sum((theta - self.start) ** 2))  # noqa: E731
    monkeypatch.setattr(type(experiment(Decay()).objective), "validate", validate)
    return experiment(Decay())


@pytest.mark.parametrize(("until", "reason"), [((), "overfitting"), ((sciml.Plateau(window=10, improvement=0.5),), "plateau")])
def test_a_second_phase_that_fits_its_points_alone_goes_back_to_the_best_state(monkeypatch, until: tuple, reason: str) -> None:
    """Here every step away from the start makes the residual on fresh points larger; the phase after the last cycle is let run."""
    monkeypatch.setattr(loop, "BEST_EVERY", 10)
    monkeypatch.setattr(loop, "OVERFIT", 30)
    made = judged_by(monkeypatch, lambda away: loop.Validation(1 + away, jnp.ones(()), 1 + away))
    record = Record(made, [sciml.Adam(steps=20, learning_rate=0.01, until=()), sciml.Broyden(steps=60, until=until)], every=10)
    assert [phase.kind for phase in record.last.phases] == ["adam", "broyden"] * (1 + loop.CYCLES)
    assert [phase.ended_by for phase in record.last.phases[1:-1:2]] == [reason] * loop.CYCLES
    assert record.last.best.tobytes() == made.start.tobytes()
    again = next(snapshot for snapshot in record.snapshots if snapshot.phase == 2)
    assert again.kind == "adam"
    assert jnp.max(jnp.abs(again.trainable - made.start)) < 10 * 0.003 * 1.5


@pytest.mark.parametrize(("until", "reason"), [((), "overfitting"), ((sciml.Plateau(window=10, improvement=0.5),), "plateau")])
def test_a_low_level_does_not_hide_that_a_second_phase_fits_its_points_alone(monkeypatch, until: tuple, reason: str) -> None:
    """As where the solution jumps in a layer thinner than the points are apart: few residuals are large, but those very."""
    monkeypatch.setattr(loop, "BEST_EVERY", 10)
    monkeypatch.setattr(loop, "OVERFIT", 30)
    made = judged_by(monkeypatch, lambda away: loop.Validation(1 + away, jnp.ones(()), 1 / (1 + 100 * away)))
    phases = [sciml.Adam(steps=1, learning_rate=1e-9, until=()), sciml.Broyden(steps=60, until=until)]
    record = Record(made, phases, every=10)
    assert record.last.phases[1].ended_by == reason
    assert [phase.kind for phase in record.last.phases[:3]] == ["adam", "broyden", "adam"]
    last, *_ = (snapshot for snapshot in reversed(record.snapshots) if snapshot.phase == 1 and not snapshot.events)
    assert np.max(np.abs(last.best - made.start)) < 1e-8 < np.max(np.abs(last.trainable - made.start))


def test_a_second_phase_that_has_converged_is_not_a_failure(decay: sciml.Experiment) -> None:
    """Its line search finds nothing more, on new points neither; nothing is put in after it."""
    record = Record(decay, [sciml.Adam(steps=5, until=()), sciml.Broyden(steps=3000)], every=1000)
    assert [phase.kind for phase in record.last.phases] == ["adam", "broyden"]
    assert record.last.phases[1].loss < loop.SUCCESS * record.snapshots[0].loss
    assert record.last.outcome == sciml.Outcome.OK


# -- more budget --------------------------------------------------------------------------------------------------------


def test_a_finished_training_yields_nothing(decay: sciml.Experiment, whole: Record) -> None:
    assert Record(decay, THREE, resume=whole.checkpoints[-1]).snapshots == []


def test_a_longer_last_phase_goes_on_as_if_it_had_never_ended(decay: sciml.Experiment, whole: Record) -> None:
    longer = (*THREE[:2], sciml.Broyden(steps=130, redraw=40))
    once, extended = Record(decay, longer, every=25), Record(decay, longer, every=25, resume=whole.checkpoints[-1])
    assert [snapshot.step for snapshot in extended.snapshots] == [310, 315, 320]
    assert same_bytes(extended.checkpoints[-1][0], once.checkpoints[-1][0])
    assert extended.last.phases == once.last.phases


def test_another_phase_is_added(decay: sciml.Experiment, whole: Record) -> None:
    extended = Record(decay, (*THREE, sciml.Adam(steps=10, until=())), resume=whole.checkpoints[-1])
    assert [phase.kind for phase in extended.last.phases] == ["adam", "lbfgs", "broyden", "adam"]
    assert (extended.last.step, extended.last.outcome) == (300, sciml.Outcome.OK)


def test_a_phase_that_has_yet_to_come_is_lengthened(decay: sciml.Experiment, whole: Record) -> None:
    longer = (FIRST, sciml.LBFGS(steps=70, memory=5, redraw=25), sciml.Broyden(steps=10, redraw=40))
    resumed = Record(decay, longer, resume=whole.checkpoints[whole.at(25)])
    assert [phase.steps for phase in resumed.last.phases] == [130, 70, 100]


def test_more_steps_for_a_phase_that_ended_otherwise(decay: sciml.Experiment) -> None:
    """A plateau had ended it: another phase like it begins."""

    def phase(steps: int) -> sciml.Adam:
        return sciml.Adam(steps=steps, until=(sciml.Plateau(window=10, improvement=0.9),))

    ended = Record(decay, [phase(400)])
    extended = Record(decay, [phase(415)], resume=ended.checkpoints[-1])
    assert [(record.steps, record.ended_by) for record in extended.last.phases] == [(20, "plateau"), (15, "budget")]


def test_a_warm_start_begins_there(decay: sciml.Experiment, whole: Record) -> None:
    warm = experiment(Decay(), warm_start=decay.solution(whole.last.best))
    assert warm.start.tobytes() == np.asarray(whole.last.best).tobytes()
    (snapshot,) = train(warm.objective, [sciml.Adam(steps=1, until=())], 1, None, warm.start)
    assert snapshot.loss < 1e-8


# -- twins --------------------------------------------------------------------------------------------------------------


def test_flax_and_equinox_give_the_same_losses() -> None:
    """Equal weights, 50 steps of Adam and 20 of Broyden."""
    phases = [sciml.Adam(steps=50, until=()), sciml.Broyden(steps=20)]
    twins = [experiment(Decay(), phases, network=sciml.Network(kind=kind, width=4, depth=2)) for kind in ("mlp", "flax_mlp")]
    equinox, flax = ([snapshot.loss for snapshot in made.train(every=5)] for made in twins)
    assert len(equinox) == 14
    assert flax == pytest.approx(equinox, rel=1e-12)


# -- from end to end ----------------------------------------------------------------------------------------------------


def test_a_coefficient_is_found_from_data() -> None:
    class Growth(sciml.Problem):
        rate: sciml.Unknown = sciml.Unknown(0.2, positive=True)
        domain = sciml.Box(t=(0.0, 1.0))

        def equation(self, u, u_t):
            return u_t - self.rate * u

        def conditions(self):
            times = np.linspace(0, 1, 9)
            return [sciml.Initial(1.0), sciml.Data({"t": times}, {"u": np.exp(0.7 * times)})]

    phases = [sciml.Adam(steps=10, until=()), sciml.Broyden(steps=150)]
    solution = sciml.solve(Growth(), network=sciml.Network(width=4, depth=1), points=TINY, phases=phases, progress=False)
    assert solution.unknowns["rate"] == pytest.approx(0.7, abs=1e-4)
    assert solution(t=0.5) == pytest.approx(math.exp(0.35), abs=1e-4)
    assert solution.history[-1]["unknowns"] == solution.unknowns


def test_it_stops_at_a_target_error(decay: sciml.Experiment) -> None:
    solution = sciml.solve(
        Decay(), target_error=1e-2, network=sciml.Network(width=4, depth=2), points=TINY, phases=THREE, every=25, progress=False
    )
    assert solution.error().rel_l2 <= 1e-2
    assert solution.history[-1]["step"] < 290
    assert all(row["error"] > 1e-2 for row in solution.history[:-1])
