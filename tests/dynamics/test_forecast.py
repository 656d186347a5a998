"""Scores, baselines and the detector of flat lines."""

from dataclasses import replace

import numpy as np
import pytest

import sciml
from sciml.dynamics.forecast import baselines, flat_channels, score, valid_time

TIMES = np.arange(10.0)


def series(*columns, names=("x", "y")):
    return sciml.TimeSeries.from_arrays(np.arange(float(len(columns[0]))), np.stack(columns, axis=1), names[: len(columns)])


def test_scores_of_known_errors():
    measured = np.array([[1.0, 10.0], [2.0, np.nan], [3.0, 30.0]])
    learned = series([0.0, 4.0], [0.0, 40.0])  # standard deviations 2 and 20
    found = score(measured.copy(), measured, learned)
    assert (found.r2, found.smape, found.nrmse) == (1.0, 0.0, 0.0)
    off = score(np.array([[2.0, 10.0], [2.0, 5.0], [3.0, 30.0]]), measured, learned)
    assert off.nrmse == pytest.approx(np.sqrt((1 / 2) ** 2 / 5))
    assert off.smape == pytest.approx(200 * (1 / 3) / 5)
    assert off.r2 == pytest.approx(1 - (1 / 2**2) / (2 / 2**2 + 200 / 20**2))
    assert off.channels["x"] == pytest.approx({"rmse": np.sqrt(1 / 3), "r2": 0.5, "smape": 200 / 9})
    assert off.channels["y"] == {"rmse": 0.0, "r2": 1.0, "smape": 0.0}


def test_which_forecast_is_better_does_not_depend_on_units():
    random = np.random.default_rng(0)
    learned, measured = random.normal(size=(20, 2)), random.normal(size=(8, 2))
    wrong, right = measured + [0.9, 0.1], measured + [0.2, 0.6]
    for units in ([1.0, 1.0], [1e3, 1.0], [1.0, 1e3]):
        far, near = (score(units * each, units * measured, series(*(units * learned).T)) for each in (wrong, right))
        assert _pooled(far) == pytest.approx(_pooled(score(wrong, measured, series(*learned.T))))
        assert near.nrmse < far.nrmse
        assert far.channels["x"]["rmse"] == pytest.approx(0.9 * units[0])


def _pooled(found):
    return found.nrmse, found.r2, found.smape


def test_a_forecast_is_valid_until_its_running_error_exceeds_thirty_percent():
    measured = np.ones((10, 1))
    predicted = np.where(TIMES[:, None] < 4, 1.0, 3.0)  # 100 % off from then on: 20 % on average at the fifth time, 33 % at the sixth
    assert valid_time(-2.0, TIMES, predicted, measured) == 6.0
    assert valid_time(-2.0, TIMES, measured, measured) == 11.0


@pytest.mark.parametrize(("predicted", "expected"), [(1.0, 0.5), (100.0, 0.0), (np.nan, 0.0)])
def test_one_time_tells_a_good_forecast_from_a_bad_one(predicted, expected):
    assert valid_time(1.5, np.array([2.0]), np.array([[predicted]]), np.ones((1, 1))) == expected


def test_what_the_solver_did_not_reach_is_no_prediction():
    measured = np.ones((10, 1))
    predicted = np.where(TIMES[:, None] < 4, 1.0, np.inf)
    assert valid_time(-1.0, TIMES, predicted, measured) == 4.0
    for lost in (predicted, np.full((10, 1), np.nan)):
        found = score(lost, measured, series(TIMES))
        assert np.isnan([*_pooled(found), *found.channels["x"].values()]).all()


def test_what_was_not_measured_has_no_score():
    measured = np.stack([TIMES, np.full(10, np.nan)], axis=1)
    found = score(measured + 1.0, measured, series(TIMES, TIMES))
    assert np.isnan([*found.channels["y"].values()]).all()
    assert found.nrmse == pytest.approx(found.channels["x"]["rmse"] / np.std(TIMES))
    assert np.isnan(score(np.zeros((10, 1)), np.full((10, 1), np.nan), series(TIMES)).nrmse)


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
    assert flat_channels(series, [flat], noise=np.array([0.5, 0.1])) == ("wave",)
    assert flat_channels(series, [flat], noise=np.array([1.0, 0.1])) == ()


class Decay(sciml.Dynamics):
    """Settles at zero long before the end."""

    k: sciml.Unknown = sciml.Unknown(1.0, positive=True)
    hold_out = 12

    def vector_field(self, x):
        return -self.k * x

    def series(self):
        times = np.linspace(0.0, 8.0, 61)
        return sciml.TimeSeries.from_arrays(times, 2 * np.exp(-1.5 * times) + 0.02 * np.random.default_rng(0).standard_normal(61), ("x",))


def test_a_steady_state_is_no_flat_line_but_a_forecast_that_misses_a_wave_is():
    found = sciml.discover(Decay(), progress=False, phases=(sciml.Adam(steps=20, until=()),))
    assert found.warnings == ()
    random = np.random.default_rng(1)
    for amplitude, expected in ((0.0, False), (0.3, True)):
        for _ in range(20):
            values = amplitude * np.sin(3 * found.held_out.times[0]) + 0.02 * random.standard_normal(12)
            other = replace(found, held_out=replace(found.held_out, values=(values[:, None],)))
            other.__dict__.update({name: getattr(found, name) for name in ("failure", "predictions", "vector_field", "drawn_bands")})
            assert ("the forecast of x is a flat line although the held-out data vary" in other.warnings) == expected
