"""Initial and boundary conditions, data and integrals: their residuals against values by hand, and their mistakes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_problems import experiment, problem

import sciml
from sciml.checks import check_conditions
from sciml.conditions import Term

PLANE = sciml.Box(t=(0.0, 1.0), x=(-1.0, 2.0))
SPACE = sciml.Box(t=(0.0, 1.0), x=(-1.0, 2.0), y=(0.0, 3.0))
CUBE = jnp.array([[0.25], [0.5], [0.875]])


def heat(u_t, u_xx):
    return u_t - u_xx


def residual(term: Term, field: Callable, cube: jax.Array = CUBE) -> np.ndarray:
    """A term's residual for the function `field(point) -> (fields,)` of known formula."""
    points = term.place(cube) if term.data is None else term.data[0]
    known = term.known(points) if term.data is None else term.data[1]
    names = sorted({need.field for need in term.needs})

    def slope(function: Callable, axis: int) -> Callable:
        return lambda point: jax.jacfwd(function)(point)[..., axis]

    def value(need) -> jax.Array:
        function = field
        for axis in need.index:
            function = slope(function, axis)
        return jax.vmap(jax.vmap(function))(points)[..., names.index(need.field)]

    (found,) = term.residual({need: value(need) for need in term.needs}, points, known, {})
    return np.asarray(found)


def square(point: jax.Array) -> jax.Array:
    """u = x^2 + t."""
    return jnp.stack([point[1] ** 2 + point[0]])


T = np.asarray(CUBE[:, 0])
"""Times at which a boundary of the plane is sampled."""


# -- residuals by hand --------------------------------------------------------------------------------------------------


def test_dirichlet_on_both_faces() -> None:
    lower, upper = sciml.Dirichlet(lambda t: 10 * t, on="x").terms(problem(PLANE, [], heat))
    assert (lower.name, upper.name) == ("dirichlet_u_x-", "dirichlet_u_x+")
    assert residual(lower, square) == pytest.approx(1 + T - 10 * T)
    assert residual(upper, square) == pytest.approx(4 + T - 10 * T)


def test_neumann_takes_the_outward_normal_derivative() -> None:
    """u_x is -2 at x = -1 and 4 at x = 2; outward, 2 and 4."""
    lower, upper = sciml.Neumann(lambda t: t, on="x").terms(problem(PLANE, [], heat))
    assert residual(lower, square) == pytest.approx(2 - T)
    assert residual(upper, square) == pytest.approx(4 - T)


def test_robin_weighs_value_and_normal_derivative() -> None:
    lower, upper = sciml.Robin(5.0, on="x", a=2.0, b=3.0).terms(problem(PLANE, [], heat))
    assert residual(lower, square) == pytest.approx(2 * (1 + T) + 3 * 2 - 5)
    assert residual(upper, square) == pytest.approx(2 * (4 + T) + 3 * 4 - 5)


@pytest.mark.parametrize(("on", "names"), [("x-", ["robin_u_x-"]), ("x+", ["robin_u_x+"]), ("x", ["robin_u_x-", "robin_u_x+"])])
def test_one_face_or_both(on: str, names: list[str]) -> None:
    assert [term.name for term in sciml.Robin(0.0, on=on).terms(problem(PLANE, [], heat))] == names


def test_initial_value_and_velocity() -> None:
    wave = problem(PLANE, [], lambda u_tt, u_xx: u_tt - u_xx)
    x = -1 + 3 * T
    (value,) = sciml.Initial(lambda x: 7 * x).terms(wave)
    (velocity,) = sciml.Initial(3.0, of="u_t").terms(wave)
    assert (value.name, value.count, velocity.name) == ("initial_u", "initial", "initial_u_t")
    assert residual(value, square) == pytest.approx(x**2 - 7 * x)
    assert residual(velocity, square) == pytest.approx(1 - 3 + 0 * x)


def test_periodic_compares_values_and_slopes_of_both_faces() -> None:
    """One term per derivative below the equation's order, here the second."""
    value, slope = sciml.Periodic(on="x").terms(problem(PLANE, [], heat))
    assert (value.name, slope.name) == ("periodic_x_u", "periodic_x_u_x")
    assert residual(value, square) == pytest.approx(1 - 4 + 0 * T)
    assert residual(slope, square) == pytest.approx(-2 - 4 + 0 * T)


