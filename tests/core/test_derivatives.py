"""The jet engine against nested `jvp`: every network, hard condition, feature and dimension; and its rules on polynomials."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from itertools import combinations_with_replacement

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import polynomial
from small_problems import close, model, problem

import sciml
from sciml.derivatives import closure, compose, coordinates_jet, multiply, stack
from sciml.nets.flax import FlaxMLP
from sciml.nets.mlp import MLP
from sciml.nets.model import Model

TOLERANCE = 1e-12
POINTS = 6

PLANE = sciml.Box(t=(0.0, 2.0), x=(-1.0, 0.5))
LINE = sciml.Box(x=(-1.0, 2.0))
SPACE = sciml.Box(t=(0.0, 1.0), x=(0.0, 2.0), y=(-1.0, 1.0))


def nested_jvp(function: Callable, point: jax.Array, index: tuple[int, ...]) -> jax.Array:
    """A partial derivative, one plain directional derivative after the other."""
    for axis in index:
        direction = jnp.zeros_like(point).at[axis].set(1.0)
        function = partial(lambda inner, direction, at: jax.jvp(inner, (at,), (direction,))[1], function, direction)
    return function(point)


def derivatives_of_interest(dimension: int, deep: Collection[int]) -> tuple[tuple[int, ...], ...]:
    """Order four along the `deep` axes, order two along the others, and all mixed second derivatives."""
    pure = [(axis,) * (4 if axis in deep else 2) for axis in range(dimension)]
    mixed = [pair for pair in combinations_with_replacement(range(dimension), 2) if pair[0] != pair[1]]
    return closure((*pure, *mixed))


def assert_agrees(tested: Model, deep: Collection[int] = ()) -> None:
    """All derivatives agree with nested `jvp` of the model's plain values, up to order four along the last axis or the `deep` ones."""
    domain = tested.features.domain
    indices = derivatives_of_interest(domain.dimension, deep or {domain.dimension - 1})
    lower, upper = jnp.asarray([domain.lower]), jnp.asarray([domain.upper])
    points = lower + (upper - lower) * jax.random.uniform(jax.random.key(1), (POINTS, domain.dimension))

    def fields(point: jax.Array) -> jax.Array:
        return tested(point)

    def both(points: jax.Array) -> tuple[dict, dict]:
        plain = {index: jax.vmap(lambda point, index=index: nested_jvp(fields, point, index), out_axes=1)(points) for index in indices}
        return tested.jet(tested.network, tested.frame(points, indices), indices), plain

    fast = {"xla_backend_optimization_level": 0}  # each function runs once: most of its time is its compilation
    found, expected = jax.jit(both).lower(points).compile(fast)(points)
    for index in indices:
        assert float(jnp.max(jnp.abs(expected[index]))) > 0, index
        assert close(found[index], expected[index], TOLERANCE), index


def heat(u_t, u_xx):
    return u_t - u_xx


FRONT = problem(PLANE, [sciml.Initial(lambda x: jnp.sin(3 * x)), sciml.Dirichlet(lambda t: t - jnp.exp(t), on="x-")], heat)


class UserEquinox(eqx.Module):
    """A module of a user's own, without `jet`: a gated layer."""

    inner: eqx.nn.Linear
    outer: eqx.nn.Linear

    def __init__(self, inputs: int) -> None:
        keys = jax.random.split(jax.random.key(0), 2)
        self.inner, self.outer = eqx.nn.Linear(inputs, 5, key=keys[0]), eqx.nn.Linear(5, 1, key=keys[1])

    def __call__(self, inputs: jax.Array) -> jax.Array:
        hidden = self.inner(inputs)
        return self.outer(hidden * jax.nn.sigmoid(hidden) + jnp.tanh(hidden))


