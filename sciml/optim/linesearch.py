"""The strong Wolfe line search on the device (Nocedal & Wright 2006, algorithms 3.5 and 3.6), one evaluation per pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sciml.settings import LineSearch

ValueAndGradient = Callable[[Array], tuple[Array, Array]]
_EXPANSION = 2.5
_MARGIN = 0.1


class Step(NamedTuple):
    """An accepted step: its length, value and gradient there, evaluations spent; `found` is False if nothing decreased."""

    length: Array
    value: Array
    gradient: Array
    evaluations: Array
    found: Array


class _Trial(NamedTuple):
    length: Array
    value: Array
    slope: Array


class _Search(NamedTuple):
    zooming: Array
    done: Array
    next: Array
    low: _Trial
    high: _Trial
    gradient: Array
    evaluations: Array


def search(
    evaluate: ValueAndGradient, point: Array, value: Array, gradient: Array, direction: Array, first: Array, settings: LineSearch
) -> Step:
    """A step along `direction` from `point` that satisfies the strong Wolfe conditions.

    `low` is the best point so far that decreases enough, `high` the other end of the bracket. A value that is not finite counts
    as too high. A direction that does not descend costs no evaluation. If the evaluations run out, the best point that decreases
    enough is taken.
    """
    slope = jnp.vdot(gradient, direction)
    origin = _Trial(jnp.zeros_like(value), value, slope)

    def enough(trial: _Trial) -> Array:
        return trial.value <= value + settings.decrease * trial.length * slope

    def body(state: _Search) -> _Search:
        new_value, new_gradient = evaluate(point + state.next * direction)
        usable = jnp.isfinite(new_value) & jnp.all(jnp.isfinite(new_gradient))
        trial = _Trial(state.next, jnp.where(usable, new_value, jnp.inf), jnp.where(usable, jnp.vdot(new_gradient, direction), 0.0))
        too_high = ~enough(trial) | (trial.value >= state.low.value)
        flat = ~too_high & (jnp.abs(trial.slope) <= -settings.curvature * slope)
        past = trial.slope * jnp.where(state.zooming, state.high.length - state.low.length, 1.0) >= 0
        high = _choose(too_high, trial, _choose(past, state.low, state.high))
        low = _choose(too_high, state.low, trial)
        zooming = state.zooming | too_high | past
        following = jnp.where(zooming, _interpolate(low, high), trial.length * _EXPANSION)
        kept = jnp.where(too_high, state.gradient, new_gradient)
        return _Search(zooming, flat, following, low, high, kept, state.evaluations + 1)

    def unfinished(state: _Search) -> Array:
        return ~state.done & (state.evaluations < settings.evaluations)

    start = _Search(jnp.asarray(False), ~(slope < 0), jnp.asarray(first, value.dtype), origin, origin, gradient, jnp.asarray(0))
    end = jax.lax.while_loop(unfinished, body, start)
    return Step(end.low.length, end.low.value, end.gradient, end.evaluations, end.low.length > 0)


def _choose(condition: Array, first: _Trial, second: _Trial) -> _Trial:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), first, second)


def _interpolate(low: _Trial, high: _Trial) -> Array:
    """The minimiser of the cubic through both ends (equation 3.59), kept away from them; halfway where there is none."""
    width = high.length - low.length
    middle = low.length + 0.5 * width
    first = low.slope + high.slope - 3 * (low.value - high.value) / (low.length - high.length)
    second = jnp.sign(width) * jnp.sqrt(first**2 - low.slope * high.slope)
    cubic = high.length - width * (high.slope + second - first) / (high.slope - low.slope + 2 * second)
    near, far = low.length + _MARGIN * width, high.length - _MARGIN * width
    inside = jnp.clip(cubic, jnp.minimum(near, far), jnp.maximum(near, far))
    return jnp.where(jnp.isfinite(cubic) & jnp.isfinite(high.value), inside, middle)
