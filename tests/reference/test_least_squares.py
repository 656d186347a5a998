"""The classical fit: the same estimate and standard errors as a least-squares fit of the closed-form solution."""

import jax.numpy as jnp
import numpy as np
import pytest

import sciml
from sciml.errors import ProblemError
from sciml.reference import least_squares
from sciml.reference.baseline import baselines
from sciml.reference.grid import exact_reference

COUNT, NOISE = 80, 0.01
TRUTH = 0.2


class Rod(sciml.Problem):
    """Heat in a rod: `exp(-k pi^2 t) sin(pi x)`."""

    k: sciml.Unknown = sciml.Unknown(1.0, positive=True)
    domain = sciml.Box(t=(0.0, 1.0), x=(0.0, 1.0))

    def equation(self, u_t, u_xx):
        return u_t - self.k * u_xx

    def measured(self):
        generator = np.random.default_rng(0)
        t, x = generator.uniform(size=(2, COUNT))
        return t, x, np.asarray(self.exact(t, x)) + NOISE * generator.standard_normal(COUNT)

    def conditions(self):
        t, x, u = self.measured()
        return [sciml.Initial(lambda x: jnp.sin(jnp.pi * x)), sciml.Dirichlet(0.0, on="x"), sciml.Data({"t": t, "x": x}, {"u": u})]

    def exact(self, t, x):
        return jnp.exp(-TRUTH * jnp.pi**2 * t) * jnp.sin(jnp.pi * x)


def closed_form(t, x, u):
    """Gauss-Newton for the closed form: estimate, standard error and noise."""
    k = TRUTH
    for _ in range(20):
        model = np.exp(-k * np.pi**2 * t) * np.sin(np.pi * x)
        slope = -(np.pi**2) * t * model
        k -= slope @ (model - u) / (slope @ slope)
    noise = np.sqrt((model - u) @ (model - u) / (COUNT - 1))
    return k, noise / np.sqrt(slope @ slope), noise


def test_it_is_the_fit_of_the_closed_form_and_the_baseline_of_the_problem():
    problem = Rod()
    k, error, noise = closed_form(*problem.measured())
    reference = exact_reference(problem, problem.domain.coordinates, problem.field_names)
    row = baselines(problem, reference)["least_squares"]
    assert row["unknowns"]["k"]["value"] == pytest.approx(k, abs=0.005 * error)
    assert row["unknowns"]["k"]["standard_error"] == pytest.approx(error, rel=1e-3)
    assert row["rel_l2"] < 3 * error / TRUTH
    assert row["seconds"] > 0
    fit = least_squares(problem, points=16)
    assert fit.noise == pytest.approx(noise, rel=1e-3)
    assert fit.problem.coefficients["k"] == pytest.approx(k, abs=0.005 * error)
    assert not any(isinstance(each, sciml.Data) for each in fit.problem.conditions())


class Pair(sciml.Problem):
    """Two fields, measured in two sets of data: `u' = -a u` and `v' = b u`, wherever on a period; a third coefficient is idle."""

    a: sciml.Unknown = sciml.Unknown(1.0, lower=0.1, upper=5.0)
    b: sciml.Unknown = sciml.Unknown(0.5)
    domain = sciml.Box(t=(0.0, 1.0), x=(0.0, 1.0))

    def equation(self, u, u_t, v_t):
        return u_t + self.a * u, v_t - self.b * u

    def conditions(self):
        t = np.linspace(0.05, 1.0, 20)
        u, v = np.exp(-2 * t), 1.5 * (1 - np.exp(-2 * t))
        x = np.full(20, 0.3)
        return [
            sciml.Initial(lambda x: (jnp.ones_like(x), jnp.zeros_like(x))),
            sciml.Periodic(on="x"),
            sciml.Data({"t": t[::-1], "x": x}, {"u": u[::-1], "v": np.where(t > 0.5, v, np.nan)[::-1]}),
            sciml.Data({"t": t, "x": 2 * x}, {"v": v}, name="more"),
        ]


def test_several_fields_and_sets_of_data():
    found = least_squares(Pair(), points=7)
    assert found.unknowns["a"]["value"] == pytest.approx(2.0, rel=1e-4)
    assert found.unknowns["b"]["value"] == pytest.approx(3.0, rel=1e-4)
    assert found.noise < 1e-4


class Idle(Pair):
    """A coefficient without influence."""

    c: sciml.Unknown = sciml.Unknown(1.0)

    def equation(self, u, u_t, v_t):
        return u_t + self.a * u + 0.0 * self.c, v_t - self.b * u


def test_what_the_data_cannot_tell_has_no_standard_error():
    found = least_squares(Idle(), points=7)
    assert {each["standard_error"] for each in found.unknowns.values()} == {None}
    assert {each["reason"] for each in found.unknowns.values()} == {"not determined by these data"}


class Forward(Rod):
    """Nothing to find."""

    k: float = 0.2


class Blind(Rod):
    """Nothing to find it with."""

    def conditions(self):
        return super().conditions()[:2]


class Single(Rod):
    """One value for one coefficient."""

    def measured(self):
        return tuple(column[:1] for column in super().measured())


class Headless(Rod):
    """No initial values: data alone are none for a classical solver."""

    def conditions(self):
        return super().conditions()[1:]


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Forward(), "no Unknown coefficient"),
        (Blind(), "no Data"),
        (Single(), "1 measured values for 1 coefficients"),
        (Headless(), "no Initial for u"),
    ],
)
def test_what_cannot_be_fitted_says_why(problem, text):
    with pytest.raises(ProblemError, match=text):
        least_squares(problem)


def test_a_baseline_that_fails_says_why():
    row = baselines(Headless(), None)["least_squares"]
    assert row["rel_l2"] is row["seconds"] is None
    assert "no Initial" in row["reason"]
