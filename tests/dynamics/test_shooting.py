"""Windows, residuals and their derivatives."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import LotkaVolterra, lotka_volterra_path

import sciml
from sciml.dynamics.first_look import look
from sciml.dynamics.shooting import Shooting, cut
from sciml.dynamics.starting_fields import build_field
from sciml.dynamics.vector_fields import Given
from sciml.settings import Integrator, NeuralField


def shooting_of(problem, intervals, continuity=0.5, **integrator):
    series = problem.measured
    begin = look(series, problem.noise, problem.states, problem)
    windows = cut(series, intervals)
    anchors = np.stack([begin.states[index][row] for index, row in zip(windows.trajectory, windows.begin, strict=True)])
    settings = Integrator(**{"solver": "tsit5", "rtol": 1e-9, "atol": 1e-11} | integrator)
    return Shooting(Given(problem), series, problem.noise, settings, intervals, anchors, begin.scale, begin.sigma, continuity)


@pytest.fixture(scope="module")
def shooting():
    return shooting_of(LotkaVolterra(), 3)


@pytest.fixture(scope="module")
def theta(shooting):
    return shooting.start + 0.05 * jax.random.normal(jax.random.key(0), shooting.start.shape)


@pytest.fixture(scope="module")
def linearised(shooting, theta):
    return jax.jit(shooting.linearise)(theta, shooting.sigma)


@pytest.mark.parametrize(("intervals", "substeps"), [(1, 1), (3, 2), (None, 4)])
def test_fixed_steps_on_the_host_are_those_of_the_solver(intervals, substeps):
    stage = shooting_of(LotkaVolterra(), intervals, solver="rk4", substeps=substeps)
    compiled = np.asarray(jax.jit(stage.paths)(stage.start).states) / np.asarray(stage.scale)
    np.testing.assert_allclose(stage.followed(substeps), compiled, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("intervals", [1, 3, 4, 7, None])
def test_every_value_belongs_to_one_window(intervals):
    times = [np.arange(11.0), np.arange(4.0)]
    values = [np.arange(1.0, 12.0)[:, None], np.arange(20.0, 24.0)[:, None]]
    values[0][5] = np.nan
    series = sciml.TimeSeries.from_arrays(times, values, ("x",))
    windows = cut(series, intervals)
    measured = np.sort(windows.values[windows.mask])
    np.testing.assert_array_equal(measured, np.sort(np.concatenate(values)[~np.isnan(np.concatenate(values))]))
    assert np.all(np.diff(windows.times, axis=1) >= 0)
    for window in np.flatnonzero(windows.linked):
        assert windows.times[window].max() == windows.times[window + 1, 0]
    assert windows.first.sum() == 2
    assert (~windows.linked).sum() == 2


def test_jacobian_against_central_differences(shooting, theta, linearised):
    _, jacobian = linearised
    residuals = jax.jit(lambda theta: shooting.linearise(theta, shooting.sigma)[0])
    for seed in range(3):
        direction = jax.random.normal(jax.random.key(seed + 1), theta.shape)
        difference = (residuals(theta + 1e-5 * direction) - residuals(theta - 1e-5 * direction)) / 2e-5
        np.testing.assert_allclose(jacobian @ direction, difference, atol=1e-5 * float(jnp.max(jnp.abs(difference))))


def test_gradient_and_loss_are_those_of_the_residuals(shooting, theta, linearised):
    rows, jacobian = linearised
    value, gradient = jax.jit(lambda theta: shooting.value_and_gradient(theta, None))(theta)
    assert float(value) == pytest.approx(float(rows @ rows) / shooting.measured, rel=1e-10)
    np.testing.assert_allclose(gradient, 2 * rows @ jacobian / shooting.measured, rtol=1e-8, atol=1e-10)
    backwards = shooting_of(LotkaVolterra(), 3)
    backwards._forward = False
    other = jax.jit(lambda theta: backwards.value_and_gradient(theta, None))(theta)
    assert float(other[0]) == pytest.approx(float(value), rel=1e-8)
    np.testing.assert_allclose(other[1], gradient, rtol=1e-4, atol=1e-4 * float(jnp.max(jnp.abs(gradient))))


def test_random_groups_of_windows_add_up_to_all(shooting, theta):
    assert shooting.stochastic() == (True,)
    whole = jax.jit(lambda theta: shooting.evaluate(theta, None))(theta)
    drawn = jax.jit(lambda theta, step: shooting.sample_and_evaluate(theta, step, {}))
    first, second = drawn(theta, jnp.asarray(1)), drawn(theta, jnp.asarray(2))
    np.testing.assert_allclose(first.gradient, whole.gradient, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(first.components, whole.components, rtol=1e-9)
    assert float(first.variance[0]) > 0
    assert float(first.variance[0]) != float(second.variance[0])


def test_the_prior_of_a_network_is_part_of_loss_and_gradient():
    problem = LotkaVolterra()
    given = shooting_of(problem, 3)
    begin = look(problem.measured, problem.noise, problem.states, problem)
    network = given.with_field(
        build_field(NeuralField(width=5, depth=1), None, None, problem.measured, problem.noise, ("x", "y"), begin, 0)[0]
    )
    assert (given.components, network.components) == (("data", "continuity"), ("data", "continuity", "prior"))
    theta = network.start + 0.1 * jax.random.normal(jax.random.key(0), network.start.shape)
    value, gradient = jax.jit(lambda theta: network.value_and_gradient(theta, None))(theta)
    rows = jax.jit(lambda theta: network.linearise(theta, network.sigma)[0])(theta)
    prior = jnp.sum((network.precisions * theta[: network.field_size]) ** 2)
    assert float(value) == pytest.approx(float(rows @ rows + prior) / network.measured, rel=1e-8)
    assert float(network.validate(theta, None).mean_square) == pytest.approx(float(value), rel=1e-8)
    direction = jax.random.normal(jax.random.key(1), theta.shape)
    ahead, behind = (network.value_and_gradient(theta + step * direction, None)[0] for step in (1e-5, -1e-5))
    assert float(gradient @ direction) == pytest.approx(float(ahead - behind) / 2e-5, rel=1e-5)
    grouped = jax.jit(lambda theta: network.sample_and_evaluate(theta, jnp.asarray(1), {}))(theta)
    np.testing.assert_allclose(grouped.gradient, gradient, rtol=1e-8, atol=1e-9 * float(jnp.max(jnp.abs(gradient))))
    assert float(jnp.sum(grouped.components)) == pytest.approx(float(value), rel=1e-9)


def test_at_the_truth_only_the_noise_is_left():
    problem = dataclasses.replace(LotkaVolterra(), a=sciml.Unknown(1.3), b=sciml.Unknown(0.9), c=sciml.Unknown(0.8), d=sciml.Unknown(1.8))
    shooting = shooting_of(problem, 10)
    _, path = lotka_volterra_path()
    raw = shooting.raw_of(jnp.asarray(path[shooting.windows.begin]))
    theta = jnp.concatenate([jnp.zeros(4), raw.ravel()])
    rows, _ = jax.jit(shooting.linearise)(theta, jnp.full(2, 0.05))
    data = np.asarray(rows)[: shooting.windows.mask.size]
    noise = (problem.measured.values[0] - path) / 0.05
    assert float(data @ data) == pytest.approx(float(np.sum(noise**2)), rel=1e-5)
    assert np.max(np.abs(np.asarray(rows)[shooting.windows.mask.size :])) < 1e-5


def test_a_window_that_runs_away_is_large_not_nan():
    class Explosion(sciml.Dynamics):
        k: sciml.Unknown = sciml.Unknown(50.0)

        def vector_field(self, x):
            return self.k * x**2

        def series(self):
            return sciml.TimeSeries.from_arrays(np.arange(5.0), np.array([1.0, 1.1, 1.3, 1.2, 1.5]), ("x",))

    shooting = shooting_of(Explosion(), None)
    rows, jacobian = jax.jit(shooting.linearise)(shooting.start, shooting.sigma)
    assert np.all(np.isfinite(rows))
    assert np.all(np.isfinite(jacobian))
    assert np.max(np.abs(rows)) >= 1e3


class Transfer(sciml.Dynamics):
    """From a first compartment, which is measured, to a second one, which starts empty and is never measured."""

    rate: sciml.Unknown = sciml.Unknown(0.8, positive=True)
    back: sciml.Unknown = sciml.Unknown(0.1, positive=True)
    noise = sciml.LogNormal()

    def vector_field(self, first, second):
        return self.back * second - self.rate * first, self.rate * first - self.back * second

    def initial(self):
        return {"first": 1.0, "second": 0.0}

    def series(self):
        times = np.linspace(0.0, 6.0, 41)
        truth = (0.25 + 0.5 * np.exp(-0.75 * times)) / 0.75
        return sciml.TimeSeries.from_arrays(times, truth * np.exp(0.02 * np.random.default_rng(0).standard_normal(41)), ("first",))


def test_a_state_that_starts_at_zero_under_errors_by_a_factor():
    """Windows start at a factor of their anchor, which therefore cannot be zero."""
    found = sciml.discover(Transfer(), progress=False)
    for name, truth in (("rate", 0.5), ("back", 0.25)):
        estimate = found.coefficients[name]
        assert abs(estimate.value - truth) < 3 * estimate.standard_error < 0.3
