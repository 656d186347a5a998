"""Steady problems are solved to spectral accuracy, and refused with reasons where that cannot be."""

import jax.numpy as jnp
import numpy as np
import pytest

import sciml
from sciml.errors import ProblemError
from sciml.reference import exact_reference, steady_collocation
from sciml.reference.baseline import baselines
from sciml.reference.grid import relative_l2
from sciml.runs.catalog import load_problem


class Bratu(sciml.Problem):
    """`u'' + lambda e^u = 0`: its largest value is known from a scalar equation (Bratu 1914)."""

    strength: float = 1.0
    domain = sciml.Box(x=(0.0, 1.0))

    def equation(self, u, u_xx):
        return u_xx + self.strength * jnp.exp(u)

    def conditions(self):
        return [sciml.Dirichlet(0.0, on="x")]


class Coupled(sciml.Problem):
    """Two fields, a Robin and a Neumann condition: `u = cos x`, `v = sin x`."""

    domain = sciml.Box(x=(0.0, 2.0))

    def equation(self, u, u_x, u_xx, v, v_x, v_xx):
        return {"first": u_xx + v_x, "second": v_xx + v + u * (u_x + v)}

    def conditions(self):
        return [
            sciml.Dirichlet(1.0, on="x-", of="u"),
            sciml.Neumann(-float(np.sin(2.0)), on="x+", of="u"),
            sciml.Robin(1.0, on="x-", of="v", a=1.0, b=-1.0),
            sciml.Dirichlet(float(np.sin(2.0)), on="x+", of="v"),
        ]

    def exact(self, x):
        return jnp.cos(x), jnp.sin(x)


def error(problem, **settings):
    exact = exact_reference(problem, problem.domain.coordinates, problem.field_names)
    found = steady_collocation(problem, grid=exact.coordinates, **settings)
    return relative_l2(exact.fields, found.fields), found.estimated_error


def test_poisson_in_two_dimensions():
    true, estimated = error(load_problem("poisson_2d"))
    assert true < 1e-12
    assert estimated < 1e-10


def test_the_estimate_is_an_upper_bound_before_convergence():
    true, estimated = error(load_problem("poisson_2d"), points=10)
    assert 1e-9 < true < estimated < 1e-1


def test_a_nonlinear_equation():
    """The lower solution has `u_max = 2 ln cosh(theta / 4)` with `theta = sqrt(2) cosh(theta / 4)`."""
    theta = 1.0
    for _ in range(200):
        theta = np.sqrt(2.0) * np.cosh(theta / 4)
    found = steady_collocation(Bratu())
    assert found.fields["u"].max() == pytest.approx(2 * np.log(np.cosh(theta / 4)), abs=1e-10)


def test_two_fields_with_flux_conditions():
    true, _ = error(Coupled())
    assert true < 1e-11


def test_it_is_the_baseline_of_a_steady_problem():
    problem = load_problem("poisson_2d")
    found = baselines(problem, exact_reference(problem, problem.domain.coordinates, problem.field_names))
    assert set(found) == {"collocation"}
    assert found["collocation"]["rel_l2"] < 1e-12
    assert found["collocation"]["reason"] is None


def test_what_cannot_be_solved_is_refused():
    with pytest.raises(ProblemError, match="has time; use method_of_lines"):
        steady_collocation(load_problem("fisher_kpp"))
    with pytest.raises(ProblemError, match="has not converged"):
        steady_collocation(Bratu(strength=4.0))  # above 3.51 there is no solution
    with pytest.raises(ProblemError, match="points >= 6"):
        steady_collocation(Bratu(), points=3)

    class Unbounded(Bratu):
        def conditions(self):
            return [sciml.Dirichlet(0.0, on="x-")]

    with pytest.raises(ProblemError, match="no boundary condition for u on x+"):
        steady_collocation(Unbounded())

    class Inverse(Bratu):
        strength: sciml.Unknown = sciml.Unknown(1.0)

    with pytest.raises(ProblemError, match="coefficients are unknown"):
        steady_collocation(Inverse())
