"""The derivatives that an equation names, for any network, in one pass: truncated Taylor propagation, or nested `jvp`.

A jet holds a function's value and the partial derivatives that were asked for, at many points at once: a dictionary from a
multi-index (a sorted tuple of coordinate axes: `()` the value, `(1, 1)` a second derivative along axis 1) to an array of
shape `(features, points)`. A missing key is a derivative that vanishes identically. Jets are closed under addition,
products (Leibniz) and composition with scalar functions (Faa di Bruno; Griewank & Walther 2008, chapter 13), and so a network
made of such steps carries all derivatives through its layers together, sharing one primal. Networks that do not offer that
(`capability selects`: they have no method `jet`) are differentiated by nested forward-mode `jvp`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sciml.elementary import sine_and_cosine

MultiIndex = tuple[int, ...]
Jet = dict[MultiIndex, Array]
MAXIMUM_ORDER = 4


@cache
def closure(indices: tuple[MultiIndex, ...]) -> tuple[MultiIndex, ...]:
    """All sub-indices that are needed to propagate `indices`, ordered by length."""
    found: set[MultiIndex] = {()}
    for index in indices:
        for mask in range(1 << len(index)):
            found.add(tuple(axis for position, axis in enumerate(index) if mask >> position & 1))
    return tuple(sorted(found, key=lambda index: (len(index), index)))


@cache
def _set_partitions(size: int) -> tuple[tuple[tuple[int, ...], ...], ...]:
    if size == 0:
        return ((),)
    grown = []
    for smaller in _set_partitions(size - 1):
        grown.append((*smaller, (size - 1,)))
        for position, block in enumerate(smaller):
            grown.append((*smaller[:position], (*block, size - 1), *smaller[position + 1 :]))
    return tuple(grown)


@cache
def _chain_rule(index: MultiIndex) -> tuple[tuple[int, tuple[MultiIndex, ...]], ...]:
    """Terms of the chain rule: multiplicity and the multi-indices whose product multiplies f^(number of them)."""
    counted = Counter(
        tuple(sorted(tuple(index[position] for position in block) for block in blocks)) for blocks in _set_partitions(len(index))
    )
    return tuple((count, blocks) for blocks, count in sorted(counted.items()))


@cache
def _product_rule(index: MultiIndex) -> tuple[tuple[int, MultiIndex, MultiIndex], ...]:
    """Terms of Leibniz' rule: multiplicity, derivative of the first factor, derivative of the second."""
    counted: Counter[tuple[MultiIndex, MultiIndex]] = Counter()
    for mask in range(1 << len(index)):
        first = tuple(axis for position, axis in enumerate(index) if mask >> position & 1)
        second = tuple(axis for position, axis in enumerate(index) if not mask >> position & 1)
        counted[first, second] += 1
    return tuple((count, first, second) for (first, second), count in sorted(counted.items()))


def _total(summands: Iterable[Array]) -> Array | None:
    total = None
    for summand in summands:
        total = summand if total is None else total + summand
    return total


def _scaled(factor: int, value: Array) -> Array:
    return value if factor == 1 else factor * value


def compose(function: Callable[[Array, int], list[Array]], jet: Jet, indices: tuple[MultiIndex, ...]) -> Jet:
    """The jet of `f(g)`; `function(value, order)` returns `f` and its derivatives up to `order` at `value`."""
    order = max(len(index) for index in indices)
    outer = function(jet[()], order)
    result: Jet = {(): outer[0]}
    for index in indices:
        if index:
            summands = (
                _scaled(count, math.prod((jet[block] for block in blocks[1:]), start=outer[len(blocks)] * jet[blocks[0]]))
                for count, blocks in _chain_rule(index)
                if all(block in jet for block in blocks)
            )
            total = _total(summands)
            if total is not None:
                result[index] = total
    return result


def multiply(first: Jet, second: Jet, indices: tuple[MultiIndex, ...]) -> Jet:
    """The jet of a product, elementwise with broadcasting."""
    result: Jet = {}
    for index in indices:
        total = _total(
            _scaled(count, first[left] * second[right]) for count, left, right in _product_rule(index) if left in first and right in second
        )
        if total is not None:
            result[index] = total
    return result


def add(first: Jet, second: Jet) -> Jet:
    """The jet of a sum."""
    return {
        index: first[index] + second[index] if index in first and index in second else first.get(index, second.get(index))  # type: ignore[misc]
        for index in first.keys() | second.keys()
    }