def test_several_fields_at_once() -> None:
    """A tuple with one entry per field, or one field by name."""
    system = problem(PLANE, [], lambda u_t, v_xx: (u_t, v_xx))

    def fields(point: jax.Array) -> jax.Array:
        return jnp.stack([point[0], point[1]])

    both = sciml.Initial(lambda x: (5 * x, 2.0)).terms(system)
    x = -1 + 3 * T
    assert [term.name for term in both] == ["initial_u", "initial_v"]
    assert residual(both[0], lambda point: fields(point)[:1]) == pytest.approx(0 - 5 * x)
    assert residual(both[1], lambda point: fields(point)[1:]) == pytest.approx(x - 2)
    (only,) = sciml.Dirichlet(1.0, on="x-", of="v").terms(system)
    assert residual(only, lambda point: fields(point)[1:]) == pytest.approx(-1 - 1 + 0 * T)


def test_a_face_of_a_box_in_three_dimensions() -> None:
    (term,) = sciml.Neumann(lambda t, x: t * x, on="y-").terms(problem(SPACE, [], lambda u_t, u_xx, u_yy: u_t))
    cube = jnp.array([[0.5, 0.0], [0.25, 1.0]])
    assert term.place(cube)[0].tolist() == [[0.5, -1.0, 0.0], [0.25, 2.0, 0.0]]
    assert residual(term, lambda point: jnp.stack([point[1] * point[2]]), cube) == pytest.approx([1.0 + 0.5, -2.0 - 0.5])


# -- data ---------------------------------------------------------------------------------------------------------------

COLUMNS = {"t": [0.0, 0.5, 1.0], "x": [2.0, 0.0, -1.0]}


def test_data_from_arrays() -> None:
    (term,) = sciml.Data(COLUMNS, {"u": [1.0, 2.0, 3.0]}, weight=4.0).terms(problem(PLANE, [], heat))
    assert (term.name, term.weight) == ("data_u", 4.0)
    assert residual(term, square) == pytest.approx([4.0 - 1, 0.5 - 2, 2.0 - 3])


def test_missing_values_are_left_out() -> None:
    system = problem(PLANE, [], lambda u_t, v_xx: (u_t, v_xx))
    first, second = sciml.Data(COLUMNS, {"u": [1.0, float("nan"), 3.0], "v": [float("nan"), 7.0, 8.0]}).terms(system)
    assert first.data[0][0].tolist() == [[0.0, 2.0], [1.0, -1.0]]
    assert second.data[1][0].tolist() == [7.0, 8.0]


@pytest.mark.parametrize("gap", [np.ma.array([1.0, 2.0, 3.0], mask=[False, True, False]), [1.0, None, 3.0]])
def test_masked_values_and_none_are_left_out(gap) -> None:
    (term,) = sciml.Data(COLUMNS, {"u": gap}).terms(problem(PLANE, [], heat))
    assert term.data[1][0].tolist() == [1.0, 3.0]


def test_a_tuple_prescribes_each_field_by_a_number_or_a_function() -> None:
    pair = problem(PLANE, [], lambda u, v, u_t, v_t: (u_t, v_t))
    u, v = sciml.Initial((lambda x: 2 * x, 3.0)).terms(pair)
    for term, expected in ((u, lambda x: 2 * x), (v, lambda x: 3.0 + 0 * x)):
        points = term.place(CUBE)
        assert np.ravel(term.known(points)[0]) == pytest.approx(np.ravel(expected(points[..., 1])))
    with pytest.raises(sciml.ProblemError, match=r"a dictionary; give a tuple of numbers or functions, one per field \(u, v\)"):
        sciml.Initial({"u": 1.0, "v": 2.0}).terms(pair)


def test_data_from_csv(tmp_path) -> None:
    """Columns in any order, spaces, an empty cell or NA for a missing value, the byte-order mark that spreadsheets write."""
    path = tmp_path / "measured.csv"
    path.write_text("\ufeffx, u ,t\n2.0,1.0,0.0\n0.0,,0.5\n0.5,NA,0.5\n-1.0, 3e0,1.0\n\n", encoding="utf-8")
    (term,) = sciml.Data.from_csv(path).terms(problem(PLANE, [], heat))
    assert residual(term, square) == pytest.approx([4.0 - 1, 2.0 - 3])


