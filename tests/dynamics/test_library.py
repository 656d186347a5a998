"""Candidate libraries and the equations that are printed from them."""

import jax.numpy as jnp
import numpy as np
import pytest
import sympy

from sciml.dynamics import equations
from sciml.dynamics.library import Factor, Library, Term, differences, functions, polynomials, products, user_terms
from sciml.errors import ProblemError


def test_polynomials_are_counted_and_named():
    library = polynomials(("x", "y"), 2)
    assert library.names() == ("1", "x", "y", "x^2", "x y", "y^2")
    assert len(polynomials(("x", "y", "z"), 4)) == 35


def test_values_and_slopes_agree_with_numpy():
    library = (
        polynomials(("x", "y"), 3)
        + functions(("x", "y"), ("sin", "exp"), (1.0, 2.0))
        + differences(("x", "y"))
        + user_terms(("x", "y"), drag=lambda x, y: y * jnp.abs(y))
    )
    rng = np.random.default_rng(0)
    points = rng.normal(size=(20, 2))
    x, y = points.T
    values = dict(zip(library.names(), library.numpy(points).T, strict=True))
    np.testing.assert_allclose(values["x^2 y"], x**2 * y)
    np.testing.assert_allclose(values["sin(2 x)"], np.sin(2 * x))
    np.testing.assert_allclose(values["sin(x - y)"], np.sin(x - y))
    np.testing.assert_allclose(values["drag"], y * np.abs(y))
    step = 1e-6
    moved = (library.numpy(points + [0, step]) - library.numpy(points - [0, step])) / (2 * step)
    np.testing.assert_allclose(library.slopes(points)[:, :, 1], moved, atol=1e-7)


def test_products_merge_powers():
    library = products(polynomials(("x",), 1), functions(("x",), ("sin", "cos")) + polynomials(("x",), 1))
    assert "x^2" in library.names()
    assert "x cos(x)" in library.names()
    assert len(set(library.names())) == len(library)


def hill(function, variable=0, scale=1.0, power=1):
    return Library(("x", "y"), (Term((Factor(function, ((variable, scale),), power),)),))


def test_hill_functions_are_half_saturated_at_their_constant():
    library = hill("hill1", scale=1 / 0.8) + hill("hill2", 1, 1 / 21.2)
    np.testing.assert_allclose(library.numpy(np.array([[0.8, 21.2], [8.0, 0.0]])), [[0.5, 0.5], [10 / 11, 0.0]])
    assert library.names() == ("x/(0.8 + |x|)", "y^2/(449.4 + y^2)")
    np.testing.assert_allclose(library.scales, [1 / 0.8, 1 / 21.2])


def test_libraries_that_differ_in_names_and_constants_share_their_structure():
    library = products(polynomials(("x", "y"), 1), hill("hill1", scale=0.3)) + hill("hill1", scale=7.0)
    other = products(polynomials(("a", "b"), 1), Library(("a", "b"), hill("hill1", scale=0.1).terms)) + Library(
        ("a", "b"), hill("hill1", scale=2.0).terms
    )
    assert library != other
    assert library.structure == other.structure
    points = np.random.default_rng(0).normal(size=(5, 2))
    np.testing.assert_array_equal(library.structure(points, library.scales), library(points))
    np.testing.assert_array_equal(library.scaled(other.scales)(points), other(points))


def test_unknown_names_are_refused():
    with pytest.raises(ProblemError, match="did you mean 'sin'"):
        functions(("x",), ("sim",))
    with pytest.raises(ProblemError, match="did you mean 'x y'"):
        polynomials(("x", "y"), 2).without(["x  y"])


def coefficients_of(library, **rows):
    names = library.names()
    found = np.zeros((len(library), len(next(iter(rows.values())))))
    for name, row in rows.items():
        found[names.index(name.replace("_", " "))] = row
    return found


def test_text_and_latex():
    library = polynomials(("x", "y"), 2)
    coefficients = coefficients_of(library, x=(0.48071, 0), x_y=(-0.024821, 0.02), y=(0, -1))
    assert equations.text(library, coefficients, ("x", "y")).splitlines() == ["x' = 0.4807 x - 0.02482 x y", "y' = -1 y + 0.02 x y"]
    errors = np.full_like(coefficients, 0.0043)
    assert equations.text(library, coefficients, ("x", "y"), errors).startswith("x' = 0.4807(43) x - 0.0248(43) x y")
    assert r"\dot{x} &= 0.4807\,x - 0.02482\,x\,y" in equations.latex(library, coefficients, ("x", "y"))


def test_names_are_escaped_in_latex():
    library = polynomials(("O2 %", "a_b^c"), 1) + user_terms(("O2 %", "a_b^c"), net_rate=lambda x, y: x)
    rows = equations.latex(library, np.ones((4, 1)), ("O2 %",)).splitlines()
    assert rows[1] == r"\dot{\mathrm{O2\ \%}} &= 1 + 1\,\mathrm{O2\ \%} + 1\,\mathrm{a\_b\wedge{}c} + 1\,\mathrm{net\_rate}"
    assert equations.latex(polynomials(("%",), 1), np.ones((2, 1)), ("%",)).splitlines()[1] == r"\dot{\%} &= 1 + 1\,\%"


def test_latex_of_a_hill_function_is_a_fraction():
    library = hill("hill2", 1, 1 / 3)
    assert equations.latex(library, np.ones((1, 1)), ("x",)).splitlines()[1] == r"\dot{x} &= 1\,\frac{y^{2}}{9 + y^{2}}"


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (0.48071, 0.0043, "0.4807(43)"),
        (12.3, None, "12.3"),
        (1.0, 2.0, "1.0(20)"),
        (0.24, 12.0, "0(12)"),
        (5.0, 4.99, "5.0(50)"),
        (0.99, 0.0996, "0.99(10)"),
        (123.0, 9.96, "123(10)"),
        (1e-6, 1.0, "0.0(10)"),
        (999960.0, 1200.0, "1.0000(12)e+06"),
        (123456.0, 1200.0, "1.235(12)e+05"),
        (2.5e-6, 1e-7, "2.50(10)e-06"),
    ],
)
def test_numbers_show_the_digits_that_are_known(value, error, expected):
    assert equations.number_text(value, error) == expected


def test_sympy_agrees_with_the_library():
    library = polynomials(("x", "y"), 2) + functions(("x", "y"), ("sin", "log")) + differences(("x", "y"))
    library = library + user_terms(("x", "y"), twice=lambda x, y: 2 * x * y) + hill("hill3", 1, 0.7, 2) + hill("hill2")
    rng = np.random.default_rng(1)
    coefficients = rng.normal(size=(len(library), 2))
    found = equations.sympy(library, coefficients, ("x", "y"))
    point = np.array([[0.7, -1.3]])
    symbols = [sympy.Symbol(name, real=True) for name in ("x", "y")]
    values = [float(found[name].subs(dict(zip(symbols, point[0], strict=True)))) for name in ("x", "y")]
    np.testing.assert_allclose(values, (library.numpy(point) @ coefficients)[0])


def test_products_of_what_cannot_be_multiplied():
    drag = user_terms(("x", "v"), drag=lambda x, v: v * jnp.abs(v))
    for other in (drag, polynomials(("x", "y"), 1)):
        with pytest.raises(ProblemError, match="products: both libraries need the same variables, and no terms of your own"):
            products(other, polynomials(("x", "v"), 1))
