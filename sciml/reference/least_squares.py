"""The classical way to unknown coefficients: nonlinear least squares through the method of lines, with standard errors."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.conditions import Term
from sciml.data import Data
from sciml.domain import TIME
from sciml.errors import ProblemError
from sciml.problem import Problem
from sciml.reference.method_of_lines import DEFAULT_POINTS, FEWEST_POINTS, on_cpu
from sciml.reference.semidiscrete import Semidiscrete

TOLERANCE = 1e-7
"""Of the integrator per step, and of the minimiser: far below the noise of any measured values."""
MOST_EVALUATIONS = 100
SINGULAR = 1e-10
"""Ratio of singular values of the Jacobian, columns scaled, below which the coefficients are not determined."""


class Fit(NamedTuple):
    """The coefficients that fit the measured values best."""

    unknowns: dict[str, dict[str, Any]]
    """Of each: `value`, `standard_error`, and the `reason` where it has none."""
    correlation: np.ndarray
    """`(k, k)`, in the order of `unknowns`."""
    noise: float
    """Standard deviation of the measured values around the fit, corrected for the number of coefficients."""
    problem: Problem
    """The same problem with these coefficients and without data."""
    seconds: float
    """Of the fit alone, without compilation."""


class Observations(NamedTuple):
    """Measured values, in order of time."""

    times: np.ndarray
    """`(n,)`"""
    weights: np.ndarray
    """`(n, fields x nodes)`: interpolation from a solution's values at all nodes to each measured value."""
    values: np.ndarray
    """`(n,)`"""


def least_squares(problem: Problem, points: int | None = None) -> Fit:
    """Fit the unknown coefficients of a time-dependent problem to its `Data`, all values counted alike.

    Collocation at `points` nodes per space coordinate (as in `method_of_lines`), Kvaerno's implicit integrator of order 5, its
    derivatives by the coefficients in forward mode, SciPy's trust-region minimiser from the `Unknown`s' starts. The standard errors
    are those of the linearised fit, `s^2 (J'J)^-1` (Seber & Wild 1989, Nonlinear Regression, chapter 2): noise of equal variance,
    estimated from the residuals.

    Raises `ProblemError` where there is nothing to fit or to fit with, where the forward problem cannot be solved (see
    `method_of_lines`), and where the fit does not converge.
    """
    terms = [term for each in problem.conditions() if isinstance(each, Data) for term in each.terms(problem) if term.weight > 0]
    if not problem.unknowns or not terms:
        raise ProblemError(f"least_squares: {problem.name} has no {'Data' if problem.unknowns else 'Unknown coefficient'}")
    points = points or DEFAULT_POINTS.get(problem.domain.dimension - 1, FEWEST_POINTS)
    names = tuple(problem.unknowns)
    with jax.enable_x64(True), on_cpu():
        started = forward_problem(problem, {name: unknown.start for name, unknown in problem.unknowns.items()})
        Semidiscrete(started, FEWEST_POINTS).check()
        equations = Semidiscrete(started, points)
        observations = observe(terms, equations, problem)
        if len(observations.values) <= len(names):
            raise ProblemError(f"least_squares: {len(observations.values)} measured values for {len(names)} coefficients; measure more")
        begin, given = np.zeros(len(names)), (equations.initial_state(), observations)
        linearised = jax.jit(_linearised(problem, equations)).lower(begin, *given).compile()

        @functools.lru_cache(maxsize=2)  # the minimiser asks for residuals and Jacobian one after the other
        def at(raw: bytes) -> tuple[np.ndarray, np.ndarray]:
            residuals, jacobian = linearised(np.frombuffer(raw), *given)
            return np.asarray(residuals), np.asarray(jacobian)

        import scipy.optimize

        minimise: Any = scipy.optimize.least_squares  # untyped: its defaults hide that jac may be a function and gtol None
        clock = time.perf_counter()
        try:
            found = minimise(
                lambda raw: at(raw.tobytes())[0],
                begin,
                lambda raw: at(raw.tobytes())[1],
                x_scale="jac",
                xtol=TOLERANCE,
                ftol=TOLERANCE,
                gtol=None,
                max_nfev=MOST_EVALUATIONS,
            )
        except ValueError as error:  # what it raises where the first residuals are not finite
            raise ProblemError(f"least_squares: no solution at the starts of the Unknown coefficients ({error}); try others") from error
        seconds = time.perf_counter() - clock
        if found.status <= 0 or not np.isfinite(found.jac).all():
            raise ProblemError("least_squares did not converge; other starts of the Unknown coefficients may help")
        values = dict(zip(names, map(float, _values(problem, jnp.asarray(found.x))), strict=True))
        slopes = np.diag(jax.jacfwd(lambda raw: _values(problem, raw))(jnp.asarray(found.x)))
    return _with_errors(values, found.fun, found.jac / slopes, forward_problem(problem, values), seconds)


