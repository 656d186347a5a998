"""Integration: accuracy as asked for, the right kind of solver, and failures as values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from sciml.dynamics.integrate import BLOW_UP, REACHED, choose_solver, failure, integrate
from sciml.settings import Integrator

NONE = jnp.zeros((6, 0))


def oscillator(t, state, controls):
    return jnp.stack([state[1], -state[0]])


@pytest.mark.parametrize("solver", ["tsit5", "dopri8", "kvaerno5"])
def test_error_follows_the_tolerance(solver):
    times = jnp.linspace(0.0, 5.0, 6)

    def error(rtol):
        settings = Integrator(solver=solver, rtol=rtol, atol=rtol)
        path = jax.jit(lambda: integrate(oscillator, times, jnp.array([0.0, 1.0]), NONE, jnp.ones(2), settings))()
        return float(jnp.max(jnp.abs(path.states[:, 0] - jnp.sin(times))))

    loose, tight = error(1e-5), error(1e-9)
    assert tight < 1e-7
    assert loose < 1e-3
    assert tight < 1e-2 * loose


def test_fixed_steps_are_of_fourth_order():
    """Between times of unequal distance, two of them equal, with an input that is linear between them."""
    times = jnp.array([0.0, 0.5, 0.7, 2.0, 2.0, 3.0])
    inputs = jnp.sin(times)[:, None]

    def error(substeps):
        settings = Integrator(solver="rk4", substeps=substeps)
        path = jax.jit(lambda: integrate(oscillator, times, jnp.array([0.0, 1.0]), NONE, jnp.array([1.0, 3.0]), settings))()
        assert int(path.code) == 0
        return float(jnp.max(jnp.abs(path.states[:, 0] - jnp.sin(times))))

    assert error(4) / error(8) == pytest.approx(16, rel=0.2)
    driven = jax.jit(lambda: integrate(lambda t, state, u: u, times, jnp.zeros(1), inputs, jnp.ones(1), Integrator(solver="rk4")))()
    trapezia = np.concatenate([[0.0], np.cumsum(np.diff(times) * 0.5 * (inputs[1:, 0] + inputs[:-1, 0]))])
    np.testing.assert_allclose(driven.states[:, 0], trapezia, rtol=1e-12)


def test_fixed_steps_that_run_away_have_a_valid_prefix_and_a_gradient():
    times = jnp.linspace(0.0, 1.0, 6)
    run = lambda start: integrate(lambda t, state, u: state**3, times, start, NONE, jnp.ones(1), Integrator(solver="rk4"))  # noqa: E731
    path = jax.jit(run)(jnp.ones(1))
    assert int(path.code) == BLOW_UP
    assert np.isfinite(path.states[:2]).all()
    assert not np.isfinite(path.states[-1]).any()
    gradient = jax.grad(lambda start: jnp.sum(jnp.where(jnp.isfinite(run(start).states), run(start).states, 0.0)))(jnp.ones(1))
    assert np.isfinite(gradient).all()


def test_kencarp5_takes_the_whole_field_as_its_implicit_part():
    """Between its steps it interpolates with third order, which is what limits it here."""
    times = jnp.linspace(0.0, 5.0, 6)
    settings = Integrator(solver="kencarp5", rtol=1e-9, atol=1e-9)
    path = jax.jit(lambda: integrate(oscillator, times, jnp.array([0.0, 1.0]), NONE, jnp.ones(2), settings))()
    np.testing.assert_allclose(path.states[:, 0], jnp.sin(times), atol=2e-5)


def test_controls_are_interpolated():
    times = jnp.linspace(0.0, 5.0, 6)
    inputs = (2.0 * times)[:, None]
    settings = Integrator(solver="tsit5")
    path = jax.jit(lambda: integrate(lambda t, state, u: u, times, jnp.array([1.0]), inputs, jnp.ones(1), settings))()
    np.testing.assert_allclose(path.states[:, 0], 1.0 + times**2, rtol=1e-7)


@pytest.mark.parametrize(
    ("solver", "rate", "reason"),
    [
        ("tsit5", lambda t, state: state**2, "infinity"),
        ("rk4", lambda t, state: state**2, "infinity"),
        ("tsit5", lambda t, state: 1e4 * jnp.cos(1e4 * t) + 0 * state, "too many"),
        ("kvaerno5", lambda t, state: 1e4 * jnp.cos(1e4 * t) + 0 * state, "too many"),
    ],
)
def test_what_stops_a_solver_is_told(solver, rate, reason):
    times = np.linspace(0.0, 2.0, 6)
    settings = Integrator(solver=solver, max_steps=1000)
    path = jax.jit(lambda: integrate(lambda t, y, u: rate(t, y), jnp.asarray(times), jnp.ones(1), NONE, jnp.ones(1), settings))()
    found = failure(path, times)
    assert found is not None
    assert reason in found.reason


def test_a_long_solution_may_take_more_steps_than_a_short_one():
    times = jnp.linspace(0.0, 600.0, 1200)
    settings = Integrator(solver="tsit5", max_steps=2000)
    path = jax.jit(lambda: integrate(oscillator, times, jnp.array([0.0, 1.0]), jnp.zeros((1200, 0)), jnp.ones(2), settings))()
    assert int(path.code) == REACHED
    assert int(path.steps) > 2000


def test_blow_up_is_a_value_with_its_valid_prefix():
    times = np.linspace(0.0, 2.0, 6)
    settings = Integrator(solver="tsit5", max_steps=500)
    path = jax.jit(lambda: integrate(lambda t, state, u: state**2, jnp.asarray(times), jnp.array([1.0]), NONE, jnp.ones(1), settings))()
    np.testing.assert_allclose(path.states[:3, 0], 1 / (1 - times[:3]), rtol=1e-6)
    assert not np.isfinite(path.states[3:]).any()
    found = failure(path, times)
    assert found is not None
    assert found.time == pytest.approx(0.8)
    assert "infinity" in found.reason


def test_stiff_problems_get_an_implicit_solver():
    times = jnp.linspace(0.0, 1.0, 6)
    stiff = lambda t, state, u: -1e5 * (state - jnp.cos(t))  # noqa: E731

    def choose(field, start, settings=Integrator()):  # noqa: B008
        solve = lambda tried: jax.jit(lambda: integrate(field, times, start, NONE, jnp.ones(start.size), tried))()  # noqa: E731
        return choose_solver(solve, len(times) - 1, settings).solver

    assert choose(stiff, jnp.array([0.0])) == "kvaerno5"
    assert choose(oscillator, jnp.array([0.0, 1.0])) == "tsit5"
    assert choose(stiff, jnp.array([0.0]), Integrator(solver="dopri8")) == "dopri8"


def test_an_implicit_solver_crosses_eight_decades_of_time_in_few_steps():
    """Robertson's reaction; with Jacobians that are not renewed, Kvaerno5 gives up after 4,096 steps at these tolerances."""
    times = jnp.concatenate([jnp.zeros(1), jnp.logspace(-4.0, 4.0, 9)])

    def reaction(t, state, controls):
        forward, back, onward = 0.04 * state[0], 1e4 * state[1] * state[2], 3e7 * state[1] ** 2
        return jnp.stack([back - forward, forward - back - onward, onward])

    start, scale, settings = jnp.array([1.0, 0.0, 0.0]), jnp.array([0.3, 1e-5, 0.3]), Integrator(solver="kvaerno5")
    path = jax.jit(lambda: integrate(reaction, times, start, jnp.zeros((10, 0)), scale, settings))()
    assert int(path.code) == 0
    assert int(path.steps) < 250
    truth = solve_ivp(
        lambda t, state: np.asarray(reaction(t, state, None), float), (0.0, 1e4), start, "Radau", times, rtol=1e-10, atol=1e-14
    ).y.T
    np.testing.assert_allclose(path.states[1:], truth[1:], rtol=1e-4, atol=1e-10)
