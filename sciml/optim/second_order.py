"""What L-BFGS and self-scaled Broyden share: iterations on a fixed point set, in one jitted loop, and when they end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import IntEnum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sciml.optim.linesearch import ValueAndGradient, search
from sciml.settings import LineSearch


class Ended(IntEnum):
    """Why a phase ended on the device; zero while it runs."""

    RUNNING = 0
    NOISE = 1
    PLATEAU = 2
    LINE_SEARCH = 3
    STAGNATED = 4
    DIVERGED = 5
    OVERFIT = 6


STAGNATION_WINDOW = 100
"""Iterations over which a relative decrease below sqrt(eps) counts as stagnation (Andersen & Matsubara 2026)."""

CURVATURE = 1e-10
"""A pair is used if s'y > CURVATURE |s||y|: a relative test, which does not freeze the curvature near the optimum."""


class State(NamedTuple):
    """Everything that the next iteration needs; `metric` is the method's own curvature memory."""

    theta: Array
    value: Array
    gradient: Array
    natural: Array
    """The inverse Hessian applied to the gradient."""
    metric: Any
    fresh: Array
    """True until the first curvature pair has been taken: the first step is then scaled by the gradient's norm."""
    length: Array
    """The last accepted length of a line search."""
    step: Array
    evaluations: Array
    mark: Array
    """Value at the last multiple of `STAGNATION_WINDOW`."""
    ended: Array


class Pair(NamedTuple):
    """One curvature pair and what the update needs of it."""

    step: Array
    change: Array
    length: Array
    gradient: Array
    new_gradient: Array
    natural: Array
    fresh: Array


class Metric(ABC):
    """A method's approximation of the inverse Hessian."""

    lengthening: float
    """The first trial of a line search is this much longer than the last accepted length, and at most 1."""

    @abstractmethod
    def start(self, size: int, dtype: Any) -> Any:
        """The identity."""

    @abstractmethod
    def apply(self, metric: Any, vector: Array) -> Array:
        """The inverse Hessian times a vector."""

    @abstractmethod
    def update(self, metric: Any, pair: Pair, good: Array, forget: Array) -> tuple[Any, Array]:
        """The metric after a pair (unchanged where it is not `good`, the identity where it must `forget`), times the new gradient."""

    def is_full(self, metric: Any) -> Array:
        """Whether it must `settle` before the next update."""
        return jnp.asarray(False)

    def settle(self, metric: Any) -> Any:
        """The same metric, ready for updates; unchanged where it is not full."""
        return metric


def begin(metric: Metric, theta: Array, evaluate: ValueAndGradient) -> State:
    """The state before the first iteration."""
    value, gradient = evaluate(theta)
    zero = jnp.zeros((), jnp.int64 if theta.dtype == jnp.float64 else jnp.int32)
    return State(
        theta,
        value,
        gradient,
        gradient,
        metric.start(theta.size, theta.dtype),
        jnp.asarray(True),
        jnp.ones_like(value),
        zero,
        zero + 1,
        value,
        zero + Ended.RUNNING,
    )


def refresh(metric: Metric, state: State, evaluate: ValueAndGradient) -> State:
    """The same curvature on a new point set: value and gradient are computed anew, before the next pair."""
    value, gradient = evaluate(state.theta)
    return state._replace(
        value=value,
        gradient=gradient,
        natural=metric.apply(state.metric, gradient),
        evaluations=state.evaluations + 1,
        mark=value * jnp.inf,
    )


def advance(metric: Metric, state: State, until: Array, evaluate: ValueAndGradient, settings: LineSearch) -> State:
    """Iterates until `state.step` reaches `until` or the method ends.

    The metric settles outside the inner loop, in which its large arrays are only read: a branch inside would copy them.
    """

    def running(state: State) -> Array:
        return (state.step < until) & (state.ended == Ended.RUNNING)

    def iterate(state: State) -> State:
        return _iterate(metric, state, evaluate, settings)

    def round_of(state: State) -> State:
        state = jax.lax.while_loop(lambda state: running(state) & ~metric.is_full(state.metric), iterate, state)
        return state._replace(metric=metric.settle(state.metric))

    return jax.lax.while_loop(running, round_of, state)


def _iterate(metric: Metric, state: State, evaluate: ValueAndGradient, settings: LineSearch) -> State:
    """One line search and one update. After a failed search the metric is forgotten, once; a failure right after that ends the phase."""
    slope = jnp.vdot(state.gradient, state.natural)
    size = jnp.linalg.norm(state.gradient)
    descends = jnp.isfinite(slope) & (slope > 0)
    first = jnp.minimum(1.0, jnp.where(state.fresh, 1.0 / size, metric.lengthening * state.length))
    found = search(evaluate, state.theta, state.value, state.gradient, -state.natural, jnp.where(descends, first, 0.0), settings)
    moved = descends & found.found
    length = jnp.where(moved, found.length, 0.0)
    step = jnp.where(moved, -length * state.natural, 0.0)  # a direction that is not finite must not reach the parameters
    pair = Pair(step, found.gradient - state.gradient, length, state.gradient, found.gradient, state.natural, state.fresh)
    norms = jnp.linalg.norm(pair.step) * jnp.linalg.norm(pair.change)
    good = moved & (jnp.vdot(pair.step, pair.change) > CURVATURE * norms)
    new_metric, natural = metric.update(state.metric, pair, good, ~moved)
    number = state.step + 1
    marked = number % STAGNATION_WINDOW == 0
    root = jnp.sqrt(jnp.finfo(state.value.dtype).eps)
    stagnated = marked & moved & (state.mark - found.value < root * jnp.abs(found.value))
    ended = jnp.where(moved, jnp.where(stagnated, Ended.STAGNATED, state.ended), jnp.where(state.fresh, Ended.LINE_SEARCH, state.ended))
    return State(
        theta=state.theta + pair.step,
        value=found.value,
        gradient=found.gradient,
        natural=natural,
        metric=new_metric,
        fresh=~moved | (state.fresh & ~good),
        length=jnp.where(moved & ~state.fresh, length, 1.0),
        step=number,
        evaluations=state.evaluations + found.evaluations,
        mark=jnp.where(marked, found.value, state.mark),
        ended=ended.astype(state.ended.dtype),
    )
