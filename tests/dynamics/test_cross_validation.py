"""Cross-validation: parts of the data that a fit must not see, and the models that it rules out."""

from dataclasses import replace

import numpy as np
import pytest
from test_sparse import LIBRARY, noisy, true_coefficients, van_der_pol

from sciml.dynamics.candidate import Candidate
from sciml.dynamics.cross_validation import FOLDS, Errors, _folds, _outpredicts, not_outpredicted, prediction_error, prediction_errors
from sciml.dynamics.library import polynomials
from sciml.dynamics.likelihood import Fit, cut, maximise
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.smoothing import smooth
from sciml.dynamics.sparse import discover_sparse

NOISE = 0.05


def fitted(series: TimeSeries, scale: float = 1.0, steps: int = 30) -> Fit:
    return maximise(LIBRARY, cut(series, smooth(series)), scale * true_coefficients(), steps=steps)


def several(lengths, gaps=0.0, level=0.0):
    """Trajectories from different starts, with noise; a share `gaps` of the values is missing, `level` is added to the first channel."""
    random = np.random.default_rng(5)
    times = [np.linspace(0.0, 0.08 * length, length) for length in lengths]
    starts = random.uniform(-2, 2, (len(lengths), 2))
    values = [van_der_pol(t, start) + NOISE * random.normal(size=(len(t), 2)) for t, start in zip(times, starts, strict=True)]
    for each in values:
        each[random.uniform(size=each.shape) < gaps] = np.nan
    return TimeSeries.from_arrays(times, values, ("x", "y"))


@pytest.fixture(scope="module")
def series():
    return noisy(NOISE, 4)


@pytest.fixture(scope="module")
def fit(series):
    return fitted(series)


def test_a_true_model_predicts_what_it_has_not_seen_to_the_noise(fit):
    errors = prediction_errors(fit)
    assert errors.unseen.shape == errors.seen.shape == (FOLDS,)
    assert errors.points.sum() == fit.points
    assert (errors.unseen > errors.seen).all()
    assert prediction_error(fit) == pytest.approx(1.1, abs=0.15)


def test_a_part_is_not_seen_by_the_fit_that_predicts_it(fit):
    """What is measured in one part moves the errors there by itself alone."""
    windows, hidden = fit.windows, _folds(fit.windows) == 2
    values = windows.values.copy()
    values[hidden] += 0.2
    shifted = prediction_errors(replace(fit, windows=windows._replace(values=values)))
    expected = np.sum((0.2 * windows.weights[hidden]) ** 2)
    assert shifted.unseen[2] == pytest.approx(expected, rel=0.3)
    assert prediction_errors(fit).unseen[2] < 0.2 * expected


def test_the_start_of_a_part_does_not_stay_where_its_own_data_put_it():
    """Each of the trajectories is as long as a fifth of all: a part that were one of them would know its own states."""
    fit = fitted(several([40] * 5))
    hidden = _folds(fit.windows) == 1
    moved = replace(fit, starts=fit.starts + np.where(hidden[:, None], 0.3, 0.0))
    np.testing.assert_allclose(prediction_errors(moved).unseen, prediction_errors(fit).unseen, rtol=0.05)


@pytest.mark.parametrize("lengths", [[60], [60, 35, 48], [9] * 12, [9, 100, 9]])
def test_something_of_every_trajectory_is_seen(lengths):
    windows = cut(several(lengths), smooth(several(lengths)))
    fold, begin = _folds(windows), 0
    for end in np.flatnonzero(~windows.linked[: windows.unpadded]) + 1:
        own = fold[begin:end]
        assert len(set(own.tolist())) == min(FOLDS, len(own))
        assert np.count_nonzero(np.diff(own)) == min(FOLDS, len(own)) - 1  # runs of neighbours
        begin = end
    assert set(fold[: windows.unpadded]) == set(range(FOLDS))
    assert (fold[windows.unpadded :] == -1).all()


def test_values_that_were_not_measured_count_for_nothing():
    complete, gappy = fitted(several([60, 60])), fitted(several([60, 60], gaps=0.3))
    assert prediction_errors(gappy).points.sum() == gappy.points < 0.8 * complete.points
    assert prediction_error(gappy) == pytest.approx(prediction_error(complete), abs=0.2)


def test_a_miss_is_no_larger_than_the_data_are_wide(fit):
    """Growth without bound, over fifths that are many times as long as its time, would overflow."""
    coefficients = np.zeros_like(true_coefficients())
    coefficients[LIBRARY.names().index("x^3"), 0] = 40.0
    errors = prediction_errors(replace(fit, coefficients=coefficients, squares=1.0))
    measured = np.where(fit.windows.weights > 0, fit.windows.values, np.nan)
    bound = (fit.windows.weights * (np.nanmax(measured, axis=(0, 1)) - np.nanmin(measured, axis=(0, 1)))) ** 2
    assert np.isfinite(errors.unseen).all()
    assert errors.unseen.sum() <= bound.sum()


def test_a_fit_that_leaves_nothing_over_has_nothing_to_compare_with():
    assert prediction_error(fitted(noisy(0.0, 4))) is None
    assert prediction_error(fitted(noisy(1e-6, 4))) == pytest.approx(1.1, abs=0.15)


def test_a_model_without_a_term_that_is_there_is_ruled_out(series, fit):
    coefficients = true_coefficients()
    coefficients[LIBRARY.names().index("x^2 y")] = 0.0
    poorer = maximise(LIBRARY, cut(series, smooth(series)), coefficients, steps=30)
    candidates = [Candidate(poorer), Candidate(fit), Candidate(fit)]
    assert not_outpredicted(candidates) == candidates[1:]


@pytest.mark.parametrize(
    ("unseen", "beaten"),
    [
        ((2.0, 2.2, 3.0, 2.1, 2.0), True),
        ((1e6, 3e3, 40.0, 3.0, 2.0), True),  # it runs away, and ever less
        ((1e6, 1.0, 1.0, 1.0, 1.0), False),  # one fifth alone proves nothing
        ((1e6, 0.5, 0.4, 0.5, 0.6), False),
        ((1.001, 1.001, 1.001, 1.001, 1.001), False),
    ],
)
def test_how_much_better_is_clearly_better(unseen, beaten):
    points = np.full(FOLDS, 50.0)
    one, other = (Errors(points * values, points, points) for values in (unseen, np.ones(FOLDS)))
    assert _outpredicts(other, one) == beaten
    assert not _outpredicts(one, other)


def test_nothing_is_ruled_out_where_too_little_can_be_left_out():
    short = noisy(NOISE, 4, points=4)
    fits = [fitted(short, scale, steps=3) for scale in (1.0, 0.0)]
    assert fits[0].windows.unpadded < FOLDS
    assert prediction_error(fits[0]) is None
    assert len(not_outpredicted(list(map(Candidate, fits)))) == 2


def test_a_library_that_predicts_is_preferred_and_its_error_reported(series):
    straight = polynomials(("x", "y"), 1)
    found = discover_sparse(series, (straight, LIBRARY), resamples=0)
    assert found.support == (("y",), ("x", "y", "x^2 y"))
    assert found.cross_validation == pytest.approx(1.1, abs=0.15)
