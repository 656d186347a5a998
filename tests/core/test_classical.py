"""A problem that says nothing of what it is to be compared with is solved classically, or says why not."""

from __future__ import annotations

import re

import jax.numpy as jnp
import numpy as np
import pytest
from small_problems import TINY, Decay, experiment

import sciml
from sciml.errors import ProblemError
from sciml.reference import classical as module
from sciml.reference import exact_reference, of_problem
from sciml.reference.baseline import baselines
from sciml.reference.classical import classical
from sciml.reference.grid import relative_l2
from sciml.solve import prepare_seeds


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
    assert made.baselines() == {}
    reason = "Spacious has no `exact` and no `reference`, and .* 3 space coordinates"
    assert re.search(reason, made.error_reason)
    with pytest.raises(ProblemError, match=rf"target_error = 0.1 cannot be measured: {reason}"):
        sciml.solve(Spacious(), target_error=0.1, points=TINY, phases=[sciml.Adam(steps=20)], progress=False)


def test_a_target_tells_what_is_wrong_with_the_problem_first():
    class Unreturned(Cooling):
        def conditions(self):
            return None

    with pytest.raises(ProblemError, match="None stands where a list of conditions should"):
        sciml.solve(Unreturned(), target_error=0.1, progress=False)
    with pytest.raises(ProblemError, match="None stands where a list of conditions should"):
        classical(Unreturned())


def test_what_has_not_converged_is_not_compared_with():
    """A boundary layer that no number of nodes resolves."""

    class Layer(sciml.Problem):
        domain = sciml.Box(x=(0.0, 1.0))

        def equation(self, u_x, u_xx):
            return 1e-6 * u_xx + u_x - 1.0

        def conditions(self):
            return [sciml.Dirichlet(0.0, on="x")]

    made = experiment(Layer())
    assert made.reference is None
    assert "collocation has not converged" in made.error_reason


def test_no_classical_solver_where_none_is_wanted(monkeypatch):
    monkeypatch.setattr(of_problem, "classical", lambda problem: pytest.fail("it was tried"))
    (made,) = prepare_seeds(Cooling(), (0,), network=sciml.Network(width=4, depth=2), points=TINY, phases=[sciml.Adam()], compare=False)
    assert made.reference is None
    assert "no classical solver was tried" in made.error_reason
    assert made.opening == ""


def test_a_run_says_that_a_solver_is_tried():
    assert experiment(Cooling()).opening == "trying a classical solver, to measure errors by"
    assert experiment(Decay()).opening == ""


def test_reasons_are_those_of_the_problem():
    class Block(sciml.Problem):
        domain = sciml.Box(x=(0.0, 1.0), y=(0.0, 1.0), z=(0.0, 1.0))

        def equation(self, u_xx, u_yy, u_zz):
            return u_xx + u_yy + u_zz

    with pytest.raises(ProblemError, match=r"Block: Box\(x=.* has 3 coordinates; at most two"):
        classical(Block())

    class Singular(Falling):
        def equation(self, t, u, u_t, u_tt):
            return u_tt + 2 / t * u_t + u

    with pytest.raises(ProblemError, match="the equation is not finite at the start, t = 0"):
        classical(Singular())


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
    assert made.error_reason == "`reference` of Alone returns None"


def test_a_solver_that_fails_costs_no_result():
    """Newton's matrix is singular: a reason, and no traceback."""
    problem = Degenerate()
    row = baselines(problem, exact_reference(problem, ("x",), ("u",)))["collocation"]
    assert row["rel_l2"] is None
    assert "Degenerate" in row["reason"]


def test_a_solver_that_nobody_asked_for_does_not_take_for_ever(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    with pytest.raises(ProblemError, match="has come no further than t = 0 in the time that it had"):
        classical(Cooling())
    with pytest.raises(ProblemError, match="has not converged in the time that it had"):
        classical(Degenerate())
