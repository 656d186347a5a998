"""Held-out prediction: parts of the data that a fit must not see, and the models that it rules out."""

from dataclasses import replace

import numpy as np
import pytest
from test_sparse import LIBRARY, noisy, true_coefficients

from sciml.dynamics.candidate import Candidate
from sciml.dynamics.held_out import PARTS, not_outpredicted, prediction_error, prediction_errors
from sciml.dynamics.library import polynomials
from sciml.dynamics.likelihood import cut, maximise
from sciml.dynamics.smoothing import smooth
from sciml.dynamics.sparse import discover_sparse

NOISE = 0.05


@pytest.fixture(scope="module")
def series():
    return noisy(NOISE, 4)


@pytest.fixture(scope="module")
def fit(series):
    return maximise(LIBRARY, cut(series, smooth(series)), true_coefficients(), steps=30)


def test_a_true_model_predicts_what_it_has_not_seen_to_the_noise(fit):
    errors = prediction_errors(fit)
    assert errors.shape == (fit.windows.unpadded,)
    assert errors.sum() > fit.squares  # the same data, seen
    assert prediction_error(fit) == pytest.approx(1.1, abs=0.15)


def test_a_part_is_not_seen_by_the_fit_that_predicts_it(fit):
    """What is measured in one part moves the errors there by itself alone, and nothing else but what other parts' fits see."""
    windows = fit.windows
    hidden = np.arange(windows.unpadded) * PARTS // windows.unpadded == 2
    values = windows.values.copy()
    values[: windows.unpadded][hidden] += 3.0
    shifted = prediction_errors(replace(fit, windows=windows._replace(values=values)))
    expected = np.sum((3.0 * windows.weights[: windows.unpadded][hidden]) ** 2, axis=(1, 2))
    np.testing.assert_allclose(shifted[hidden].sum(), expected.sum(), rtol=0.1)


def test_a_model_without_a_term_that_is_there_is_ruled_out(series, fit):
    coefficients = true_coefficients()
    coefficients[LIBRARY.names().index("x^2 y")] = 0.0
    poorer = maximise(LIBRARY, cut(series, smooth(series)), coefficients, steps=30)
    candidates = [Candidate(poorer), Candidate(fit), Candidate(fit)]
    assert not_outpredicted(candidates) == candidates[1:]


def test_nothing_is_ruled_out_where_too_little_can_be_left_out():
    short = noisy(NOISE, 4, points=4)
    windows = cut(short, smooth(short))
    fits = [maximise(LIBRARY, windows, scale * true_coefficients(), steps=3) for scale in (1.0, 0.0)]
    assert windows.unpadded < PARTS
    assert prediction_error(fits[0]) is None
    assert len(not_outpredicted(list(map(Candidate, fits)))) == 2


def test_a_library_that_predicts_is_preferred_and_its_error_reported(series):
    straight = polynomials(("x", "y"), 1)
    found = discover_sparse(series, (straight, LIBRARY), resamples=0)
    assert found.support == (("y",), ("x", "y", "x^2 y"))
    assert found.cross_validation == pytest.approx(1.1, abs=0.15)