def forward_problem(problem: Problem, values: Mapping[str, Any]) -> Problem:
    """The same problem with given coefficients and without its data: what a classical solver can solve."""

    def conditions(self: Any) -> list[Any]:
        return [each for each in kind.conditions(self) if not isinstance(each, Data)]

    kind = type(problem)
    known = type(kind.__name__, (kind,), {"conditions": conditions, "__doc__": kind.__doc__})
    given = {field.name: getattr(problem, field.name) for field in dataclasses.fields(problem)}  # type: ignore[arg-type]
    return known(**given | dict(values))


def observe(terms: list[Term], equations: Semidiscrete, problem: Problem) -> Observations:
    """All measured values of the terms, and how they are read from a solution."""
    times, rows, values = [], [], []
    for term in terms:
        assert term.data is not None
        points, known = np.asarray(term.data[0][0]), np.asarray(term.data[1][0])
        row = np.ones((len(points), 1))
        for name, axis in zip(equations.space, equations.axes, strict=True):
            row = (row[:, :, None] * axis.interpolation(points[:, problem.domain.axis(name)])[:, None, :]).reshape(len(points), -1)
        fields = np.eye(len(equations.fields))[equations.fields.index(term.needs[0].field)]
        times.append(points[:, problem.domain.axis(TIME)])
        rows.append((fields[None, :, None] * row[:, None, :]).reshape(len(points), -1))
        values.append(known)
    order = np.argsort(np.concatenate(times), kind="stable")
    return Observations(np.concatenate(times)[order], np.concatenate(rows)[order], np.concatenate(values)[order])


def _linearised(problem: Problem, equations: Semidiscrete) -> Callable[..., tuple[Array, Array]]:
    """From the minimiser's numbers, the initial state and the observations to the residuals `(n,)` and their Jacobian `(n, k)`."""
    import diffrax  # here, since most runs do not need it and it takes long to import

    first, last = problem.domain.intervals[TIME]

    def residuals(raw: Array, state: Array, observations: Observations) -> Array:
        traced = equations.with_coefficients(dict(zip(problem.unknowns, _values(problem, raw), strict=True)))
        times = jnp.asarray(observations.times)
        found = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, _: traced.rate(jnp.asarray(t), y)),
            diffrax.Kvaerno5(),
            first,
            last,
            None,
            state,
            saveat=diffrax.SaveAt(ts=times),
            stepsize_controller=diffrax.PIDController(TOLERANCE, TOLERANCE),
            adjoint=diffrax.ForwardMode(),
            throw=False,
        )
        assert found.ys is not None
        fields = jax.vmap(equations.all_values)(times, found.ys).reshape(len(observations.values), -1)
        return jnp.sum(observations.weights * fields, axis=1) - observations.values

    def linearised(raw: Array, state: Array, observations: Observations) -> tuple[Array, Array]:
        jacobian, found = jax.jacfwd(lambda raw: (residuals(raw, state, observations),) * 2, has_aux=True)(raw)
        return found, jacobian

    return linearised


def _values(problem: Problem, raw: Array) -> Array:
    """The coefficients at the minimiser's own numbers, which are zero at the start."""
    return jnp.stack([unknown.value(raw[number]) for number, unknown in enumerate(problem.unknowns.values())])


def _with_errors(values: dict[str, float], residuals: np.ndarray, jacobian: np.ndarray, problem: Problem, seconds: float) -> Fit:
    """The standard errors of a linear fit with this Jacobian (by the coefficients themselves), noise estimated from the residuals."""
    left = len(residuals) - len(values)
    noise = float(np.sqrt(np.sum(residuals**2) / left))
    sizes = np.linalg.norm(jacobian, axis=0)
    scaled = jacobian / np.where(sizes > 0, sizes, 1.0)
    if np.linalg.svd(scaled, compute_uv=False)[-1] < SINGULAR:
        unknowns = {
            name: {"value": value, "standard_error": None, "reason": "not determined by these data"} for name, value in values.items()
        }
        return Fit(unknowns, np.full((len(values), len(values)), np.nan), noise, problem, seconds)
    inverse = np.linalg.inv(scaled.T @ scaled)
    spread = np.sqrt(np.diag(inverse))
    errors = noise * spread / sizes
    unknowns = {
        name: {"value": value, "standard_error": float(error), "reason": None}
        for (name, value), error in zip(values.items(), errors, strict=True)
    }
    return Fit(unknowns, inverse / np.outer(spread, spread), noise, problem, seconds)
