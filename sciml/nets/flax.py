"""The perceptron's twin in Flax NNX: the same layers held as `nnx.Param`, the same derivatives."""

from __future__ import annotations

from flax import nnx
from jax import Array

from sciml.derivatives import Jet, MultiIndex
from sciml.nets.mlp import MLP, propagate


class FlaxMLP(nnx.Module):
    """Fully connected network of `nnx.Linear` layers, `(inputs,) -> (outputs,)`; kernels have Flax's shape `(in, out)`."""

    def __init__(self, twin: MLP) -> None:
        rngs = nnx.Rngs(0)
        self.layers = nnx.List([nnx.Linear(w.shape[1], w.shape[0], param_dtype=w.dtype, rngs=rngs) for w in twin.weights])
        for layer, weight, bias in zip(self.layers, twin.weights, twin.biases, strict=True):
            layer.kernel = nnx.Param(weight.T)
            layer.bias = nnx.Param(bias)
        self.activation = twin.activation

    def __call__(self, inputs: Array) -> Array:
        return self.jet({(): inputs[:, None]}, ((),))[()][:, 0]

    def jet(self, inputs: Jet, indices: tuple[MultiIndex, ...]) -> Jet:
        """The jet of the outputs from the jet of the inputs; arrays have shape `(features, points)`."""
        weights = [layer.kernel[...].T for layer in self.layers]
        biases = [layer.bias[...] for layer in self.layers if layer.bias is not None]
        return propagate(weights, biases, self.activation, inputs, indices)
