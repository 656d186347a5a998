"""The noise-to-signal trigger on synthetic gradients: which must fire, when, and which must never."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.optim import noise
from sciml.settings import Noise

SETTINGS = Noise(window=64, threshold=0.1, patience=3, rise=5.0)
DIMENSION = 40
BLOCKS = 8
WINDOW = noise.part_length(SETTINGS) * noise.SUBWINDOWS


def measure(signal: np.ndarray, blocks: np.ndarray) -> tuple[float, float]:
    """V and G2 of one step, from block gradients of shape (BLOCKS, DIMENSION) as the objective forms them."""
    gradients = signal + blocks
    mean = gradients.mean(axis=0)
    variance = ((gradients - mean) ** 2).sum() / (BLOCKS - 1) / BLOCKS
    return variance, mean @ mean - variance


def first_firing(measurements: Iterator[tuple[float, float]], share: float = 1.0) -> int | None:
    """The step at which the trigger fires, None if it never does."""
    pairs = jnp.asarray(list(measurements))

    def step(state: noise.NoiseState, pair: jax.Array) -> tuple[noise.NoiseState, jax.Array]:
        after = noise.observe(state, share * pair[0], pair[1], SETTINGS)
        return after, after.fired

    fired = np.asarray(jax.lax.scan(step, noise.start(jnp.float64), pairs)[1])
    return int(fired.argmax()) + 1 if fired.any() else None


def gradients(sizes: np.ndarray, levels: np.ndarray, seed: int, heavy: bool = False, memory: float = 0.0) -> Iterator[tuple[float, float]]:
    """Steps whose noise-free gradient has norm `sizes[i]` and whose blocks have noise of norm `levels[i]`."""
    random = np.random.default_rng(seed)
    direction = np.ones(DIMENSION) / np.sqrt(DIMENSION)
    drift = 0.0
    for size, level in zip(sizes, levels, strict=True):
        drift = memory * drift + np.sqrt(1 - memory**2) * random.standard_normal()
        scale = size * (1.0 + (0.3 * drift if memory else 0.0))
        draw = random.standard_t(3, (BLOCKS, DIMENSION)) / np.sqrt(3) if heavy else random.standard_normal((BLOCKS, DIMENSION))
        yield measure(scale * direction, level / np.sqrt(DIMENSION) * draw)


def rise_then_fall(steps: int, peak_at: int, low: float = 0.01, high: float = 2.0) -> np.ndarray:
    """A batch NSR that climbs from `low` to `high` at `peak_at` and decays back."""
    step = np.arange(steps)
    return low + (high - low) * np.where(step < peak_at, step / peak_at, np.exp(-(step - peak_at) / 150.0))


def block_noise(ratio: np.ndarray) -> np.ndarray:
    """Norm of the noise of one block that gives the batch this NSR at unit signal."""
    return np.sqrt(ratio * BLOCKS)


@pytest.mark.parametrize("seed", range(5))
def test_pure_drift_never_fires(seed: int) -> None:
    """A clean gradient is low-noise from the first step; low alone must not switch."""
    steps = 3000
    assert first_firing(gradients(np.geomspace(1.0, 1e-3, steps), np.full(steps, 1e-4), seed)) is None


@pytest.mark.parametrize("seed", range(5))
def test_rise_then_fall_fires_after_the_fall(seed: int) -> None:
    """It fires once the upper bound has been below the threshold for `patience` windows, not while the ratio is high."""
    ratio = rise_then_fall(3000, peak_at=300)
    fired = first_firing(gradients(np.ones(3000), block_noise(ratio), seed))
    below = int(np.argmax((ratio < SETTINGS.threshold) & (np.arange(3000) > 300)))
    assert fired is not None
    assert below + (SETTINGS.patience - 1) * WINDOW <= fired <= below + (SETTINGS.patience + 4) * WINDOW


@pytest.mark.parametrize("shift", [200, 500, 900])
def test_firing_moves_with_the_fall(shift: int) -> None:
    """A step count in the trigger's place would fire at the same step for each of these."""
    fired = first_firing(gradients(np.ones(4000), block_noise(rise_then_fall(4000, peak_at=shift)), seed=1))
    assert fired is not None
    assert shift + 350 < fired < shift + 350 + 9 * WINDOW


@pytest.mark.parametrize("seed", range(5))
def test_a_rise_to_a_low_plateau_fires_where_the_rise_ends(seed: int) -> None:
    """With many points the ratio may never leave the threshold; what ends then is the drift."""
    ratio = np.minimum(1e-4 * np.exp(np.arange(3000) / 130.0), 1e-2)
    fired = first_firing(gradients(np.ones(3000), block_noise(ratio), seed))
    end = int(np.argmax(ratio == ratio.max()))
    assert fired is not None
    assert end + (SETTINGS.patience - 1) * WINDOW <= fired <= end + 20 * WINDOW


@pytest.mark.parametrize("seed", range(5))
def test_a_rise_does_not_fire(seed: int) -> None:
    ratio = np.geomspace(1e-5, 0.09, 3000)
    assert first_firing(gradients(np.ones(3000), block_noise(ratio), seed)) is None


