"""One battery over all vector fields, and what each kind adds."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.integrate import solve_ivp
from systems import LotkaVolterra, lotka_volterra_path

import sciml
from sciml.dynamics import symbolic
from sciml.dynamics.first_look import choose_noise, look
from sciml.dynamics.library import polynomials
from sciml.dynamics.noise import NOISES, Gaussian, LogNormal
from sciml.dynamics.preparing import prepare
from sciml.dynamics.stages import stage_of
from sciml.dynamics.starting_fields import build_field, match
from sciml.dynamics.starting_terms import sparse_start
from sciml.dynamics.vector_fields import PRIOR, Given, SparseLibrary, Universal, VectorField, precisions
from sciml.errors import ProblemError
from sciml.nets.model import trainable_mask
from sciml.settings import GivenField, Integrator, NeuralField, SparseField, UniversalField

PROBLEM = LotkaVolterra(level=0.0)
SERIES = PROBLEM.measured


class Own(VectorField):
    growth: jax.Array
    rates: jax.Array
    states = ("x", "y")
    channels = ("x", "y")

    def __call__(self, t, state, controls):
        x, y = state
        return jnp.stack([self.growth * jnp.sin(x), self.rates[0] * x * y + self.rates[1] * jnp.exp(-y)])


class Half(VectorField):
    """Known friction beside a network that nobody put a name to."""

    friction: jax.Array
    network: eqx.nn.MLP
    states = ("x", "y")
    channels = ("x", "y")

    def __call__(self, t, state, controls):
        return self.network(state) - self.friction * state


OWN = Own(jnp.array(0.02), jnp.array([0.0, -3.0]))
HALF = Half(jnp.array(0.1), eqx.nn.MLP(2, 2, 4, 1, key=jax.random.key(0)))


def linear(inputs, outputs):
    return eqx.nn.Linear(inputs, outputs, key=jax.random.key(0))


def built(settings, module=None, states=("x", "y")):
    begin = look(SERIES, Gaussian(), states, PROBLEM)
    return build_field(settings, module, PROBLEM, SERIES, Gaussian(), states, begin, 0)


def sparse():
    library = polynomials(("x", "y"), 2)
    coefficients = np.zeros((len(library), 2))
    coefficients[library.names().index("x"), 0], coefficients[library.names().index("x y"), 0] = 1.3, -0.9
    coefficients[library.names().index("x y"), 1], coefficients[library.names().index("y"), 1] = 0.8, -1.8
    return SparseLibrary(library, coefficients, ("x", "y"), ("x", "y"))


FIELDS = {
    "given": lambda: built(GivenField())[0],
    "neural": lambda: built(NeuralField(width=6, depth=1))[0],
    "hidden": lambda: built(NeuralField(width=6, depth=1, hidden=1), states=("x", "y", "hidden_1"))[0],
    "second order": lambda: built(NeuralField(second_order=True), states=("x", "y", "x_velocity", "y_velocity"))[0],
    "universal": lambda: built(UniversalField(width=6, depth=1))[0],
    "sparse": sparse,
    "equinox module": lambda: built(NeuralField(), linear(2, 2))[0],
    "flax module": lambda: built(NeuralField(), nnx.Linear(2, 2, rngs=nnx.Rngs(0), param_dtype=jnp.float64))[0],
    "hidden module": lambda: built(NeuralField(hidden=1), linear(3, 3), states=("x", "y", "hidden_1"))[0],
    "second order module": lambda: built(NeuralField(second_order=True), linear(4, 2), states=("x", "y", "x_velocity", "y_velocity"))[0],
    "known and module": lambda: built(UniversalField(), linear(2, 2))[0],
    "known and sparse": lambda: Universal(Given(PROBLEM), sparse()),
    "known and own": lambda: built(UniversalField(), OWN)[0],
    "own": lambda: OWN,
    "own with a network": lambda: HALF,
}


@pytest.mark.parametrize("name", FIELDS)
def test_every_field(name):
    with jax.numpy_rank_promotion("allow"):  # modules of other libraries add their biases that way
        field = FIELDS[name]()
        assert isinstance(field, VectorField)
        state = jnp.full(len(field.states), 0.7)
        slope = jax.jit(lambda state: field(jnp.zeros(()), state, jnp.zeros(0)))(state)
        many = jax.vmap(lambda state: field(jnp.zeros(()), state, jnp.zeros(0)))(jnp.stack([state, 2 * state]))
        assert slope.shape == state.shape
        assert slope.dtype == jnp.float64
        assert np.all(np.isfinite(slope))
        np.testing.assert_allclose(many[0], slope, rtol=1e-12)
        assert field.observe(state).shape == (2,)
        trainable, fixed = eqx.partition(field, trainable_mask(field))
        leaves = jax.tree.leaves(trainable)
        assert leaves
        gradient = jax.grad(lambda part: jnp.sum(eqx.combine(part, fixed)(jnp.zeros(()), state, jnp.zeros(0)) ** 2))(trainable)
        assert any(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(gradient))
        for about in (field.units(), precisions(field)):
            assert jax.tree.map(np.shape, about) == jax.tree.map(np.shape, trainable)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_in_symbols(name):
    """SymPy's expressions have the field's values; a network is told to have none, and has words."""
    field = FIELDS[name]()
    assert field.text(dict.fromkeys(field.coefficients()))
    if field.networks:
        with pytest.raises(ProblemError, match="a network has no symbols"):
            field.sympy(())
        return
    state = jnp.array([0.7, 1.3])
    found = field.sympy(())
    assert tuple(found) == field.states
    at = {symbolic.symbol(name): float(value) for name, value in zip(field.states, state, strict=True)}
    values = [float(each.subs(at)) for each in found.values()]
    np.testing.assert_allclose(values, field(jnp.zeros(()), state, jnp.zeros(0)), rtol=1e-12)
    assert r"\dot{x} &= " in field.latex(dict.fromkeys(field.coefficients()), ())


def test_a_sparse_field_is_its_equations():
    field = sparse()
    found = field(jnp.zeros(()), jnp.array([2.0, 3.0]), jnp.zeros(0))
    np.testing.assert_allclose(found, [1.3 * 2 - 0.9 * 6, 0.8 * 6 - 1.8 * 3])
    assert {name: float(value) for name, value in field.coefficients().items()} == pytest.approx(
        {"x': x": 1.3, "y': y": -1.8, "x': x y": -0.9, "y': x y": 0.8}
    )


def test_second_order_states_are_positions_then_velocities():
    field = FIELDS["second order"]()
    state = jnp.array([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_array_equal(field(jnp.zeros(()), state, jnp.zeros(0))[:2], [3.0, 4.0])


def test_universal_adds_the_network_to_the_known_part():
    field = FIELDS["universal"]()
    assert isinstance(field, Universal)
    state = jnp.array([1.0, 2.0])
    parts = [part(jnp.zeros(()), state, jnp.zeros(0)) for part in (field.known, field.missing)]
    np.testing.assert_allclose(field(jnp.zeros(()), state, jnp.zeros(0)), parts[0] + parts[1])
    assert set(field.coefficients()) == set(PROBLEM.unknowns)


def test_matching_brings_the_slopes_to_those_of_the_data():
    field, begin = built(NeuralField(width=12, depth=1))
    slopes = np.concatenate(begin.slopes)

    def misfit(field):
        found = jax.vmap(lambda state: field(jnp.zeros(()), state, jnp.zeros(0)))(jnp.asarray(begin.states[0]))
        return float(np.linalg.norm(np.asarray(found) - slopes) / np.linalg.norm(slopes))

    assert misfit(match(field, SERIES, begin)) < 0.1 < misfit(field)


def test_a_module_of_the_wrong_size_is_one_clear_error():
    with pytest.raises(ProblemError, match=r"Linear on 2 scaled states and controls returns \(3,\); return \(2,\), one number"):
        built(NeuralField(), linear(2, 3))
    with pytest.raises(ProblemError, match=r"Linear on 2 scaled states and controls fails: TypeError"):
        built(NeuralField(), linear(3, 2))


def test_the_coefficients_of_ones_own_field_are_its_numbers_by_name():
    assert {name: float(value) for name, value in OWN.coefficients().items()} == {"growth": 0.02, "rates[0]": 0.0, "rates[1]": -3.0}
    assert set(HALF.coefficients()) == {"friction"}
    assert HALF.networks == (HALF.network,)
    assert not OWN.networks


def test_coefficients_of_ones_own_are_counted_in_units_of_their_start():
    begin = look(SERIES, Gaussian(), ("x", "y"), None)
    for field, first in ((OWN, [1.0, 0.0, -1.0]), (HALF, [1.0, *np.ravel(HALF.network.layers[0].weight)[:2]])):
        stage = stage_of(field, SERIES, Gaussian(), Integrator(), begin, 8, 1.0, 0)
        np.testing.assert_allclose(stage.field_start[:3], first)
        assert eqx.tree_equal(stage.field_of(stage.start), field, rtol=1e-15)


def test_where_nothing_is_unknown_only_the_starting_states_are_found():
    field = Given(LotkaVolterra(a=1.0, b=1.0, c=1.0, d=1.0))
    begin = look(SERIES, Gaussian(), ("x", "y"), None)
    stage = stage_of(field, SERIES, Gaussian(), Integrator(), begin, None, 1.0, 0)
    assert stage.parameters == 2
    np.testing.assert_allclose(stage.field_of(stage.start)(jnp.zeros(()), jnp.array([2.0, 3.0]), jnp.zeros(0)), [-4.0, 3.0])


class Plain(eqx.Module):
    def __call__(self, inputs):
        return -inputs


class Forgotten(Own):
    growth: float
    rates: tuple[float, float]


class Tuple(Own):
    def __call__(self, t, state, controls):
        return tuple(state)


class Broken(Own):
    def __call__(self, t, state, controls):
        return state * undefined  # noqa: F821


class Elsewhere(Own):
    channels = ("x", "speed")


class Turned(Own):
    states = ("y", "x")


@pytest.mark.parametrize(
    ("subject", "given", "message"),
    [
        (SERIES, lambda state: -state, r"<lambda> has no numbers to fit; write equations as a sciml.Dynamics .* or as a sciml.VectorField"),
        (SERIES, Plain(), "Plain has no numbers to fit"),
        (SERIES, Own, r"Own is a class; give an instance of it, Own\(...\)"),
        (SERIES, 3, r"int is not callable; give a module that maps \(2,\) to \(2,\)"),
        (SERIES, Forgotten(0.02, (0.0, -3.0)), r"Forgotten has no numbers to fit; give its coefficients as JAX arrays"),
        (
            SERIES,
            Tuple(OWN.growth, OWN.rates),
            r"Tuple.__call__ returns a tuple; return \(2,\), one number per state, .* jnp.stack",
        ),
        (SERIES, Broken(OWN.growth, OWN.rates), r"Broken.__call__ fails \(test_vector_fields.py, line \d+.*NameError: name 'undefined'"),
        (SERIES, Elsewhere(OWN.growth, OWN.rates), r"Elsewhere has the channels .*; write channels = \('x', 'y'\), as in the series"),
        (PROBLEM, Turned(OWN.growth, OWN.rates), r"Turned has the states .*; write states = \('x', 'y'\), as in the problem"),
        (PROBLEM, Given(PROBLEM), "'a' is a coefficient of the problem and of Given"),
    ],
)
def test_slips_in_ones_own_module_get_one_clear_error(subject, given, message):
    with pytest.raises(ProblemError, match=message):
        prepare(subject, vector_field=given)


def test_a_network_needs_settings_that_have_one():
    with pytest.raises(ProblemError, match='vector_field.kind = "given" has none; write vector_field=sciml.NeuralField'):
        prepare(PROBLEM, network=linear(2, 2))
    with pytest.raises(ProblemError, match="vector_field is a module itself; give one of the two"):
        prepare(SERIES, vector_field=linear(2, 2), network=linear(2, 2))


def test_what_is_given_with_a_problem_is_what_its_vector_field_lacks():
    with jax.numpy_rank_promotion("allow"):
        field = prepare(PROBLEM, vector_field=linear(2, 2)).field
    assert isinstance(field, Universal)
    assert isinstance(field.known, Given)
    assert isinstance(field.missing.network, eqx.nn.Linear)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: jnp.where(x > y, jnp.tanh(x), jnp.sqrt(y)),
        lambda x, y: jnp.clip(x, 1, 2) + jnp.maximum(x, y) ** 2.5 + jnp.abs(x - y),
        lambda x, y: jax.nn.sigmoid(x) / (1 + y**3) + jnp.log1p(x) - jnp.square(y),
        lambda x, y: jnp.array([[1.0, 2.0], [3.0, 4.0]])[0] @ jnp.stack([x, y]) + jnp.sum(jnp.array([x, y])),
    ],
)
def test_what_jax_does_is_done_with_symbols(function):
    field = lambda t, state, controls: jnp.stack([function(*state), t * state[1] - controls[0]])  # noqa: E731
    found = symbolic.traced(field, ("x", "y"), ("u",))
    at = {symbolic.symbol(name): value for name, value in {"t": 0.2, "x": 0.7, "y": 1.3, "u": 0.4}.items()}
    values = [float(found[name].subs(at)) for name in ("x", "y")]
    np.testing.assert_allclose(values, field(jnp.array(0.2), jnp.array([0.7, 1.3]), jnp.array([0.4])), rtol=1e-12)


def test_what_has_no_symbols_is_told():
    with pytest.raises(ProblemError, match="the vector field uses 'sort' of JAX in a way that has no symbols"):
        symbolic.traced(lambda t, state, controls: jnp.sort(state), ("x", "y"), ())


def test_the_vector_field_must_fit_the_states():
    class Short(LotkaVolterra):
        def vector_field(self, x, y):
            return self.a * x

    field = Given(Short())
    with pytest.raises(ProblemError, match="returns 1 values for 2 states"):
        field(jnp.zeros(()), jnp.ones(2), jnp.zeros(0))


def test_a_channel_that_is_no_state_is_named():
    class Elsewhere(LotkaVolterra):
        def series(self):
            return sciml.TimeSeries.from_arrays(np.arange(3.0), np.array([1.0, 2.0, 4.0]), ("z",))

    with pytest.raises(ProblemError, match="channel 'z' is neither a state nor returned by `observe`"):
        _ = Elsewhere().measured


@pytest.mark.parametrize("noise", NOISES.values(), ids=list(NOISES))
def test_a_noise_scale_has_its_inverse(noise):
    values = jnp.array([0.3, 1.0, 7.0])
    np.testing.assert_allclose(noise.inverse(noise.scale(values)), values, rtol=1e-12)
    if noise.positive:
        with pytest.raises(ProblemError, match="all values of y must"):
            noise.check(np.array([[1.0, -1.0]]), ("x", "y"))


def test_the_data_choose_between_additive_errors_and_errors_by_a_factor():
    random = np.random.default_rng(1)
    times = np.linspace(0.0, 6.0, 60)
    truth = 10 * np.exp(np.sin(times))
    additive = sciml.TimeSeries.from_arrays(times, truth + 0.5 * random.standard_normal(60), ("y",))
    factors = sciml.TimeSeries.from_arrays(times, truth * np.exp(0.1 * random.standard_normal(60)), ("y",))
    negative = sciml.TimeSeries.from_arrays(times, np.sin(times), ("y",))
    assert [type(choose_noise(each)) for each in (additive, factors, negative)] == [Gaussian, LogNormal, Gaussian]


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.03])
def test_curvature_between_neighbours_is_no_noise(noise):
    """Bursts of the Brusselator are exponential as they rise and fall: straighter in the logarithm, whatever the noise."""
    times = np.linspace(0.0, 20.0, 200)
    burst = lambda _, u: [1 + u[0] ** 2 * u[1] - 4 * u[0], 3 * u[0] - u[0] ** 2 * u[1]]  # noqa: E731
    states = solve_ivp(burst, (0.0, 20.0), [1.0, 1.0], "DOP853", times, rtol=1e-10, atol=1e-12).y.T
    random = np.random.default_rng(0).normal(size=states.shape)
    additive, factors = states + noise * states.std(axis=0) * random, states * np.exp(0.1 * random)
    assert isinstance(choose_noise(sciml.TimeSeries.from_arrays(times, additive, ("x", "y"))), Gaussian)
    assert isinstance(choose_noise(sciml.TimeSeries.from_arrays(times, factors, ("x", "y"))), LogNormal)


def test_growth_rates_become_equations_of_the_states():
    times, values = lotka_volterra_path(80)
    series = sciml.TimeSeries.from_arrays(times, values * np.exp(0.01 * np.random.default_rng(0).standard_normal(values.shape)), ("x", "y"))
    library, coefficients, inclusion, *_ = sparse_start(series, LogNormal(), SparseField(degree=2))
    names = library.names()
    found = {(names[row], column): coefficients[row, column] for row, column in np.argwhere(coefficients != 0)}
    assert set(found) == {("x", 0), ("x y", 0), ("y", 1), ("x y", 1)}
    assert found[("x", 0)] == pytest.approx(1.3, rel=0.05)
    assert found[("x y", 1)] == pytest.approx(0.8, rel=0.05)
    assert np.all(inclusion[coefficients != 0] > 0.9)
    assert np.all(inclusion[coefficients == 0] == 0)


def test_what_is_asked_for_counts_where_errors_are_factors():
    """Degree one is linear growth; functions of the states are candidates, too."""
    times = np.linspace(0.0, 4.0, 40)
    scatter = np.exp(0.01 * np.random.default_rng(0).standard_normal(40))
    growth = sciml.TimeSeries.from_arrays(times, np.exp(0.5 * times) * scatter, ("x",))
    library, coefficients, *_ = sparse_start(growth, LogNormal(), SparseField(degree=1))
    assert list(library.names()) == ["x"]
    assert coefficients[0, 0] == pytest.approx(0.5, rel=0.02)
    library, *_ = sparse_start(growth, LogNormal(), SparseField(degree=1, functions=("sin",)))
    assert any("sin" in name for name in library.names())


class Slip(LotkaVolterra):
    """To be made wrong in one place."""


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"noise": "lognormal"}, r"noise of Slip is 'lognormal'; write sciml.Gaussian\(\), sciml.LogNormal\(\)"),
        ({"noise": sciml.LogNormal}, r"noise of Slip is <class .*; write sciml.Gaussian\(\)"),
        ({"initial": lambda self: (1.0,)}, r"`initial` of Slip returns a tuple; return a dictionary of values by state"),
        ({"initial": (1.0, 2.0)}, r"`initial` of Slip is no method; write `def initial\(self\)`"),
        ({"series": SERIES}, r"`series` of Slip is no method; write `def series\(self\)`"),
        ({"hold_out": "4"}, r"hold_out of Slip is '4'; write how many"),
        ({"series": lambda self: np.ones((3, 2))}, r"`series` of Slip returns a ndarray; return sciml.TimeSeries"),
        ({"observe": lambda self, t, X: {"x": X}}, r"(?s)2 mistakes.*`observe` takes 't', which is no state.*takes 'X', which is no state"),
        ({"observe": lambda self, x: x}, r"`observe` of Slip returns a .*; return a dictionary of channels by name"),
        ({"vector_field": lambda self, x, y: (np.sin(np.asarray(x)), y)}, r"test_vector_fields.py, line \d+.*write it with jax.numpy"),
        ({"vector_field": lambda self, x, y: (x if x > 0 else y, y)}, r"<lambda> of Slip fails .*TracerBoolConversionError"),
        ({"vector_field": lambda self, x, y: (x, undefined)}, r"fails .*NameError: name 'undefined'"),  # noqa: F821
        ({"initial": lambda self: {"x": unknown}}, r"fails .*NameError: name 'unknown'"),  # noqa: F821
    ],
)
def test_slips_in_dynamics_get_one_clear_error(wrong, message):
    with pytest.raises(ProblemError, match=message):
        prepare(type("Slip", (Slip,), wrong)())


def test_velocities_are_all_that_second_order_hides():
    with pytest.raises(ValueError, match="second_order has a hidden velocity for each channel"):
        sciml.NeuralField(second_order=True, hidden=1)


def test_only_the_weights_of_a_sparse_field_are_trained():
    """Sizes that could be trained, too, would leave every coefficient half undetermined."""
    field = SparseLibrary(polynomials(("x", "y"), 1), np.array([[0.0, 2.0], [3.0, 0.0], [0.0, -5.0]]), ("x", "y"), ("x", "y"))
    trained, _ = eqx.partition(field, trainable_mask(field))
    assert sum(leaf.size for leaf in jax.tree.leaves(trained)) == 3
    assert [float(value) for value in field.coefficients().values()] == [2.0, 3.0, -5.0]


def test_only_a_network_has_a_prior():
    """Its width is a multiple of that of the first draw: of an entry of a matrix, and one for a bias."""
    for settings in (NeuralField(width=6, depth=1), UniversalField(width=6, depth=1)):
        field, _ = built(settings)
        part = field.missing if isinstance(field, Universal) else field
        numbers = precisions(field)
        found = numbers.missing.network if isinstance(field, Universal) else numbers.network
        for weights, widths in zip(part.network.weights, found.weights, strict=True):
            np.testing.assert_allclose(widths, np.sqrt(sum(weights.shape) / 2) / PRIOR)
        for biases in found.biases:
            np.testing.assert_allclose(biases, 1 / PRIOR)
        if isinstance(field, Universal):
            assert not any(np.any(each) for each in jax.tree.leaves(numbers.known))
    assert not any(np.any(each) for each in jax.tree.leaves(precisions(built(GivenField())[0])))