@pytest.mark.parametrize(
    ("coordinates", "values", "text"),
    [
        ({"t": [0.0], "x": [0.0, 1.0]}, {"u": [1.0]}, r"Data: columns of unequal length \(t: 1, x: 2, u: 1\)"),
        (
            {"t": [0.0], "x": [float("nan")]},
            {"u": [1.0]},
            "Data: row 1: the coordinate 'x' is not a finite number; only measured values may be missing",
        ),
        ({"t": [0.0, "a"], "x": [1.0, 1.0]}, {"u": [1.0, 2.0]}, "Data: row 2, column 't': 'a' is not a number; write a number, or NaN"),
        ({"t": [np.datetime64("2026-01-31", "ns")], "x": [1.0]}, {"u": [1.0]}, "Data: row 1, column 't': '2026-01-31.*' is not a number"),
        ({"t": [[0.0]], "x": [1.0]}, {"u": [1.0]}, r"Data: the column 't' must be one-dimensional, but has shape \(1, 1\)"),
        ({"t": [0.0]}, {"u": [1.0]}, "Data: no column for the coordinate 'x'; columns: t, u"),
        ({"t": [0.0], "x": [0.0]}, {"U": [1.0]}, "Data: 'U' is neither a coordinate nor a field"),
        ({"t": [0.0]}, {"w": [1.0]}, r"(?s)2 mistakes.*no column for the coordinate 'x'.*'w' is neither"),
        ({"t": [0.0, 2.0], "x": [0.0, 0.0]}, {"u": [1.0, 1.0]}, r"Data: row 2 lies outside Box\(t=\(0, 1\), x=\(-1, 2\)\): \[2.0, 0.0\]"),
        ({"t": [0.0], "x": [0.0]}, {"u": [float("nan")]}, "Data: the column 'u' has no value"),
    ],
)
def test_data_that_does_not_fit(coordinates: dict, values: dict, text: str) -> None:
    with pytest.raises(sciml.ProblemError, match=text):
        sciml.Data(coordinates, values).terms(problem(PLANE, [], heat))


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (b"t,x,u\n", "needs a header and at least one row"),
        (b"t,x,u\n0,0,1\n0,0\n", "line 3: 2 values for 3 columns"),
        (b"t,x,u\n0,0,one\n", "line 2, column 'u': 'one' is not a number"),
        (b"t,x,u\n0,,1\n", "row 1: the coordinate 'x' is not a finite number"),
        (b"t,x,u,u\n0,0,1,2\n", "the column 'u' appears twice"),
        (b"t,x,speed\n0,0,1\n", "'speed' is neither a coordinate nor a field; known: t, x, u"),
        (b"t,x,u\n\xff\xfe,0,1\n", "is not text in UTF-8"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, table: bytes, text: str) -> None:
    path = tmp_path / "measured.csv"
    path.write_bytes(table)
    with pytest.raises(sciml.ProblemError, match=text):
        sciml.Data.from_csv(path).terms(problem(PLANE, [], heat))


def test_a_table_that_does_not_exist(tmp_path) -> None:
    with pytest.raises(sciml.ProblemError, match=r"Data: cannot read .*absent.csv: No such file"):
        sciml.Data.from_csv(tmp_path / "absent.csv")


# -- integrals ----------------------------------------------------------------------------------------------------------


def test_quadrature_is_exact_for_polynomials() -> None:
    """Five nodes integrate degree nine: here (x^4 + t)^2 t x over (-1, 2), at each time."""
    (term,) = sciml.Integral(lambda u, t, x: u**2 * t * x, over="x", value=lambda t: t, nodes=5).terms(problem(PLANE, [], heat))
    x10, x6, x2 = ((2.0**n - 1) / n for n in (10, 6, 2))  # integrals of x^9, x^5, x
    exact = T * (x10 + 2 * T * x6 + T**2 * x2) - T
    assert residual(term, lambda point: jnp.stack([point[1] ** 4 + point[0]])) == pytest.approx(exact, rel=1e-13)


def test_the_integral_of_a_derivative_over_time() -> None:
    (term,) = sciml.Integral(lambda u_x: u_x, over="t", value=1.0, name="flux").terms(problem(PLANE, [], heat))
    x = -1 + 3 * T
    assert term.name == "flux"
    assert residual(term, square) == pytest.approx(2 * x - 1)


