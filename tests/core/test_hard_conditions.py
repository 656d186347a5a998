"""What the ansatz promises: every hard condition holds to the last digits for any network; contradictions are found."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_problems import experiment, model, problem

import sciml
from sciml.conditions import Condition
from sciml.nets.ansatz import build_ansatz
from sciml.nets.model import Model

TOLERANCE = 1e-12
PLANE = sciml.Box(t=(0.5, 2.0), x=(-1.0, 2.0))
SPACE = sciml.Box(t=(0.0, 1.0), x=(0.0, 2.0), y=(-1.0, 1.0))


def heat(u_t, u_xx):
    return u_t - u_xx


def wave(u_tt, u_xx):
    return u_tt - u_xx


def plate(u_tt, u_xx, u_yy):
    return u_tt - u_xx - u_yy


def face_points(domain: sciml.Box, coordinate: str, value: float, count: int = 20) -> jax.Array:
    """Random points of a face, and all of its corners."""
    lower, upper = np.array(domain.lower), np.array(domain.upper)
    inside = np.random.default_rng(0).uniform(lower, upper, (count, domain.dimension))
    corners = np.stack(np.meshgrid(*zip(lower, upper, strict=True), indexing="ij"), axis=-1).reshape(-1, domain.dimension)
    points = np.concatenate([inside, corners])
    points[:, domain.axis(coordinate)] = value
    return jnp.asarray(points)


def values(of: Model, points: jax.Array) -> jax.Array:
    return jax.jit(jax.vmap(of))(points)


def slopes(of: Model, points: jax.Array, axis: int, order: int = 1) -> jax.Array:
    """Derivatives along an axis, by nested `jvp` of the plain values."""

    def along(point: jax.Array, shift: jax.Array) -> jax.Array:
        return of(point.at[axis].add(shift))

    for _ in range(order):
        along = (lambda inner: lambda point, shift: jax.jvp(lambda at: inner(point, at), (shift,), (jnp.ones(()),))[1])(along)
    return jax.jit(jax.vmap(lambda point: along(point, jnp.zeros(()))))(points)


def loud(conditions: Sequence[Condition], domain: sciml.Box = PLANE, equation: Callable = heat, **settings: int) -> Model:
    """A model whose network answers with large numbers, so that whatever is not cancelled shows."""
    made = model(problem(domain, conditions, equation), scale=50.0, **settings)
    random = values(made, face_points(domain, "t", 0.9))
    assert float(jnp.std(random)) > 1.0
    return made


def assert_equal(found: jax.Array, expected: jax.Array) -> None:
    assert float(jnp.max(jnp.abs(found - expected))) <= TOLERANCE * (1 + float(jnp.max(jnp.abs(expected))))


def smooth(t, x):
    """Meets itself at every corner."""
    return jnp.exp(0.3 * t) * jnp.sin(x + t)


def test_initial_and_both_faces_with_corners() -> None:
    made = loud([sciml.Initial(smooth), sciml.Dirichlet(smooth, on="x")])
    for coordinate, value in (("t", 0.5), ("x", -1.0), ("x", 2.0)):
        points = face_points(PLANE, coordinate, value)
        assert_equal(values(made, points)[:, 0], smooth(*points.T))


@pytest.mark.parametrize(("on", "value"), [("x-", -1.0), ("x+", 2.0)])
def test_one_face(on: str, value: float) -> None:
    """The other face stays free."""
    made = loud([sciml.Dirichlet(smooth, on=on)])
    points = face_points(PLANE, "x", value)
    assert_equal(values(made, points)[:, 0], smooth(*points.T))
    free = face_points(PLANE, "x", 1.0 - value)
    assert float(jnp.max(jnp.abs(values(made, free)[:, 0] - smooth(*free.T)))) > 0.1


def test_velocity_at_the_start() -> None:
    """Value and velocity, together with boundary values that move."""

    def start(x):
        return jnp.sin(x) + x**2

    def velocity(x):
        return jnp.cos(3 * x)

    def lower(t):
        return start(-1.0) + velocity(-1.0) * (t - 0.5) + (t - 0.5) ** 2

    made = loud([sciml.Initial(start), sciml.Initial(velocity, of="u_t"), sciml.Dirichlet(lower, on="x-")], equation=wave)
    points = face_points(PLANE, "t", 0.5)
    assert_equal(values(made, points)[:, 0], start(points[:, 1]))
    assert_equal(slopes(made, points, axis=0)[:, 0], velocity(points[:, 1]))
    boundary = face_points(PLANE, "x", -1.0)
    assert_equal(values(made, boundary)[:, 0], lower(boundary[:, 0]))


def test_periodic_values_and_derivatives() -> None:
    """All derivatives agree, not only those of the loss; the initial values are kept as well."""

    def start(x):
        return jnp.sin(2 * jnp.pi * (x + 1) / 3)

    made = loud([sciml.Initial(start), sciml.Periodic(on="x")], harmonics=3)
    lower, upper = face_points(PLANE, "x", -1.0), face_points(PLANE, "x", 2.0)
    for order in range(4):
        first, second = slopes(made, lower, 1, order), slopes(made, upper, 1, order)
        assert float(jnp.max(jnp.abs(first - second))) <= TOLERANCE * float(jnp.max(jnp.abs(first)))
    points = face_points(PLANE, "t", 0.5)
    assert_equal(values(made, points)[:, 0], start(points[:, 1]))


def test_zero_flux() -> None:
    made = loud([sciml.Neumann(0.0, on="x"), sciml.Initial(lambda x: jnp.cos(jnp.pi * (x + 1) / 3))], harmonics=3)
    inner = slopes(made, face_points(PLANE, "x", 0.4), axis=1)
    for value in (-1.0, 2.0):
        assert float(jnp.max(jnp.abs(slopes(made, face_points(PLANE, "x", value), axis=1)))) <= TOLERANCE * float(jnp.max(jnp.abs(inner)))


def test_everything_in_three_dimensions() -> None:
    """Initial value and velocity, values on three faces, at all edges and corners."""

    def exact(t, x, y):
        return jnp.cos(2 * t) * jnp.sin(x + 0.5) * jnp.exp(0.2 * y) + t * x * y

    def velocity(t, x, y):
        return x * y + 0 * t

    conditions = [sciml.Initial(exact), sciml.Initial(velocity, of="u_t"), sciml.Dirichlet(exact, on="x"), sciml.Dirichlet(exact, on="y-")]
    made = loud(conditions, SPACE, plate)
    for coordinate, value in (("t", 0.0), ("x", 0.0), ("x", 2.0), ("y", -1.0)):
        points = face_points(SPACE, coordinate, value)
        assert_equal(values(made, points)[:, 0], exact(*points.T))
    points = face_points(SPACE, "t", 0.0)
    assert_equal(slopes(made, points, axis=0)[:, 0], velocity(*points.T))


def test_each_field_has_its_own() -> None:
    """Both begin somewhere; only the first has boundary values, the second's are a term of the loss."""

    def equation(u_t, u_xx, v_t, v_xx):
        return u_t - u_xx, v_t - v_xx

    conditions = [sciml.Dirichlet(1.0, on="x", of="u"), sciml.Initial(lambda x: (1.0, x)), sciml.Dirichlet(5.0, on="x", of="v", hard=False)]
    made = loud(conditions, equation=equation)
    boundary, start = face_points(PLANE, "x", 2.0), face_points(PLANE, "t", 0.5)
    assert_equal(values(made, boundary)[:, 0], jnp.ones(()))
    assert_equal(values(made, start), jnp.stack([jnp.ones(len(start)), start[:, 1]], axis=1))
    assert float(jnp.max(jnp.abs(values(made, boundary)[:, 1] - 5.0))) > 0.1


