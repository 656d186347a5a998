"""The last words of a run: what matters, and nothing that is not known."""

import pytest

from sciml.runs.summary import share_explained, summary

RESULT = {
    "problem": "fisher_kpp",
    "outcome": "ok",
    "seconds": {"total": 74.2, "compile": 10.0, "training": 60.0},
    "parameters": 921,
    "phases": [
        {"kind": "adam", "steps": 812, "evaluations": 812, "seconds": 2.0, "loss": 1e-3, "ended_by": "noise"},
        {"kind": "broyden", "steps": 5000, "evaluations": 5600, "seconds": 60.0, "loss": 1e-15, "ended_by": "budget"},
    ],
    "switch": {"step": 812, "nsr": 0.081, "threshold": 0.1, "by": "noise"},
    "error": {
        "rel_l2": 7.1e-9,
        "max_abs": 3e-8,
        "where": {"t": 0.3, "x": 0.125},
        "at_floor": False,
        "reference": {"kind": "exact", "estimated_error": 1e-16, "seconds": 0.1},
    },
    "validation": {"mean_square": 1e-14, "worst": 1e-6},
    "unknowns": {"D": {"value": 0.012345, "standard_error": 2e-5}},
}


def test_a_finished_run(tmp_path):
    (tmp_path / "report.html").touch()
    text = summary(tmp_path, RESULT)
    for expected in (
        "fisher_kpp: ok in 1:14 min",
        "7.10e-09 relative L2, at most 3.00e-08 at t=0.3, x=0.125 (reference: exact, itself good to 1.0e-16, 0.1 s)",
        "adam 812 steps (ended by noise), broyden 5,000 steps (ended by budget)",
        "at step 812 by noise (noise-to-signal ratio 8.10e-02, threshold 1.00e-01)",
        "D = 0.012345 ± 0.000020",
        str(tmp_path / "report.html"),
    ):
        assert expected in text
    assert "next" not in text


def test_classical_solvers_stand_beside(tmp_path):
    """One that failed is left to the report."""
    fit = {"rel_l2": 2e-3, "seconds": 4.2, "reason": None, "unknowns": {"D": {"value": 0.0123, "standard_error": 3e-5}}}
    solver = {"rel_l2": 1e-9, "seconds": 0.5, "reason": None}
    failed = {"rel_l2": None, "seconds": None, "reason": "no Initial for u"}
    text = summary(tmp_path, RESULT | {"baselines": {"least_squares": fit, "method_of_lines": solver, "collocation": failed}})
    assert "least squares finds D = 0.012300 ± 0.000030 and reaches 2.0e-03 in 4.2 s; method of lines reaches 1.0e-09 in 0.5 s\n" in text


def test_an_error_below_that_of_the_reference_is_not_claimed(tmp_path):
    floor = RESULT["error"] | {"at_floor": True, "reference": {"kind": "cole_hopf", "estimated_error": 1e-8, "seconds": 3.0}}
    text = summary(tmp_path, RESULT | {"error": floor})
    assert "below 1.0e-08 relative L2" in text
    assert "7.1" not in text


def test_a_stopped_run_says_how_to_go_on(tmp_path):
    text = summary(tmp_path, {"problem": "a", "outcome": "stopped", "error": None, "switch": None})
    assert f"sciml resume {tmp_path}" in text
    assert "not known: nothing to compare with; a method `exact` or `reference`" in text
    assert "switch" not in text


def test_a_diverged_run_says_what_to_try(tmp_path):
    error = RESULT["error"] | {"rel_l2": None, "max_abs": None, "where": None}
    text = summary(tmp_path, RESULT | {"outcome": "diverged", "error": error})
    assert "not finite" in text
    assert "--set" in text


def test_a_reference_that_has_not_converged_is_no_bound(tmp_path):
    floor = RESULT["error"] | {"at_floor": True, "reference": {"kind": "method_of_lines", "estimated_error": 1.2, "seconds": 3.0}}
    text = summary(tmp_path, RESULT | {"error": floor})
    assert "not known, for the reference has not converged" in text
    assert "below" not in text


@pytest.mark.parametrize(
    ("r2", "shown"),
    [
        (-1.318, "-1.3"), (0.4944, "0.49"), (0.8996, "0.9"), (0.9977, "0.9977"), (0.99991, "0.99991"),
        (0.99999951, "> 0.999999"), (1.0, "> 0.999999"),
    ],
)  # fmt: skip
def test_r_squared_is_told_from_one(r2, shown):
    assert share_explained(r2) == shown


def row(nrmse, **channels):
    return {"nrmse": nrmse, "r2": None if nrmse is None else 0.54, "smape": nrmse and 29.6} | {
        "channels": {name: {"rmse": rmse} for name, rmse in channels.items()}
    }


DISCOVERY = {
    "problem": "pelts",
    "outcome": "ok",
    "equations": "hare' = 0.5 hare",
    "noise": {"hare": 0.2, "lynx": 0.3, "kind": "lognormal"},
    "coefficients": {"hare': hare": {"inclusion": 0.9}},
    "cross_validation": 5.04,
    "scores": {"held_out": {"model": row(0.251, hare=6.78, lynx=2.14), "constant": row(1.0), "linear": row(None)}},
    "forecast": {"coverage": 0.8, "level": 0.95, "valid_time": 4.0, "horizon": 5.0, "valid_smape": 30.0, "trajectories": [{}]},
}


def test_a_forecast_stands_beside_what_needs_no_model(tmp_path):
    text = summary(tmp_path, DISCOVERY)
    assert "error 0.251 standard deviations of the data, R2 0.54, sMAPE 29.6; without a model: constant 1\n" in text
    assert "root mean square error: hare 6.78, lynx 2.14\n" in text
    assert "valid for 4 of 5 (running sMAPE up to 30); 80 % of the values inside the 95 % band\n" in text


def test_a_forecast_that_is_lost_is_none(tmp_path):
    lost = {"scores": {"held_out": {"model": row(None, hare=None)}}, "forecast": DISCOVERY["forecast"] | {"coverage": None}}
    text = summary(tmp_path, DISCOVERY | lost)
    assert "forecast  none that reaches all measured values\n" in text
    assert "no value was measured there" in text
    assert "root mean square" not in text


def test_what_a_large_cross_validation_means(tmp_path):
    text = summary(tmp_path, DISCOVERY)
    assert "predicted from the rest: 5.04 times the error of the fit (far above one where some terms are wrong" in text
