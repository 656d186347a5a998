"""Steadiness: which models keep near the data from starts that are known as well as a measurement."""

from dataclasses import replace

import numpy as np
import pytest

from sciml.dynamics.library import polynomials
from sciml.dynamics.likelihood import cut, maximise
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.smoothing import smooth
from sciml.dynamics.steadiness import is_steady


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(("rate", "steady"), [(-4.0, True), (0.5, True), (4.0, False)])
def test_a_solution_that_only_its_own_start_keeps_to_is_not_steady(rate, steady, several):
    """x' = rate x stays at zero from zero; with a noise of 0.1, a rate of 4 takes it to about 300 within two units of time."""
    random = np.random.default_rng(0)
    times = [np.linspace(0, 2, 40), np.linspace(0, 2, 60)][: 1 + several]
    series = TimeSeries.from_arrays(times, [0.1 * random.normal(size=len(each)) for each in times])
    library = polynomials(("x",), 1)
    fit = maximise(library, cut(series, smooth(series)), np.zeros((2, 1)))
    fit = replace(fit, coefficients=np.array([[0.0], [rate]]), starts=0 * fit.starts)
    assert is_steady(fit, series) == steady