def test_one_dimension_without_time() -> None:
    line = sciml.Box(x=(1.0, 3.0))
    made = model(problem(line, [sciml.Dirichlet(lambda x: x**2, on="x")], lambda u_xx: u_xx), scale=50.0)
    assert_equal(values(made, jnp.array([[1.0], [3.0]]))[:, 0], jnp.array([1.0, 9.0]))


def test_it_holds_for_any_parameters_and_any_network() -> None:
    """Also after training, and for networks without a method `jet`."""
    conditions = [sciml.Initial(smooth), sciml.Dirichlet(smooth, on="x")]
    shaken = loud(conditions)
    shaken = eqx.tree_at(lambda tree: tree.network.weights, shaken, [10 * weight for weight in shaken.network.weights])
    general = model(problem(PLANE, conditions, heat), network=lambda inputs: 1e3 * jnp.array([jnp.sin(inputs[0] * 9 + inputs[1])]))
    points = face_points(PLANE, "x", 2.0)
    for made in (shaken, general):
        assert_equal(values(made, points)[:, 0], smooth(*points.T))


# -- which conditions are hard ------------------------------------------------------------------------------------------


def test_hard_where_it_exists_soft_where_it_is_asked() -> None:
    conditions = [
        sciml.Initial(0.0),
        sciml.Dirichlet(0.0, on="x-", hard=False),
        sciml.Neumann(0.0, on="x+"),
        sciml.Robin(0.0, on="y"),
        sciml.Periodic(on="y", hard=False),
    ]
    _, hard, soft = build_ansatz(problem(SPACE, conditions, plate))
    assert hard == conditions[:1]
    assert soft == conditions[1:]
    _, hard, _ = build_ansatz(problem(SPACE, [sciml.Neumann(0.0, on="x"), sciml.Periodic(on="y")], plate))
    assert len(hard) == 2


