"""A phase on the device: its compiled functions, and a chunk's last step read back to the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.objective import Trainable
from sciml.optim import second_order
from sciml.optim.broyden import SelfScaledBroyden
from sciml.optim.first_order import AdamState, FirstOrder
from sciml.optim.lbfgs import LimitedMemory
from sciml.optim.noise import current_ratios
from sciml.optim.second_order import Metric
from sciml.settings import LBFGS, Adam, Broyden, Phase
from sciml.slabs import March


class Window(NamedTuple):
    """The gradient's noise-to-signal ratio over one window of a first-order phase, at the next phase's point counts."""

    step: int
    """Optimiser steps over all phases at its end."""
    nsr: float
    bound: float | None
    """Upper confidence bound, where a trigger watches the noise."""
    armed: bool
    """Whether the trigger has seen the ratio rise and halve by then."""
    terms: dict[str, float]


class Reading(NamedTuple):
    """A chunk's last step, on the host."""

    step: int
    evaluations: int
    ended: int
    loss: float
    terms: dict[str, float]
    gradient_norm: float
    nsr: float | None = None
    nsr_bound: float | None = None
    nsr_terms: dict[str, float] = {}
    windows: tuple[Window, ...] = ()
    """Those that the device remembers, at steps of this phase."""
    rollbacks: int = 0
    scale: float = 1.0


class FirstOrderRunner:
    """A first-order phase, on fresh points at every step."""

    fixed_points = False

    def __init__(self, objective: Trainable, settings: Adam) -> None:
        self.objective = objective
        counts, after = objective.counts("batch"), objective.counts("fixed")
        self.phase = FirstOrder(objective, settings, counts, after)
        self._advance = jax.jit(
            lambda state, march, until: FirstOrder(objective.at(march), settings, counts, after).advance(state, until), donate_argnums=0
        )
        self._ratios = jax.jit(current_ratios)

    def begin(self, theta: Array, batch: None, origin: int, metric: None = None) -> AdamState:
        return jax.tree.map(lambda leaf: jnp.array(leaf, leaf.dtype), self.phase.begin(theta, origin))

    def advance(self, state: AdamState, march: March | None, until: int) -> AdamState:
        return self._advance(state, march, jnp.asarray(until))

    def metric_of(self, state: AdamState | None) -> None:
        return None

    def redraws(self, step: int) -> bool:
        return False

    def next_stop(self, step: int, every: int) -> int:
        return next_multiple(step, every)

    def read(self, state: AdamState) -> Reading:
        components, kept = np.asarray(state.components), jax.tree.map(np.asarray, state.windows)
        ratios = np.asarray(self._ratios(state.windows))
        windows = tuple(
            Window(int(end), float(row[-1]), _known(bound), bool(armed), self._of_terms(row))
            for end, row, bound, armed in zip(kept.ends, kept.ratios, kept.bounds, kept.armed, strict=True)
            if end > 0
        )
        step = int(state.step)
        return Reading(
            step,
            step,
            int(state.ended),
            float(state.value),
            dict(zip(self.objective.components, components.tolist(), strict=True)),
            float(state.gradient_norm),
            float(ratios[-1]),
            windows[-1].bound if windows else None,
            self._of_terms(ratios),
            windows,
            int(state.rollbacks),
            float(state.scale),
        )

    def _of_terms(self, ratios: np.ndarray) -> dict[str, float]:
        """By name, those of the terms that are sampled."""
        objective = self.objective
        noisy = zip(objective.terms, objective.stochastic(), ratios, strict=False)
        return {term.name: float(ratio) for term, is_noisy, ratio in noisy if is_noisy}


class SecondOrderRunner:
    """A second-order phase, on points that stay fixed between redraws."""

    fixed_points = True

    def __init__(self, objective: Trainable, settings: LBFGS | Broyden) -> None:
        self.objective, self.settings = objective, settings
        self.metric: Metric = LimitedMemory(settings.memory) if isinstance(settings, LBFGS) else SelfScaledBroyden()

        def evaluate(batch: Any) -> Callable[[Array], tuple[Array, Array]]:
            return lambda theta: objective.value_and_gradient(theta, batch)

        line_search = settings.line_search
        self._begin = jax.jit(lambda theta, batch: second_order.begin(self.metric, theta, evaluate(batch)))
        self._refresh = jax.jit(lambda state, batch: second_order.refresh(self.metric, state, evaluate(batch)))
        self._advance = jax.jit(
            lambda state, batch, until: second_order.advance(self.metric, state, until, evaluate(batch), line_search), donate_argnums=0
        )
        self._components = jax.jit(lambda theta, batch: objective.evaluate(theta, batch).components)

    def begin(self, theta: Array, batch: Any, origin: int, metric: Any = None) -> second_order.State:
        state = self._begin(theta, batch)
        return state if metric is None else self._refresh(state._replace(metric=metric, fresh=jnp.asarray(False)), batch)

    def metric_of(self, state: second_order.State | None) -> Any:
        """The curvature that another slab of time may go on with; None where there is none."""
        return None if state is None or bool(state.fresh) else state.metric

    def refresh(self, state: second_order.State, batch: Any) -> second_order.State:
        return self._refresh(state, batch)

    def advance(self, state: second_order.State, batch: Any, until: int) -> second_order.State:
        self.batch = batch
        return self._advance(state, batch, jnp.asarray(until))

    def redraws(self, step: int) -> bool:
        return self.settings.redraw > 0 and step > 0 and step % self.settings.redraw == 0

    def next_stop(self, step: int, every: int) -> int:
        stop = next_multiple(step, every)
        return min(stop, next_multiple(step, self.settings.redraw)) if self.settings.redraw else stop

    def read(self, state: second_order.State) -> Reading:
        components = np.asarray(self._components(state.theta, self.batch)).tolist()
        terms = dict(zip(self.objective.components, components, strict=True))
        norm = float(jnp.linalg.norm(state.gradient))
        return Reading(int(state.step), int(state.evaluations), int(state.ended), float(state.value), terms, norm)


def runner_of(objective: Trainable, settings: Phase) -> FirstOrderRunner | SecondOrderRunner:
    """The runner of a phase."""
    return FirstOrderRunner(objective, settings) if isinstance(settings, Adam) else SecondOrderRunner(objective, settings)


def next_multiple(step: int, every: int) -> int:
    """The next multiple of `every` behind `step`."""
    return step - step % every + every


def _known(value: Any) -> float | None:
    """A number, or None in place of one that is not finite."""
    return float(value) if np.isfinite(value) else None
