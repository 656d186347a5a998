"""Undersampled series: what counts as one, and models that grow from the part that is sampled well."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from sciml.dynamics.first_look import look
from sciml.dynamics.growing import grow
from sciml.dynamics.library import polynomials
from sciml.dynamics.likelihood import selected, windows_of
from sciml.dynamics.noise import Gaussian
from sciml.dynamics.preparing import prepare
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.sparse import discover_sparse
from sciml.dynamics.stages import lengths
from sciml.dynamics.starting_fields import build_field
from sciml.dynamics.stored import stored_field
from sciml.dynamics.undersampling import sampling
from sciml.dynamics.vector_fields import SparseLibrary
from sciml.settings import Shooting, SparseField

NAMES = ("x", "y", "z")
STARTS = ((0.06, 0.05, 0.6), (0.5, 0.1, 0.4))
TRUE = (
    {"x": 0.05, "x y": 1.1},
    {"y": -0.01, "z": 3.0, "x^2": -1.1, "y z": -2.0, "z^2": -5.0},
    {"y": -3.0, "z": -0.01, "y^2": 2.0, "y z": 5.0},
)


def regimes(_, state):
    """Atmospheric regimes (Tuwankotta 2006): slow most of the time, but y and z turn fast in bursts."""
    x, y, z = state
    turn = 3 - 2 * y - 5 * z
    return [0.05 * x + 1.1 * x * y, -0.01 * y + turn * z - 1.1 * x**2, -0.01 * z - turn * y]


def undersampled(noise, dropped=0.0, points=350, step=0.9):
    random = np.random.default_rng(4)
    times, values = [], []
    for start in STARTS:
        kept = np.sort(random.permutation(points)[: round((1 - dropped) * points)]) * step
        path = solve_ivp(regimes, (0, kept[-1]), start, "DOP853", kept, rtol=1e-10, atol=1e-12).y.T
        times.append(kept)
        values.append(path + noise * path.std(axis=0) * random.normal(size=path.shape))
    return TimeSeries.from_arrays(times, values, NAMES)


def smooth_series():
    times = np.linspace(0, 10, 200)
    return TimeSeries.from_arrays(times, np.stack([np.sin(times), np.cos(2 * times)], axis=1), ("x", "y"))


def test_what_is_undersampled():
    assert not sampling(smooth_series()).undersampled
    assert not sampling(TimeSeries.from_arrays(np.arange(4.0), np.array([[1.0], [2.0], [4.0], [3.0]]), ("x",))).undersampled
    found = sampling(undersampled(0.01))
    assert found.undersampled
    assert 0.2 < found.quiet.mean() < 0.9


@pytest.mark.parametrize(("noise", "dropped"), [(0.0, 0.0), (0.01, 0.05)])
def test_exactly_the_true_terms(noise, dropped):
    series = undersampled(noise, dropped)
    model = discover_sparse(series, polynomials(NAMES, 3), resamples=0)
    names = model.library.names()
    for equation, terms in enumerate(TRUE):
        found = {names[row]: model.coefficients[row, equation] for row in np.flatnonzero(model.coefficients[:, equation])}
        assert found == pytest.approx(terms, rel=0.02 if noise else 1e-4)
    np.testing.assert_allclose(
        model.noise, np.maximum(noise, 1e-4) * np.std(np.concatenate(series.values), axis=0), rtol=0.3 if noise else 1
    )
    assert model.states is not None
    for states, values in zip(model.states, series.values, strict=True):
        assert states.shape == values.shape
        assert np.abs(states - values).max() < 5 * np.maximum(model.noise, 1e-4).max()


def test_no_model_grows_from_terms_that_are_too_few():
    series = undersampled(0.0)
    assert grow(series, sampling(series), polynomials(NAMES, 1), None) is None


def test_steps_with_missing_values_are_left_out_of_the_growth():
    series = undersampled(0.0)
    series.values[0][40:50, 1] = np.nan
    grown = grow(series, sampling(series), polynomials(NAMES, 2), None)
    assert grown is not None
    windows, coefficients = grown
    assert windows.unpadded == sum(len(times) - 1 for times in series.times)
    assert coefficients[polynomials(NAMES, 2).names().index("z^2"), 1] == pytest.approx(-5.0, rel=1e-3)


def test_a_stage_starts_where_the_model_that_grew_is():
    series = undersampled(0.01)
    field, begin = build_field(SparseField(degree=2), None, None, series, Gaussian(), NAMES, look(series, Gaussian(), NAMES, None), 0)
    assert isinstance(field, SparseLibrary)
    assert begin.brief
    assert np.abs(begin.states[0] - series.values[0]).max() < 6 * begin.sigma.max()
    assert (begin.sigma < 0.02 * begin.scale).all()
    assert lengths(series, Shooting(), begin.brief) == (8,)


def test_relaxation_oscillations_that_jump_between_samples():
    """Nearly every step is predicted by anything: only the jumps tell whether a model is right."""
    times = 0.2 * np.arange(300)
    path = solve_ivp(
        lambda _, u: [u[1], 20 * (1 - u[0] ** 2) * u[1] - u[0]], (0, times[-1]), (2, 0), "Radau", times, rtol=1e-10, atol=1e-12
    )
    model = discover_sparse(TimeSeries.from_arrays(times, path.y.T, ("x", "v")), polynomials(("x", "v"), 3), resamples=0)
    assert model.support == (("v",), ("x", "v", "x^2 v"))
    np.testing.assert_allclose(model.coefficients[model.coefficients != 0], [-1, 1, 20, -20], rtol=1e-3)


def test_what_was_found_is_read_again():
    """A stored model does not grow again: windows and states are those that were stored."""
    times = 0.25 * np.arange(120)
    field = lambda _, state: [state[1], 5 * (1 - state[0] ** 2) * state[1] - state[0]]  # noqa: E731
    series = TimeSeries.from_arrays(times, solve_ivp(field, (0, 30), (2, 0), "DOP853", times, rtol=1e-10, atol=1e-12).y.T, ("x", "v"))
    experiment = prepare(series, vector_field=SparseField(degree=3))
    start = experiment.objective.start
    found = experiment.solution(start)
    assert any(warning.startswith("undersampled: ") for warning in found.warnings)
    stored = found.to_xarray()
    again = prepare(series, vector_field=stored_field(stored, None))
    assert again.parameters != experiment.parameters
    again.restore(start, stored, found.as_dict())
    np.testing.assert_array_equal(again.solution(start).predictions[0], found.predictions[0])
    assert again.solution(start).equations() == found.equations()


def test_rows_between_measurements_are_no_neighbours():
    """A channel that is measured every second time is judged among its own values."""
    series = undersampled(0.0)
    for values in series.values:
        values[::2, 0] = np.nan
    found = sampling(series)
    assert found.undersampled
    assert found.missed[0] < found.missed[1]


def test_a_known_noise_is_believed():
    series = undersampled(0.0)
    assert not sampling(series, np.std(np.concatenate(series.values), axis=0)).undersampled


def test_a_window_keeps_the_value_at_its_end_where_the_next_is_left_out():
    series = smooth_series()
    noise = np.array([0.5, 2.0])
    windows = windows_of(series, 1, list(series.values), [np.broadcast_to(noise, series.values[0].shape)], noise, 2)
    chosen = np.zeros(windows.unpadded, dtype=bool)
    chosen[[3, 4, 9, -1]] = True
    few = selected(windows, chosen)
    assert few.unpadded == 4
    assert few.linked[:4].tolist() == [True, False, False, False]
    np.testing.assert_array_equal(few.weights[:4, 1], [[0, 0], [2, 0.5], [2, 0.5], [2, 0.5]])
    np.testing.assert_array_equal(few.values[1, 1], series.values[0][5])
    assert not few.weights[4:].any()
