"""Coefficients through the solver: known truth recovered, intervals that cover it, and what the data cannot tell."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import TRUTH, LotkaVolterra, lotka_volterra_path
from test_shooting import shooting_of

import sciml
from sciml.dynamics.first_look import look
from sciml.dynamics.levenberg_marquardt import minimise
from sciml.dynamics.refit import as_it_is, refit
from sciml.dynamics.starting_fields import build_field
from sciml.settings import UniversalField

LEVEL = 0.05


@pytest.fixture(scope="module")
def shooting():
    return shooting_of(LotkaVolterra(level=LEVEL), None)


@pytest.fixture(scope="module")
def fit(shooting):
    return refit(shooting, shooting.start)


def test_known_coefficients_lie_in_their_intervals(fit):
    assert fit.converged
    np.testing.assert_allclose(fit.sigma, LEVEL, rtol=0.35)
    assert fit.degrees == pytest.approx(62 - 6, abs=1e-6)
    for name, truth in TRUTH.items():
        found = fit.coefficients[name]
        assert found.reason is None
        assert found.lower < found.value < found.upper
        assert abs(found.value - truth) < 4 * found.standard_error


def test_a_network_beside_known_physics_leaves_its_coefficients_wider_intervals(shooting, fit):
    """What the network could do as well, the data do not tell of the coefficients."""
    problem = LotkaVolterra(level=LEVEL)
    begin = look(problem.measured, problem.noise, problem.states, problem)
    field = build_field(UniversalField(width=4, depth=1), None, problem, problem.measured, problem.noise, problem.states, begin, 0)[0]
    beside = shooting.with_field(field)
    quiet = 0.1 * np.array(beside.field_start)  # so that the trajectories are those of the fit
    quiet[np.flatnonzero(np.asarray(beside.precisions) == 0)[:4]] = fit.theta[:4]
    theta = np.concatenate([quiet, fit.theta[shooting.field_size :]])
    misfits = shooting.misfits(np.asarray(shooting.linearise(jnp.asarray(fit.theta), jnp.asarray(fit.sigma))[0]), fit.sigma)
    found = as_it_is(beside, theta, misfits)
    assert set(found.coefficients) == set(TRUTH)
    for name, each in found.coefficients.items():
        assert each.value == pytest.approx(fit.coefficients[name].value)
        assert each.standard_error > 1.2 * fit.coefficients[name].standard_error
        assert each.lower < each.value < each.upper
    assert found.correlation.shape == (4, 4)


class Spare(LotkaVolterra):
    """With a coefficient that occurs nowhere."""

    e: sciml.Unknown = sciml.Unknown(1.0)


def test_a_coefficient_that_the_data_do_not_touch_is_not_determined_beside_a_network():
    problem = Spare(level=LEVEL)
    begin = look(problem.measured, problem.noise, problem.states, problem)
    field = build_field(UniversalField(width=4, depth=1), None, problem, problem.measured, problem.noise, problem.states, begin, 0)[0]
    beside = shooting_of(problem, None).with_field(field)
    found = as_it_is(beside, 0.1 * beside.start, np.ones(beside.windows.values.shape))
    assert "hardly determined" in found.coefficients["e"].reason
    assert np.isfinite(found.covariance).all()


def test_intervals_cover_the_truth_as_often_as_they_say(shooting, fit):
    """Two hundred other draws of the noise; the standard errors are those of the first fit."""
    _, path = lotka_volterra_path()
    sigma = jnp.full(2, LEVEL)
    first = shooting.measured_rows()
    here = np.asarray(shooting.series.values[0])
    random = np.random.default_rng(5)
    shifts = np.stack([(path + LEVEL * random.standard_normal(path.shape) - here).ravel() / LEVEL for _ in range(200)])
    rows = np.zeros((len(shifts), first.size))
    rows[:, np.asarray(first)] = shifts

    linearise = jax.jit(shooting.linearise)

    def shifted(theta, shift):
        residuals, jacobian = linearise(theta, sigma)
        return residuals + shift, jacobian

    raw = np.array([minimise(lambda theta, shift=shift: shifted(theta, shift), fit.theta, 12).theta[:4] for shift in rows])
    errors = np.sqrt(np.diag(fit.covariance))[:4] * LEVEL / float(np.sqrt(np.mean(fit.sigma**2)))
    truth = np.log([TRUTH[name] / start for name, start in zip("abcd", (1.0, 1.0, 1.0, 1.5), strict=True)])
    inside = np.abs(raw - truth) < 1.96 * errors
    assert 0.91 < inside.mean() < 0.98
    np.testing.assert_allclose(raw.std(axis=0), errors, rtol=0.25)


def test_a_coefficient_that_nothing_depends_on_has_no_interval():
    class Idle(LotkaVolterra):
        spare: sciml.Unknown = sciml.Unknown(2.0, positive=True)

        def vector_field(self, x, y):
            return self.a * x - self.b * x * y + 0.0 * self.spare, self.c * x * y - self.d * y

    shooting = shooting_of(Idle(level=LEVEL), None)
    found = refit(shooting, shooting.start, rounds=1).coefficients["spare"]
    assert found.standard_error is None
    assert found.reason == "not determined by these data"
    assert "not determined" in str(found)


def test_two_coefficients_known_only_as_a_product_say_so():
    class Product(sciml.Dynamics):
        k: sciml.Unknown = sciml.Unknown(1.0, positive=True)
        m: sciml.Unknown = sciml.Unknown(1.0, positive=True)

        def vector_field(self, x):
            return -self.k * self.m * x

        def series(self):
            times = np.linspace(0.0, 2.0, 12)
            return sciml.TimeSeries.from_arrays(times, np.exp(-1.5 * times) + 0.01 * np.cos(37 * times), ("x",))

    shooting = shooting_of(Product(), None)
    found = refit(shooting, shooting.start, rounds=1).coefficients
    assert all(each.reason is not None for each in found.values())
    assert found["k"].value * found["m"].value == pytest.approx(1.5, rel=0.1)


def test_positive_coefficients_have_positive_intervals(fit):
    assert all(each.lower > 0 for each in fit.coefficients.values())