@pytest.mark.parametrize(
    ("integral", "text"),
    [
        (sciml.Integral(lambda u: u, over="z", value=0.0), r"Integral: there is no coordinate 'z' in Box\(.*\); known: t, x"),
        (sciml.Integral(lambda u_z: u_z, over="x", value=0.0), "'u_z': 'z' is not made of the coordinates"),
        (sciml.Integral(lambda u, v: u, over="x", value=0.0), "there is no field 'v'"),
    ],
)
def test_integrals_that_do_not_fit(integral: sciml.Integral, text: str) -> None:
    with pytest.raises(sciml.ProblemError, match=text):
        integral.terms(problem(PLANE, [], heat))


# -- mistakes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (sciml.Dirichlet(0.0, on="z"), r"there is no boundary 'z' in Box\(t=\(0, 1\), x=\(-1, 2\)\); .*x.*x-.*x\+"),
        (sciml.Neumann(0.0, on="t"), "there is no boundary 't' in Box"),
        (sciml.Robin(0.0, on="x*"), r"there is no boundary 'x\*' .*did you mean"),
        (sciml.Periodic(on="x-"), "Periodic: on='x-' must name a coordinate, both of whose faces are joined; write on='x'"),
        (sciml.Dirichlet(0.0, on="x", of="v"), "Dirichlet: there is no field 'v'"),
        (sciml.Dirichlet(0.0, on="x", of="u_x"), r"Dirichlet: of='u_x' must name a field \(u\)"),
        (sciml.Initial(0.0, of="u_x"), "Initial: of='u_x' must be a field or its first time derivative, such as 'u' or 'u_t'"),
        (sciml.Initial(0.0, of="u_y"), "'u_y': 'y' is not made of the coordinates"),
    ],
)
def test_conditions_that_do_not_exist(condition: sciml.Condition, text: str) -> None:
    with pytest.raises(sciml.ProblemError, match=text):
        condition.terms(problem(PLANE, [], heat))


def test_initial_without_time() -> None:
    with pytest.raises(sciml.ProblemError, match=r"Initial: Box\(x=\(0, 1\)\) has no time; name a coordinate 't' or use Dirichlet"):
        sciml.Initial(0.0).terms(problem(sciml.Box(x=(0.0, 1.0)), [], lambda u_xx: u_xx))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (lambda y: y, r"Dirichlet on x-: 'y' is not a coordinate of Box"),
        (lambda t: jnp.ones(7), r"Dirichlet on x-: expected one value per point, shape \(3,\), but got shape \(7,\)"),
        (lambda t: t + jnp.ones(7), r"Dirichlet on x-: it fails on points of shape \(3,\)"),
        (lambda t: (t, t), r"Dirichlet on x-: 2 values for 1 fields \(u\)"),
        (lambda t: np.sin(np.asarray(t)), "Dirichlet on x-: it uses NumPy functions; write it with jax.numpy"),
    ],
)
def test_values_that_do_not_fit(value: Callable, text: str) -> None:
    lower, _ = sciml.Dirichlet(value, on="x").terms(problem(PLANE, [], heat))
    with pytest.raises(sciml.ProblemError, match=text):
        jax.jit(lambda cube: lower.known(lower.place(cube)))(CUBE)


def test_one_value_for_two_fields() -> None:
    system = problem(PLANE, [], lambda u_t, v_t: (u_t, v_t))
    first, _ = sciml.Initial(lambda x: x).terms(system)
    with pytest.raises(sciml.ProblemError, match=r"return a tuple with one value per field \(u, v\), or name one field with of="):
        first.known(first.place(CUBE))


