"""Differentiation and interpolation matrices are exact on what they stand for, with and without a focus."""

import numpy as np
import pytest

from sciml.reference.spectral import chebyshev_axis, fourier_axis

SAMPLES = np.linspace(-1.0, 3.0, 57)


@pytest.mark.parametrize("focus", [None, (0.5, 0.4)])
def test_chebyshev_converges_to_derivative_and_value(focus):
    def error(count):
        axis = chebyshev_axis((-1.0, 3.0), count, focus)
        slope = axis.derivative @ np.sin(2 * axis.nodes) - 2 * np.cos(2 * axis.nodes)
        value = axis.interpolation(SAMPLES) @ np.sin(2 * axis.nodes) - np.sin(2 * SAMPLES)
        return max(np.abs(slope).max(), np.abs(value).max())

    assert error(48) < 1e-9
    assert error(48) < 1e-4 * error(16)


def test_chebyshev_has_both_faces_and_increases():
    axis = chebyshev_axis((-1.0, 3.0), 9, focus=(0.0, 0.01))
    assert (axis.nodes[0], axis.nodes[-1]) == (-1.0, 3.0)
    assert np.all(np.diff(axis.nodes) > 0)
    assert np.diff(axis.nodes).min() < 0.05


def test_fourier_is_exact_up_to_its_highest_mode():
    axis = fourier_axis((-1.0, 3.0), 16)
    assert len(axis.nodes) == 17
    k = 2 * np.pi / 4 * 8
    np.testing.assert_allclose(axis.derivative @ np.cos(k * axis.nodes), -k * np.sin(k * axis.nodes), atol=1e-12)
    np.testing.assert_allclose(axis.interpolation(SAMPLES) @ np.sin(k * axis.nodes), np.sin(k * SAMPLES), atol=1e-13)


def test_interpolation_at_nodes_returns_their_values():
    for axis in (chebyshev_axis((0.0, 1.0), 12), fourier_axis((0.0, 1.0), 11)):
        np.testing.assert_array_equal(axis.interpolation(axis.nodes), np.eye(len(axis.nodes)))
