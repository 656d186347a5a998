"""The multilayer perceptron (Equinox), which carries the derivatives of its inputs through its layers in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import numpy as np
from jax import Array

from sciml.derivatives import SCALAR_FUNCTIONS, Jet, MultiIndex, affine, compose
from sciml.device import put


class MLP(eqx.Module):
    """Fully connected network with `depth` hidden layers of `width` units, `(inputs,) -> (outputs,)`.

    Weights are drawn from Glorot's normal distribution (Glorot & Bengio 2010, equation 12), biases are zero.
    """

    weights: list[Array]
    biases: list[Array]
    activation: str = eqx.field(static=True)

    def __init__(self, inputs: int, outputs: int, width: int, depth: int, activation: str = "tanh", *, key: Array) -> None:
        self.weights = glorot_weights(layer_sizes(inputs, outputs, width, depth), key)
        self.biases = [put(np.zeros(len(weight)), weight.dtype) for weight in self.weights]
        self.activation = activation

    def __call__(self, inputs: Array) -> Array:
        return self.jet({(): inputs[:, None]}, ((),))[()][:, 0]

    def jet(self, inputs: Jet, indices: tuple[MultiIndex, ...]) -> Jet:
        """The jet of the outputs from the jet of the inputs; arrays have shape `(features, points)`."""
        return propagate(self.weights, self.biases, self.activation, inputs, indices)


def layer_sizes(inputs: int, outputs: int, width: int, depth: int) -> list[int]:
    """Units of each layer, inputs and outputs included."""
    return [inputs, *[width] * depth, outputs]


def glorot_weights(sizes: Sequence[int], key: Array) -> list[Array]:
    """One matrix of shape `(out, in)` per layer; divided on the host, where nothing has to be compiled for each shape."""
    shapes = [(after, before) for before, after in zip(sizes[:-1], sizes[1:], strict=True)]
    ends = np.cumsum([after * before for after, before in shapes])
    drawn = np.split(np.asarray(jax.random.normal(key, (int(ends[-1]),))), ends[:-1])
    return [put(values.reshape(shape) * float(np.sqrt(2.0 / sum(shape)))) for values, shape in zip(drawn, shapes, strict=True)]


def propagate(weights: Sequence[Array], biases: Sequence[Array], activation: str, jet: Jet, indices: tuple[MultiIndex, ...]) -> Jet:
    """A perceptron applied to a jet: affine layers with `activation` between them."""
    function = SCALAR_FUNCTIONS[activation]
    last = len(weights) - 1
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        jet = affine(weight, bias, jet)
        if layer < last:
            jet = compose(function, jet, indices)
    return jet