@pytest.mark.parametrize(
    ("conditions", "equation", "text"),
    [
        ([sciml.Dirichlet(0.0, on="x")], heat, r"'u' at t=0 is not given, but the equation has u_t; add sciml.Initial\(value, of='u'\)"),
        (
            [sciml.Initial(0.0)],
            heat,
            r"'u' has no condition on the boundary 'x', but the equation has u_xx; add for example sciml.Dirichlet\(0.0, on='x'\)",
        ),
        ([sciml.Initial(0.0), sciml.Neumann(0.0, on="x-")], heat, r"no condition on the boundary 'x\+'.*Dirichlet\(0.0, on='x\+'\)"),
        ([sciml.Initial(0.0), sciml.Robin(0.0, on="x+")], heat, "no condition on the boundary 'x-'"),
        (
            [sciml.Initial(0.0), sciml.Dirichlet(0.0, on="x")],
            lambda u_tt, u_xx: u_tt - u_xx,
            r"'u_t' at t=0 is not given, but the equation has u_tt",
        ),
        ([sciml.Initial(0.0)], lambda u_t, u_x: u_t + u_x, r"no condition on the boundary 'x', but the equation has u_x; .*on='x-'"),
        (
            [sciml.Initial(0.0), sciml.Dirichlet(0.0, on="x", of="u")],
            lambda u_xx, v_xx: (u_xx, v_xx),
            "'v' has no condition on the boundary 'x'",
        ),
        ([], heat, r"(?s)conditions of Made: 2 mistakes.*'u' at t=0.*'u' has no condition on the boundary 'x'"),
    ],
    ids=["initial", "boundary", "upper face", "lower face", "velocity", "first order", "second field", "all at once"],
)
def test_missing_conditions(conditions: list, equation: Callable, text: str) -> None:
    with pytest.raises(sciml.ProblemError, match=text):
        check_conditions(problem(PLANE, conditions, equation))


@pytest.mark.parametrize(
    "conditions",
    [
        [sciml.Initial(0.0), sciml.Periodic(on="x")],
        [sciml.Initial(0.0), sciml.Neumann(0.0, on="x-"), sciml.Robin(0.0, on="x+")],
        [sciml.Data(COLUMNS, {"u": [1.0, 2.0, 3.0]})],
    ],
)
def test_conditions_that_suffice(conditions: list) -> None:
    check_conditions(problem(PLANE, conditions, heat))


def test_a_missing_condition_is_found_before_training() -> None:
    with pytest.raises(sciml.ProblemError, match="'u' at t=0 is not given"):
        experiment(problem(sciml.Box(t=(0.0, 1.0)), [], lambda u_t: u_t))


def test_two_terms_of_one_name() -> None:
    twice = [sciml.Data({"t": [0.0]}, {"u": [1.0]}), sciml.Data({"t": [0.5]}, {"u": [1.0]})]
    with pytest.raises(sciml.ProblemError, match="two terms are called 'data_u'; give one of them another name"):
        experiment(problem(sciml.Box(t=(0.0, 1.0)), twice, lambda u_t: u_t))
    named = sciml.Data({"t": [0.5]}, {"u": [1.0]}, name="later")
    assert named.terms(problem(sciml.Box(t=(0.0, 1.0)), [], lambda u_t: u_t))[0].name == "later_u"


# -- terms of one's own -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mean(sciml.Condition):
    """A condition of a user's own: the field's mean over the start of time."""

    value: float

    def terms(self, problem):
        (start,) = sciml.Initial(self.value).terms(problem)
        return [replace(start, name="mean", components=("mean",), residual=self.residual)]

    def residual(self, values, points, known, unknowns):
        (field,) = values.values()
        return (jnp.full_like(field[0], jnp.mean(field[0]) - self.value),)


def test_a_condition_of_the_user_and_a_conservation_law_train() -> None:
    """u_t = u_xx without flux keeps its integral; both terms fall by orders of magnitude."""
    box = sciml.Box(t=(0.0, 0.2), x=(0.0, 1.0))
    conserved = sciml.Integral(lambda u: u, over="x", value=0.5, nodes=8, name="mass")
    made = experiment(
        problem(box, [Mean(0.5), sciml.Neumann(0.0, on="x"), conserved], heat),
        [sciml.Adam(steps=1, until=()), sciml.LBFGS(steps=60, memory=10)],
        network=sciml.Network(width=4, depth=1),
    )
    assert made.objective.components == ("equation", "mean", "mass")
    first, *_, last = made.train(every=20)
    assert first.terms["mean"] > 1e-3
    assert first.terms["mass"] > 1e-3
    assert last.terms["mean"] < 1e-4 * first.terms["mean"]
    assert last.terms["mass"] < 1e-4 * first.terms["mass"]
    solution = made.solution(last.best)
    assert np.mean(solution(t=0.1, x=np.linspace(0, 1, 101))) == pytest.approx(0.5, abs=5e-3)
    assert math.isfinite(last.loss)
