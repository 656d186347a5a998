"""L-BFGS: its recursion against dense matrices, its iterations against SciPy's, and when it takes no pair, forgets and ends."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from minimisation import Path, minimise, never_increases, quadratic, rosenbrock

from sciml.optim import second_order
from sciml.optim.broyden import SelfScaledBroyden
from sciml.optim.lbfgs import LimitedMemory
from sciml.optim.second_order import Ended, Pair
from sciml.settings import LineSearch

SIZE = 6
METHODS = {"lbfgs": LimitedMemory(10), "broyden": SelfScaledBroyden()}


def pairs(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Steps and changes of gradient with positive curvature."""
    random = np.random.default_rng(1)
    steps = random.standard_normal((count, SIZE))
    root = random.standard_normal((SIZE, SIZE))
    return [(step, (root @ root.T + np.eye(SIZE)) @ step) for step in steps]


def pair(step: np.ndarray, change: np.ndarray) -> Pair:
    zero, one = jnp.zeros(SIZE), jnp.ones(())
    return Pair(jnp.asarray(step), jnp.asarray(change), one, zero, jnp.arange(1.0, SIZE + 1), zero, jnp.asarray(False))


def dense(taken: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The inverse BFGS update (Nocedal & Wright 2006, equation 6.17) of all `taken` pairs, from s'y / y'y times the identity."""
    if not taken:
        return np.eye(SIZE)
    step, change = taken[-1]
    inverse = np.eye(SIZE) * (step @ change) / (change @ change)
    for step, change in taken:
        left = np.eye(SIZE) - np.outer(step, change) / (step @ change)
        inverse = left @ inverse @ left.T + np.outer(step, step) / (step @ change)
    return inverse


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 9, 11])
def test_two_loops_equal_dense_updates(count: int) -> None:
    """Also after the memory of four has been overwritten, once and twice."""
    metric = LimitedMemory(4)
    memory = metric.start(SIZE, jnp.float64)
    update = jax.jit(metric.update)
    natural = jnp.arange(1.0, SIZE + 1)
    for step, change in pairs(count):
        memory, natural = update(memory, pair(step, change), jnp.asarray(True), jnp.asarray(False))
    expected = dense(pairs(count)[-4:])
    assert np.allclose(natural, expected @ np.arange(1.0, SIZE + 1), rtol=1e-11, atol=1e-12)
    vector = jnp.asarray(np.random.default_rng(2).standard_normal(SIZE))
    assert np.allclose(jax.jit(metric.apply)(memory, vector), expected @ np.asarray(vector), rtol=1e-11, atol=1e-12)


def test_a_pair_that_is_not_good_changes_nothing() -> None:
    metric = LimitedMemory(4)
    memory = metric.start(SIZE, jnp.float64)
    update = jax.jit(metric.update)
    for step, change in pairs(5):
        memory, natural = update(memory, pair(step, change), jnp.asarray(True), jnp.asarray(False))
        memory, same = update(memory, pair(step, -7 * change), jnp.asarray(False), jnp.asarray(False))
        assert np.array_equal(natural, same)


def test_forgetting_is_the_identity_and_the_memory_fills_again() -> None:
    metric = LimitedMemory(4)
    memory = metric.start(SIZE, jnp.float64)
    update = jax.jit(metric.update)
    for step, change in pairs(6):
        memory, _ = update(memory, pair(step, change), jnp.asarray(True), jnp.asarray(False))
    memory, natural = update(memory, pair(*pairs(1)[0]), jnp.asarray(False), jnp.asarray(True))
    assert natural.tolist() == list(range(1, SIZE + 1))
    for step, change in pairs(2):
        memory, natural = update(memory, pair(step, change), jnp.asarray(True), jnp.asarray(False))
    assert np.allclose(natural, dense(pairs(2)) @ np.arange(1.0, SIZE + 1), rtol=1e-11, atol=1e-12)


# -- minimising ---------------------------------------------------------------------------------------------------------


def scipy_evaluations(function, start: jax.Array, method: str, **options) -> int:
    """Evaluations until SciPy is below the limit for the first time."""
    seen: list[float] = []

    def evaluate(point: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = compiled(point)
        seen.append(float(value))
        return float(value), np.asarray(gradient)

    compiled = jax.jit(jax.value_and_grad(function))
    scipy.optimize.minimize(evaluate, np.asarray(start), jac=True, method=method, options={"maxiter": 2000, "gtol": 0.0, **options})
    assert min(seen) <= LIMIT
    return int(np.argmax(np.array(seen) <= LIMIT)) + 1


FUNCTIONS = {
    "rosenbrock 2": (rosenbrock, jnp.array([-1.2, 1.0])),
    "rosenbrock 10": (rosenbrock, jnp.zeros(10)),
    "quadratic": (quadratic(20, 1e4), jnp.ones(20)),
}
LIMIT = 1e-10


def first_below(path: Path) -> int:
    """Evaluations until a path is below the limit for the first time."""
    assert path.values[-1] <= LIMIT
    return int(path.evaluations[np.argmax(path.values <= LIMIT)])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_lbfgs_is_as_good_as_scipy(name: str) -> None:
    """Within a tenth of the evaluations of L-BFGS-B; the value never increases."""
    function, start = FUNCTIONS[name]
    path = minimise(METHODS["lbfgs"], function, start, 500)
    assert first_below(path) <= 1.1 * scipy_evaluations(function, start, "L-BFGS-B", maxcor=10, ftol=0.0)
    assert never_increases(path)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_broyden_is_comparable_to_scipy(name: str) -> None:
    """At most twice the evaluations of BFGS, and fewer than L-BFGS-B where curvatures differ.

    On a quadratic BFGS is at its best and self-scaling costs about a factor of two and a half.
    """
    function, start = FUNCTIONS[name]
    path = minimise(METHODS["broyden"], function, start, 300)
    factor = 3.0 if name == "quadratic" else 2.0
    assert first_below(path) <= factor * scipy_evaluations(function, start, "BFGS")
    if name == "quadratic":
        assert first_below(path) < scipy_evaluations(function, start, "L-BFGS-B", maxcor=10, ftol=0.0)
    assert never_increases(path)


@pytest.mark.parametrize("method", METHODS)
def test_curvature_does_not_freeze_near_the_optimum(method: str) -> None:
    """Here s'y is below 1e-17 from the first pair on: an absolute test would keep the identity and crawl down the gradient."""
    function, start = quadratic(8, 1e3, factor=1e-5), jnp.full(8, 1e-7)
    path = minimise(METHODS[method], function, start, 60)
    step = np.diff(path.points[:2], axis=0)[0]
    change = np.diff(np.stack([jax.grad(function)(jnp.asarray(point)) for point in path.points[:2]]), axis=0)[0]
    assert 0 < step @ change < np.finfo(float).eps
    assert path.values[-1] < 1e-12 * function(start)


@pytest.mark.parametrize("method", METHODS)
def test_pairs_of_negative_curvature_are_skipped(method: str) -> None:
    """A search that may look only twice ends where the slope has become steeper; the metric stays the identity."""
    metric = METHODS[method]
    path = minimise(metric, lambda point: -jnp.sum(point**2), jnp.array([1.0, 0.5]), 3, LineSearch(evaluations=2))
    vector = jnp.array([3.0, -4.0])
    assert path.values[-1] < -2
    assert bool(path.last.fresh)
    assert np.array_equal(metric.apply(path.last.metric, vector), vector)


@pytest.mark.parametrize("method", METHODS)
def test_values_that_are_not_finite_are_avoided(method: str) -> None:
    """A logarithm with its pole between the start and the first trials."""
    path = minimise(METHODS[method], lambda point: jnp.sum(point - 2 * jnp.log(point)), jnp.array([1e-3, 30.0]), 80)
    assert np.all(np.isfinite(path.values))
    assert np.allclose(path.points[-1], 2.0, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_failed_search_forgets_once_and_then_ends(method: str) -> None:
    """At the optimum nothing decreases: one search with the metric, one along the gradient, then the end."""
    path = minimise(METHODS[method], rosenbrock, jnp.array([-1.2, 1.0]), 400)
    assert Ended(int(path.last.ended)) == Ended.LINE_SEARCH
    assert int(path.last.step) < 200
    assert path.values[-1] == path.values[-3]
    assert np.array_equal(METHODS[method].apply(path.last.metric, jnp.array([3.0, -4.0])), [3.0, -4.0])


@pytest.mark.parametrize("method", METHODS)
def test_stagnation_ends_a_phase(method: str, monkeypatch) -> None:
    """Beside an offset of 1e10 the progress is below sqrt(eps); without it the same iterations go on."""
    monkeypatch.setattr(second_order, "STAGNATION_WINDOW", 5)
    start = jnp.array([-1.2, 1.0])
    path = minimise(METHODS[method], lambda point: 1e10 + rosenbrock(point), start, 20)
    assert (Ended(int(path.last.ended)), int(path.last.step)) == (Ended.STAGNATED, 5)
    path = minimise(METHODS[method], rosenbrock, start, 10)
    assert (Ended(int(path.last.ended)), int(path.last.step)) == (Ended.RUNNING, 10)


@pytest.mark.parametrize("method", METHODS)
def test_new_points_keep_the_curvature(method: str) -> None:
    """`refresh` computes value, gradient and direction anew; a shifted quadratic has the same curvature, so few steps remain."""
    metric, function = METHODS[method], quadratic(5, 1e3)
    path = minimise(metric, function, jnp.ones(5), 40)

    def shifted(point: jax.Array) -> jax.Array:
        return function(point - 1e-3)

    evaluate = jax.value_and_grad(shifted)
    before = path.last._replace(ended=path.last.ended * 0)
    after = jax.jit(lambda state: second_order.refresh(metric, state, evaluate))(before)
    assert float(after.value) == pytest.approx(float(shifted(before.theta)), rel=1e-14)
    assert np.allclose(after.gradient, jax.grad(shifted)(before.theta), rtol=1e-13)
    assert np.allclose(after.natural, metric.apply(before.metric, after.gradient), rtol=1e-12)
    assert int(after.evaluations) == int(before.evaluations) + 1
    end = jax.jit(lambda state: second_order.advance(metric, state, state.step + 6, evaluate, LineSearch()))(after)
    assert float(end.value) < 1e-9 * float(after.value)
