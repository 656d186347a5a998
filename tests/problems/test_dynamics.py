"""The shipped systems are real runs: their configs, with a shorter first phase, find the truth that their data were made from."""

import functools

import numpy as np
import pytest

from sciml.errors import Outcome
from sciml.runs.build import build_discovery
from sciml.runs.catalog import load_problem
from sciml.runs.config import load_config

TRUTH = {
    "lorenz": {"sigma": 10.0, "rho": 28.0, "beta": 8 / 3},
    "fitzhugh_nagumo": {"a": 0.2, "b": 0.2, "c": 3.0},
    "robertson": {"k1": 0.04, "k2": 3e7, "k3": 1e4},
    "lotka_volterra_ude": {"x': x y": -0.9, "y': x y": 0.8},
}


@functools.cache
def found(name):
    """What the config `name` finds after 100 steps of its first phase."""
    config = load_config(name, ['phases=[{kind="adam", steps=100, learning_rate=0.02, until=[]}]'])
    experiment = build_discovery(config, load_problem(config.problem, config.parameters))
    *_, snapshot = experiment.train()
    assert snapshot.outcome == Outcome.OK
    return experiment.solution(snapshot.best)


@pytest.mark.parametrize("name", TRUTH)
def test_coefficients_lie_within_their_standard_errors(name):
    coefficients = found(name).coefficients
    assert set(coefficients) == set(TRUTH[name])
    for key, truth in TRUTH[name].items():
        each = coefficients[key]
        assert each.reason is None
        assert abs(each.value - truth) < 3 * each.standard_error
        assert each.standard_error < 0.3 * abs(truth)


@pytest.mark.parametrize("name", ["lorenz", "fitzhugh_nagumo"])
def test_forecasts_are_better_than_what_needs_no_model(name):
    scores = found(name).scores["held_out"]
    best = min(row.nrmse for rival, row in scores.items() if rival != "model")
    assert scores["model"].nrmse < 0.2 * best


def test_the_stiff_reaction_gets_an_implicit_solver_and_one_solution():
    solution = found("robertson")
    assert solution.shooting.integrator.solver == "kvaerno5"
    assert solution.joined
    assert solution.fit.converged
    np.testing.assert_allclose(solution.fit.sigma, 0.03, rtol=0.4)
