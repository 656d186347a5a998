"""Levenberg-Marquardt beside SciPy, and where trials are not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import least_squares

from sciml.dynamics.levenberg_marquardt import minimise

TIMES = np.linspace(0.0, 3.0, 25)
VALUES = 2.0 * np.exp(-1.3 * TIMES) + 0.5 + 0.02 * np.random.default_rng(0).standard_normal(TIMES.size)


def decay(theta):
    return theta[0] * jnp.exp(-theta[1] * TIMES) + theta[2] - VALUES


def linearised(function):
    return jax.jit(lambda theta: (function(theta), jax.jacfwd(function)(theta)))


def test_agrees_with_scipy():
    start = np.array([1.0, 0.2, 0.0])
    found = minimise(linearised(decay), start)
    expected = least_squares(lambda theta: np.asarray(decay(theta)), start, xtol=1e-14, ftol=1e-14, gtol=1e-14)
    assert found.converged
    np.testing.assert_allclose(found.theta, expected.x, rtol=1e-6)
    assert found.value == pytest.approx(expected.cost, rel=1e-9)


def test_steps_back_from_where_the_residual_is_not_finite():
    def walled(theta):
        value = theta[0] - 0.999
        return jnp.stack([jnp.where(theta[0] < 1.0, value, jnp.nan), 0.1 * (theta[0] - 5.0)])

    found = minimise(linearised(walled), np.array([-3.0]))
    assert np.isfinite(found.value)
    assert 0.9 < found.theta[0] < 1.0


def test_a_direction_without_curvature_stays_where_it_was():
    found = minimise(linearised(lambda theta: jnp.stack([theta[0] - 2.0, 2.0 * theta[0] - 4.0])), jnp.array([0.0, 7.0]))
    np.testing.assert_allclose(found.theta, [2.0, 7.0], atol=1e-8)


@pytest.mark.parametrize("times", [TIMES, TIMES[:2]], ids=["more residuals than parameters", "fewer"])
def test_a_pull_to_the_start_is_further_residuals(times):
    start, pull, values = jnp.array([1.0, 0.2, 0.0]), 0.1, jnp.asarray(VALUES[: len(times)])

    def misfit(theta):
        return theta[0] * jnp.exp(-theta[1] * times) + theta[2] - values

    found = minimise(linearised(misfit), start, pull=pull)
    expected = minimise(linearised(lambda theta: jnp.concatenate([misfit(theta), pull * (theta - start)])), start)
    assert found.converged
    np.testing.assert_allclose(found.theta, expected.theta, rtol=1e-6)
    assert abs(found.steps - expected.steps) <= 1
