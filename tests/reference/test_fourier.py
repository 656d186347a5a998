"""ETDRK4 is of fourth order, Fourier modes converge spectrally, and the error estimate is honest on kinked data."""

import numpy as np
import pytest

from sciml.errors import ProblemError
from sciml.reference import cole_hopf, fourier_etdrk4
from sciml.reference.grid import relative_l2

TIMES = np.linspace(0.0, 1.0, 6)
VISCOSITY = 0.05


def burgers(modes, steps):
    """u_t + (u^2 / 2)_x = viscosity u_xx, smooth all along."""
    return fourier_etdrk4(
        linear_symbol=lambda k: -VISCOSITY * k**2,
        nonlinear=lambda u: u**2,
        multiplier=lambda k: -0.5j * k,
        initial=lambda x: -np.sin(np.pi * x),
        interval=(-1.0, 1.0),
        times=TIMES,
        modes=modes,
        steps=steps,
        points=8,
    )


def burgers_error(modes, steps):
    found = burgers(modes, steps)
    truth = cole_hopf(
        lambda x: -np.sin(np.pi * x),
        lambda x: np.cos(np.pi * x) / np.pi,
        VISCOSITY,
        TIMES,
        found.coordinates["x"],
        nodes=150,
    )
    return relative_l2(truth.fields, found.fields), found.estimated_error


def allen_cahn(modes, steps=400):
    return fourier_etdrk4(
        lambda k: -1e-4 * k**2,
        lambda u: 5 * u - 5 * u**3,
        lambda x: x**2 * np.cos(np.pi * x),
        (-1.0, 1.0),
        np.linspace(0.0, 1.0, 51),
        modes,
        steps,
        points=128,
    )


def test_observed_order_in_time_is_four():
    errors = [burgers_error(128, steps)[0] for steps in (80, 160, 320)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(np.abs(orders - 4) < 0.15), (errors, orders)


def test_modes_converge_spectrally():
    errors = [burgers_error(modes, 2000)[0] for modes in (32, 64, 128)]
    assert errors[1] < errors[0] ** 1.6, errors
    assert errors[2] < 1e-11, errors


def test_estimate_bounds_the_error_on_smooth_data():
    for steps in (40, 160):
        true, estimated = burgers_error(128, steps)
        assert 0.5 * true < estimated < 10 * true


def test_estimate_bounds_the_error_on_kinked_data():
    converged = allen_cahn(8192)
    for modes in (512, 1024):
        found = allen_cahn(modes)
        true = relative_l2(converged.fields, found.fields)
        assert 0.5 * true < found.estimated_error < 10 * true


def test_linear_problems_are_exact_in_time_with_complex_symbols():
    speed, diffusion = 0.7, 0.1
    found = fourier_etdrk4(lambda k: -1j * speed * k - diffusion * k**2, np.zeros_like, np.cos, (0.0, 2 * np.pi), TIMES, 32, 20, points=8)
    t, x = np.meshgrid(*found.coordinates.values(), indexing="ij")
    np.testing.assert_allclose(found.fields["u"], np.exp(-diffusion * t) * np.cos(x - speed * t), atol=1e-13)


def test_several_fields():
    diffusion = 0.1
    found = fourier_etdrk4(
        linear_symbol=lambda k: np.stack([-diffusion * k**2, -diffusion * k**2]),
        nonlinear=lambda values: np.stack([-values[1], values[0]]),
        initial=lambda x: np.stack([np.sin(x), np.zeros_like(x)]),
        interval=(0.0, 2 * np.pi),
        times=TIMES,
        modes=32,
        steps=400,
        points=8,
        fields=("a", "b"),
    )
    t, x = np.meshgrid(*found.coordinates.values(), indexing="ij")
    decaying = np.exp(-diffusion * t) * np.sin(x)
    np.testing.assert_allclose(found.fields["a"], decaying * np.cos(t), atol=1e-11)
    np.testing.assert_allclose(found.fields["b"], decaying * np.sin(t), atol=1e-11)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"times": np.array([0.0, 0.1, 0.5])}, "equally spaced"),
        ({"steps": 30}, "multiple of 4 x 5"),
        ({"modes": 100}, "multiple of 8"),
        ({"points": 5}, "of 4 x 5"),
    ],
)
def test_counts_must_divide(changes, message):
    given = {"times": TIMES, "modes": 64, "steps": 40, "points": 8} | changes
    with pytest.raises(ProblemError, match=message):
        fourier_etdrk4(lambda k: -(k**2), np.zeros_like, np.cos, (0.0, 2 * np.pi), **given)
