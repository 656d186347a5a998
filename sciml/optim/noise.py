"""The gradient's noise-to-signal ratio, and the trigger that ends a phase when it has risen, is past its peak and low.

At each step the micro-batches give `V = s2 / K`, the variance of the batch gradient, and `G2 = |mean|^2 - V`, an unbiased
estimate of the squared norm of the noise-free gradient (McCandlish et al. 2018, appendix A). Both are averaged over windows;
NSR is the ratio of the averages, never the average of ratios. A window consists of `SUBWINDOWS` equal parts, whose means give
the standard errors (batch means: steps within a part may be correlated).

A low ratio alone says nothing: it is low at the start, while the gradient is a plain drift. So the trigger is armed in a window only
if the ratio has exceeded `rise` times its value over the first part by then, and is below an earlier window's: the drift is over. It
fires when it is armed, and the upper confidence bound of the ratio at the point count of the next phase (NSR is proportional
to 1/batch) is below the threshold, for `patience` windows in a row (docs/decisions/016-past-its-peak.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.settings import Noise

SUBWINDOWS = 8
RECENT = 16
"""Windows that the device remembers: more than can end between two readings (train.BEST_EVERY steps, windows of at least 8)."""

_QUANTILE = 1.895
"""95 % quantile of Student's t with SUBWINDOWS - 1 degrees of freedom."""


class NoiseState(NamedTuple):
    """Sums of this window's parts, and what earlier windows have shown."""

    variance: Array
    signal: Array
    position: Array
    first: Array
    peak: Array
    risen: Array
    armed: Array
    streak: Array
    ratio: Array
    bound: Array
    fired: Array


def start(dtype: Any) -> NoiseState:
    """Nothing seen yet; `ratio` and `bound` are NaN until a window is complete."""
    zeros, zero, no, unknown = jnp.zeros(SUBWINDOWS, dtype), jnp.asarray(0), jnp.asarray(False), jnp.full((), jnp.nan, dtype)
    return NoiseState(zeros, zeros, zero, unknown, jnp.zeros((), dtype), no, no, zero, unknown, unknown, no)


def observe(state: NoiseState, variance: Array, signal: Array, settings: Noise) -> NoiseState:
    """One step's measurement, the variance scaled to the points of the next phase."""
    part = part_length(settings)
    slot = state.position // part
    sums = state._replace(
        variance=state.variance.at[slot].add(variance), signal=state.signal.at[slot].add(signal), position=state.position + 1
    )
    first_part = jnp.isnan(state.first) & (sums.position == part)
    sums = sums._replace(first=jnp.where(first_part, _ratio(sums.variance[0], sums.signal[0]), state.first))
    complete = sums.position == part * SUBWINDOWS
    closed = _close(sums, settings)
    return NoiseState(*(jnp.where(complete, after, before) for after, before in zip(closed, sums, strict=True)))


class Windows(NamedTuple):
    """The ratio of every term in each window, for the record: it decides nothing. Columns: the terms and, last, all together."""

    sums: Array
    """`(2, terms + 1)`: variance and signal over the steps of this window so far."""
    steps: Array
    ends: Array
    """`(RECENT,)`: steps at which the latest windows ended, 0 where there was none yet."""
    ratios: Array
    """`(RECENT, terms + 1)`."""
    bounds: Array
    """`(RECENT,)`: upper confidence bound of the last column, NaN where no trigger computes it."""
    armed: Array
    """`(RECENT,)`: whether a trigger was armed then."""


def start_windows(columns: int, dtype: Any) -> Windows:
    """Nothing recorded yet."""
    unknown, zero = jnp.full(RECENT, jnp.nan, dtype), jnp.asarray(0)
    ends, ratios = jnp.zeros(RECENT, zero.dtype), jnp.full((RECENT, columns), jnp.nan, dtype)
    return Windows(jnp.zeros((2, columns), dtype), zero, ends, ratios, unknown, jnp.zeros(RECENT, bool))


def record(windows: Windows, measured: Array, step: Array, trigger: NoiseState | None, settings: Noise) -> Windows:
    """One more step: `measured` holds variance and signal `(2, terms + 1)`, `trigger` has already seen them."""
    sums, steps = windows.sums + measured, windows.steps + 1
    complete = steps == part_length(settings) * SUBWINDOWS
    bound = windows.bounds[-1] * jnp.nan if trigger is None else trigger.bound
    armed = jnp.zeros_like(windows.armed[-1]) if trigger is None else trigger.armed
    latest = (step.astype(windows.ends.dtype), _ratio(*sums), bound, armed)
    kept = (windows.ends, windows.ratios, windows.bounds, windows.armed)
    pushed = (jnp.concatenate([column[1:], value[None]]) for column, value in zip(kept, latest, strict=True))
    closed = Windows(jnp.zeros_like(sums), jnp.zeros_like(steps), *pushed)
    return Windows(*(jnp.where(complete, after, before) for after, before in zip(closed, (sums, steps, *kept), strict=True)))


def current_ratios(windows: Windows) -> np.ndarray:
    """`(terms + 1,)` from arrays on the host: of the latest window, or of the steps so far where none is complete."""
    return np.asarray(windows.ratios[-1] if windows.ends[-1] > 0 else _ratio(*windows.sums, where=np.where))


def part_length(settings: Noise) -> int:
    """Steps in one part of a window."""
    return max(1, settings.window // SUBWINDOWS)


def _ratio(variance: Any, signal: Any, where: Callable[..., Any] = jnp.where) -> Any:
    """Infinite where no signal stands out of the noise."""
    return where(signal > 0, variance / where(signal > 0, signal, 1.0), where(variance > 0, np.inf, 0.0))


def _close(state: NoiseState, settings: Noise) -> NoiseState:
    ratio = _ratio(jnp.sum(state.variance), jnp.sum(state.signal))
    bound = _ratio(_edge(state.variance, 1.0), _edge(state.signal, -1.0))
    peak = jnp.maximum(state.peak, jnp.where(jnp.isfinite(ratio), ratio, state.peak))
    risen = state.risen | (ratio > settings.rise * state.first)
    armed = risen & (ratio <= state.peak)
    low = armed & (bound < settings.threshold)
    streak = jnp.where(low, state.streak + 1, 0)
    empty = jnp.zeros_like(state.variance)
    return NoiseState(
        empty,
        empty,
        jnp.zeros_like(state.position),
        state.first,
        peak,
        risen,
        armed,
        streak,
        ratio,
        bound,
        state.fired | (streak >= settings.patience),
    )


def _edge(parts: Array, side: float) -> Array:
    """The mean of the parts, moved by its standard error to the upper (1) or lower (-1) confidence limit."""
    error = jnp.std(parts, ddof=1) / jnp.sqrt(parts.size)
    return jnp.mean(parts) + side * _QUANTILE * error
