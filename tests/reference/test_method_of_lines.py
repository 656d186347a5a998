"""The classical solver is right to its own error estimate, and says clearly what it cannot solve."""

import jax.numpy as jnp
import numpy as np
import pytest

import sciml
from sciml.errors import ProblemError
from sciml.reference import exact_reference, method_of_lines
from sciml.reference.grid import relative_l2
from sciml.runs.catalog import load_problem


def true_error(problem, reference):
    return relative_l2(exact_reference(problem, problem.domain.coordinates, problem.field_names).fields, reference.fields)


class Insulated(sciml.Problem):
    """Heat with a flux on one face and an exchange on the other, both changing in time."""

    domain = sciml.Box(t=(0.0, 0.5), x=(0.0, 1.0))

    def equation(self, t, u_t, u_xx):
        return (2 + t) * (u_t - 0.3 * u_xx)

    def conditions(self):
        return [
            sciml.Initial(self.exact),
            sciml.Neumann(lambda t: -2.0 * jnp.exp(-1.2 * t), on="x-"),
            sciml.Robin(self.exchange, on="x+", a=3.0, b=0.5),
        ]

    def exchange(self, t):
        return jnp.exp(-1.2 * t) * (3.0 * jnp.sin(2.0) + 0.5 * 2 * jnp.cos(2.0))

    def exact(self, t, x):
        return jnp.exp(-1.2 * t) * jnp.sin(2 * x)


class Carried(sciml.Problem):
    """Two fields on a period that turn into each other while they are carried along, third order in space."""

    domain = sciml.Box(x=(0.0, 2 * np.pi), t=(0.0, 1.0))
    fields = ("u", "v")

    def equation(self, u, v, u_t, u_xxx, v_t, v_x):
        return u_t + v_t - u_xxx + v_x - u + v, u_t - v_t - u_xxx - v_x + u + v

    def conditions(self):
        return [sciml.Initial(self.exact), sciml.Periodic(on="x")]

    def exact(self, t, x):
        return jnp.sin(x - t) * jnp.cos(t), jnp.sin(x - t) * jnp.sin(t)


class Damped(sciml.Problem):
    """Second order in time with the velocity in the equation."""

    domain = sciml.Box(t=(0.0, 1.0), x=(0.0, 1.0))

    def equation(self, u, u_t, u_tt, u_xx):
        return u_tt + 2 * u_t + u - u_xx

    def conditions(self):
        return [sciml.Initial(self.exact, of="u"), sciml.Initial(self.velocity, of="u_t"), sciml.Dirichlet(0.0, on="x")]

    def velocity(self, x):
        return -jnp.sin(jnp.pi * x)

    def exact(self, t, x):
        return jnp.exp(-t) * jnp.cos(jnp.pi * t) * jnp.sin(jnp.pi * x)


@pytest.mark.parametrize(
    ("problem", "points", "needed"),
    [
        (load_problem("fisher_kpp"), 64, 1e-7),
        (load_problem("wave"), 40, 1e-9),
        (load_problem("heat_2d"), 14, 1e-8),
        (Insulated(), 20, 1e-9),
        (Carried(), 15, 1e-8),
        (Damped(), 24, 1e-9),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_error_is_below_its_estimate(problem, points, needed):
    reference = method_of_lines(problem, points, tolerance=1e-9)
    true = true_error(problem, reference)
    assert true < needed
    assert true < reference.estimated_error < 1e-4
    assert reference.seconds > 0


def test_the_shock_of_burgers_needs_a_focus():
    problem = load_problem("burgers")
    exact = problem.reference()
    found = method_of_lines(problem, 96, 1e-8, grid=exact.coordinates, focus={"x": (0.0, 0.01)})
    assert relative_l2(exact.fields, found.fields) < min(1e-7, found.estimated_error)


class Rod(sciml.Problem):
    """A complete problem, spoilt in one way by each case below."""

    domain = sciml.Box(t=(0.0, 1.0), x=(0.0, 1.0))

    def equation(self, u_t, u_xx):
        return u_t - u_xx

    def conditions(self):
        return [sciml.Initial(0.0), sciml.Dirichlet(0.0, on="x")]


class WithoutFace(Rod):
    def conditions(self):
        return [sciml.Initial(0.0), sciml.Dirichlet(0.0, on="x-")]


class WithoutStart(Rod):
    def conditions(self):
        return [sciml.Dirichlet(0.0, on="x")]


class WithData(Rod):
    def conditions(self):
        return [*super().conditions(), sciml.Data({"t": [0.5], "x": [0.5]}, {"u": [1.0]})]


class WithUnknown(Rod):
    D: sciml.Unknown = sciml.Unknown(1.0, positive=True)

    def equation(self, u_t, u_xx):
        return u_t - self.D * u_xx


class Squared(Rod):
    def equation(self, u_t, u_xx):
        return u_t**2 - u_xx


class Degenerate(Rod):
    def equation(self, u, u_t, u_xx):
        return u * u_t - u_xx


class Mixed(Rod):
    def equation(self, u_t, u_tx, u_xx):
        return u_t + u_tx - u_xx


class Beam(Rod):
    def equation(self, u_t, u_xxxx):
        return u_t + u_xxxx


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (load_problem("poisson_2d"), "has no time"),
        (WithoutFace(), r"no boundary condition for u on x\+"),
        (WithoutStart(), "no Initial for u"),
        (WithData(), "of the kind Data"),
        (WithUnknown(), r"unknown \(D\)"),
        (Squared(), "not linear in its highest time derivative"),
        (Degenerate(), "does not determine"),
        (Mixed(), "mixes time and space"),
        (Beam(), "order three and more along 'x'"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_what_it_cannot_solve_is_named(problem, message):
    with pytest.raises(ProblemError, match=message):
        method_of_lines(problem, 12)


def test_settings_are_checked():
    with pytest.raises(ProblemError, match="points >= 6"):
        method_of_lines(Rod(), 3)
    with pytest.raises(ProblemError, match="name a coordinate with faces"):
        method_of_lines(Rod(), 12, focus={"y": (0.0, 0.1)})
    with pytest.raises(ProblemError, match="the grid needs t, x"):
        method_of_lines(Rod(), 12, grid={"x": np.linspace(0, 1, 5)})
