"""The loss: its gradient, blocks and weights; its noise estimate against many independent batches; where points are drawn."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import stats
from small_problems import close, experiment, problem

import sciml
from sciml.errors import ProblemError
from sciml.nets.model import flattened
from sciml.objective import MICRO_BATCHES, Evaluation, Objective
from sciml.sampling import draw_by_residual, shifted, sobol_integers

BOX = sciml.Box(t=(0.0, 1.0), x=(-1.0, 1.0))
COUNTS = {"interior": 32, "boundary": 32, "initial": 32}
POINTS = sciml.Points(interior=512, boundary=64, initial=64, batch=32, pool=4, validation=64)


def equation(u, u_t, u_xx):
    return u_t - 0.1 * u_xx - u * (1 - u)


CONDITIONS = [
    sciml.Initial(lambda x: jnp.cos(3 * x)),
    sciml.Dirichlet(lambda t: jnp.sin(3 * t), on="x-", hard=False, weight=3.0),
    sciml.Data({"t": [0.25, 0.5, 0.75], "x": [0.0, 0.5, -0.5]}, {"u": [0.1, 0.2, 0.3]}),
]


@pytest.fixture(scope="module")
def objective() -> Objective:
    return experiment(problem(BOX, CONDITIONS, equation), points=POINTS).objective


def test_one_vector_of_all_numbers_and_back():
    tree = {"b": jnp.arange(6.0).reshape(2, 3), "a": [jnp.array(7.0), np.zeros((0, 2))], "none": None}
    flat, unflattened = flattened(tree)
    theirs, _ = ravel_pytree(tree)
    np.testing.assert_array_equal(flat, theirs)
    for back in (unflattened(flat), jax.jit(unflattened)(flat)):
        assert jax.tree.structure(back) == jax.tree.structure(tree)
        jax.tree.map(np.testing.assert_array_equal, back, tree)
    assert flattened({})[0].shape == (0,)


def changed(objective: Objective, block: int | None = None, weights: dict | None = None) -> Objective:
    """The same objective with another block size or other weights."""
    return Objective(
        objective.problem, objective.model, objective.terms[1:], POINTS, weights or {}, 0, jnp.float64, block, objective.devices
    )


@pytest.fixture(scope="module")
def fixed(objective: Objective) -> tuple:
    """A fixed point set."""
    return jax.jit(objective.draw)(jax.random.key(5))


@pytest.fixture(scope="module")
def batch(objective: Objective, fixed: tuple) -> tuple:
    return jax.jit(objective.prepare)(fixed)


@pytest.fixture(scope="module")
def value_and_gradient(objective: Objective, batch: tuple):
    compiled = jax.jit(objective.value_and_gradient)
    return lambda theta: compiled(theta, batch)


@pytest.fixture(scope="module")
def batches(objective: Objective) -> Evaluation:
    """Many independent batches at the same parameters, one per row."""
    steps = jnp.arange(10000)
    return jax.jit(lambda theta: jax.lax.map(lambda step: objective.sample_and_evaluate(theta, step, COUNTS), steps))(objective.start)


# -- values -------------------------------------------------------------------------------------------------------------


def test_terms_and_components(objective: Objective) -> None:
    assert objective.components == ("equation", "dirichlet_u_x-", "data_u")
    assert objective.stochastic() == (True, True, False)
    assert objective.weights.tolist() == [1.0, 3.0, 1.0]


def test_gradient_against_central_differences(objective: Objective, value_and_gradient) -> None:
    theta, step = objective.start, 1e-6
    _, gradient = value_and_gradient(theta)
    for direction in jax.random.normal(jax.random.key(0), (5, theta.size)):
        ahead, behind = value_and_gradient(theta + step * direction)[0], value_and_gradient(theta - step * direction)[0]
        assert float((ahead - behind) / (2 * step)) == pytest.approx(float(gradient @ direction), rel=1e-7)


def test_loss_is_the_weighted_sum_of_mean_squares(objective: Objective, fixed: tuple, batch: tuple, value_and_gradient) -> None:
    """By hand from the model's fields, for the two terms that need no derivative."""
    evaluation = jax.jit(objective.evaluate)(objective.start, batch)
    fields = jax.jit(jax.vmap(objective.model))
    boundary, data = fixed[1][0], jnp.array([[0.25, 0.0], [0.5, 0.5], [0.75, -0.5]])
    assert float(evaluation.components[1]) == pytest.approx(
        float(jnp.mean((fields(boundary)[:, 0] - jnp.sin(3 * boundary[:, 0])) ** 2)), rel=1e-12
    )
    assert float(evaluation.components[2]) == pytest.approx(
        float(jnp.mean((fields(data)[:, 0] - jnp.array([0.1, 0.2, 0.3])) ** 2)), rel=1e-12
    )
    loss, gradient = value_and_gradient(objective.start)
    assert float(loss) == pytest.approx(float(evaluation.components @ jnp.array([1.0, 3.0, 1.0])), rel=1e-13)
    assert close(gradient, evaluation.gradient, 1e-13)


