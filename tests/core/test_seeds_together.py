"""Several seeds as one computation: equal to single trainings but for rounding, whatever phase each is in, and wherever it resumes."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from small_problems import TINY, Decay, close

import sciml
from sciml.solve import Experiment, prepare_seeds
from sciml.train import Snapshot, advance_together, train

TOLERANCE = 1e-8
"""Relative, in float64, after a few hundred steps of Adam: batched matrix products round differently (docs/decisions/040)."""

SEEDS = (0, 7, 3)
ADAM = sciml.Adam(steps=230, learning_rate=0.01, until=())


def experiments(*phases: Any, seeds=SEEDS, **network: Any) -> list[Experiment]:
    settings = sciml.Network(width=4, depth=2, **network)
    return prepare_seeds(Decay(), seeds, points=TINY, phases=phases or (ADAM,), network=settings)


def single(experiment: Experiment, number: int, **network: Any) -> list[Snapshot]:
    """The training of one seed, prepared and compiled by itself."""
    settings = sciml.Network(width=4, depth=2, **network)
    made = sciml.prepare(Decay(), points=TINY, phases=experiment.phases, network=settings, seed=SEEDS[number])
    return list(train(made.objective, made.phases))


def advanced(made: list[Experiment]) -> list[list[Snapshot]]:
    """All snapshots of each training, trained together to the end."""
    trainings, found = [experiment.training() for experiment in made], [[] for _ in made]
    while going := [number for number, training in enumerate(trainings) if training.cursor.outcome is None]:
        for number, snapshot in zip(going, advance_together([trainings[number] for number in going]), strict=True):
            found[number].append(snapshot)
    return found


@pytest.mark.parametrize("network", [{}, {"fourier": 3}, {"kind": "flax_mlp"}])
def test_equal_to_single_trainings(network: dict[str, Any]) -> None:
    """The same points, losses, best states and cursors; random features are those of each seed."""
    made = experiments(**network)
    for number, snapshots in enumerate(advanced(made)):
        alone = single(made[number], number, **network)
        assert [snapshot.step for snapshot in snapshots] == [snapshot.step for snapshot in alone] == [100, 200, 230]
        for one, other in zip(alone, snapshots, strict=True):
            assert close(other.trainable, one.trainable, TOLERANCE)
            assert close(other.best, one.best, TOLERANCE)
            assert close(list(other.terms.values()), list(one.terms.values()), TOLERANCE)
            assert abs(other.nsr - one.nsr) <= 1e-6 * one.nsr


def test_seeds_differ() -> None:
    first, second, _ = advanced(experiments())
    assert not close(first[-1].trainable, second[-1].trainable, 1e-2)


def test_seeds_whose_phases_end_at_different_steps() -> None:
    """A trigger ends each phase where it ends that of a single training; second phases follow, seed by seed."""
    made = experiments(
        sciml.Adam(steps=400, learning_rate=0.01, until=(sciml.Plateau(window=10, improvement=0.2),)), sciml.LBFGS(steps=20, memory=5)
    )
    together = [snapshots[-1] for snapshots in advanced(made)]
    alone = [single(each, number)[-1] for number, each in enumerate(made)]
    first = [(last.phases[0].steps, last.phases[0].ended_by) for last in together]
    assert first == [(last.phases[0].steps, last.phases[0].ended_by) for last in alone]
    assert len({steps for steps, _ in first}) > 1
    assert all(last.outcome == sciml.Outcome.OK for last in together)


def test_a_training_goes_on_with_others_from_where_it_stands() -> None:
    """Checkpoints of different steps, of trainings together and alone, meet in one computation."""
    made = experiments()
    whole = [snapshots[-1] for snapshots in advanced(made)]
    trainings = [experiment.training() for experiment in made]
    advance_together(trainings)
    trainings[1].advance()
    resumed = [experiment.training(training.checkpoint()) for experiment, training in zip(made, trainings, strict=True)]
    assert [training.cursor.step for training in resumed] == [100, 200, 100]
    while going := [training for training in resumed if training.cursor.outcome is None]:
        advance_together(going)
    for training, last in zip(resumed, whole, strict=True):
        assert training.cursor.step == last.step
        assert close(training.best, last.best, TOLERANCE)


def test_a_training_that_diverges_leaves_the_others_alone() -> None:
    made = experiments()
    start = made[1].start.at[0].set(np.inf)
    broken = [made[0], made[1].seeded(made[1].objective, start), made[2]]
    found = advanced(broken)
    assert [snapshots[-1].outcome for snapshots in found] == [sciml.Outcome.OK, sciml.Outcome.DIVERGED, sciml.Outcome.OK]
    for number in (0, 2):
        assert close(found[number][-1].trainable, single(made[number], number)[-1].trainable, TOLERANCE)


def test_each_function_is_compiled_once_for_all_seeds() -> None:
    """One computation for the pair, one for the last of three, whatever is compiled beside serves all."""
    made = experiments()
    advanced(made)
    programs = made[0].programs
    runner = programs.runner(ADAM)
    compiled = [runner._advance_lanes, runner._advance, programs.validate, programs.draw_validation]
    assert [function._cache_size() for function in compiled] == [1, 1, 1, 1]


def test_solutions_of_several_seeds() -> None:
    settings = {"points": TINY, "phases": (sciml.Adam(steps=60, until=()),), "network": sciml.Network(width=4, depth=2)}
    solutions = sciml.solve_seeds(Decay(), SEEDS, **settings)
    alone = sciml.solve(Decay(), seed=SEEDS[1], progress=False, **settings)
    assert [solution.result["seed"] for solution in solutions] == list(SEEDS)
    assert abs(solutions[1].error().rel_l2 - alone.error().rel_l2) <= 1e-8 * alone.error().rel_l2
    assert jax.numpy.isfinite(solutions[2].error().rel_l2)