@pytest.mark.parametrize(
    "condition",
    [
        sciml.Robin(0.0, on="x", hard=True),
        sciml.Neumann(1.0, on="x", hard=True),
        sciml.Neumann(0.0, on="x-", hard=True),
        sciml.Neumann(lambda t: 0.0 * t, on="x", hard=True),
    ],
)
def test_what_cannot_be_hard_says_so(condition: Condition) -> None:
    with pytest.raises(
        sciml.ProblemError, match=r"(Robin|Neumann) on 'x-?' cannot be hard: that exists for Initial, Dirichlet, Periodic.*write hard=False"
    ):
        build_ansatz(problem(PLANE, [condition], heat))


@pytest.mark.parametrize(
    ("conditions", "text"),
    [
        ([sciml.Dirichlet(0.0, on="x-"), sciml.Dirichlet(1.0, on="x")], r"two hard Dirichlet conditions for 'u' on x-; keep one"),
        ([sciml.Initial(0.0), sciml.Initial(1.0, of="u")], "two hard Initial conditions for 'u'; keep one"),
        (
            [sciml.Periodic(on="x"), sciml.Neumann(0.0, on="x")],
            "two hard conditions, periodic or zero flux, on the coordinate 'x'; keep one",
        ),
        (
            [sciml.Initial(0.0, of="u_t"), sciml.Initial(0.0, hard=False)],
            r"Initial\(of='u_t'\) is hard, but the value of 'u' at the start is not",
        ),
    ],
)
def test_hard_conditions_that_exclude_each_other(conditions: list, text: str) -> None:
    with pytest.raises(sciml.ProblemError, match=text):
        build_ansatz(problem(PLANE, conditions, heat))


# -- contradictions -----------------------------------------------------------------------------------------------------


def test_a_contradiction_at_a_corner_says_where_and_by_how_much() -> None:
    """Off by 0.25 at (t=0.5, x=2) alone."""
    conditions = [sciml.Initial(lambda x: 0.25 * (x + 1) / 3), sciml.Dirichlet(0.0, on="x")]
    text = r"Dirichlet on 'x' \(dirichlet_u_x\+\) contradicts Initial: at \(t=0.5, x=2\) it is violated by 0.25; correct .*hard=False"
    with pytest.raises(sciml.ProblemError, match=text):
        experiment(problem(PLANE, conditions, heat))


def test_a_contradiction_between_two_faces() -> None:
    square = sciml.Box(x=(0.0, 1.0), y=(0.0, 1.0))
    conditions = [sciml.Dirichlet(1.0, on="x"), sciml.Dirichlet(0.5, on="y")]
    with pytest.raises(sciml.ProblemError, match=r"contradicts Dirichlet on '[xy]': at \(x=[01], y=[01]\) it is violated by 0.5"):
        experiment(problem(square, conditions, lambda u_xx, u_yy: u_xx + u_yy))


def test_a_contradiction_of_slopes() -> None:
    """An initial value that is not periodic, and a velocity that the boundary does not have."""
    with pytest.raises(sciml.ProblemError, match=r"(?s)Periodic on 'x' \(periodic_x_u\) contradicts Initial: .*violated by 3"):
        experiment(problem(PLANE, [sciml.Initial(lambda x: x), sciml.Periodic(on="x")], heat))
    conditions = [sciml.Initial(0.0), sciml.Initial(1.0, of="u_t"), sciml.Dirichlet(0.0, on="x")]
    with pytest.raises(
        sciml.ProblemError,
        match=r"Dirichlet on 'x' \(dirichlet_u_x-\) contradicts Initial, Initial: at \(t=2, x=-1\) it is violated by 1.5",
    ):
        experiment(problem(PLANE, conditions, wave))
