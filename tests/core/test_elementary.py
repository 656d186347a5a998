"""Sine and cosine against NumPy's, over the range that networks use and far beyond."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.elementary import sine_and_cosine


@pytest.mark.parametrize("reach", [1.0, 50.0, 1e5])
def test_agrees_with_numpy(reach: float) -> None:
    values = np.linspace(-reach, reach, 200_001)
    sine, cosine = jax.jit(sine_and_cosine)(jnp.asarray(values))
    assert np.abs(sine - np.sin(values)).max() < 3e-16
    assert np.abs(cosine - np.cos(values)).max() < 3e-16


def test_small_values_keep_their_relative_accuracy() -> None:
    values = np.geomspace(1e-300, 1e-3, 1001)
    sine, _ = sine_and_cosine(jnp.asarray(values))
    assert np.abs(np.asarray(sine) / np.sin(values) - 1).max() < 3e-16


def test_derivatives() -> None:
    values = jnp.linspace(-9.0, 9.0, 101)
    second = jax.vmap(jax.grad(jax.grad(lambda x: sine_and_cosine(x)[0])))(values)
    np.testing.assert_allclose(second, -np.sin(values), atol=1e-15)
