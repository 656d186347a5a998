"""Functions to minimise, and a way to watch a method minimise them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sciml.optim import second_order
from sciml.optim.second_order import Metric, State
from sciml.settings import LineSearch


def rosenbrock(point: jax.Array) -> jax.Array:
    """Zero at (1, ..., 1), at the end of a curved valley."""
    return jnp.sum(100 * (point[1:] - point[:-1] ** 2) ** 2 + (1 - point[:-1]) ** 2)


def quadratic(size: int, condition: float, factor: float = 1.0) -> Callable[[jax.Array], jax.Array]:
    """A rotated quadratic whose curvatures reach from `factor` to `factor * condition`; zero at the origin."""
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((size, size)))[0]
    root = jnp.asarray(np.sqrt(factor * np.geomspace(1.0, condition, size))[:, None] * rotation)
    return lambda point: 0.5 * jnp.sum((root @ point) ** 2)


class Path(NamedTuple):
    """The last state, and what there was after each iteration."""

    last: State
    values: np.ndarray
    points: np.ndarray
    evaluations: np.ndarray


def minimise(metric: Metric, function: Callable, start: jax.Array, steps: int, line_search: LineSearch | None = None) -> Path:
    """At most `steps` iterations, one after the other."""
    evaluate = jax.value_and_grad(function)

    @jax.jit
    def run(start: jax.Array) -> tuple[State, tuple]:
        def iterate(state: State, _: None) -> tuple[State, tuple]:
            state = second_order.advance(metric, state, state.step + 1, evaluate, line_search or LineSearch())
            return state, (state.value, state.theta, state.evaluations)

        return jax.lax.scan(iterate, second_order.begin(metric, start, evaluate), None, steps)

    last, (values, points, evaluations) = run(start)
    done = int(last.step)
    return Path(last, np.asarray(values)[:done], np.asarray(points)[:done], np.asarray(evaluations)[:done])


def never_increases(path: Path) -> bool:
    return bool(np.all(np.diff(path.values) <= 0))
