"""The Cole-Hopf solution satisfies Burgers' equation, inside the shock too, and does not overflow."""

import numpy as np
import pytest

from sciml.errors import ProblemError
from sciml.reference import cole_hopf, cole_hopf_values

VISCOSITY = 0.01 / np.pi


def initial(x):
    return -np.sin(np.pi * x)


def antiderivative(x):
    return np.cos(np.pi * x) / np.pi


def u(t, x, viscosity=VISCOSITY, nodes=250):
    return cole_hopf_values(initial, antiderivative, viscosity, t, np.asarray(x), nodes)


def derivatives(function, radius, count=32):
    """First and second derivative at 0 of an analytic function, by Cauchy's integral on a circle."""
    circle = radius * np.exp(2j * np.pi * np.arange(count) / count)
    values = np.stack([function(z) for z in circle])
    return [factor * np.mean(values / circle[:, None] ** order, axis=0).real for order, factor in ((1, 1.0), (2, 2.0))]


@pytest.mark.parametrize("t", [0.1, 0.35, 0.7, 1.0])
def test_satisfies_the_equation(t):
    x = np.concatenate([np.linspace(-1, 1, 41), np.linspace(-0.02, 0.02, 21)])
    u_t, _ = derivatives(lambda z: u(t + z, x), 2e-3)
    u_x, u_xx = derivatives(lambda z: u(t, x + z), 3e-3)
    terms = [u_t, u(t, x) * u_x, -VISCOSITY * u_xx]
    size = max(np.abs(term).max() for term in terms)
    assert np.abs(sum(terms)).max() < 1e-10 * size
    assert np.abs(terms[0] + terms[1] + 1.01 * terms[2]).max() > 1e-4 * size


def test_starts_from_the_initial_values_and_keeps_the_boundary():
    x = np.linspace(-1, 1, 51)
    np.testing.assert_allclose(u(0.0, x), initial(x), atol=1e-15)
    assert np.abs(u(0.8, np.array([-1.0, 0.0, 1.0]))).max() < 1e-13


def test_small_viscosity_does_not_overflow():
    values = u(0.2, np.linspace(-1, 1, 101), viscosity=1e-4, nodes=300)
    assert np.all(np.isfinite(values))
    assert np.abs(values).max() <= 1.0


def test_the_error_estimate_tells_too_few_nodes():
    grid = np.linspace(0, 1, 11), np.linspace(-1, 1, 65)
    good = cole_hopf(initial, antiderivative, VISCOSITY, *grid)
    poor = cole_hopf(initial, antiderivative, VISCOSITY, *grid, nodes=20)
    true = np.linalg.norm(poor.fields["u"] - good.fields["u"]) / np.linalg.norm(good.fields["u"])
    assert good.estimated_error < 1e-14
    assert 0.1 * true < poor.estimated_error < 100 * true
    assert true > 1e-8


def test_viscosity_must_be_positive():
    with pytest.raises(ProblemError, match="positive viscosity"):
        cole_hopf(initial, antiderivative, 0.0, np.linspace(0, 1, 3), np.linspace(-1, 1, 5))
