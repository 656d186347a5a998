"""A problem that says nothing of what it is to be compared with is solved classically, or says why not."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from small_problems import Decay, experiment

import sciml
from sciml.errors import ProblemError
from sciml.reference import classical as module
from sciml.reference import exact_reference
from sciml.reference.baseline import baselines
from sciml.reference.classical import classical
from sciml.reference.grid import relative_l2
from sciml.solve import check_reference


class Cooling(sciml.Problem):
    """Heat in a rod: `exp(-pi^2 t) sin(pi x)`, which the problem does not know."""

    domain = sciml.Box(t=(0.0, 0.2), x=(0.0, 1.0))

    def equation(self, u_t, u_xx):
        return u_t - u_xx

    def conditions(self):
        return [sciml.Initial(lambda x: jnp.sin(jnp.pi * x)), sciml.Dirichlet(0.0, on="x")]


class Renamed(Cooling):
    """What is reported is not the field itself."""

    def observables(self, fields):
        return {"temperature": 273.0 + fields["u"]}


class Falling(sciml.Problem):
    """An ordinary equation of second order: `cos(3 t)`."""

    domain = sciml.Box(t=(0.0, 2.0))

    def equation(self, u, u_tt):
        return u_tt + 9.0 * u

    def conditions(self):
        return [sciml.Initial(1.0), sciml.Initial(0.0, of="u_t")]


class Degenerate(sciml.Problem):
    """`u = x^2`; Newton's first Jacobian is singular, for it starts from zero."""

    domain = sciml.Box(x=(0.0, 1.0))

    def equation(self, x, u, u_xx):
        return u**2 * u_xx - 2 * x**4

    def conditions(self):
        return [sciml.Dirichlet(0.0, on="x-"), sciml.Dirichlet(1.0, on="x+")]

    def exact(self, x):
        return x**2


class Spacious(Cooling):
    """More space than the classical solvers have."""

    domain = sciml.Box(t=(0.0, 0.2), x=(0.0, 1.0), y=(0.0, 1.0), z=(0.0, 1.0))

    def equation(self, u_t, u_xx, u_yy, u_zz):
        return u_t - u_xx - u_yy - u_zz

    def conditions(self):
        return [sciml.Initial(0.0), *(sciml.Dirichlet(0.0, on=name) for name in "xyz")]


def test_a_problem_without_a_reference_is_compared_with_a_classical_solver():
    made = experiment(Cooling())
    found = made.reference
    assert found is not None
    assert found.kind == "method_of_lines"
    t, x = np.meshgrid(*found.coordinates.values(), indexing="ij")
    assert np.allclose(found.fields["u"], np.exp(-(np.pi**2) * t) * np.sin(np.pi * x), atol=1e-8)
    error = made.error(made.start)
    assert error is not None
    assert error.rel_l2 > 1e-3
    assert made.baselines() == {}, "it is the reference itself"


def test_what_is_compared_is_what_the_problem_reports():
    found = experiment(Renamed()).reference
    assert found is not None
    assert set(found.fields) == {"temperature"}
    assert found.fields["temperature"].max() == pytest.approx(274.0)


def test_ordinary_equations():
    found = classical(Falling())
    assert np.allclose(found.fields["u"], np.cos(3 * found.coordinates["t"]), atol=1e-7)
    exact = exact_reference(Decay(), ("t",), ("u",))
    assert relative_l2(exact.fields, classical(Decay(), exact.coordinates).fields) < 1e-8


def test_more_nodes_until_it_is_good():
    """A thin front: what 64 nodes do not resolve."""

    class Front(Cooling):
        domain = sciml.Box(t=(0.0, 0.1), x=(-1.0, 1.0))

        def equation(self, t, x, u_t, u_xx):
            return u_t - 0.01 * u_xx

        def conditions(self):
            return [sciml.Initial(lambda x: jnp.exp(-400 * x**2)), sciml.Dirichlet(0.0, on="x")]

    coarse, found = sciml.reference.method_of_lines(Front()), classical(Front())
    assert coarse.estimated_error > module.GOOD > found.estimated_error


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (Spacious(), "3 space coordinates; at most two"),
        (Decay(rate=sciml.Unknown(1.0)), "coefficients are unknown"),
    ],
)
def test_why_there_is_no_reference(problem, reason):
    assert isinstance(problem, Decay) or experiment(problem).reference is None
    with pytest.raises(ProblemError, match=reason):
        classical(problem)


def test_a_run_without_a_reference_says_why():
    made = experiment(Spacious())
    assert made.error(made.start) is None
    (row,) = made.baselines().values()
    assert row["rel_l2"] is None
    assert "3 space coordinates; at most two" in row["reason"]
    with pytest.raises(ProblemError, match="no `exact` and no `reference`, and .* 3 space coordinates"):
        check_reference(Spacious())
    check_reference(Cooling())


def test_a_loaded_solution_is_evaluated_without_a_reference():
    """What takes the classical solver seconds is done where it is asked for."""
    made = experiment(Cooling())
    asked = []
    made._reference = lambda: asked.append(1) or "none"
    solution = made.solution(made.start)
    assert solution(t=0.1, x=0.5).shape == ()
    assert not asked
    assert solution.reference is None
    assert asked == [1]


def test_a_problem_may_do_without():
    class Alone(Cooling):
        def reference(self):
            return None

    made = experiment(Alone())
    assert made.reference is None
    assert "returns None" in made.baselines()["method_of_lines"]["reason"]


def test_a_solver_that_fails_costs_no_result():
    """Newton's matrix is singular: a reason, and no traceback."""
    problem = Degenerate()
    row = baselines(problem, exact_reference(problem, ("x",), ("u",)))["collocation"]
    assert row["rel_l2"] is None
    assert "Degenerate" in row["reason"]


def test_a_solver_that_nobody_asked_for_does_not_take_for_ever(monkeypatch):
    monkeypatch.setattr(module, "MOST_STEPS", 20)
    with pytest.raises(ProblemError, match="has come no further than t = 0"):
        classical(Cooling())
