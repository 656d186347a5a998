"""Vector fields: whatever says how a state changes. A user's own with unknown coefficients, networks, known physics plus a network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from sciml.dynamics.problem import Dynamics
from sciml.nets.mlp import MLP
from sciml.unknown import Unknown


class VectorField(eqx.Module):
    """Base of all vector fields: called with time, state `(states,)` and controls `(controls,)`, gives the state's time derivative.

    Its trainable leaves are what a fit changes.
    """

    states: eqx.AbstractVar[tuple[str, ...]]
    channels: eqx.AbstractVar[tuple[str, ...]]

    @abstractmethod
    def __call__(self, t: Array, state: Array, controls: Array) -> Array:
        """The time derivative `(states,)`."""

    def observe(self, state: Array) -> Array:
        """What the channels would show of a state, without noise: `(channels,)`. By default the states of the same names."""
        return state[jnp.array([self.states.index(name) for name in self.channels])]

    def start(self, free: Array) -> Array:
        """The initial state, `free` `(states,)` where nothing more is known."""
        return free

    def coefficients(self) -> dict[str, Array]:
        """The coefficients that have a name, a number each."""
        return {}


class Given(VectorField):
    """The vector field that a user wrote down as a `Dynamics`, its unknown coefficients trainable."""

    raw: dict[str, Array]
    """Trainable numbers, zero at the start of each unknown; see `sciml.Unknown.value`."""
    problem: Dynamics = eqx.field(static=True)
    states: tuple[str, ...] = eqx.field(static=True)
    channels: tuple[str, ...] = eqx.field(static=True)

    def __init__(self, problem: Dynamics, dtype: Any = jnp.float64) -> None:
        self.problem, self.states, self.channels = problem, problem.states, problem.measured.names
        self.raw = {name: jnp.zeros((), dtype) for name in problem.unknowns}

    def __call__(self, t: Array, state: Array, controls: Array) -> Array:
        return self.problem.derivative(t, state, controls, self.coefficients())

    def observe(self, state: Array) -> Array:
        return self.problem.observed(state, self.coefficients())

    def start(self, free: Array) -> Array:
        return self.problem.start(free, self.coefficients())

    def coefficients(self) -> dict[str, Array]:
        return {name: unknown.value(self.raw[name]) for name, unknown in self.problem.unknowns.items()}

    @property
    def unknowns(self) -> dict[str, Unknown]:
        return self.problem.unknowns


class NeuralODE(VectorField):
    r"""A network for the whole field: $\dot x = (s / \tau)\, N((x - m) / s, u)$ with the data's mean $m$, size $s$ and time scale $\tau$."""

    network: Any
    mean: tuple[float, ...] = eqx.field(static=True)
    scale: tuple[float, ...] = eqx.field(static=True)
    time_scale: float = eqx.field(static=True)
    states: tuple[str, ...] = eqx.field(static=True)
    channels: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, t: Array, state: Array, controls: Array) -> Array:
        scale = jnp.asarray(self.scale, state.dtype)
        inputs = jnp.concatenate([(state - jnp.asarray(self.mean, state.dtype)) / scale, controls])
        return scale / self.time_scale * self.network(inputs)


class Universal(VectorField):
    r"""Known physics plus what is missing in it (Rackauckas et al. 2020): $\dot x = f(x, p) + N(x)$, with unknown coefficients in $f$."""

    known: VectorField
    missing: VectorField
    states: tuple[str, ...] = eqx.field(static=True)
    channels: tuple[str, ...] = eqx.field(static=True)

    def __init__(self, known: VectorField, missing: VectorField) -> None:
        self.known, self.missing, self.states, self.channels = known, missing, known.states, known.channels

    def __call__(self, t: Array, state: Array, controls: Array) -> Array:
        return self.known(t, state, controls) + self.missing(t, state, controls)

    def observe(self, state: Array) -> Array:
        return self.known.observe(state)

    def start(self, free: Array) -> Array:
        return self.known.start(free)

    def coefficients(self) -> dict[str, Array]:
        return self.known.coefficients()


class SecondOrder(VectorField):
    """Newton's form: the states are positions, then their velocities; only the accelerations are modelled."""

    acceleration: VectorField
    states: tuple[str, ...] = eqx.field(static=True)
    channels: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, t: Array, state: Array, controls: Array) -> Array:
        velocities = state[len(self.states) // 2 :]
        return jnp.concatenate([velocities, self.acceleration(t, state, controls)[len(self.states) // 2 :]])

    def coefficients(self) -> dict[str, Array]:
        return self.acceleration.coefficients()


class Library(VectorField):
    """A linear combination of candidate functions; a coefficient that is exactly zero stays out of the equations."""

    weights: Array
    """`(states, candidates)`, in units of `sizes`."""
    evaluate: Callable[[Array, Array], Array] = eqx.field(static=True)
    """State and controls to the candidates' values `(candidates,)`."""
    terms: tuple[str, ...] = eqx.field(static=True)
    active: tuple[tuple[bool, ...], ...] = eqx.field(static=True)
    states: tuple[str, ...] = eqx.field(static=True)
    channels: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, t: Array, state: Array, controls: Array) -> Array:
        return self.matrix() @ self.evaluate(state, controls)

    def matrix(self) -> Array:
        """Coefficients `(states, candidates)`, zero where a candidate is out."""
        return jnp.where(jnp.asarray(self.active), self.weights, 0.0)

    def coefficients(self) -> dict[str, Array]:
        matrix = self.matrix()
        return {
            f"{state}': {term}": matrix[row, column]
            for row, state in enumerate(self.states)
            for column, term in enumerate(self.terms)
            if self.active[row][column]
        }


def network(inputs: int, outputs: int, width: int, depth: int, activation: str, key: Array) -> MLP:
    """A perceptron whose last layer starts small, so that the field begins near zero and no trajectory runs away."""
    mlp = MLP(inputs, outputs, width, depth, activation, key=key)
    return eqx.tree_at(lambda net: net.weights[-1], mlp, 0.1 * mlp.weights[-1])


__all__ = ["Given", "Library", "NeuralODE", "SecondOrder", "Universal", "VectorField", "network"]