def affine(weight: Array, bias: Array | None, jet: Jet) -> Jet:
    """The jet of `weight @ g + bias`; `weight` has shape `(out, in)`, `bias` `(out,)`."""
    result = {index: weight @ value for index, value in jet.items()}
    if bias is not None:
        result[()] = result[()] + bias[:, None]
    return result


def stack(parts: Sequence[Jet]) -> Jet:
    """Concatenates jets along features; a derivative that vanishes in one part is filled with zeros there."""
    if len(parts) == 1:
        return parts[0]
    stacked: Jet = {}
    for index in sorted({index for part in parts for index in part}):
        width = max(part[index].shape[1] for part in parts if index in part)
        filled = [
            jnp.broadcast_to(part[index], (part[()].shape[0], width))
            if index in part
            else jnp.zeros((part[()].shape[0], width), part[()].dtype)
            for part in parts
        ]
        stacked[index] = jnp.concatenate(filled)
    return stacked


def coordinates_jet(points: Array) -> Jet:
    """The jet of the coordinates themselves; `points` has shape `(points, dimension)`."""
    dimension = points.shape[1]
    jet: Jet = {(): points.T}
    for axis in range(dimension):
        jet[(axis,)] = jnp.zeros((dimension, 1), points.dtype).at[axis].set(1.0)
    return jet


def _tanh(value: Array, order: int) -> list[Array]:
    a = jnp.tanh(value)
    first = 1.0 - a * a
    rest = [-2.0 * a * first, first * (6.0 * a * a - 2.0), a * first * (16.0 - 24.0 * a * a)]
    return [a, first, *rest][: order + 1]


def _sin(value: Array, order: int) -> list[Array]:
    sine, cosine = sine_and_cosine(value)
    return [sine, cosine, -sine, -cosine, sine][: order + 1]


def _cos(value: Array, order: int) -> list[Array]:
    sine, cosine = sine_and_cosine(value)
    return [cosine, -sine, -cosine, sine, cosine][: order + 1]


def elementwise(function: Callable[[Array], Array]) -> Callable[[Array, int], list[Array]]:
    """Derivatives of any elementwise function by nested `jvp`, for activations without a formula of their own."""

    def derivatives(value: Array, order: int) -> list[Array]:
        return chain(function, value, jnp.ones_like(value), order)

    return derivatives


SCALAR_FUNCTIONS: dict[str, Callable[[Array, int], list[Array]]] = {
    "tanh": _tanh,
    "sin": _sin,
    "cos": _cos,
    "swish": elementwise(jax.nn.silu),
    "gelu": elementwise(partial(jax.nn.gelu, approximate=False)),
}


def chain(function: Callable[[Array], Any], point: Array, direction: Array, order: int) -> list[Any]:
    """`function` and its derivatives along `direction` up to `order`, by nested `jvp` with a shared primal."""
    if order == 0:
        return [function(point)]

    def lower(at: Array) -> list[Any]:
        return chain(function, at, direction, order - 1)

    values, tangents = jax.jvp(lower, (point,), (direction,))
    return [*values, tangents[-1]]


def nested(function: Callable[[Array], Array], points: Array, indices: Sequence[MultiIndex]) -> Jet:
    """The jet of any function from `(dimension,)` to `(features,)`, by nested forward-mode `jvp` under `vmap`."""
    dimension = points.shape[1]
    asked = tuple(dict.fromkeys(tuple(index) for index in indices))
    basis = jnp.eye(dimension, dtype=points.dtype)

    def at(point: Array) -> Jet:
        found: Jet = {}
        for index in sorted(asked, key=len, reverse=True):
            if index in found:
                continue
            if len(set(index)) <= 1:
                axis = index[0] if index else 0
                for order, value in enumerate(chain(function, point, basis[axis], len(index))):
                    found.setdefault((axis,) * order, value)
            else:
                found[index] = _mixed(function, point, [basis[axis] for axis in index])
        return {index: found[index] for index in asked}

    return jax.vmap(at, out_axes=1)(points)


def _mixed(function: Callable[[Array], Array], point: Array, directions: list[Array]) -> Array:
    if not directions:
        return function(point)
    return jax.jvp(lambda at: _mixed(function, at, directions[1:]), (point,), (directions[0],))[1]
