"""Every exact solution satisfies its problem's equation and conditions, and no longer does when a coefficient is off by 1 %."""

import dataclasses
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from sciml.errors import ProblemError
from sciml.problem import Problem
from sciml.runs.catalog import list_problems, load_problem

TEMPLATE = Path(__file__).parents[2] / "problems" / "_template.py"
LOADED = [load_problem(entry.name) for entry in list_problems()]
PROBLEMS = [*(problem for problem in LOADED if isinstance(problem, Problem)), runpy.run_path(str(TEMPLATE))["Template"]()]
WITH_EXACT = [problem for problem in PROBLEMS if hasattr(problem, "exact") and not problem.unknowns]
CASES = [(problem, name) for problem in WITH_EXACT for name in problem.coefficients]


def exact_derivative(problem, derivative):
    """A derivative of the exact solution, by nested forward differentiation, as a function of points (n, d)."""
    position = problem.field_names.index(derivative.field)
    coordinates = problem.domain.coordinates

    def function(point):
        values = problem.exact(**dict(zip(coordinates, point, strict=True)))
        return values[position] if isinstance(values, tuple) else values

    for axis in derivative.index:
        function = along(function, axis, len(coordinates))
    return jax.vmap(function)


def along(function, axis, dimension):
    direction = jnp.zeros(dimension).at[axis].set(1.0)
    return lambda point: jax.jvp(function, (point,), (direction,))[1]


def interior_points(problem, count=500):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.uniform(problem.domain.lower, problem.domain.upper, (count, problem.domain.dimension)))


def residual_and_size(problem, exact_problem):
    """Largest residual of `exact_problem`'s solution in `problem`, and the size of the largest term that makes it up."""
    points = interior_points(problem)
    values = {need: exact_derivative(exact_problem, need)(points) for need in problem.needs}
    whole = jnp.stack(problem.residuals(values, points, {}))
    parts = [whole - jnp.stack(problem.residuals(values | {need: jnp.zeros(len(points))}, points, {})) for need in problem.needs]
    return float(jnp.abs(whole).max()), max(float(jnp.abs(part).max()) for part in parts)


@pytest.mark.parametrize("problem", WITH_EXACT, ids=lambda problem: problem.name)
def test_exact_solution_satisfies_the_equation(problem):
    residual, size = residual_and_size(problem, problem)
    assert residual < 1e-10 * size


@pytest.mark.parametrize(("problem", "name"), CASES, ids=lambda value: getattr(value, "name", value))
def test_a_wrong_coefficient_is_noticed(problem, name):
    wrong = dataclasses.replace(problem, **{name: 1.01 * getattr(problem, name)})
    residual, size = residual_and_size(wrong, problem)
    assert residual > 1e-4 * size


@pytest.mark.parametrize("problem", WITH_EXACT, ids=lambda problem: problem.name)
def test_exact_solution_satisfies_the_conditions(problem):
    cube = jnp.asarray(np.random.default_rng(1).uniform(size=(200, problem.domain.dimension)))
    for term in (term for condition in problem.conditions() for term in condition.terms(problem)):
        points = term.place(cube[:, : term.dimension])
        values = {need: jnp.stack([exact_derivative(problem, need)(stencil) for stencil in points]) for need in term.needs}
        for residual in term.residual(values, points, term.known(points), {}):
            assert float(jnp.abs(residual).max()) < 1e-12, term.name


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_every_problem_says_what_it_is_compared_with(problem):
    assert hasattr(problem, "exact") or hasattr(problem, "reference")
    assert type(problem).__doc__


@pytest.mark.parametrize("name", ["burgers", "allen_cahn", "allen_cahn_smooth", "gray_scott_1d", "reaction_diffusion_rho5"])
def test_references_are_converged_and_start_right(name):
    problem = load_problem(name)
    reference = problem.reference()
    start = problem.start(jnp.asarray(reference.coordinates["x"]))
    for name, values in zip(problem.field_names, start if isinstance(start, tuple) else (start,), strict=True):
        np.testing.assert_allclose(reference.fields[name][0], np.asarray(values), atol=1e-14)
    assert reference.estimated_error < 3e-8
    assert tuple(reference.coordinates) == problem.domain.coordinates


def test_the_reference_follows_the_coefficients():
    slow = load_problem("burgers", {"nu": 0.1}).reference()
    fast = load_problem("burgers").reference()
    assert np.abs(slow.fields["u"] - fast.fields["u"]).max() > 0.1
    with pytest.raises(ProblemError):
        load_problem("burgers", {"nu": -1.0}).reference()


def test_the_inverse_problem_has_the_truth_of_the_forward_one():
    forward, inverse = load_problem("fisher_kpp"), load_problem("fisher_kpp_inverse")
    t, x = interior_points(forward).T
    np.testing.assert_array_equal(inverse.exact(t, x), forward.exact(t, x))
    assert inverse.domain.intervals == forward.domain.intervals
    data = inverse.observations().values["u"] - inverse.exact(**{k: jnp.asarray(v) for k, v in inverse.observations().coordinates.items()})
    assert float(jnp.std(data)) == pytest.approx(inverse.noise, rel=0.2)


def test_the_bloom_is_measured_where_its_reference_is_and_its_noise_is_what_it_says():
    """The reference satisfies no flux and logistic growth: far from the patches diffusion alone changes the mean, so
    d/dt mean(u) = r mean(u (1 - u)) with the true rate."""
    problem = load_problem("algae_bloom")
    reference = problem.reference()
    assert reference.estimated_error < 1e-6
    t, x, u = reference.coordinates["t"], reference.coordinates["x"], reference.fields["u"]
    mean = np.trapezoid(u, x, axis=1) / (x[-1] - x[0])
    growth = np.trapezoid(u * (1 - u), x, axis=1) / (x[-1] - x[0])
    rate = np.gradient(mean, t, edge_order=2)[1:-1] / growth[1:-1]
    np.testing.assert_allclose(rate, 0.7, rtol=2e-3)
    data = problem.observations()
    at = RegularGridInterpolator((t, x), u, method="cubic")(np.stack([data.coordinates["t"], data.coordinates["x"]], axis=1))
    assert np.std(data.values["u"] - at) == pytest.approx(problem.noise, rel=0.15)
    other = load_problem("algae_bloom", {"draw": 1}).observations()
    assert np.std(other.values["u"] - data.values["u"]) == pytest.approx(np.sqrt(2) * problem.noise, rel=0.2)
    np.testing.assert_array_equal(data.values["u"], problem.observations().values["u"])
