"""Self-scaled Broyden: its dense inverse satisfies the secant equation and stays symmetric and positive definite."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from minimisation import minimise, rosenbrock

from sciml.optim.broyden import PENDING, InverseHessian, SelfScaledBroyden, scaling
from sciml.optim.second_order import Pair

SIZE = 7


def dense(metric: InverseHessian) -> np.ndarray:
    """H as one matrix."""
    columns = np.asarray(metric.columns)
    pending = columns @ (np.asarray(metric.coefficients)[:, None] * columns.T)
    return float(metric.scale) * np.asarray(metric.matrix) + float(metric.diagonal) * np.eye(columns.shape[0]) + pending


def random_updates(count: int, seed: int) -> list[tuple[Pair, InverseHessian, jax.Array]]:
    """Pairs as a search along -H g makes them, each with the metric and the next direction after it."""
    metric = SelfScaledBroyden()
    random = np.random.default_rng(seed)
    root = random.standard_normal((SIZE, SIZE))
    inverse = metric.start(SIZE, jnp.float64)
    update, settle = jax.jit(metric.update), jax.jit(metric.settle)
    found = []
    for number in range(count):
        gradient = random.standard_normal(SIZE)
        natural = dense(inverse) @ gradient
        length = 10.0 ** random.uniform(-2, 1)
        step = -length * natural
        change = (root @ root.T + 0.1 * np.eye(SIZE)) @ step
        made = Pair(*(jnp.asarray(each) for each in (step, change, length, gradient, gradient + change, natural, number == 0)))
        after, product = update(settle(inverse), made, jnp.asarray(True), jnp.asarray(False))
        found.append((made, after, product))
        inverse = after
    return found


@pytest.mark.parametrize("seed", range(4))
def test_the_inverse_after_each_update(seed: int) -> None:
    """Secant equation, symmetry, positive definiteness, and the direction that was formed without another product."""
    for made, inverse, product in random_updates(30, seed):
        inverse = dense(inverse)
        assert np.allclose(inverse @ made.change, made.step, rtol=1e-8, atol=1e-9 * np.abs(made.step).max())
        assert np.abs(inverse - inverse.T).max() <= 1e-13 * np.abs(inverse).max()
        assert np.linalg.eigvalsh((inverse + inverse.T) / 2).min() > 0
        assert np.allclose(product, inverse @ made.new_gradient, rtol=1e-8, atol=1e-10 * np.abs(product).max())


def test_the_update_is_the_formula_of_the_paper() -> None:
    """H+ = [H - Hy y'H / y'Hy + phi y'Hy v v'] / tau + s s' / s'y, written out with matrices."""
    (_, before, _), (made, after, _) = random_updates(2, 5)
    inverse, s, y = dense(before), np.asarray(made.step), np.asarray(made.change)
    hy, sy = inverse @ y, s @ y
    yhy = y @ hy
    b, h = s @ np.linalg.solve(inverse, s) / sy, yhy / sy
    tau, phi = (float(each) for each in scaling(jnp.asarray(b), jnp.asarray(h), SIZE))
    v = s / sy - hy / yhy
    expected = (inverse - np.outer(hy, hy) / yhy + phi * yhy * np.outer(v, v)) / tau + np.outer(s, s) / sy
    assert np.allclose(dense(after), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("b", "h"), [(0.5, 4.0), (2.0, 2.0), (5.0, 0.3), (1.0, 1.0), (1e-6, 1e7), (1e4, 1e-3), (0.2, 5.0)])
def test_scaling_keeps_the_inverse_positive(b: float, h: float) -> None:
    """tau is positive and at most one; phi stays above -1 / (b h - 1), where the update would become singular."""
    tau, phi = (float(each) for each in scaling(jnp.asarray(b), jnp.asarray(h), 10))
    assert 0 < tau <= 1
    assert np.isfinite(phi)
    assert 1 + phi * (b * h - 1) > 0


def test_a_pair_that_is_not_good_leaves_every_byte() -> None:
    metric = SelfScaledBroyden()
    made, inverse, product = random_updates(5, 1)[-1]
    same, again = jax.jit(metric.update)(inverse, made._replace(change=-made.change), jnp.asarray(False), jnp.asarray(False))
    assert dense(same).tobytes() == dense(inverse).tobytes()
    assert np.allclose(again, product, rtol=1e-12)


@pytest.mark.parametrize("count", [5, PENDING, PENDING + 3])
def test_forgetting_is_the_identity(count: int) -> None:
    made, inverse, _ = random_updates(count, 2)[-1]
    metric = SelfScaledBroyden()
    forgotten, natural = jax.jit(metric.update)(metric.settle(inverse), made, jnp.asarray(False), jnp.asarray(True))
    assert np.array_equal(dense(forgotten), np.eye(SIZE))
    assert np.array_equal(natural, made.new_gradient)


def test_settling_writes_the_updates_that_waited() -> None:
    """The same H, exactly symmetric, all of it in the matrix; before the last place is taken nothing is touched."""
    metric = SelfScaledBroyden()
    *_, (_, early, _), (_, late, _) = random_updates(PENDING, 3)
    assert not bool(metric.is_full(early))
    for leaf, settled in zip(early, jax.jit(metric.settle)(early), strict=True):
        assert np.asarray(leaf).tobytes() == np.asarray(settled).tobytes()
    assert bool(metric.is_full(late))
    settled = jax.jit(metric.settle)(late)
    matrix = np.asarray(settled.matrix)
    assert int(settled.used) == 0
    assert np.array_equal(matrix, matrix.T)
    assert np.allclose(matrix, dense(late), rtol=1e-12)
    vector = jnp.arange(1.0, SIZE + 1)
    assert np.allclose(metric.apply(settled, vector), matrix @ vector, rtol=1e-14)
    assert np.allclose(metric.apply(late, vector), matrix @ vector, rtol=1e-10)


@pytest.mark.parametrize("size", [61, 477])
def test_the_matrix_stays_symmetric(size: int) -> None:
    """To the last bit, at sizes that are no multiples of a processor's tiles."""
    columns = jnp.asarray(np.random.default_rng(size).standard_normal((size, 3 * PENDING)))
    coefficients = jnp.asarray(np.random.default_rng(1).standard_normal(3 * PENDING))
    metric = SelfScaledBroyden().start(size, jnp.float64)
    full = metric._replace(columns=columns, coefficients=coefficients, used=metric.used + 3 * PENDING)
    matrix = np.asarray(jax.jit(SelfScaledBroyden().settle)(full).matrix)
    assert np.array_equal(matrix, matrix.T)
    assert np.allclose(matrix, dense(full), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("change", [np.nan, 1e-320, 1e300])
def test_a_pair_whose_update_is_not_finite(change: float) -> None:
    """It is left out, and what is forgotten afterwards leaves nothing behind."""
    metric = SelfScaledBroyden()
    made, inverse, _ = random_updates(5, 4)[-1]
    broken = made._replace(change=change * made.change, new_gradient=made.gradient + change * made.change)
    after, natural = jax.jit(metric.update)(inverse, broken, jnp.asarray(True), jnp.asarray(False))
    assert np.all(np.isfinite(dense(after)))
    forgotten, natural = jax.jit(metric.update)(after, made, jnp.asarray(False), jnp.asarray(True))
    assert np.array_equal(dense(forgotten), np.eye(SIZE))
    assert np.array_equal(natural, made.new_gradient)


def test_the_inverse_along_a_whole_minimisation() -> None:
    path = minimise(SelfScaledBroyden(), rosenbrock, jnp.array([-1.2, 1.0] * 4), 60)
    inverse = dense(path.last.metric)
    assert np.abs(inverse - inverse.T).max() <= 1e-9 * np.abs(inverse).max()
    assert np.linalg.eigvalsh(inverse).min() > 0


def test_one_parameter() -> None:
    """The determinant's root in the scaling has no meaning for a single number."""
    path = minimise(SelfScaledBroyden(), lambda point: jnp.sum(jnp.cosh(point - 2)), jnp.array([0.0]), 15)
    assert path.points[-1] == pytest.approx([2.0], abs=1e-6)
