"""The line search on the functions of Moré & Thuente (1994, ACM Trans. Math. Softw. 20, 286-307), and where values are not finite."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest

from sciml.optim.linesearch import Step, search
from sciml.settings import LineSearch


def yanai(first: float, second: float) -> Callable[[jax.Array], jax.Array]:
    """Functions 4 to 6: convex, with a minimum that the curvatures at both ends make hard to find (Yanai, Ozawa & Kaneko 1981)."""

    def gamma(beta: float) -> float:
        return (1 + beta**2) ** 0.5 - beta

    return lambda a: gamma(first) * jnp.sqrt((1 - a) ** 2 + second**2) + gamma(second) * jnp.sqrt(a**2 + first**2)


def wavy(a: jax.Array) -> jax.Array:
    """Function 3: a kink, smoothed, under a sine of 39 half waves."""
    beta, waves = 0.01, 39
    near = (a - 1) ** 2 / (2 * beta) + beta / 2
    trend = jnp.where(a <= 1 - beta, 1 - a, jnp.where(a >= 1 + beta, a - 1, near))
    return trend + 2 * (1 - beta) / (waves * jnp.pi) * jnp.sin(waves * jnp.pi / 2 * a)


MORE_THUENTE = {
    "1": (lambda a: -a / (a**2 + 2), LineSearch(decrease=0.001, curvature=0.1)),
    "2": (lambda a: (a + 0.004) ** 5 - 2 * (a + 0.004) ** 4, LineSearch(decrease=0.1, curvature=0.1)),
    "3": (wavy, LineSearch(decrease=0.1, curvature=0.1)),
    "4": (yanai(0.001, 0.001), LineSearch(decrease=0.001, curvature=0.001)),
    "5": (yanai(0.01, 0.001), LineSearch(decrease=0.001, curvature=0.001)),
    "6": (yanai(0.001, 0.01), LineSearch(decrease=0.001, curvature=0.001)),
}


def along(function: Callable, settings: LineSearch) -> Callable[[float], Step]:
    """The search from 0 in direction 1, as a function of the first trial."""
    evaluate = jax.value_and_grad(lambda point: function(point[0]))
    origin = jnp.zeros(1)
    value, gradient = evaluate(origin)
    whole = jax.jit(lambda first: search(evaluate, origin, value, gradient, jnp.ones(1), first, settings))
    return lambda first: whole(jnp.asarray(first))


def strong_wolfe(function: Callable, step: Step, settings: LineSearch) -> bool:
    """Both conditions, with value and slope computed anew."""
    value, slope = jax.value_and_grad(function)(jnp.zeros(()))
    new_value, new_slope = jax.value_and_grad(function)(step.length)
    decreases = new_value <= value + settings.decrease * step.length * slope
    return bool(decreases & (jnp.abs(new_slope) <= settings.curvature * jnp.abs(slope)))


def lowest_in_reach(function: Callable, step: Step) -> bool:
    """Whether rounding hides any lower value nearby, so that no search that compares values could go on."""
    nearby = step.length * (1 + jnp.linspace(-1e-6, 1e-6, 1001))
    return bool(step.value <= jnp.min(jax.vmap(function)(nearby)) + 2 * jnp.finfo(float).eps * jnp.abs(step.value))


@pytest.mark.parametrize("name", MORE_THUENTE)
def test_strong_wolfe_conditions(name: str) -> None:
    """From first trials six orders of magnitude apart.

    The second function asks for a slope of 5e-8 where its value is -2.6: that lies at the limit of rounding.
    """
    function, settings = MORE_THUENTE[name]
    find = along(function, settings)
    for first in (1e-3, 1e-1, 1e1, 1e3):
        step = find(first)
        assert bool(step.found)
        if name == "2" and not strong_wolfe(function, step, settings):
            assert lowest_in_reach(function, step)
        else:
            assert strong_wolfe(function, step, settings), (first, float(step.length))
            assert 1 <= int(step.evaluations) < settings.evaluations
        assert float(step.value) == pytest.approx(float(function(step.length)), rel=1e-12)
        assert float(step.gradient[0]) == pytest.approx(float(jax.grad(function)(step.length)), rel=1e-9, abs=1e-12)


def test_a_good_first_trial_costs_one_evaluation() -> None:
    step = along(lambda a: (a - 1) ** 2, LineSearch())(1.0)
    assert (int(step.evaluations), float(step.length)) == (1, 1.0)


def test_the_minimum_of_a_parabola_is_interpolated() -> None:
    """A cubic through a parabola is the parabola: the second trial is its minimum."""
    step = along(lambda a: (a - 1) ** 2, LineSearch(curvature=0.01))(4.0)
    assert int(step.evaluations) == 2
    assert float(step.length) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_values_that_are_not_finite_count_as_too_high(bad: float) -> None:
    """A wall behind which nothing is defined; a value of minus infinity is not progress either."""

    def walled(a: jax.Array) -> jax.Array:
        return jnp.where(a > 1.2, bad, (a - 1) ** 2)

    step = along(walled, LineSearch())(100.0)
    assert bool(step.found)
    assert 0 < float(step.length) <= 1.2
    assert strong_wolfe(walled, step, LineSearch())


def test_a_gradient_that_is_not_finite_counts_as_too_high() -> None:
    """The value is fine behind the wall, its derivative is not."""

    @jax.custom_jvp
    def function(a: jax.Array) -> jax.Array:
        return (a - 1) ** 2

    function.defjvps(lambda tangent, _, a: tangent * jnp.where(a > 1.2, jnp.nan, 2 * (a - 1)))
    step = along(function, LineSearch(curvature=0.1))(1.5)
    assert bool(step.found)
    assert float(step.length) <= 1.2


def test_nothing_that_decreases_is_not_found() -> None:
    """Undefined everywhere else, or uphill: the origin's value and gradient come back, and all evaluations are spent."""
    for function in (lambda a: jnp.where(a > 0, jnp.nan, -a), lambda a: jnp.where(a > 0, a, -a)):
        step = along(function, LineSearch(evaluations=12))(1.0)
        assert not bool(step.found)
        assert (float(step.length), float(step.value), int(step.evaluations)) == (0.0, 0.0, 12)
        assert float(step.gradient[0]) == -1.0


def test_the_best_decrease_is_taken_when_evaluations_run_out() -> None:
    """Unbounded below: every expansion decreases more; three trials of 1, 2.5, 6.25."""
    step = along(lambda a: -a, LineSearch(evaluations=3, curvature=0.1))(1.0)
    assert bool(step.found)
    assert (float(step.length), float(step.value)) == (6.25, -6.25)