@pytest.mark.parametrize("level", [0.01, 0.05, 0.5, 5.0])
def test_constant_noise_never_fires(level: float) -> None:
    """A ratio that neither rises nor falls says nothing about a change of regime."""
    steps = 3000
    assert first_firing(gradients(np.ones(steps), np.full(steps, np.sqrt(level * BLOCKS)), seed=2)) is None


@pytest.mark.parametrize("seed", range(5))
def test_noise_that_stays_high_never_fires(seed: int) -> None:
    """Risen and fallen, but still far above the threshold."""
    ratio = 0.5 + rise_then_fall(3000, peak_at=300, low=0.01, high=4.0) * np.minimum(1.0, np.arange(3000) / 300)
    ratio[:50] = 0.02
    assert first_firing(gradients(np.ones(3000), block_noise(ratio), seed)) is None


@pytest.mark.parametrize("seed", range(3))
def test_heavy_tails_delay_but_do_not_fool(seed: int) -> None:
    """Student-t noise with three degrees of freedom: no firing before the fall, firing after it."""
    ratio = rise_then_fall(4000, peak_at=300)
    fired = first_firing(gradients(np.ones(4000), block_noise(ratio), seed, heavy=True))
    assert fired is not None
    assert ratio[fired - 1] < SETTINGS.threshold
    assert fired > 300


@pytest.mark.parametrize("seed", range(3))
def test_autocorrelated_signal_does_not_fire_early(seed: int) -> None:
    """The gradient's size wanders with a memory of 50 steps; the bound widens instead of firing while the ratio is high."""
    ratio = rise_then_fall(4000, peak_at=400)
    fired = first_firing(gradients(np.ones(4000), block_noise(ratio), seed, memory=0.98))
    assert fired is not None
    assert fired > 400
    assert ratio[fired - 1] < SETTINGS.threshold


def test_threshold_is_stated_for_the_next_phase() -> None:
    """NSR is proportional to 1/batch: with four times the points to come, it may fire earlier."""
    ratio = rise_then_fall(3000, peak_at=300)
    same = first_firing(gradients(np.ones(3000), block_noise(ratio), seed=3))
    more = first_firing(gradients(np.ones(3000), block_noise(ratio), seed=3), share=0.25)
    assert same is not None
    assert more is not None
    assert more < same


def test_ratio_is_a_ratio_of_averages() -> None:
    """The window's ratio is sum(V) / sum(G2), also when single steps have a negative estimate of the signal."""
    state = noise.start(jnp.float64)
    random = np.random.default_rng(0)
    variances, signals = random.uniform(0.5, 1.5, WINDOW), random.uniform(-0.5, 3.0, WINDOW)
    for variance, signal in zip(variances, signals, strict=True):
        state = noise.observe(state, jnp.asarray(variance), jnp.asarray(signal), SETTINGS)
    assert float(state.ratio) == pytest.approx(variances.sum() / signals.sum(), rel=1e-12)
    assert float(state.bound) > float(state.ratio)


def test_the_record_holds_what_the_trigger_saw():
    """Each window's ratio per term and of their sum, its bound, and whether the trigger was armed by then."""
    ratio = rise_then_fall(1000, peak_at=300)
    state, windows = noise.start(jnp.float64), noise.start_windows(2, jnp.float64)
    seen = []
    for step, each in enumerate(ratio, 1):
        state = noise.observe(state, jnp.asarray(each), jnp.asarray(1.0), SETTINGS)
        measured = jnp.asarray([[0.25 * each, each], [0.5, 1.0]])
        windows = noise.record(windows, measured, jnp.asarray(step), state, SETTINGS)
        if step % WINDOW == 0:
            seen.append((step, float(state.ratio), float(state.bound), bool(state.armed)))
    ends = np.asarray(windows.ends)
    assert ends[ends > 0].tolist() == [step for step, *_ in seen]
    np.testing.assert_allclose(windows.ratios[ends > 0][:, 1], [each[1] for each in seen], rtol=1e-12)
    np.testing.assert_allclose(windows.ratios[ends > 0][:, 0], [0.5 * each[1] for each in seen], rtol=1e-12)
    assert np.asarray(windows.bounds[ends > 0]).tolist() == [each[2] for each in seen]
    assert np.asarray(windows.armed[ends > 0]).tolist() == [each[3] for each in seen]
    assert {each[3] for each in seen} == {False, True}


def test_no_noise_is_zero_and_no_signal_is_infinite() -> None:
    """Neither is NaN."""
    quiet = noise.start(jnp.float64)
    lost = noise.start(jnp.float64)
    for _ in range(WINDOW):
        quiet = noise.observe(quiet, jnp.asarray(0.0), jnp.asarray(1.0), SETTINGS)
        lost = noise.observe(lost, jnp.asarray(1.0), jnp.asarray(-0.1), SETTINGS)
    assert float(quiet.ratio) == 0.0
    assert float(lost.ratio) == np.inf
