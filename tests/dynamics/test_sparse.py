"""discover_sparse: terms, coefficients and their standard errors against systems that are known."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from sciml.dynamics.candidate import descended, propose
from sciml.dynamics.library import polynomials
from sciml.dynamics.likelihood import cut, joined, maximise
from sciml.dynamics.regression import regressions
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.smoothing import smooth
from sciml.dynamics.sparse import affordable, discover_sparse

LIBRARY = polynomials(("x", "y"), 3)
TRUE = {("y", 0): 1.0, ("x", 1): -1.0, ("y", 1): 0.8, ("x^2 y", 1): -0.8}


def van_der_pol(times, start=(2.0, 0.0)):
    return solve_ivp(
        lambda _, u: [u[1], 0.8 * (1 - u[0] ** 2) * u[1] - u[0]], (0, times[-1]), start, "DOP853", times, rtol=1e-11, atol=1e-12
    ).y.T


def true_coefficients():
    coefficients = np.zeros((len(LIBRARY), 2))
    for (name, equation), value in TRUE.items():
        coefficients[LIBRARY.names().index(name), equation] = value
    return coefficients


def noisy(noise, seed, points=150):
    random = np.random.default_rng(seed)
    times = np.sort(random.uniform(0, 12, points))
    return TimeSeries.from_arrays(times, van_der_pol(times) + noise * random.normal(size=(points, 2)), ("x", "y"))


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.15])
def test_terms_and_coefficients(noise):
    model = discover_sparse(noisy(noise, 1), LIBRARY)
    assert model.support == (("y",), ("x", "y", "x^2 y"))
    deviation = np.abs(model.coefficients - true_coefficients())[model.coefficients != 0]
    assert (deviation < 4 * model.standard_errors[model.coefficients != 0] + 1e-4).all()
    if noise:
        np.testing.assert_allclose(model.noise, noise, rtol=0.2)
        assert (model.inclusion[model.coefficients != 0] > 0.8).all()
    state = jnp.array([0.3, -0.7])
    np.testing.assert_allclose(model(0.0, state), LIBRARY(state) @ model.coefficients)
    assert model.equations().splitlines()[1].startswith("y' = -")


@pytest.mark.parametrize("units", [(1e5, 1e-3), (1e-8, 1e3), (1e9, 1.0)])
def test_units_do_not_matter(units):
    series = noisy(0.05, 1)
    scaled = TimeSeries.from_arrays(series.times[0], series.values[0] * np.array(units), ("x", "y"))
    ours, theirs = (discover_sparse(each, LIBRARY, resamples=0) for each in (series, scaled))
    assert theirs.support == ours.support
    for row, term in enumerate(LIBRARY.terms):
        size = np.prod([units[variable] ** factor.power for factor in term.factors for variable, _ in factor.weights])
        np.testing.assert_allclose(theirs.coefficients[row] * size / np.array(units), ours.coefficients[row], rtol=1e-3)
    assert theirs.cross_validation == pytest.approx(ours.cross_validation, rel=1e-3)


def test_maximum_likelihood_repairs_a_wrong_start():
    series = noisy(0.05, 2)
    smoothed = smooth(series)
    fit = maximise(LIBRARY, cut(series, smoothed), 0.5 * true_coefficients(), steps=30)
    np.testing.assert_allclose(fit.coefficients, true_coefficients(), atol=0.1)
    assert fit.squares / fit.points == pytest.approx(1.0, abs=0.3)


def test_the_quadratic_model_is_that_of_the_sum_of_squares():
    series = noisy(0.05, 3)
    windows = cut(series, smooth(series))
    fit = maximise(LIBRARY, windows, true_coefficients(), steps=30)
    design, target = fit.least_squares()
    change = np.zeros(fit.coefficients.size)
    change[np.flatnonzero(fit.coefficients.ravel())] = [0.01, -0.02, 0.01, 0.015]
    moved = maximise(LIBRARY, windows._replace(starts=fit.starts), fit.coefficients + change.reshape(fit.coefficients.shape), steps=0)
    here = ((target - design @ fit.coefficients.ravel()) ** 2).sum()
    there = ((target - design @ (fit.coefficients.ravel() + change)) ** 2).sum()
    free = change @ (fit.quadratic.matrix @ change) + 2 * fit.quadratic.gradient @ change
    assert there - here == pytest.approx(free, rel=1e-6)
    assert moved.squares > fit.squares + 0.5 * free  # states fixed: more than with states that follow


def test_standard_errors_are_those_of_repeated_experiments():
    series = [noisy(0.05, seed, 120) for seed in range(12)]
    fits = [maximise(LIBRARY, cut(each, smooth(each)), true_coefficients()) for each in series]
    support = np.flatnonzero(true_coefficients().ravel())
    spread = np.std([fit.coefficients.ravel()[support] for fit in fits], axis=0)
    predicted = np.mean([np.sqrt(np.diag(fit.covariance(support))) for fit in fits], axis=0)
    assert 0.5 < np.median(spread / predicted) < 2.0


def test_a_library_is_no_larger_than_the_data_can_afford():
    libraries = [polynomials(("x", "y"), degree) for degree in (1, 2, 3)]
    for rows, degree in ((8, 1), (16, 1), (20, 2), (100, 3)):
        series = TimeSeries.from_arrays(np.arange(rows), np.random.default_rng(0).normal(size=(rows, 2)), names=("x", "y"))
        assert len(affordable(libraries, series)[-1]) == len(polynomials(("x", "y"), degree))


def test_joined_windows_are_one_solution():
    series = noisy(0.05, 4)
    fit = maximise(LIBRARY, cut(series, smooth(series)), true_coefficients())
    tied = joined(fit)
    starts = [times[0] for times in tied.windows.times[: tied.windows.unpadded]]
    slope = lambda _, u: LIBRARY.numpy(u[None])[0] @ tied.coefficients  # noqa: E731
    path = solve_ivp(slope, (starts[0], starts[-1]), tied.starts[0], "DOP853", starts, rtol=1e-9, atol=1e-9).y.T
    np.testing.assert_allclose(tied.starts[: len(starts)], path, atol=0.05 * 0.02)
    assert np.linalg.norm(tied.coefficients - true_coefficients()) < np.linalg.norm(fit.coefficients - true_coefficients()) + 0.01


def test_no_single_solution_follows_a_disturbed_trajectory():
    times = np.linspace(0, 12, 150)
    values = np.where(times[:, None] < 6, van_der_pol(times), van_der_pol(times, (-1.0, 1.0)))
    series = TimeSeries.from_arrays(times, values + 0.02 * np.random.default_rng(0).normal(size=values.shape), ("x", "y"))
    fit = maximise(LIBRARY, cut(series, smooth(series)), true_coefficients(), steps=30)
    assert joined(fit).squares > 1.2 * fit.squares


@pytest.mark.parametrize(("order", "name"), [(1, "x/("), (2, "x^2/(")])
def test_a_rational_term_and_its_constant_are_found(order, name):
    slope = lambda _, u: [0.3 - 1.5 * u[0] ** order / (0.6**order + u[0] ** order)]  # noqa: E731
    times = np.linspace(0, 5, 200)
    path = solve_ivp(slope, (0, 5), [5.0], "DOP853", times, rtol=1e-10, atol=1e-12).y.T
    series = TimeSeries.from_arrays(times, path + 0.002 * np.random.default_rng(0).normal(size=path.shape), ("x",))
    model = discover_sparse(series, resamples=0)
    assert [term[: len(name)] for term in model.support[0]] == ["1", name]
    np.testing.assert_allclose(model.coefficients[model.coefficients != 0], [0.3, -1.5], rtol=0.05)
    np.testing.assert_allclose(model.library.scales, [1 / 0.6], rtol=0.05)


def test_a_model_without_terms_can_be_fitted():
    fit = maximise(LIBRARY, cut(noisy(0.05, 5), smooth(noisy(0.05, 5))), np.zeros((len(LIBRARY), 2)))
    assert np.isfinite(fit.squares)
    assert np.abs(fit.quadratic.gradient).max() > 0


def test_bursts_and_decay_over_decades_with_errors_by_a_share_of_the_value():
    """Rössler's third state rises from 0.03 to 20, under 5 % of noise."""
    times = np.linspace(0, 40, 300)
    field = lambda _, u: [-u[1] - u[2], u[0] + 0.25 * u[1], 0.3 + u[2] * (u[0] - 4.5)]  # noqa: E731
    values = solve_ivp(field, (0, 40), (2.0, 1.0, 0.5), "DOP853", times, rtol=1e-10, atol=1e-12).y.T
    noisy = values * (1 + 0.05 * np.random.default_rng(7).normal(size=values.shape))
    model = discover_sparse(TimeSeries.from_arrays(times, noisy, ("x", "y", "z")), polynomials(("x", "y", "z"), 3), resamples=0)
    assert model.support == (("y", "z"), ("x", "y"), ("1", "z", "x z"))
    found = [model.coefficients[row, state] for state in range(3) for row in np.flatnonzero(model.coefficients[:, state])]
    np.testing.assert_allclose(found, [-1, -1, 1, 0.25, 0.3, -4.5, 1], rtol=0.1)


