"""Standard errors of unknown coefficients: those of a least-squares fit; none where the data cannot tell."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml
from sciml.jacobian import linearise, prepare_rows
from sciml.uncertainty import uncertainty

COUNT, NOISE = 60, 0.01


class Decay(sciml.Problem):
    """`u_t = -k u` from 1: the least-squares fit of `exp(-k t)` is the reference."""

    k: sciml.Unknown = sciml.Unknown(1.5, positive=True)
    draw: int = 0
    domain = sciml.Box(t=(0.0, 1.0))

    def equation(self, u, u_t):
        return u_t + self.k * u

    def measured(self):
        generator = np.random.default_rng(self.draw)
        t = np.sort(generator.uniform(0.0, 1.0, COUNT))
        return t, np.exp(-2.0 * t) + NOISE * generator.standard_normal(COUNT)

    def conditions(self):
        t, u = self.measured()
        return [sciml.Initial(1.0), sciml.Data({"t": t}, {"u": u}, weight=0.01)]


class Bounded(Decay):
    """The same with bounds, so that the scale of the trainable number differs."""

    k: sciml.Unknown = sciml.Unknown(1.5, lower=0.5, upper=5.0)


def fit(t, u):
    """Gauss-Newton for `exp(-k t)`: the estimate and its standard error."""
    k = 2.0
    for _ in range(20):
        slope = -t * np.exp(-k * t)
        k -= slope @ (np.exp(-k * t) - u) / (slope @ slope)
    residual = np.exp(-k * t) - u
    slope = -t * np.exp(-k * t)
    return k, np.sqrt(residual @ residual / (COUNT - 1) / (slope @ slope))


def trained(problem):
    experiment = sciml.prepare(
        problem,
        network=sciml.Network(width=8, depth=2),
        points=sciml.Points(interior=128, batch=64, validation=64),
        phases=[sciml.Adam(steps=200, until=()), sciml.Broyden(steps=1500, until=())],
    )
    *_, last = experiment.train()
    return experiment, last.trainable


@pytest.mark.parametrize("problem", [Decay(), Bounded(draw=1)], ids=["positive", "bounded"])
def test_estimate_and_standard_error_are_those_of_a_least_squares_fit(problem):
    experiment, theta = trained(problem)
    estimate, error = fit(*problem.measured())
    found = uncertainty(experiment.objective, theta)
    assert found.names == ("k",)
    assert float(experiment.objective.unknowns(theta)["k"]) == pytest.approx(estimate, abs=0.1 * error)
    assert found.standard_errors[0] == pytest.approx(error, rel=0.05)
    assert found.noise == pytest.approx(NOISE, rel=0.3)
    assert experiment.unknowns(theta)["k"]["standard_error"] == found.standard_errors[0]


class Pair(Decay):
    """Only the sum of the two is determined, and a third has no influence."""

    other: sciml.Unknown = sciml.Unknown(0.5, positive=True)
    idle: sciml.Unknown = sciml.Unknown(1.0)

    def equation(self, u, u_t):
        return u_t + (self.k + self.other) * u + 0.0 * self.idle


def test_what_the_data_cannot_tell_has_no_standard_error():
    experiment, theta = trained(Pair())
    found = uncertainty(experiment.objective, theta)
    assert found.standard_errors == (None, None, None)
    assert set(found.reasons) == {"not determined by these data"}
    assert experiment.unknowns(theta)["idle"]["reason"] == "not determined by these data"


class Offset(Decay):
    """Two coefficients that the data tell apart: `u_t = -k u + c`, beside the same fit by Gauss-Newton."""

    c: sciml.Unknown = sciml.Unknown(0.3)

    def equation(self, u, u_t):
        return u_t + self.k * u - self.c


def test_two_coefficients_and_their_correlation():
    problem = Offset()
    experiment, theta = trained(problem)
    t, u = problem.measured()

    def model(p):
        k, c = p
        return c / k + (1 - c / k) * jnp.exp(-k * t)

    p = jnp.array([2.0, 0.0])
    for _ in range(20):
        slope = jax.jacobian(model)(p)
        p = p - jnp.linalg.lstsq(slope, model(p) - u)[0]
    residual, slope = model(p) - u, jax.jacobian(model)(p)
    covariance = residual @ residual / (COUNT - 2) * jnp.linalg.inv(slope.T @ slope)
    errors = jnp.sqrt(jnp.diag(covariance))
    found = uncertainty(experiment.objective, theta)
    np.testing.assert_allclose(found.standard_errors, errors, rtol=0.1)
    assert found.correlation[0, 1] == pytest.approx(float(covariance[0, 1] / errors[0] / errors[1]), abs=0.02)


class Single(Decay):
    """One measured value: an estimate without any measure of its noise."""

    def measured(self):
        t, u = super().measured()
        return t[:1], u[:1]


def test_too_few_data_have_no_standard_error():
    experiment, theta = trained(Single())
    assert uncertainty(experiment.objective, theta).reasons == ("too few data to estimate their noise",)


def test_data_without_weight_do_not_count():
    class Weightless(Decay):
        def conditions(self):
            initial, data = super().conditions()
            return [initial, sciml.Data(data.coordinates, data.values, weight=0.0)]

    experiment = sciml.prepare(Weightless())
    assert uncertainty(experiment.objective, experiment.start).standard_errors == (None,)


def test_a_jacobian_that_does_not_fit_is_refused(monkeypatch):
    experiment = sciml.prepare(Decay())
    monkeypatch.setattr("sciml.uncertainty.memory_bytes", lambda: 1000)
    found = uncertainty(experiment.objective, experiment.start)
    assert found.standard_errors == (None,)
    assert "does not fit into memory" in found.reasons[0]


def test_there_is_none_without_data_or_without_unknowns():
    class Forward(Decay):
        k: float = 2.0

    class Without(Decay):
        def conditions(self):
            return [sciml.Initial(1.0)]

    for problem in (Forward(), Without()):
        experiment = sciml.prepare(problem)
        assert uncertainty(experiment.objective, experiment.start) is None
        assert all(found["standard_error"] is None for found in experiment.unknowns(experiment.start).values())


def test_rows_are_the_loss_and_its_gradient():
    objective = sciml.prepare(Decay()).objective
    points = objective.draw(jax.random.key(0))
    rows = linearise(objective, objective.start, prepare_rows(objective, points))
    loss, gradient = objective.value_and_gradient(objective.start, objective.prepare(points))
    np.testing.assert_allclose(jnp.sum(rows.residuals**2), loss, rtol=1e-12)
    np.testing.assert_allclose(2 * rows.jacobian.T @ rows.residuals, gradient, rtol=1e-10, atol=1e-12)
    assert int(rows.measured.sum()) == COUNT


def test_solve_tells_standard_errors():
    phases = [sciml.Adam(steps=50, until=()), sciml.Broyden(steps=100, until=())]
    small = {"network": sciml.Network(width=8, depth=2), "points": sciml.Points(interior=64, batch=64, validation=64)}
    solution = sciml.solve(Decay(), phases=phases, progress=False, **small)
    found = solution.result["unknowns"]["k"]
    assert found["value"] == solution.unknowns["k"]
    assert found["standard_error"] > 0
    assert found["reason"] is None
