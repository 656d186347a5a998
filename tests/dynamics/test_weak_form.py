"""Weak-form regression: exact without noise on irregular grids, nearly unbiased with noise, several trajectories, gaps."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax.core import Tracer
from scipy.integrate import solve_ivp

from sciml.dynamics.library import polynomials, user_terms
from sciml.dynamics.regression import regressions
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.smoothing import smooth
from sciml.dynamics.weak_form import bumps, quadrature, weak_rows

LIBRARY = polynomials(("x", "y"), 2)
TRUE = {("x", 1): -1.0, ("y", 0): 1.0, ("x", 0): -0.1, ("y", 1): -0.1}


def spiral(times, start=(2.0, 0.0)):
    return solve_ivp(
        lambda _, u: [-0.1 * u[0] + u[1], -u[0] - 0.1 * u[1]], (0, times[-1]), start, "DOP853", times, rtol=1e-11, atol=1e-12
    ).y.T


def true_coefficients():
    coefficients = np.zeros((len(LIBRARY), 2))
    for (name, equation), value in TRUE.items():
        coefficients[LIBRARY.names().index(name), equation] = value
    return coefficients


def irregular(points, seed):
    return np.sort(np.random.default_rng(seed).uniform(0, 15, points))


def test_quadrature_is_exact_for_polynomials_on_irregular_times():
    times = irregular(9, 0)
    nodes, weights = quadrature(times)
    for power in range(8):
        exact = (times[-1] ** (power + 1) - times[0] ** (power + 1)) / (power + 1)
        assert weights @ nodes**power == pytest.approx(exact, rel=1e-12)


def test_bumps_vanish_at_both_ends_and_integrate_by_parts():
    times = irregular(60, 1)
    nodes, weights = quadrature(times, 0.25)
    values, derivatives = bumps(nodes, times, 0.5)
    assert len(values) > 20
    np.testing.assert_allclose(derivatives @ weights, 0, atol=1e-3 * np.abs(derivatives).max())
    np.testing.assert_allclose(derivatives @ (weights * nodes), -(values @ weights), rtol=1e-3)


def test_rows_hold_for_the_truth():
    times = irregular(200, 2)
    series = TimeSeries.from_arrays(times, spiral(times), ("x", "y"))
    (rows,) = weak_rows(series, smooth(series), LIBRARY)
    residual = rows.target - rows.design @ true_coefficients()
    assert np.abs(residual).max() < 5e-4 * np.abs(rows.target).max()


@pytest.mark.parametrize(("noise", "tolerance"), [(0.0, 5e-4), (0.02, 0.03), (0.1, 0.1)])
def test_sparse_coefficients_from_irregular_times(noise, tolerance):
    times = irregular(250, 3)
    values = spiral(times) + noise * np.random.default_rng(4).normal(size=(250, 2))
    series = TimeSeries.from_arrays(times, values, ("x", "y"))
    np.testing.assert_allclose(regressions(series, smooth(series), LIBRARY)[0], true_coefficients(), atol=tolerance)


def test_trajectories_of_unequal_length_with_gaps():
    random = np.random.default_rng(6)
    times = [irregular(80, 7), irregular(140, 8)]
    values = [spiral(each, start) + 0.02 * random.normal(size=(len(each), 2)) for each, start in zip(times, [(2, 0), (0, -1)], strict=True)]
    values[1][random.random(values[1].shape) < 0.1] = np.nan
    series = TimeSeries.from_arrays(times, values, ("x", "y"))
    np.testing.assert_allclose(regressions(series, smooth(series), LIBRARY)[0], true_coefficients(), atol=0.05)


def test_a_known_part_is_left_out_of_the_search():
    times = irregular(250, 9)
    series = TimeSeries.from_arrays(times, spiral(times), ("x", "y"))
    found = regressions(series, smooth(series), LIBRARY, known=lambda points: -0.1 * points)[0]
    rest = true_coefficients()
    rest[[1, 2], [0, 1]] = 0.0
    np.testing.assert_allclose(found, rest, atol=1e-3)


def test_a_control_input_is_a_candidate():
    times = np.linspace(0, 15, 200)
    push = np.sin(1.7 * times)
    path = solve_ivp(lambda t, u: -0.5 * u + 2 * np.sin(1.7 * t), (0, 15), [1.0], "DOP853", times, rtol=1e-11, atol=1e-12).y.T
    series = TimeSeries.from_arrays(times, path, ("x",), push, ("u",))
    library = polynomials(("x", "u"), 2)
    found = dict(zip(library.names(), regressions(series, smooth(series), library)[0][:, 0], strict=True))
    assert found.pop("x") == pytest.approx(-0.5, abs=2e-3)
    assert found.pop("u") == pytest.approx(2.0, abs=5e-3)
    assert not any(found.values())


def test_user_functions_are_traced_with_jax():
    """So that their derivatives, which the rows' covariance needs, are exact."""
    seen = []

    def drag(x, v):
        seen.append(isinstance(v, Tracer))
        return v * jnp.abs(v)

    times = np.linspace(0, 15, 200)
    slope = lambda _, u: [u[1], -u[0] - 0.3 * u[1] * abs(u[1])]  # noqa: E731
    path = solve_ivp(slope, (0, 15), [2.0, 0.0], "DOP853", times, rtol=1e-11, atol=1e-12).y.T
    series = TimeSeries.from_arrays(times, path, ("x", "v"))
    library = polynomials(("x", "v"), 1) + user_terms(("x", "v"), drag=drag)
    found, _ = regressions(series, smooth(series), library)
    np.testing.assert_allclose(found, [[0, 0], [0, -1], [1, 0], [0, -0.3]], atol=5e-3)
    assert seen
    assert all(seen)
