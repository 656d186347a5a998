"""First-order descent on fresh points (optax by an allow-list), its learning rate, roll-back and triggers in one carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from sciml.device import put
from sciml.objective import Evaluation, Trainable
from sciml.optim import noise, plateau
from sciml.optim.noise import NoiseState, Windows
from sciml.optim.plateau import PlateauState
from sciml.optim.second_order import Ended
from sciml.settings import Adam, Noise, Plateau

ROLLBACKS = 3
"""A phase that is not finite after this many roll-backs has diverged."""

KEEP_EVERY = 25
"""Steps between the states that a roll-back returns to."""


class AdamState(NamedTuple):
    """Everything that the next step needs."""

    theta: Array
    optimizer: Any
    good: tuple[Array, Any]
    """Parameters and optimiser state to roll back to."""
    scale: Array
    """What plateaus and roll-backs have left of the learning rate."""
    rollbacks: Array
    slowdown: PlateauState
    triggers: tuple[NoiseState | PlateauState, ...]
    step: Array
    origin: Array
    """Global step at which the phase began, so that no two phases draw the same points."""
    components: Array
    value: Array
    gradient_norm: Array
    windows: Windows
    """Noise-to-signal ratios at the next phase's point counts."""
    ended: Array


class FirstOrder:
    """One first-order phase: `begin` its state, `advance` it on the device."""

    def __init__(self, objective: Trainable, settings: Adam, counts: Mapping[str, int], next_counts: Mapping[str, int]) -> None:
        self.objective, self.settings, self.counts = objective, settings, counts
        shares = [counts[term.count] / next_counts[term.count] if term.count in counts else 1.0 for term in objective.terms]
        self.shares = put(shares)
        """This phase's points over the next phase's, by which the noise of each term shrinks there."""
        rate = learning_rate(settings)
        self.transform = getattr(optax, settings.optimizer)(rate)
        if settings.clip is not None:
            self.transform = optax.chain(optax.clip_by_global_norm(settings.clip), self.transform)

    def begin(self, theta: Array, origin: int) -> AdamState:
        """The state before the first step."""
        dtype, zero = theta.dtype, jnp.asarray(0)
        optimizer = self.transform.init(theta)
        triggers = tuple(noise.start(dtype) if isinstance(each, Noise) else plateau.start(dtype) for each in self.settings.until)
        terms = len(self.objective.terms)
        return AdamState(
            theta=theta,
            optimizer=optimizer,
            good=(theta, optimizer),
            scale=jnp.ones((), dtype),
            rollbacks=zero,
            slowdown=plateau.start(dtype),
            triggers=triggers,
            step=zero,
            origin=jnp.asarray(origin),
            components=jnp.full(len(self.objective.components), jnp.nan, dtype),
            value=jnp.full((), jnp.nan, dtype),
            gradient_norm=jnp.full((), jnp.nan, dtype),
            windows=noise.start_windows(terms + 1, dtype),
            ended=zero + Ended.RUNNING,
        )

    def advance(self, state: AdamState, until: Array) -> AdamState:
        """Steps until `state.step` reaches `until` or the phase ends."""

        def running(state: AdamState) -> Array:
            return (state.step < until) & (state.ended == Ended.RUNNING)

        return jax.lax.while_loop(running, self._step, state)

    def _step(self, state: AdamState) -> AdamState:
        evaluation = self.objective.sample_and_evaluate(state.theta, state.origin + state.step, self.counts)
        value = jnp.vdot(self.objective.weights, evaluation.components)
        norm = jnp.linalg.norm(evaluation.gradient)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes its integer counts with floats
            updates: Any
            updates, optimizer = self.transform.update(evaluation.gradient, state.optimizer, state.theta)
        moved = state._replace(
            theta=state.theta + state.scale * updates,
            optimizer=optimizer,
            components=evaluation.components,
            value=value,
            gradient_norm=norm,
        )
        finite = jnp.isfinite(value) & jnp.isfinite(norm) & jnp.all(jnp.isfinite(moved.theta))
        stepped = self._observe(moved, evaluation)
        keep = stepped.step % KEEP_EVERY == 0
        stepped = stepped._replace(good=_where(keep, (state.theta, state.optimizer), state.good))
        return jax.lax.cond(finite, lambda: stepped, lambda: _roll_back(state))

    def _observe(self, state: AdamState, evaluation: Evaluation) -> AdamState:
        """Feeds the plateau of the learning rate and the triggers."""
        settings = self.settings
        slowdown = plateau.observe(state.slowdown, state.value, settings.plateau_window, 1e-3)
        signal = jnp.vdot(evaluation.gradient, evaluation.gradient) - jnp.sum(evaluation.variance)
        variances = self.shares.astype(state.value.dtype) * evaluation.variance
        variance = jnp.sum(variances)
        measured = jnp.stack([jnp.append(variances, variance), jnp.append(evaluation.signal, signal)])
        triggers, ended = [], state.ended
        for each, before in zip(settings.until, state.triggers, strict=True):
            if isinstance(each, Plateau):
                after = plateau.observe(before, state.value, each.window, each.improvement)  # type: ignore[arg-type]
                ended = jnp.where(after.flat & (ended == Ended.RUNNING), Ended.PLATEAU, ended)
            else:
                after = noise.observe(before, variance, signal, each)  # type: ignore[arg-type]
                ended = jnp.where(after.fired & (ended == Ended.RUNNING), Ended.NOISE, ended)
            triggers.append(after)
        return state._replace(
            slowdown=slowdown,
            triggers=tuple(triggers),
            scale=jnp.where(slowdown.flat, settings.plateau_factor, 1.0) * state.scale,
            step=state.step + 1,
            windows=noise.record(state.windows, measured, state.step + 1, *self._meter(triggers)),
            ended=ended.astype(state.ended.dtype),
        )

    def _meter(self, triggers: Sequence[NoiseState | PlateauState]) -> tuple[NoiseState | None, Noise]:
        """The first trigger that watches the noise and its settings, or none and the default windows."""
        pairs = zip(triggers, self.settings.until, strict=True)
        return next(((after, each) for after, each in pairs if isinstance(each, Noise)), (None, Noise()))  # type: ignore[return-value]


def learning_rate(settings: Adam) -> optax.Schedule:
    """The schedule of the learning rate: optional warm-up, then constant, cosine or exponential (to a hundredth)."""
    rest = max(settings.steps - settings.warmup, 1)
    decays = {
        "constant": lambda: optax.constant_schedule(settings.learning_rate),
        "cosine": lambda: optax.cosine_decay_schedule(settings.learning_rate, rest, 0.01),
        "exponential": lambda: optax.exponential_decay(settings.learning_rate, rest, 0.01),
    }
    decay = decays[settings.decay]()
    if not settings.warmup:
        return decay
    return optax.join_schedules([optax.linear_schedule(0.0, settings.learning_rate, settings.warmup), decay], [settings.warmup])


def _roll_back(state: AdamState) -> AdamState:
    """The last good state at half the learning rate; the step is spent, so that other points come next."""
    theta, optimizer = state.good
    rollbacks = state.rollbacks + 1
    ended = jnp.where(rollbacks > ROLLBACKS, Ended.DIVERGED, state.ended).astype(state.ended.dtype)
    return state._replace(theta=theta, optimizer=optimizer, scale=0.5 * state.scale, rollbacks=rollbacks, step=state.step + 1, ended=ended)


def _where(condition: Array, first: Any, second: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), first, second)