@pytest.mark.parametrize("block", [32, 128, 512])
def test_block_size_changes_nothing_but_speed(objective: Objective, fixed: tuple, value_and_gradient, block: int) -> None:
    blocked = changed(objective, block=block)
    batch = jax.jit(blocked.prepare)(fixed)
    assert batch[0].points.shape == (512 // block, 1, block, 2)
    loss, gradient = jax.jit(blocked.value_and_gradient)(objective.start, batch)
    assert float(loss) == pytest.approx(float(value_and_gradient(objective.start)[0]), rel=1e-12)
    assert close(gradient, value_and_gradient(objective.start)[1], 1e-12)


def test_weights_scale_terms(objective: Objective, batch: tuple, value_and_gradient) -> None:
    """The gradient is linear in the weights; a weight that is given replaces the condition's own."""
    none = {"equation": 0.0, "dirichlet_u_x-": 0.0, "data_u": 0.0}

    def weighted(**given: float) -> tuple:
        other = changed(objective, weights=none | given)
        return jax.jit(other.value_and_gradient)(objective.start, batch)

    only_equation, only_boundary = weighted(equation=2.0), weighted(**{"dirichlet_u_x-": 5.0})
    only_data = weighted(data_u=1.0)
    loss, gradient = value_and_gradient(objective.start)
    assert float(only_equation[0] / 2 + only_boundary[0] * 3 / 5 + only_data[0]) == pytest.approx(float(loss), rel=1e-12)
    assert close(only_equation[1] / 2 + only_boundary[1] * 3 / 5 + only_data[1], gradient, 1e-12)


def test_weights_of_terms_that_do_not_exist(objective: Objective) -> None:
    with pytest.raises(sciml.ProblemError, match=r"\[weights\]: there is no term 'initial'; terms: equation, dirichlet_u_x-, data_u"):
        changed(objective, weights={"initial": 2.0})


def test_validation_is_the_weighted_mean_square_the_worst_residual_and_the_level(objective: Objective, batch: tuple) -> None:
    validation = jax.jit(objective.validate)(objective.start, batch)
    residuals = [
        np.asarray(each)
        for each in jax.jit(lambda theta: [objective.residuals(theta, *item) for item in enumerate(batch)])(objective.start)
    ]
    weighted = list(zip([1.0, 3.0, 1.0], residuals, strict=True))
    assert float(validation.mean_square) == pytest.approx(sum(weight * np.mean(each**2) for weight, each in weighted), rel=1e-12)
    (equation, boundary, data) = ([weight * np.mean(np.abs(each)) ** 2, weight * np.mean(each**2)] for weight, each in weighted)
    assert float(validation.level) == pytest.approx(equation[0] + boundary[0] + data[1], rel=1e-12)
    assert float(validation.worst) == pytest.approx(max(np.abs(each).max() for each in residuals), rel=1e-12)


# -- gradient noise -----------------------------------------------------------------------------------------------------


def test_variance_is_unbiased(batches: Evaluation) -> None:
    """`s2 / K` averages to the variance that independent batch gradients really have, within four standard errors.

    These are small enough to tell K - 1 from K in its denominator, which makes a difference of an eighth.
    """
    count = len(batches.gradient)
    real = jnp.sum((batches.gradient - jnp.mean(batches.gradient, axis=0, keepdims=True)) ** 2, axis=1) * count / (count - 1)
    surplus = real - jnp.sum(batches.variance, axis=1)
    error = 4 * float(jnp.std(surplus)) / np.sqrt(count)
    assert abs(float(jnp.mean(surplus))) < error < 0.1 * float(jnp.mean(real))


def test_signal_is_unbiased(batches: Evaluation) -> None:
    """Free of the noise that the squared norm of a batch gradient has on top."""
    mean = jnp.mean(batches.gradient, axis=0)
    variance = jnp.sum(batches.variance, axis=1)
    signal = jnp.sum(batches.gradient**2, axis=1) - variance
    spread = float(jnp.std(signal) / np.sqrt(len(signal)))
    assert float(jnp.mean(signal)) == pytest.approx(float(mean @ mean), abs=5 * spread + float(jnp.mean(variance)) / len(signal))


def test_fixed_data_have_no_noise(batches: Evaluation) -> None:
    assert float(jnp.max(batches.variance[:, 2])) == 0.0
    assert float(jnp.min(batches.variance[:, :2])) > 0.0
    assert float(jnp.ptp(batches.components[:, 2])) == 0.0
    assert float(jnp.ptp(batches.components[:, 0])) > 0.0


def test_a_step_draws_its_own_points_and_the_same_ones_again(objective: Objective) -> None:
    sample = jax.jit(lambda step: objective.sample_and_evaluate(objective.start, step, COUNTS).components)
    assert sample(3).tobytes() == sample(3).tobytes()
    assert sample(3).tobytes() != sample(4).tobytes()


def test_batches_estimate_the_loss_on_many_points(objective: Objective, batches: Evaluation) -> None:
    """Fresh points are uniform: their mean squares average to those of a large quadrature."""
    many = objective.draw(jax.random.key(9), {"interior": 1 << 13, "boundary": 1 << 12, "initial": 32})
    exact = jax.jit(objective.evaluate)(objective.start, jax.jit(objective.prepare)(many)).components
    spread = jnp.std(batches.components, axis=0) / np.sqrt(len(batches.components))
    assert bool(jnp.all(jnp.abs(jnp.mean(batches.components, axis=0) - exact) <= 5 * spread + 1e-4 * exact))


# -- points -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 5, 4096, 5000])
def test_sobol_points_are_those_of_scipy(count: int) -> None:
    for dimension in (1, 3, 12):
        expected = stats.qmc.Sobol(dimension, scramble=False, bits=32).random_base2(max(count - 1, 0).bit_length())[:count]
        assert np.array_equal(np.asarray(sobol_integers(count, dimension)) * 2.0**-32, expected)
    assert sobol_integers(count, 0).shape == (count, 0)
    with pytest.raises(ProblemError, match="13 coordinates to sample, and at most 12"):
        sobol_integers(count, 13)


def test_shifted_points_are_uniform() -> None:
    """Each point of a block is uniform over independent shifts, in every coordinate (Kolmogorov & Smirnov)."""
    integers = sobol_integers(16, 3)
    keys = jax.random.split(jax.random.key(1), 4000)
    points = np.asarray(jax.vmap(lambda key: shifted(integers, key, jnp.float64))(keys))
    assert points.min() > 0
    assert points.max() < 1
    for number in (0, 1, 15):
        for axis in range(3):
            assert stats.kstest(points[:, number, axis], "uniform").pvalue > 1e-4
    correlation = np.corrcoef(points[:, :, 0].mean(axis=1), points[:, :, 1].mean(axis=1))[0, 1]
    assert abs(correlation) < 0.1


def test_a_shift_keeps_the_strata() -> None:
    """A digital shift of 2^k Sobol points still has one in each interval of length 2^-k, and one in each elementary box."""
    points = np.asarray(shifted(sobol_integers(64, 2), jax.random.key(2), jnp.float64))
    for cells in ((64, 1), (1, 64), (8, 8), (16, 4)):
        boxes = np.floor(points * np.array(cells)).astype(int)
        assert len({tuple(box) for box in boxes}) == 64


def test_points_stay_inside_in_single_precision() -> None:
    points = jax.vmap(lambda key: shifted(sobol_integers(256, 2), key, jnp.float32))(jax.random.split(jax.random.key(3), 200))
    assert points.dtype == jnp.float32
    assert float(points.min()) > 0
    assert float(points.max()) < 1


def test_sobol_integers_for_any_count() -> None:
    assert sobol_integers(100, 2).shape == (100, 2)
    assert sobol_integers(1, 1).shape == (1, 1)
    assert sobol_integers(5, 0).shape == (5, 0)


def test_redraw_prefers_large_residuals_without_duplicates() -> None:
    """Half of the candidates have a hundred times the residual: weights 1.98 + 1 against 0.02 + 1."""
    residual = jnp.where(jnp.arange(4096) % 2 == 0, 100.0, 1.0)
    shares = []
    for key in jax.random.split(jax.random.key(4), 20):
        chosen = np.asarray(draw_by_residual(key, residual, 400))
        assert len(set(chosen.tolist())) == 400
        shares.append(np.mean(chosen % 2 == 0))
    expected = 2.98 / (2.98 + 1.02)
    assert np.mean(shares) == pytest.approx(expected, abs=0.03)  # a little less: what is drawn is not put back


def test_redraw_of_equal_residuals_is_uniform() -> None:
    for residual in (jnp.zeros(1000), jnp.full(1000, 7.0)):
        chosen = np.concatenate([np.asarray(draw_by_residual(key, residual, 100)) for key in jax.random.split(jax.random.key(5), 100)])
        assert stats.chisquare(np.histogram(chosen, bins=20, range=(0, 1000))[0]).pvalue > 1e-4


def test_the_objective_redraws_its_equation_points_only() -> None:
    """A residual that is large for x > 0 takes most points there; the other terms get fresh uniform points."""
    steep = problem(BOX, CONDITIONS, lambda u_t, u_xx, x: u_t * 0 + u_xx * 0 + jnp.where(x > 0, 50.0, 1.0))
    objective = experiment(steep, points=POINTS).objective
    key = jax.random.key(6)
    plain, redrawn = objective.draw(key), jax.jit(objective.redraw)(key, objective.start)
    assert [points.shape for points in redrawn] == [points.shape for points in plain]
    assert float(jnp.mean(plain[0][0, :, 1] > 0)) == pytest.approx(0.5, abs=0.05)
    assert float(jnp.mean(redrawn[0][0, :, 1] > 0)) > 0.65
    assert len(np.unique(np.asarray(redrawn[0][0]), axis=0)) == POINTS.interior
    assert redrawn[1].tobytes() == plain[1].tobytes()
    assert redrawn[2].tobytes() == plain[2].tobytes()


def test_counts_of_a_batch(objective: Objective) -> None:
    """A batch is split into micro-batches, whose number is a multiple of the devices."""
    assert objective.micro_batches == MICRO_BATCHES
    many = objective.draw(jax.random.key(0), {"interior": 96, "boundary": 32, "initial": 32})
    assert [points.shape for points in many] == [(1, 96, 2), (1, 32, 2), (1, 3, 2)]
