"""Problems, models and experiments that are small enough to be built many times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

import sciml
from sciml.conditions import Condition
from sciml.nets.ansatz import build_ansatz
from sciml.nets.features import Features
from sciml.nets.mlp import MLP
from sciml.nets.model import Model

TINY = sciml.Points(interior=64, boundary=32, initial=32, batch=32, pool=2, validation=64)


class Decay(sciml.Problem):
    """An ordinary equation: one coordinate, one field, one hard condition."""

    rate: float = 2.0
    domain = sciml.Box(t=(0.0, 1.0))

    def equation(self, u, u_t):
        return u_t + self.rate * u

    def conditions(self) -> Sequence[Condition]:
        return [sciml.Initial(1.0)]

    def exact(self, t):
        return jnp.exp(-self.rate * t)


def problem(domain: sciml.Box, conditions: Sequence[Condition], equation: Any, **members: Any) -> sciml.Problem:
    """A problem from its parts."""
    made = {"domain": domain, "equation": staticmethod(equation), "conditions": lambda self: list(conditions), **members}
    return type("Made", (sciml.Problem,), made)()


def model(
    of: sciml.Problem,
    network: Any = None,
    activation: str = "tanh",
    fourier: int = 0,
    harmonics: int = 1,
    scale: float = 1.0,
    width: int = 5,
    depth: int = 2,
) -> Model:
    """The model of a problem with a random network, whose biases are not zero."""
    ansatz, _, _ = build_ansatz(of)
    features = Features(of.domain, ansatz.kinds, harmonics, fourier, 1.0, jax.random.key(7), ansatz.seams)
    if network is None:
        network = MLP(features.size, len(of.field_names), width, depth, activation, key=jax.random.key(3))
        network.biases[0] += 0.3
    return Model(features, network, ansatz, scale)


def experiment(
    of: sciml.Problem, phases: Sequence[Any] = (), points: sciml.Points = TINY, seed: int = 0, **settings: Any
) -> sciml.Experiment:
    """A prepared experiment with a network of two layers of four."""
    settings = {"network": sciml.Network(width=4, depth=2), **settings}
    return sciml.prepare(of, points=points, phases=phases or [sciml.Adam(steps=20, until=())], seed=seed, **settings)


def close(found: Any, expected: Any, tolerance: float) -> bool:
    """Whether two arrays agree relative to the largest number in the second."""
    found, expected = jnp.asarray(found), jnp.asarray(expected)
    return bool(jnp.max(jnp.abs(found - expected)) <= tolerance * jnp.max(jnp.abs(expected)))


def same_bytes(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two sets of arrays by path are equal to the last bit."""
    return first.keys() == second.keys() and all(first[name].tobytes() == second[name].tobytes() for name in first)
