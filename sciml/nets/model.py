"""The model that answers: features of the coordinates, a network, and the ansatz of the hard conditions around it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.derivatives import Jet, MultiIndex, add, multiply, nested
from sciml.nets.ansatz import Ansatz
from sciml.nets.features import Features

Network = Any
"""Any callable pytree `(inputs,) -> (outputs,)`: an Equinox module, a Flax NNX module, a function."""


class Frame(NamedTuple):
    """All that does not depend on the network at a set of points: computed once where the points stay fixed."""

    points: Array
    inputs: Jet
    lift: Jet
    vanishing: Jet


class Model(eqx.Module):
    """`u(z) = lift(z) + vanishing(z) * scale * network(features(z))`; without hard conditions the last factor alone."""

    features: Features
    network: Network
    ansatz: Ansatz = eqx.field(static=True)
    scale: float = eqx.field(static=True, default=1.0)

    def __call__(self, point: Array) -> Array:
        """The fields `(fields,)` at one point `(dimension,)`."""
        return self.jet(self.network, self.frame(point[None], ((),)), ((),))[()][:, 0]

    def frame(self, points: Array, indices: tuple[MultiIndex, ...], seen: Array | None = None) -> Frame:
        """What is known in advance at `points` of shape `(n, dimension)`; the network sees them at `seen`, where that differs."""
        seen = points if seen is None else seen
        inputs = self.features.jet(seen, indices) if hasattr(self.network, "jet") else {}
        if self.ansatz.trivial:
            return Frame(seen, inputs, {}, {})
        return Frame(seen, inputs, nested(self.ansatz.lift, points, indices), self.ansatz.vanishing(seen, indices))

    def jet(self, network: Network, frame: Frame, indices: tuple[MultiIndex, ...]) -> Jet:
        """Fields and their derivatives, arrays `(fields, n)`; `indices` must be closed (`sciml.derivatives.closure`)."""
        correction = self.correction(network, frame, indices)
        return correction if self.ansatz.trivial else add(frame.lift, correction)

    def correction(self, network: Network, frame: Frame, indices: tuple[MultiIndex, ...]) -> Jet:
        """What the network adds to the lift."""
        if hasattr(network, "jet"):
            raw = network.jet(frame.inputs, indices)
        else:
            raw = nested(lambda point: jnp.atleast_1d(network(self.features(point))), frame.points, indices)
        if self.scale != 1.0:
            raw = {index: self.scale * value for index, value in raw.items()}
        return raw if self.ansatz.trivial else multiply(frame.vanishing, raw, indices)


def trainable_mask(network: Network) -> Any:
    """True for each array of a network that training may change: floating point, and `nnx.Param` where it is Flax's."""
    import sys

    nnx = sys.modules.get("flax.nnx")
    if nnx is None:
        return jax.tree.map(eqx.is_inexact_array, network)

    def leaf(node: Any) -> Any:
        keep = not isinstance(node, nnx.Variable) or isinstance(node, nnx.Param)
        return jax.tree.map(lambda array: keep and eqx.is_inexact_array(array), node)

    return jax.tree.map(leaf, network, is_leaf=lambda node: isinstance(node, nnx.Variable))


def flattened(tree: Any) -> tuple[np.ndarray, Callable[[Any], Any]]:
    """All numbers of a pytree in one vector on the host, and the way back for such a vector, on the host or traced.

    `jax.flatten_util.ravel_pytree` compiles programs for the shapes that it meets; this compiles nothing.
    """
    leaves, structure = jax.tree.flatten(tree)
    shapes = [np.shape(leaf) for leaf in leaves]
    ends = np.cumsum([math.prod(shape) for shape in shapes])

    def unflattened(flat: Any) -> Any:
        places = zip([0, *ends.tolist()][:-1], ends.tolist(), shapes, strict=True)
        return jax.tree.unflatten(structure, [flat[begin:end].reshape(shape) for begin, end, shape in places])

    return np.concatenate([np.ravel(leaf) for leaf in leaves] or [np.zeros(0)]), unflattened