class UserNNX(nnx.Module):
    """A Flax module of a user's own, without `jet`."""

    def __init__(self, inputs: int) -> None:
        rngs = nnx.Rngs(0)
        self.inner, self.outer = nnx.Linear(inputs, 5, param_dtype=float, rngs=rngs), nnx.Linear(5, 1, param_dtype=float, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        with jax.numpy_rank_promotion("allow"):  # flax adds its bias that way
            return self.outer(jnp.sin(self.inner(inputs)))


def user_lambda(inputs: jax.Array) -> jax.Array:
    return jnp.array([jnp.exp(-jnp.sum(inputs**2)) + jnp.sin(2 * inputs[0]) * inputs[-1]])


@pytest.mark.parametrize("activation", ["tanh", "sin", "swish", "gelu"])
def test_shipped_activations(activation: str) -> None:
    assert_agrees(model(FRONT, activation=activation), deep={0, 1} if activation == "tanh" else ())


def test_flax_twin() -> None:
    twin = MLP(2, 1, 5, 2, "tanh", key=jax.random.key(5))
    assert_agrees(model(FRONT, network=FlaxMLP(twin)))


@pytest.mark.parametrize("network", [user_lambda, UserEquinox(2), UserNNX(2)], ids=["lambda", "equinox", "nnx"])
def test_networks_of_the_user(network: Callable) -> None:
    """The general path: no method `jet`, so nested `jvp` behind the same interface."""
    assert not hasattr(network, "jet")
    assert_agrees(model(FRONT, network=network))


@pytest.mark.parametrize(
    ("conditions", "deep"),
    [
        ([], 0),
        ([sciml.Initial(lambda x: jnp.cos(x), of="u"), sciml.Initial(lambda x: jnp.exp(x), of="u_t")], 0),
        ([sciml.Dirichlet(lambda t: jnp.sin(t), on="x+")], 1),
        ([sciml.Dirichlet(lambda t: jnp.sin(t), on="x"), sciml.Initial(lambda x: x**3)], 1),
        ([sciml.Periodic(on="x"), sciml.Initial(lambda x: jnp.cos(2 * jnp.pi * x / 1.5))], 1),
        ([sciml.Neumann(0.0, on="x")], 1),
    ],
    ids=["none", "initial and velocity", "upper face", "both faces", "periodic", "zero flux"],
)
def test_hard_conditions(conditions: list, deep: int) -> None:
    assert_agrees(model(problem(PLANE, conditions, heat), harmonics=2), deep={deep})


def test_fields_with_different_conditions() -> None:
    conditions = [sciml.Dirichlet(1.0, on="x", of="u"), sciml.Initial(lambda x: x, of="v")]
    assert_agrees(model(problem(PLANE, conditions, lambda u_t, v_xx: (u_t, v_xx)), scale=2.0))


@pytest.mark.parametrize("network", [None, lambda inputs: user_lambda(inputs[:3])], ids=["jet", "general"])
def test_fourier_features(network: Callable | None) -> None:
    assert_agrees(model(FRONT, network=network, fourier=3))


def test_one_dimension() -> None:
    assert_agrees(model(problem(LINE, [sciml.Dirichlet(1.0, on="x")], lambda u_xx: u_xx), fourier=2))


def test_three_dimensions() -> None:
    conditions = [sciml.Initial(lambda x, y: jnp.sin(x) * y), sciml.Dirichlet(lambda t, x: t * jnp.sin(x), on="y+")]
    assert_agrees(model(problem(SPACE, conditions, lambda u_t, u_xx: u_t - u_xx), width=4, depth=1))


# -- plain values -------------------------------------------------------------------------------------------------------


def test_values_are_those_of_a_perceptron() -> None:
    """What the derivatives above are derivatives of: layers written out by hand on scaled coordinates."""
    tested = model(problem(PLANE, [], heat), activation="swish", scale=3.0)
    point = jnp.array([0.7, -0.2])
    hidden = jnp.array([point[0] / 1.0 - 1.0, (point[1] + 1.0) / 0.75 - 1.0])
    weights, biases = tested.network.weights, tested.network.biases
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        hidden = jax.nn.swish(weight @ hidden + bias)
    assert close(tested(point), 3.0 * (weights[-1] @ hidden + biases[-1]), 1e-14)


def test_features_are_what_they_say() -> None:
    """Scaled, periodic and even coordinates, and random Fourier features of all of them."""
    conditions = [sciml.Periodic(on="x"), sciml.Neumann(0.0, on="y")]
    features = model(problem(SPACE, conditions, lambda u_t, u_xx, u_yy: u_t), harmonics=2, fourier=3).features
    t, x, y = 0.3, 1.2, 0.4
    turn = np.pi * (y + 1) / 2
    plain = [2 * t - 1, np.cos(np.pi * x), np.cos(2 * np.pi * x), np.sin(np.pi * x), np.sin(2 * np.pi * x), np.cos(turn), np.cos(2 * turn)]
    phase = np.asarray(features.frequencies) @ np.array(plain)
    assert features.size == 7 + 6
    assert close(features(jnp.array([t, x, y])), np.concatenate([plain, np.cos(phase), np.sin(phase)]), 1e-14)


# -- derivatives that vanish --------------------------------------------------------------------------------------------


def test_coordinates_have_first_derivatives_only() -> None:
    assert set(coordinates_jet(jnp.ones((4, 3)))) == {(), (0,), (1,), (2,)}


def test_a_product_drops_what_vanishes() -> None:
    """x (1 - x) has no third derivative, and none along another axis."""
    indices = closure(((0, 0, 0), (1, 1), (0, 1)))
    own = {index: value[:1] for index, value in coordinates_jet(jnp.ones((4, 2))).items() if index in ((), (0,))}
    rest = {(): 1.0 - own[()], (0,): -own[(0,)]}
    assert set(multiply(own, rest, indices)) == {(), (0,), (0, 0)}


def test_features_of_one_coordinate_have_no_mixed_derivative() -> None:
    """Nor does the factor that vanishes at its faces; a network of both has all of them."""
    tested = model(problem(PLANE, [sciml.Dirichlet(0.0, on="x"), sciml.Periodic(on="x")], heat))
    indices = closure(((1, 1, 1), (0, 0), (0, 1)))
    frame = tested.frame(jnp.ones((4, 2)) * 0.2, indices)
    assert set(frame.inputs) == {(), (0,), (1,), (1, 1), (1, 1, 1)}
    assert set(frame.vanishing) == {(), (1,), (1, 1)}
    assert set(tested.jet(tested.network, frame, indices)) == set(indices)


def test_an_affine_network_has_no_second_derivative() -> None:
    plain = problem(PLANE, [], heat)
    affine = MLP(2, 1, 5, 0, "tanh", key=jax.random.key(0))
    tested = model(plain, network=affine)
    indices = closure(((0,), (1, 1)))
    assert set(tested.jet(affine, tested.frame(jnp.ones((4, 2)), indices), indices)) == {(), (0,), (1,)}


# -- rules on polynomials, whose integers are exact ---------------------------------------------------------------------

INTEGERS = st.integers(-3, 3)
POLYNOMIALS = st.lists(st.lists(INTEGERS, min_size=3, max_size=3), min_size=3, max_size=3).map(lambda rows: np.array(rows, dtype=float))
GRID = np.stack(np.meshgrid([-2.0, -1.0, 1.0, 3.0], [-1.0, 0.0, 2.0], indexing="ij")).reshape(2, -1)
ALL = closure(((0, 0, 0, 0), (1, 1, 1, 1), (0, 0, 1, 1), (0, 1, 1, 1)))


def polynomial_jet(coefficients: np.ndarray) -> dict:
    """The exact jet of a polynomial in two variables on the grid."""

    def derivative(index: tuple[int, ...]) -> np.ndarray:
        array = coefficients
        for axis in index:
            array = polynomial.polyder(array, axis=axis)
        return polynomial.polyval2d(*GRID, array)[None]

    return {index: derivative(index) for index in ALL}


def times(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Coefficients of a product."""
    product = np.zeros(np.add(first.shape, second.shape) - 1)
    for (row, column), coefficient in np.ndenumerate(first):
        product[row : row + second.shape[0], column : column + second.shape[1]] += coefficient * second
    return product


@given(POLYNOMIALS, POLYNOMIALS)
@settings(max_examples=50, deadline=None)
def test_product_rule(first: np.ndarray, second: np.ndarray) -> None:
    found, expected = multiply(polynomial_jet(first), polynomial_jet(second), ALL), polynomial_jet(times(first, second))
    assert all(np.array_equal(found[index], expected[index]) for index in ALL)


@given(st.lists(INTEGERS, min_size=6, max_size=6), POLYNOMIALS)
@settings(max_examples=50, deadline=None)
def test_chain_rule(outer: list[int], inner: np.ndarray) -> None:
    def function(value: np.ndarray, order: int) -> list[np.ndarray]:
        return [polynomial.polyval(value, polynomial.polyder(outer, each)) for each in range(order + 1)]

    composed = np.zeros((1, 1))
    for coefficient in reversed(outer):  # Horner's scheme on polynomials
        composed = times(composed, inner)
        composed[0, 0] += coefficient
    found, expected = compose(function, polynomial_jet(inner), ALL), polynomial_jet(composed)
    assert all(np.array_equal(found[index], expected[index]) for index in ALL)


def test_closure_holds_every_part() -> None:
    """What a product or chain rule needs, shortest first."""
    found = closure(((0, 0, 1, 2),))
    assert found == tuple(sorted(found, key=len))
    assert set(found) == {(), (0,), (1,), (2,), (0, 0), (0, 1), (0, 2), (1, 2), (0, 0, 1), (0, 0, 2), (0, 1, 2), (0, 0, 1, 2)}


def test_stacking_fills_with_zeros() -> None:
    """One part with a derivative that the other lacks, and another number of points that broadcasts."""
    first = {(): jnp.ones((2, 5)), (0,): 2 * jnp.ones((2, 1))}
    second = {(): jnp.ones((1, 5))}
    stacked = stack([first, second])
    assert stacked[()].shape == (3, 5)
    assert stacked[(0,)].ravel().tolist() == [2.0, 2.0, 0.0]
