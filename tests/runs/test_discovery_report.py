"""The report of a discovery says how good a forecast is, in which units, and what its numbers mean."""

from types import SimpleNamespace

import numpy as np
import pytest
from test_report import Elements

import sciml
from sciml.runs import discovery_report

SERIES = sciml.TimeSeries.from_arrays(np.arange(4.0), np.array([[1.0, 2.0], [2.0, 1.0], [1.5, 3.0], [2.0, 2.0]]), ("hare", "lynx"))
FOUND = SimpleNamespace(name="pelts", series=SERIES, shooting=SimpleNamespace(noise=sciml.LogNormal()), history=())


def score(nrmse, hare, lynx):
    return {
        "nrmse": nrmse, "r2": 0.54, "smape": 29.6,
        "channels": {"hare": {"rmse": hare, "r2": -0.4}, "lynx": {"rmse": lynx, "r2": 0.93}},
    }  # fmt: skip


def coefficients(count):
    known = {"value": 0.5, "standard_error": 0.1, "lower": 0.3, "upper": 0.7, "reason": None, "inclusion": None}
    return {f"c{number}": known for number in range(count)}


def result(**changes):
    return {
        "outcome": "ok",
        "equations": "hare' = 0.5 hare",
        "coefficients": coefficients(2),
        "correlations": {"c0": {"c0": 1.0, "c1": -0.37}, "c1": {"c0": -0.37, "c1": 1.0}},
        "cross_validation": 5.04,
        "noise": {"hare": 0.2, "lynx": 0.3, "kind": "lognormal"},
        "forecast": {"coverage": 0.8, "level": 0.95, "valid_time": 4.0, "horizon": 5.0, "valid_smape": 30.0, "trajectories": [{}]},
        "scores": {"held_out": {"model": score(0.25, 6.8, 2.1), "constant": score(1.0, 26.0, 11.0), "linear": score(None, None, None)}},
        "refit": {"converged": True, "steps": 7, "seconds": 1.0, "windows": 8, "joined": False},
        "solver": "tsit5",
        "warnings": [],
    } | changes


def text_of(directory, **changes):
    return Elements(discovery_report.render(directory, FOUND, result(**changes))).text


def test_errors_of_all_channels_and_of_each_in_its_units(tmp_path):
    text = text_of(tmp_path)
    assert "Forecast error 0.25 root mean square on held-out data, in standard deviations of the data; best baseline: constant 1" in text
    assert "On the held-out data Root mean square error in standard deviations of the data sMAPE (0 to 200) R² this model 0.25 30" in text
    assert "in its units this model constant linear R² of this model hare 6.8 26 none −0.4 lynx 2.1 11 none 0.93" in text
    assert "Valid for 4 of 5 that were held out: until its running sMAPE exceeds 30" in text


def test_a_lost_forecast_is_none_beside_what_needs_no_model(tmp_path):
    lost = {"held_out": {"model": score(None, None, None) | {"smape": None, "r2": None}, "constant": score(1.0, 26.0, 11.0)}}
    text = text_of(tmp_path, scores=lost)
    assert "Forecast error none " in text
    assert "Forecast: none that reaches all measured values." in text
    assert "this model none none –" in text


def test_nothing_measured_where_a_forecast_goes_is_no_crash(tmp_path):
    nothing = score(None, None, None)
    forecast = result()["forecast"] | {"coverage": None}
    text = text_of(tmp_path, scores={"held_out": {"model": nothing, "constant": nothing}}, forecast=forecast)
    assert "Inside the band – of the held-out values" in text
    assert "best baseline" not in text


@pytest.mark.parametrize(("joined", "expected"), [(True, "one solution per trajectory"), (False, "8 windows")])
def test_windows_are_those_of_the_refit(tmp_path, joined, expected):
    text = text_of(tmp_path, refit=result()["refit"] | {"joined": joined})
    assert f"Refit through the solver (tsit5): {expected}, 7 Gauss-Newton steps, converged." in text


def test_correlations_are_shown_or_said_to_stand_elsewhere(tmp_path):
    assert "Correlations c0 c1 c0 1 −0.37 c1 −0.37 1" in text_of(tmp_path)
    names = list(coefficients(13))
    many = text_of(tmp_path, coefficients=coefficients(13), correlations={name: dict.fromkeys(names, 0.5) for name in names})
    assert "The correlations of these 13 coefficients stand in result.json." in many


def test_what_a_large_cross_validation_means(tmp_path):
    assert "predicted from the rest; far above one is a bad sign" in text_of(tmp_path)
