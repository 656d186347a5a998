"""Scores, baselines and the detector of flat lines."""

import numpy as np
import pytest

import sciml
from sciml.dynamics.forecast import baselines, flat_channels, score, valid_time

TIMES = np.arange(10.0)


def test_scores_of_known_errors():
    measured = np.array([[1.0, 10.0], [2.0, np.nan], [3.0, 30.0]])
    found = score(measured.copy(), measured)
    assert (found.r2, found.smape, found.rmse) == (1.0, 0.0, 0.0)
    off = score(np.array([[2.0, 10.0], [2.0, 5.0], [3.0, 30.0]]), measured)
    assert off.rmse == pytest.approx(np.sqrt(1 / 5))
    assert off.smape == pytest.approx(200 * (1 / 3) / 5)
    assert off.r2 == pytest.approx(1 - 1 / (2 + 200))


def test_a_forecast_is_valid_until_its_running_error_exceeds_thirty_percent():
    measured = np.ones((10, 1))
    predicted = np.where(TIMES[:, None] < 4, 1.0, 3.0)
    assert valid_time(TIMES, measured, measured) == 9.0
    running = np.cumsum(np.where(TIMES < 4, 0.0, 100.0)) / (TIMES + 1)
    assert valid_time(TIMES, predicted, measured) == TIMES[np.flatnonzero(running > 30)[0]]


def test_what_the_solver_did_not_reach_is_no_prediction():
    measured = np.ones((10, 1))
    predicted = np.where(TIMES[:, None] < 4, 1.0, np.inf)
    assert valid_time(TIMES, predicted, measured) == 4.0
    assert np.isnan(score(predicted, measured).rmse)


def test_baselines():
    values = np.stack([2.0 + 3.0 * TIMES, np.where(TIMES == 5, np.nan, 4.0 - TIMES)], axis=1)
    series = sciml.TimeSeries.from_arrays(TIMES, values, ("x", "y"))
    found = baselines(series, 0, np.array([10.0, 12.0]))
    np.testing.assert_allclose(found["linear"], [[32.0, -6.0], [38.0, -8.0]], atol=1e-9)
    np.testing.assert_allclose(found["persistence"], [[29.0, -5.0]] * 2)
    np.testing.assert_allclose(found["constant"][:, 0], values[:, 0].mean())


def test_a_channel_that_one_trajectory_lacks_has_no_baselines_there():
    values = [np.stack([TIMES, np.full(10, np.nan)], axis=1), np.stack([TIMES, TIMES**2], axis=1)]
    series = sciml.TimeSeries.from_arrays([TIMES, TIMES], values, ("x", "y"))
    found = baselines(series, 0, np.array([10.0, 12.0]))
    assert np.isnan(found["linear"][:, 1]).all()
    np.testing.assert_allclose(found["linear"][:, 0], [10.0, 12.0], atol=1e-9)
    assert flat_channels(series, [np.stack([TIMES, np.zeros(10)], axis=1)] * 2) == ("y",)


def test_a_flat_line_is_found_only_where_the_data_have_a_course():
    times = np.linspace(0.0, 10.0, 60)
    noise = np.random.default_rng(0).standard_normal(60)
    series = sciml.TimeSeries.from_arrays(times, np.stack([np.sin(times), noise], axis=1), ("wave", "noise"))
    flat = np.zeros((60, 2))
    assert flat_channels(series, [flat]) == ("wave",)
    assert flat_channels(series, [np.stack([np.sin(times), np.zeros(60)], axis=1)]) == ()
