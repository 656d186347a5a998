"""Smoothing: the noise level, states, derivatives and their error bars against signals that are known."""

from dataclasses import replace

import numpy as np
import pytest

from sciml.dynamics.series import TimeSeries
from sciml.dynamics.smoothing import smooth, smooth_channel
from sciml.errors import ProblemError


def signal(times, derivative=0):
    if derivative:
        return np.stack([2 * np.cos(2 * times) - 1.5 * np.sin(5 * times), np.exp(-times / 3)], axis=1)
    return np.stack([np.sin(2 * times) + 0.3 * np.cos(5 * times), -3 * np.exp(-times / 3)], axis=1)


@pytest.mark.parametrize(("points", "noise"), [(60, 0.1), (200, 0.01), (400, 1e-3)])
def test_noise_level_and_error_bars_on_irregular_times(points, noise):
    rng = np.random.default_rng(points)
    times = np.sort(rng.uniform(0, 10, points))
    values = signal(times) + noise * rng.normal(size=(points, 2))
    values[rng.random(values.shape) < 0.1] = np.nan
    smoothed = smooth(TimeSeries.from_arrays(times, values))
    np.testing.assert_allclose(smoothed.noise, noise, rtol=0.25)
    for derivative in (0, 1):
        deviation = np.abs(smoothed.states(0, times, derivative) - signal(times, derivative))
        covered = np.mean(deviation < 1.96 * smoothed.standard_errors(0, times, derivative))
        assert 0.85 < covered <= 1.0
    error = np.sqrt(np.mean((smoothed.states(0, times) - signal(times)) ** 2))
    assert error < 0.75 * noise


def test_without_noise_it_interpolates_with_order_six():
    errors = []
    for points in (41, 81):
        times = np.linspace(0, 10, points)
        between = np.linspace(2, 8, 333)
        errors.append(np.abs(smooth(TimeSeries.from_arrays(times, signal(times))).states(0, between) - signal(between)).max())
    assert np.log2(errors[0] / errors[1]) > 5.5


def test_trajectories_share_one_noise_level():
    rng = np.random.default_rng(3)
    times = [np.sort(rng.uniform(0, 10, count)) for count in (30, 90)]
    values = [signal(each) + 0.05 * rng.normal(size=(len(each), 2)) for each in times]
    smoothed = smooth(TimeSeries.from_arrays(times, values))
    np.testing.assert_allclose(smoothed.noise, 0.05, rtol=0.25)
    assert len(smoothed.splines) == 2


def bursts(times):
    """Rises by two decades for a tenth of each period."""
    return np.exp(3 * np.cos(2 * times) ** 7)


@pytest.mark.parametrize("seed", range(3))
def test_bursts_with_errors_by_a_factor_are_smoothed_in_their_logarithm(seed):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, 10, 250))
    truth = bursts(times)[:, None]
    smoothed = smooth(TimeSeries.from_arrays(times, truth * (1 + 0.05 * rng.normal(size=truth.shape))))
    assert smoothed.splines[0][0].logarithmic
    np.testing.assert_allclose(smoothed.proportional, 0.05, rtol=0.2)
    np.testing.assert_allclose(smoothed.noise_at(0, times), 0.05 * truth, rtol=0.3)
    assert np.sqrt(np.mean((smoothed.states(0, times) / truth - 1) ** 2)) < 0.05
    for derivative in (0, 1):
        expected = truth[:, 0] if derivative == 0 else bursts(times) * 3 * 7 * np.cos(2 * times) ** 6 * -2 * np.sin(2 * times)
        deviation = np.abs(smoothed.states(0, times, derivative)[:, 0] - expected)
        assert np.mean(deviation < 1.96 * smoothed.standard_errors(0, times, derivative)[:, 0]) > 0.85


@pytest.mark.parametrize(("shape", "logarithmic"), [(bursts, True), (lambda times: 1.5 + np.sin(2 * times), False)])
def test_whether_a_logarithm_is_smoothed_does_not_depend_on_units(shape, logarithmic):
    times = np.linspace(0, 10, 250)
    values = shape(times) * (1 + 0.05 * np.random.default_rng(1).normal(size=250))
    found = [smooth(TimeSeries.from_arrays(times, unit * values)) for unit in (1e-9, 1.0, 1e9)]
    assert [each.splines[0][0].logarithmic for each in found] == [logarithmic] * 3
    assert all(each.proportional[0] > 0 for each in found)


def test_a_factor_of_the_weights_changes_nothing_but_the_noise():
    times = np.linspace(0, 10, 100)
    values = bursts(times) + 0.1 * np.random.default_rng(2).normal(size=100)
    one, other = (smooth_channel(times, values, factor / bursts(times)) for factor in (1.0, 1e4))
    np.testing.assert_allclose(other(times), one(times), rtol=1e-5)
    assert other.noise == pytest.approx(100 * one.noise, rel=1e-5)
    assert other.deviance == pytest.approx(one.deviance)


@pytest.mark.parametrize("seed", range(3))
def test_bursts_with_constant_noise_are_smoothed_as_they_are(seed):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, 10, 250))
    values = bursts(times)[:, None] + 0.3 * rng.normal(size=(250, 1))
    smoothed = smooth(TimeSeries.from_arrays(times, np.abs(values) + 1e-3))
    assert not smoothed.splines[0][0].logarithmic


def test_the_sensitivity_of_a_logarithm_is_its_derivative():
    rng = np.random.default_rng(0)
    times = np.linspace(0, 10, 250)
    spline = smooth(TimeSeries.from_arrays(times, bursts(times) * (1 + 0.05 * rng.normal(size=250)))).splines[0][0]
    direction = rng.normal(size=spline.coefficients.size)
    for derivative in (0, 1):
        ahead, behind = (replace(spline, coefficients=spline.coefficients + h * direction)(times, derivative) for h in (1e-6, -1e-6))
        np.testing.assert_allclose(spline.sensitivity(times, derivative) @ direction, (ahead - behind) / 2e-6, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("points", [3, 4, 5, 6, 7])
def test_few_points(points):
    times = np.linspace(0, 1, points)
    smoothed = smooth(TimeSeries.from_arrays(times, 2 * times + 1))
    np.testing.assert_allclose(smoothed.states(0, times, 1), 2, rtol=1e-6)


def test_a_channel_without_measurements_in_one_trajectory():
    values = [np.array([[0.0, 1], [1, 2], [2, 3]]), np.array([[0.0, np.nan], [1, 4], [2, 3]])]
    with pytest.raises(ProblemError, match=r"column 'x1' has fewer than 3 values in trajectory 2"):
        smooth(TimeSeries.from_arrays([np.arange(3.0)] * 2, values))