def test_all_simple_terms_are_a_start_too():
    """From all quadratic terms, of which three are true, the search finds the cubic one, too."""
    series = noisy(0.05, 1)
    smoothed = smooth(series)
    start = regressions(series, smoothed, LIBRARY)[1]
    assert np.count_nonzero(start) == 12
    best = descended(propose(LIBRARY, cut(series, smoothed), start))
    assert {(LIBRARY.names()[term // 2], term % 2) for term in best.terms} == set(TRUE)


@pytest.mark.parametrize("seed", range(2))
def test_michaelis_menten_kinetics_in_a_short_table(seed):
    times = np.linspace(0, 12, 40)
    field = lambda _, u: [-1.5 * u[0] / (0.8 + u[0]), 1.5 * u[0] / (0.8 + u[0]) - 0.1 * u[1]]  # noqa: E731
    values = solve_ivp(field, (0, 12), (8.0, 0.0), "LSODA", times, rtol=1e-10, atol=1e-12).y.T
    noisy = values + 0.05 * np.random.default_rng(seed).normal(size=values.shape)
    model = discover_sparse(TimeSeries.from_arrays(times, noisy, ("S", "P")), resamples=0)
    (half,) = 1 / np.array(model.library.scales)
    assert [len(terms) for terms in model.support] == [1, 2]
    assert half == pytest.approx(0.8, rel=0.25)
    found = [model.coefficients[row, state] for state in range(2) for row in np.flatnonzero(model.coefficients[:, state])]
    np.testing.assert_allclose(sorted(found), [-1.5, -0.1, 1.5], rtol=0.1)
