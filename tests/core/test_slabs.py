"""Time slabs: each begins where the one before has ended, and together they solve what one network solves."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_problems import TINY, Decay, experiment, problem, same_bytes

import sciml
from sciml.train import train

PHASES = (sciml.Adam(steps=50, learning_rate=0.01, until=()), sciml.Broyden(steps=100, redraw=40))
SLABS = 4


class Spreading(sciml.Problem):
    """Two fields in one space dimension, with boundary values that move in time."""

    domain = sciml.Box(t=(0.5, 2.5), x=(0.0, 1.0))
    fields = ("u", "v")

    def equation(self, t, x, u, u_t, u_xx, v, v_t, v_xx):
        return u_t - u_xx - jnp.cos(t), v_t - v_xx - v * (1 - u)

    def conditions(self):
        return [sciml.Initial(lambda x: (jnp.sin(0.5) + 0 * x, x)), sciml.Dirichlet(lambda t, x: (jnp.sin(t), x), on="x")]


@pytest.fixture(scope="module")
def spreading():
    return experiment(Spreading(), phases=PHASES, time_slabs=SLABS)


@pytest.fixture(scope="module")
def decay():
    return experiment(Decay(rate=4.0), phases=PHASES, time_slabs=SLABS)


@pytest.fixture(scope="module")
def snapshots(decay):
    return [(snapshot, stored(snapshot)) for snapshot in train(decay.objective, PHASES, 50)]


def stored(snapshot):
    arrays, cursor = snapshot.checkpoint()
    return {name: np.array(array) for name, array in arrays.items()}, json.loads(json.dumps(cursor))


def random_rows(objective):
    return jax.random.normal(jax.random.key(1), (SLABS, objective.parameters))


def test_hard_conditions_hold_and_slabs_are_joined_whatever_the_networks(spreading):
    fields = spreading.objective.evaluate_fields
    rows, x = random_rows(spreading.objective), jnp.linspace(0, 1, 7)

    def at(t):
        return fields(rows, jnp.stack([jnp.full_like(x, t), x], axis=1))

    assert jnp.allclose(at(0.5), jnp.stack([jnp.full_like(x, jnp.sin(0.5)), x], axis=1), atol=1e-14)
    for joint in (1.0, 1.5, 2.0):
        assert jnp.allclose(at(joint - 1e-9), at(joint + 1e-9), atol=1e-7)
        assert jnp.allclose(at(joint)[jnp.array([0, -1])], jnp.array([[jnp.sin(joint), 0.0], [jnp.sin(joint), 1.0]]), atol=1e-14)
    assert jnp.max(jnp.abs(at(2.5) - at(2.0))) > 1e-2


@pytest.mark.parametrize("number", range(SLABS))
def test_training_sees_the_whole_solution(spreading, number):
    """Fields and derivatives in a slab, from frozen rows and its own, are those of the whole sum at the same points."""
    objective = spreading.objective
    rows = random_rows(objective)
    done = jnp.where(jnp.arange(SLABS)[:, None] < number, rows, 0.0)
    there = objective.at(objective.instance._replace(march=type(objective.march)(jnp.asarray(number), done)))
    points = there.draw(jax.random.key(2))[0][0]
    time = points[:, 0]
    assert jnp.all((time > 0.5 + 0.5 * number) & (time < 0.5 + 0.5 * (number + 1)))
    found = there.residuals(rows[number], 0, there.prepare_term(0, points[None]))

    def fields(point):
        return objective.evaluate_fields(rows, point[None])[0]

    def residual(point):
        value, slopes = fields(point), jax.jacfwd(fields)(point)
        curvature = jax.jacfwd(jax.jacfwd(fields))(point)[:, 1, 1]
        return jnp.stack([slopes[0, 0] - curvature[0] - jnp.cos(point[0]), slopes[1, 0] - curvature[1] - value[1] * (1 - value[0])])

    assert jnp.allclose(found, jax.vmap(residual)(points).T, rtol=1e-9, atol=1e-9)


def test_it_solves_the_problem(decay, snapshots):
    last = snapshots[-1][0]
    assert last.outcome == sciml.Outcome.OK
    assert last.best.shape == (SLABS, decay.parameters)
    assert decay.error(last.best).rel_l2 < 1e-4
    assert [record.kind for record in last.phases] == ["adam"] + ["broyden"] * SLABS
    assert last.step == 50 + 100 * SLABS
    assert last.budget >= last.step


def test_later_slabs_are_at_rest_until_their_turn(decay, snapshots):
    early = snapshots[1][0]
    ends = decay.objective.evaluate_fields(early.trainable, jnp.array([[0.25], [0.6], [1.0]]))
    assert jnp.allclose(ends[0], ends[1])
    assert jnp.allclose(ends[1], ends[2])


@pytest.mark.parametrize("place", [0, 2, 3, 5, 8])
def test_resuming_changes_no_byte(decay, snapshots, place):
    assert snapshots[place][0].outcome is None
    again = list(train(decay.objective, PHASES, 50, resume=snapshots[place][1]))
    assert len(again) == len(snapshots) - place - 1
    assert same_bytes(stored(again[-1])[0], snapshots[-1][1][0])
    assert again[-1].best_validation == snapshots[-1][0].best_validation


def test_the_size_of_a_chunk_changes_no_byte(decay, snapshots):
    other = [stored(snapshot)[0] for snapshot in train(decay.objective, PHASES, 30)]
    assert same_bytes(other[-1], snapshots[-1][1][0])


def test_a_slab_that_is_left_behind_begins_anew(decay, snapshots, monkeypatch):
    """As if each slab that goes on from the one before had failed."""
    monkeypatch.setattr(sciml.train, "LEFT_BEHIND", 0.0)
    kinds = ["adam", "broyden"] + ["broyden", "adam", "broyden"] * (SLABS - 1)
    seen = [(snapshot, stored(snapshot)) for snapshot in train(decay.objective, PHASES, 50)]
    last, middle = seen[-1][0], next(number for number, (snapshot, _) in enumerate(seen) if len(snapshot.phases) == 4)
    assert [record.kind for record in last.phases] == kinds
    assert last.step == sum(record.steps for record in last.phases)
    assert sum("begins anew" in event for snapshot, _ in seen for event in snapshot.events) == SLABS - 1
    assert decay.error(last.best).rel_l2 < 1e-3
    again = list(train(decay.objective, PHASES, 50, resume=seen[middle][1]))
    assert same_bytes(stored(again[-1])[0], seen[-1][1][0])


def test_the_slab_of_the_first_network_alone_is_not_the_solution(decay, snapshots):
    """What the error would be if frozen slabs were lost: the rows matter."""
    best = snapshots[-1][0].best
    assert decay.error(best.at[1].set(0.0)).rel_l2 > 1e-2


def test_phases_cannot_be_lengthened_any_more(decay, snapshots):
    longer = (PHASES[0], sciml.Broyden(steps=200, redraw=40))
    with pytest.raises(sciml.ConfigError, match="time slabs"):
        next(train(decay.objective, longer, 50, resume=snapshots[-1][1]))


def test_a_training_that_cannot_be_marched_is_refused():
    def steady(u, u_xx):
        return u_xx

    def wave(u, u_tt, u_xx):
        return u_tt - u_xx

    def heat(u, u_t, u_xx):
        return u_t - u_xx

    def potential(u, u_t, u_xx, w, w_xx):
        return u_t - u_xx, w_xx - u

    line, box = sciml.Box(x=(0.0, 1.0)), sciml.Box(t=(0.0, 1.0), x=(0.0, 1.0))
    walls = sciml.Dirichlet(0.0, on="x")
    at_rest = [sciml.Initial(0.0), sciml.Initial(0.0, of="u_t"), walls]
    cases = {
        "no time": problem(line, [walls], steady),
        "second order": problem(box, at_rest, wave),
        "soft initial": problem(box, [sciml.Initial(0.0, hard=False), walls], heat),
        "'w' has no hard initial value": problem(box, [sciml.Initial(0.0, of="u"), walls], potential),
        "data": problem(box, [sciml.Initial(0.0), walls, sciml.Data({"t": [0.5], "x": [0.5]}, {"u": [0.0]})], heat),
    }
    for reason, case in cases.items():
        with pytest.raises(sciml.ProblemError, match=reason):
            sciml.prepare(case, points=TINY, time_slabs=3)
