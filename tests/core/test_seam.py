"""Seams: initial values that do not close smoothly where the period does are smoothed as diffusion smooths them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from small_problems import TINY, close, experiment, model, problem

import sciml
from sciml.derivatives import chain, nested
from sciml.nets.ansatz import build_ansatz

DIFFUSIVITY = 0.3
RING = sciml.Box(t=(0.5, 1.5), x=(-1.0, 2.0))


def parabola(x):
    """Slope 1 at one end and -1 at the other."""
    return (x + 1.0) * (2.0 - x) / 3.0


def lopsided(x):
    """Slope, curvature and third derivative jump."""
    return parabola(x) + 0.2 * parabola(x) ** 2 * (x + 1.0)


def heat(u_t, u_xx):
    return 2.0 * u_t - 2.0 * DIFFUSIVITY * u_xx


def ring(start=parabola, equation=heat, **members):
    return problem(RING, [sciml.Initial(start), sciml.Periodic(on="x")], equation, **members)


def series(t, x, terms=400):
    """The heat equation from `parabola`, by its Fourier series of mean one half."""
    rate = 2.0 * jnp.pi * jnp.arange(1.0, terms) / 3.0
    decayed = jnp.exp(-DIFFUSIVITY * rate**2 * (t - 0.5)) * jnp.cos(rate * (x + 1.0)) / rate**2
    return 0.5 - (4.0 / 3.0) * jnp.sum(decayed)


def test_for_a_kink_alone_the_lift_solves_the_heat_equation():
    ansatz, _, _ = build_ansatz(ring())
    points = jnp.array([[0.5, 0.3], [0.500001, -1.0], [0.51, -0.95], [0.6, 2.0], [1.0, 0.5], [1.5, 1.9]])
    found = jax.vmap(ansatz.lift)(points)[:, 0]
    expected = jax.vmap(lambda point: series(*point, terms=20_000))(points)
    assert close(found, expected, 1e-5)
    assert close(found[2:], expected[2:], 1e-12)


@pytest.mark.parametrize("start", [parabola, lopsided])
@pytest.mark.parametrize("elapsed", [1e-4, 0.1, 1.0])
def test_after_the_start_the_lift_closes_smoothly(start, elapsed):
    ansatz, _, _ = build_ansatz(ring(start))

    def at(x):
        return ansatz.lift(jnp.stack([jnp.asarray(0.5 + elapsed), x]))[0]

    lower, upper = (jnp.stack(chain(at, jnp.asarray(end), jnp.asarray(1.0), 4)) for end in (-1.0, 2.0))
    before = [chain(start, jnp.asarray(end), jnp.asarray(1.0), 4) for end in (-1.0, 2.0)]
    remaining = jnp.array([0.0, 0.0, 0.0, 0.0, float(before[1][4] - before[0][4])])
    assert jnp.all(jnp.abs(upper - lower - remaining) <= 1e-10 * (1 + jnp.abs(upper)))


@pytest.mark.parametrize("duration", [10.0, 1e5])
def test_it_stays_of_the_size_of_the_values_however_long(duration):
    box = sciml.Box(t=(0.0, duration), x=RING.intervals["x"])
    ansatz, _, _ = build_ansatz(problem(box, [sciml.Initial(lopsided), sciml.Periodic(on="x")], heat))
    (seam,) = ansatz.seams
    assert seam.images < 20
    grid = jnp.stack(jnp.meshgrid(jnp.geomspace(1e-3, duration, 15), jnp.linspace(-1.0, 2.0, 16)), axis=-1).reshape(-1, 2)
    assert jnp.max(jnp.abs(jax.vmap(ansatz.lift)(grid))) < 4.0
    assert jnp.max(jnp.abs(jax.vmap(seam.inputs)(grid))) < 1.5


def test_single_precision_has_no_infinities():
    ansatz, _, _ = build_ansatz(ring(lopsided))
    points = jnp.asarray([[0.5, -1.0], [0.5, 2.0], [0.5, 0.3], [0.500001, -1.0], [1.5, 2.0]], jnp.float32)
    for function in (ansatz.lift, ansatz.seams[0].inputs):
        for array in nested(function, points, ((), (0,), (1,), (1, 1))).values():
            assert jnp.all(jnp.isfinite(array))


def test_at_the_start_the_lift_is_the_initial_values():
    ansatz, _, _ = build_ansatz(ring(lopsided))
    places = jnp.linspace(-1.0, 2.0, 31)
    found = jax.vmap(lambda x: ansatz.lift(jnp.stack([jnp.asarray(0.5), x]))[0])(places)
    assert jnp.max(jnp.abs(found - lopsided(places))) < 1e-14


def test_the_whole_model_closes_whatever_the_network():
    made = model(ring(lopsided))
    assert [seam.size for seam in made.features.seams] == [2]
    ends = jnp.array([[0.7, -1.0], [0.7, 2.0]])
    jet = made.jet(made.network, made.frame(ends, ((), (1,), (1, 1))), ((), (1,), (1, 1)))
    for values in jet.values():
        assert close(values[:, 0], values[:, 1], 1e-10)


@pytest.mark.parametrize(
    ("equation", "expected"),
    [
        (lambda u, u_t, u_xx: u_xx - 4.0 * u_t + u**2, 0.25),
        (lambda u, u_t, u_x, u_xx: (0.1 * u_xx + 0.2 * u * u_x - u_t) / 7, 0.1),
        (lambda x, u_t, u_xx: u_t - (1 + 0.1 * x**2) * u_xx, None),
        (lambda u, u_t, u_xx: u_t - u * u_xx, None),
        (lambda u_t, u_xx: u_t + u_xx, None),
        (lambda u_t, u_x, u_xx: u_t - u_xx + 50 * u_x, None),
        (lambda u_t, u_x: u_t - u_x, None),
        (lambda u_t, u_xx, u_xxxx: u_t - u_xx + u_xxxx, None),
    ],
)
def test_the_diffusivity_is_read_off_the_equation(equation, expected):
    seams = build_ansatz(ring(equation=equation))[0].seams
    assert [pytest.approx(seam.diffusivity) == expected for seam in seams] == ([] if expected is None else [True])


def test_second_derivatives_of_other_fields_leave_nothing_to_read_off():
    def cross(u_t, u_xx, v_t, v_xx):
        return u_t - u_xx + 0.1 * v_xx, v_t - v_xx

    def auxiliary(u_t, u_xx, v, v_xx):
        return u_t - u_xx + 0.1 * v_xx, v - u_xx

    start = sciml.Initial(lambda x: (parabola(x), parabola(x)))
    assert [seam.axis for seam in build_ansatz(problem(RING, [start, sciml.Periodic(on="x")], cross))[0].blends["u"][0].seams] == []
    values = [sciml.Initial(parabola, of="u"), sciml.Periodic(on="x")]
    assert all(not blend.seams for blends in build_ansatz(problem(RING, values, auxiliary))[0].blends.values() for blend in blends)


def test_fields_without_values_at_the_start_have_no_inputs_that_are_singular_there():
    def chemotaxis(u, u_t, u_xx, c, c_xx):
        return u_t - u_xx + u * c, c_xx - c + u

    ansatz, _, _ = build_ansatz(problem(RING, [sciml.Initial(parabola, of="u"), sciml.Periodic(on="x")], chemotaxis))
    assert len(ansatz.blends["u"][0].seams) == 1
    assert ansatz.seams == ()


def test_values_that_are_given_for_all_times_are_those_of_the_start():
    def moving(t, x):
        return parabola(x) * jnp.exp(-5.0 * (t - 0.5))

    ansatz, _, _ = build_ansatz(ring(moving))
    other, _, _ = build_ansatz(ring(parabola))
    points = jnp.array([[0.5, 0.1], [0.6, -1.0], [1.5, 1.0]])
    assert close(jax.vmap(ansatz.lift)(points), jax.vmap(other.lift)(points), 1e-14)


def test_kinks_in_two_directions():
    box = sciml.Box(t=(0.0, 0.5), x=(-1.0, 2.0), y=(-1.0, 2.0))
    both = [sciml.Periodic(on="x"), sciml.Periodic(on="y")]

    def plate(u_t, u_xx, u_yy):
        return u_t - 0.3 * u_xx - 0.2 * u_yy

    ansatz, _, _ = build_ansatz(problem(box, [sciml.Initial(lambda x, y: lopsided(x) * parabola(y)), *both], plate))
    assert [(seam.axis, seam.diffusivity, seam.size) for seam in ansatz.seams] == [(2, 0.2, 1), (1, 0.3, 2)]
    for axis, ends in ((1, [[0.1, -1.0, 0.3], [0.1, 2.0, 0.3]]), (2, [[0.1, 0.3, -1.0], [0.1, 0.3, 2.0]])):
        for index, values in nested(ansatz.lift, jnp.array(ends), ((), (axis,), (axis, axis))).items():
            assert close(values[:, 0], values[:, 1], 1e-8), index


def test_fields_have_seams_of_their_own():
    class Two(sciml.Problem):
        domain = RING
        fields = ("u", "v", "w")

        def equation(self, u_t, u_xx, v_t, v_xx, w_t, w_xx):
            return u_t - u_xx, v_t - 0.5 * v_xx, w_t - w_xx

        def conditions(self):
            return [sciml.Initial(lambda x: (parabola(x), 2 * lopsided(x), jnp.cos(2 * jnp.pi * x / 3))), sciml.Periodic(on="x")]

    ansatz, _, _ = build_ansatz(Two())
    assert [seam.diffusivity for seam in ansatz.seams] == [1.0, 0.5]
    assert [len(blends[0].seams) for blends in ansatz.blends.values()] == [1, 1, 0]


def test_what_is_no_seam_is_left_alone():
    class Inverse(sciml.Problem):
        D: sciml.Unknown = sciml.Unknown(0.1, positive=True)
        domain = RING

        def equation(self, u_t, u_xx):
            return u_t - self.D * u_xx

        def conditions(self):
            return [sciml.Initial(parabola), sciml.Periodic(on="x")]

    assert build_ansatz(Inverse())[0].seams == ()
    assert build_ansatz(ring(lambda x: jnp.sin(2 * jnp.pi * x / 3)))[0].seams == ()
    assert build_ansatz(ring(lambda x: parabola(x) ** 2.5))[0].seams == ()
    walls = problem(RING, [sciml.Initial(parabola), sciml.Dirichlet(0.0, on="x")], heat)
    assert build_ansatz(walls)[0].seams == ()


def test_values_that_do_not_meet_are_a_contradiction_still():
    with pytest.raises(sciml.ProblemError, match="contradicts"):
        sciml.prepare(ring(lambda x: x), points=TINY)


def test_a_network_of_ones_own_is_told_of_the_input():
    with pytest.raises(sciml.ProblemError, match="4 scaled coordinates or features, 1 of them for the kink"):
        sciml.prepare(ring(), points=TINY, network=lambda z: jnp.stack([z[0] + z[1]]) @ jnp.ones((9,)))


def test_it_trains_and_marches():
    """The exact solution is within reach of a tiny network, in one piece and in slabs of time."""

    def exact(self, t, x):
        t, x = jnp.broadcast_arrays(t, x)
        return jax.vmap(lambda at, place: series(at, place))(t.ravel(), x.ravel()).reshape(t.shape)

    phases = (sciml.Adam(steps=50, until=()), sciml.Broyden(steps=300, redraw=100))
    for slabs in (1, 3):
        made = experiment(ring(exact=exact), phases=phases, time_slabs=slabs)
        *_, last = made.train()
        error = made.error(last.best)
        assert error is not None
        assert error.rel_l2 < 1e-3
