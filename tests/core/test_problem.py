"""Reading a problem: its equation's signature, its fields and unknown coefficients; and what it says to each mistake."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_problems import TINY, Decay, experiment, problem

import sciml
from sciml import checks
from sciml.problem import Derivative
from sciml.reference import Reference

REVERSED = Reference("exact", {"x": np.linspace(0, 1, 3), "t": np.linspace(0, 1, 2)}, {"u": np.ones((3, 2))}, 0.0, 0.0)

PLANE = sciml.Box(t=(0.0, 1.0), x=(-1.0, 1.0))


def made(equation, domain=PLANE, conditions=(), **members):
    return problem(domain, conditions, equation, **members)


# -- the signature ------------------------------------------------------------------------------------------------------


def test_arguments_are_matched_by_name() -> None:
    """In any order; coordinates arrive as columns of the points, derivatives as they were computed."""
    seen = made(lambda u_xt, x, u, t, u_x: 1000 * u_xt + 100 * x + 10 * u + t - u_x)
    assert seen.arguments == (Derivative("u", (0, 1)), "x", Derivative("u", ()), "t", Derivative("u", (1,)))
    values = {Derivative("u", (0, 1)): jnp.array([1.0]), Derivative("u", ()): jnp.array([3.0]), Derivative("u", (1,)): jnp.array([5.0])}
    (residual,) = seen.residuals(values, jnp.array([[4.0, 2.0]]), {})
    assert residual.tolist() == [1000 + 200 + 30 + 4 - 5]


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("u", ()),
        ("u_t", (1,)),
        ("u_theta", (2,)),
        ("u_thetatheta", (2, 2)),
        ("u_rtheta", (0, 2)),
        ("u_thetar", (0, 2)),
        ("u_ttheta", (1, 2)),
        ("u_thetat", (1, 2)),
    ],
)
def test_coordinate_names_of_several_letters(name: str, index: tuple) -> None:
    disk = made(lambda u: u, sciml.Box(r=(0.0, 1.0), t=(0.0, 1.0), theta=(0.0, 1.0)))
    assert disk.derivative(name) == Derivative("u", index)


def test_a_name_that_begins_like_another_is_read_by_backtracking() -> None:
    """The longest coordinate first would leave an unreadable rest."""
    assert made(lambda u: u, sciml.Box(ab=(0, 1), abc=(0, 1), cd=(0, 1))).derivative("u_abcd") == Derivative("u", (0, 2))


def test_order_does_not_matter() -> None:
    assert made(lambda u_xtx: u_xtx).needs == (Derivative("u", (0, 1, 1)),)


def test_fields_in_order_of_appearance_or_as_stated() -> None:
    assert made(lambda v_t, u_x, v: v_t + u_x + v).field_names == ("v", "u")
    assert made(lambda v_t, u_x: v_t + u_x, fields=("u", "v", "w")).field_names == ("u", "v", "w")


@pytest.mark.parametrize(
    ("equation", "names"),
    [
        (lambda u_t: u_t, ("equation",)),
        (lambda u_t, v_t: (u_t, v_t - 1), ("equation_1", "equation_2")),
        (lambda u_t, v_t: {"mass": u_t, "momentum": v_t}, ("mass", "momentum")),
    ],
    ids=["one", "tuple", "dictionary"],
)
def test_residuals_are_named(equation, names: tuple[str, ...]) -> None:
    system = made(equation)
    assert system.residual_names == names
    values = {need: jnp.ones(4) for need in system.needs}
    assert [part.shape for part in system.residuals(values, jnp.ones((4, 2)), {})] == [(4,)] * len(names)


def test_a_constant_residual_is_broadcast() -> None:
    constant = made(lambda u: jnp.array(2.0))
    (residual,) = constant.residuals({Derivative("u", ()): jnp.ones(4)}, jnp.ones((4, 2)), {})
    assert residual.tolist() == [2.0] * 4


def test_coefficients_are_keyword_arguments() -> None:
    assert Decay(rate=3.0).coefficients == {"rate": 3.0}
    assert Decay().name == "Decay"
    with pytest.raises(TypeError, match="speed"):
        Decay(speed=1.0)


# -- what cannot be read ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("equation", "text"),
    [
        (lambda u_y: u_y, r"'u_y': 'y' is not made of the coordinates of Box\(t=\(0, 1\), x=\(-1, 1\)\) \(t, x\); write for example u_x"),
        (lambda u_: u_, "'u_': '' is not made of the coordinates"),
        (lambda x_t: x_t, "'x_t': 'x' is a coordinate and has no derivatives"),
        (lambda u_xxxxx: u_xxxxx, "'u_xxxxx': derivatives are available up to order 4; introduce an auxiliary field"),
    ],
    ids=["coordinate", "nothing", "derivative of a coordinate", "order"],
)
def test_derivatives_that_do_not_exist(equation, text: str) -> None:
    with pytest.raises(sciml.ProblemError, match=f"equation of Made: {text}"):
        made(equation).arguments  # noqa: B018


def test_a_field_that_does_not_exist() -> None:
    with pytest.raises(sciml.ProblemError, match=r"'pressure_x': there is no field 'pressure'; did you mean 'presure'\?"):
        made(lambda presure, pressure_x: pressure_x, fields=("presure",)).arguments  # noqa: B018


def test_all_mistakes_of_a_signature_at_once() -> None:
    with pytest.raises(sciml.ProblemError, match=r"(?s)2 mistakes.*'u_y'.*'u_z'"):
        made(lambda u_y, u_t, u_z: u_y).arguments  # noqa: B018


def test_no_equation_and_no_domain() -> None:
    class Empty(sciml.Problem):
        domain = PLANE

    class Nowhere(sciml.Problem):
        def equation(self, u_t):
            return u_t

    with pytest.raises(sciml.ProblemError, match=r"Empty has no equation; write a method `def equation\(self, u, u_t, u_xx\)`"):
        Empty().arguments  # noqa: B018
    with pytest.raises(sciml.ProblemError, match=r"Nowhere has no domain; write `domain = sciml.Box\("):
        Nowhere().arguments  # noqa: B018


@pytest.mark.parametrize(
    ("intervals", "text"),
    [
        ({}, "a Box needs at least one coordinate"),
        ({"x": (1.0, 0.0)}, r"coordinate 'x': \(1, 0\) is not an interval with lower < upper"),
        ({"x": (0.0, float("inf"))}, r"coordinate 'x': \(0, inf\) is not an interval"),
        ({"x": 3.0}, r"coordinate 'x': 3.0 is not an interval; write x=\(0.0, 1.0\)"),
        ({"x_1": (0.0, 1.0)}, "coordinate 'x_1': an underscore separates a field from its derivatives"),
        ({"x": (1.0, 0.0), "y": "ab"}, r"(?s)2 mistakes.*'x'.*'y'"),
    ],
)
def test_boxes_that_are_none(intervals: dict, text: str) -> None:
    with pytest.raises(sciml.ProblemError, match=text):
        sciml.Box(**intervals)


# -- shapes -------------------------------------------------------------------------------------------------------------


def test_shapes_that_do_not_broadcast() -> None:
    """In the sum, where JAX says which shapes; in the result; and one that fits by chance as long as the points are few."""
    with pytest.raises(sciml.ProblemError, match=r"equation of Made fails on arrays of shape \(3,\): .*\(5,\)"):
        made(lambda u_t: u_t - jnp.ones(5)).residual_names  # noqa: B018
    values = {Derivative("u", (0,)): jnp.ones(4)}
    with pytest.raises(sciml.ProblemError, match=r"equation of Made: expected one value per point, shape \(4,\), but got shape \(4, 1\)"):
        made(lambda u_t: u_t[:, None]).residuals(values, jnp.ones((4, 2)), {})
    with pytest.raises(sciml.ProblemError, match=r"fails on arrays of shape \(4,\)"):
        made(lambda u_t: u_t - jnp.ones(3)).residuals(values, jnp.ones((4, 2)), {})


def test_shapes_are_checked_before_training() -> None:
    with pytest.raises(sciml.ProblemError, match=r"expected one value per point, shape \(\d+,\), but got shape"):
        experiment(problem(sciml.Box(t=(0, 1)), [sciml.Initial(1.0)], lambda u_t: u_t[:, None]))


# -- unknown coefficients -----------------------------------------------------------------------------------------------


class Growth(sciml.Problem):
    """With a rate to be found."""

    rate: sciml.Unknown = sciml.Unknown(0.5, positive=True)
    domain = sciml.Box(t=(0.0, 1.0))

    def equation(self, u, u_t):
        assert not isinstance(self.rate, sciml.Unknown)
        return u_t - self.rate * u


@pytest.mark.parametrize("raw", [-30.0, -1.0, 0.0, 2.0, 30.0])
def test_unknowns_stay_within_bounds(raw: float) -> None:
    number = jnp.asarray(raw)
    assert 0 < sciml.Unknown(2.0, positive=True).value(number)
    assert -1.0 <= sciml.Unknown(0.5, lower=-1.0, upper=3.0).value(number) <= 3.0


@pytest.mark.parametrize(
    "unknown", [sciml.Unknown(2.0, positive=True), sciml.Unknown(0.5, lower=-1.0, upper=3.0), sciml.Unknown(-4.0), sciml.Unknown(0.0)]
)
def test_unknowns_begin_at_their_start_and_can_move(unknown: sciml.Unknown) -> None:
    value, slope = jax.value_and_grad(unknown.value)(jnp.asarray(0.0))
    assert float(value) == pytest.approx(unknown.start, abs=1e-15)
    assert float(slope) > 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"start": -1.0, "positive": True}, "the start -1 must be positive"),
        ({"start": float("nan")}, "the start nan must be finite"),
        ({"start": 5.0, "lower": 0.0, "upper": 1.0}, r"the start 5 is not inside \(0, 1\)"),
        ({"start": 5.0, "lower": 0.0}, r"lower and upper come together; write Unknown\(0.5, lower=0.0, upper=1.0\)"),
        ({"start": 5.0, "positive": True, "lower": 0.0, "upper": 9.0}, "either positive=True or lower and upper"),
    ],
)
def test_unknowns_that_contradict_themselves(arguments: dict, text: str) -> None:
    with pytest.raises(sciml.ProblemError, match=text):
        sciml.Unknown(**arguments)


def test_an_unknown_is_a_number_in_the_equation() -> None:
    growth = Growth()
    values = {Derivative("u", ()): jnp.array([2.0]), Derivative("u", (0,)): jnp.array([1.0])}
    assert growth.unknowns == {"rate": growth.rate}
    assert growth.coefficients == {}
    assert growth.residuals(values, jnp.zeros((1, 1)), {"rate": jnp.asarray(3.0)})[0].tolist() == [-5.0]
    assert Growth(rate=0.25).residuals(values, jnp.zeros((1, 1)), {})[0].tolist() == [0.5]


@pytest.mark.parametrize(
    "use",
    [
        lambda unknown: unknown * jnp.ones(3),
        lambda unknown: 1.0 - unknown,
        lambda unknown: -unknown,
        lambda unknown: abs(unknown),
        lambda unknown: unknown**2,
        lambda unknown: np.sqrt(unknown),
        lambda unknown: float(unknown),
        lambda unknown: np.ones(3) * unknown,
        lambda unknown: unknown > 0,
        lambda unknown: 1.0 <= unknown,
    ],
)
def test_an_unknown_leaks_nowhere(use) -> None:
    with pytest.raises(
        sciml.ProblemError, match=r"an Unknown coefficient is used outside `equation`.*give boundary and initial values as numbers"
    ):
        use(sciml.Unknown(1.0))


@pytest.mark.parametrize("function", [lambda rate: rate, jnp.sqrt, np.sqrt, float])
def test_an_unknown_does_not_leak_through_an_exact_solution(function) -> None:
    class Leaking(Growth):
        def conditions(self):
            return [sciml.Initial(self.exact)]

        def exact(self, t):
            return jnp.exp(function(self.rate) * t)

    with pytest.raises(sciml.ProblemError, match="an Unknown coefficient is used outside `equation`"):
        experiment(Leaking())


# -- before anything is trained -----------------------------------------------------------------------------------------


def test_an_equation_that_is_not_finite_at_the_start() -> None:
    """It says which residual, where, and at how many points."""
    rooted = problem(sciml.Box(t=(0.0, 1.0)), [sciml.Initial(1.0)], lambda u_t, t: {"calm": u_t, "root": u_t + jnp.sqrt(t - 0.5)})
    with pytest.raises(
        sciml.ProblemError,
        match=r"root of Made is not finite at the start \(nan at \(t=0\.\d+\), and at 32 of 64 points\); look for a division by zero",
    ):
        experiment(rooted)


@pytest.mark.parametrize(
    ("network", "text"),
    [
        (lambda inputs: jnp.ones(3), r"network: it maps \(1,\) to \(3,\), but Decay has 1 field\(s\) \(u\); make it return shape \(1,\)"),
        (
            lambda inputs: jnp.ones((4, 3)) @ inputs,
            r"network: it fails on an input of shape \(1,\): .*; the model feeds it 1 scaled coordinates or features",
        ),
        (lambda inputs: (inputs, inputs), r"network: it maps \(1,\) to .*, but Decay has 1 field"),
        ("mlp", "network: str is not callable; give sciml.Network"),
    ],
    ids=["outputs", "inputs", "not an array", "not callable"],
)
def test_networks_of_the_wrong_shape(network, text: str) -> None:
    with pytest.raises(sciml.ProblemError, match=text):
        experiment(Decay(), network=network)


def test_a_dense_matrix_that_does_not_fit(monkeypatch) -> None:
    """A method with little memory is not refused."""
    monkeypatch.setattr(checks, "memory_bytes", lambda: 2**30)
    checks.check_memory([sciml.Adam(), sciml.LBFGS()], 10**5, 8)
    checks.check_memory([sciml.Broyden()], 10**3, 8)
    with pytest.raises(
        sciml.ProblemError,
        match=r"matrix of 100000 x 100000 numbers: 223.5 GiB needed, 1.0 GiB in this machine; use kind = \"lbfgs\", or a smaller",
    ):
        checks.check_memory([sciml.Adam(), sciml.Broyden()], 10**5, 8)
    monkeypatch.setattr(checks, "memory_bytes", lambda: 2**10)
    with pytest.raises(sciml.ProblemError, match="matrix of 33 x 33 numbers"):
        experiment(Decay(), [sciml.Broyden()])


def test_parameters_of_another_network() -> None:
    with pytest.raises(
        sciml.ProblemError, match=r"warm start: it has 5 trainable numbers, this model 33; use the same \[network\] in both runs"
    ):
        experiment(Decay(), warm_start=jnp.zeros(5), points=TINY)


# -- what is reported ---------------------------------------------------------------------------------------------------


class Logit(Decay):
    """Logistic decay in the logit of a share: w_t = -rate, and u = sigmoid(w)."""

    def equation(self, w, w_t):
        return w_t + self.rate + 0 * w

    def observe(self, w):
        return {"u": jax.nn.sigmoid(w), "slope": jnp.exp(w)}

    def exact(self, t):
        return 1.0 - self.rate * t


def test_observables_are_reported_instead_of_fields() -> None:
    made = experiment(Logit())
    solution = made.solution(made.start)
    t = np.array([0.0, 0.5])
    expected = jax.nn.sigmoid(made.objective.evaluate_fields(made.start, jnp.asarray(t)[:, None])[:, 0])
    found = solution(t=t)
    assert list(found) == ["u", "slope"]
    assert np.allclose(found["u"], expected, rtol=1e-14)
    assert np.allclose(made.reference.fields["u"], jax.nn.sigmoid(1 - 2.0 * made.reference.coordinates["t"]), rtol=1e-14)
    assert set(made.error(made.start).fields) == {"u", "slope"}
    assert {"u", "u_reference", "slope_error"} <= set(solution.to_xarray())


@pytest.mark.parametrize(
    ("observe", "text"),
    [
        (lambda self, v: {"v": v}, "observe of Made fails on the fields u"),
        (lambda self, u: u, "observe of Made returns a .*; return a dictionary"),
        (lambda self, u: {"mean": jnp.mean(u)}, r"observe of Made: 'mean' has shape \(\) for fields of shape \(3,\)"),
    ],
)
def test_observables_that_do_not_fit(observe, text: str) -> None:
    bad = made(lambda u, u_t: u_t, sciml.Box(t=(0.0, 1.0)), [sciml.Initial(1.0)], observe=observe)
    with pytest.raises(sciml.ProblemError, match=text):
        _ = bad.observable_names


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        (lambda self: sciml.Initial(0.0), r"stands where a list of conditions should; write `return \[sciml.Initial"),
        (lambda self: None, r"None stands where a list of conditions should"),
        (lambda self: [sciml.Initial(0.0), jnp.sin], r"stands where a list of conditions should"),
        (lambda self: [sciml.Initial(self.strat)], r"conditions of Slip fail \(test_problem.py, line \d+: .*\): AttributeError: .*strat"),
    ],
)
def test_slips_in_conditions_get_one_clear_error(conditions, message):
    class Slip(sciml.Problem):
        domain = sciml.Box(t=(0.0, 1.0), x=(0.0, 1.0))

        def equation(self, u_t, u_xx):
            return u_t - u_xx

    Slip.conditions = conditions
    with pytest.raises(sciml.ProblemError, match=message):
        experiment(Slip())


@pytest.mark.parametrize("strange", [{"kind": "adam", "steps": 5}, sciml.Adam, "adam"])
def test_phases_that_are_none(strange):
    with pytest.raises(sciml.ProblemError, match=r"is no phase; write sciml.Adam\(steps=500\)"):
        experiment(Decay(), phases=[strange])


def test_conditions_may_be_generated():
    class Generated(Decay):
        def conditions(self):
            yield from super().conditions()

    assert experiment(Generated()).objective.components == experiment(Decay()).objective.components


@pytest.mark.parametrize(
    ("equation", "message"),
    [
        (lambda self, u_t, u_xx: u_t - self.kapa * u_xx, r"equation of Slip fails on arrays of shape .*: AttributeError: .*kapa"),
        (lambda self, u_t, u_xx: None, r"it gives None, no number; does it end with `return \.\.\.`\?"),
    ],
)
def test_slips_in_an_equation_get_one_clear_error(equation, message):
    class Slip(sciml.Problem):
        domain = sciml.Box(t=(0.0, 1.0), x=(0.0, 1.0))

        def conditions(self):
            return [sciml.Initial(0.0), sciml.Dirichlet(0.0, on="x")]

    Slip.equation = equation
    with pytest.raises(sciml.ProblemError, match=message):
        experiment(Slip())


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (lambda self: method_of_line(self), r"reference of Compared fails: NameError"),  # noqa: F821  # pyright: ignore[reportUndefinedVariable]
        (lambda self: 1.0, r"it returns a float; write `return sciml.Reference"),
        (lambda self: REVERSED, r"it gives u over \(x, t\); needed are u over \(t, x\), in this order"),
    ],
)
def test_references_that_cannot_be_compared_with(reference, message):
    class Compared(sciml.Problem):
        domain = sciml.Box(t=(0.0, 1.0), x=(0.0, 1.0))

        def equation(self, u_t, u_xx):
            return u_t - u_xx

        def conditions(self):
            return [sciml.Initial(0.0), sciml.Dirichlet(0.0, on="x")]

    Compared.reference = reference
    with pytest.raises(sciml.ProblemError, match=message):
        _ = experiment(Compared()).reference
