"""A phase on the device: its compiled functions, and a chunk's last step read back to the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.device import optimised, put
from sciml.objective import Instance, Trainable
from sciml.optim import second_order
from sciml.optim.broyden import SelfScaledBroyden
from sciml.optim.first_order import AdamState, FirstOrder
from sciml.optim.lbfgs import LimitedMemory
from sciml.optim.noise import current_ratios
from sciml.optim.second_order import Metric
from sciml.settings import LBFGS, Adam, Broyden, Phase


class Window(NamedTuple):
    """The gradient's noise-to-signal ratio over one window of a first-order phase, at the next phase's point counts."""

    step: int
    """Optimiser steps over all phases at its end."""
    nsr: float
    bound: float | None
    """Upper confidence bound, where a trigger watches the noise."""
    armed: bool
    """Whether the trigger has seen the ratio rise by then, to a peak that lies behind."""
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


class Lane(NamedTuple):
    """Steps on the device that a training waits for."""

    runner: Any
    instance: Instance
    state: Any
    batch: Any
    until: int
    """Step of the phase at which to return, unless the phase ends before."""


class FirstOrderRunner:
    """A first-order phase, on fresh points at every step."""

    fixed_points = False

    def __init__(self, objective: Trainable, settings: Adam) -> None:
        self.objective = objective
        counts, after = objective.counts("batch"), objective.counts("fixed")
        self.phase = FirstOrder(objective, settings, counts, after)

        def advance(instance: Instance, state: AdamState, until: Array) -> AdamState:
            return FirstOrder(objective.at(instance), settings, counts, after).advance(state, until)

        compiled = compiler(objective)
        self._advance = compiled(advance, donate_argnums=1)
        self._advance_lanes = compiled(lambda lanes: _unstacked(jax.vmap(advance)(*_stacked(lanes)), len(lanes)))
        self._begin = jax.jit(lambda theta, origin: _copied(self.phase.begin(theta, origin)))

    def begin(self, instance: Instance, theta: Array, batch: None, origin: int, metric: None = None) -> AdamState:
        return self._begin(theta, origin)

    def advance(self, lanes: Sequence[Lane]) -> list[AdamState]:
        """The states of all lanes at their `until`: a power of two of them at a time as one computation, a last one by itself.

        So a number of lanes that falls one by one costs few compilations.
        """
        states: list[AdamState] = []
        for part in _parts(lanes):
            each = [(lane.instance, lane.state, put(lane.until)) for lane in part]
            states += self._advance_lanes(each) if len(each) > 1 else [self._advance(*each[0])]
        return states

    def metric_of(self, state: AdamState | None) -> None:
        return None

    def redraws(self, step: int) -> bool:
        return False

    def next_stop(self, step: int, every: int) -> int:
        return next_multiple(step, every)

    def read(self, instance: Instance, state: AdamState, batch: None) -> Reading:
        components, kept = np.asarray(state.components), jax.tree.map(np.asarray, state.windows)
        ratios = current_ratios(kept)
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

        def evaluate(instance: Instance, batch: Any) -> Callable[[Array], tuple[Array, Array]]:
            return lambda theta: objective.at(instance).value_and_gradient(theta, batch)

        line_search = settings.line_search
        self._begin = jax.jit(lambda instance, theta, batch: second_order.begin(self.metric, theta, evaluate(instance, batch)))
        self._refresh = jax.jit(lambda instance, state, batch: second_order.refresh(self.metric, state, evaluate(instance, batch)))
        self._advance = compiler(objective)(
            lambda instance, state, batch, until: second_order.advance(self.metric, state, until, evaluate(instance, batch), line_search),
            donate_argnums=1,
        )
        self._components = jax.jit(lambda instance, theta, batch: objective.at(instance).evaluate(theta, batch).components)

    def begin(self, instance: Instance, theta: Array, batch: Any, origin: int, metric: Any = None) -> second_order.State:
        state = self._begin(instance, theta, batch)
        return state if metric is None else self._refresh(instance, state._replace(metric=metric, fresh=jnp.asarray(False)), batch)

    def metric_of(self, state: second_order.State | None) -> Any:
        """The curvature that another slab of time may go on with; None where there is none."""
        return None if state is None or bool(state.fresh) else state.metric

    def refresh(self, instance: Instance, state: second_order.State, batch: Any) -> second_order.State:
        return self._refresh(instance, state, batch)

    def advance(self, lanes: Sequence[Lane]) -> list[second_order.State]:
        """The states of all lanes at their `until`, one after the other: line searches of different lengths would wait for each other."""
        return [self._advance(lane.instance, lane.state, lane.batch, put(lane.until)) for lane in lanes]

    def redraws(self, step: int) -> bool:
        return self.settings.redraw > 0 and step > 0 and step % self.settings.redraw == 0

    def next_stop(self, step: int, every: int) -> int:
        stop = next_multiple(step, every)
        return min(stop, next_multiple(step, self.settings.redraw)) if self.settings.redraw else stop

    def read(self, instance: Instance, state: second_order.State, batch: Any) -> Reading:
        components = np.asarray(self._components(instance, state.theta, batch)).tolist()
        terms = dict(zip(self.objective.components, components, strict=True))
        norm = float(jnp.linalg.norm(state.gradient))
        return Reading(int(state.step), int(state.evaluations), int(state.ended), float(state.value), terms, norm)


class Programs:
    """All that a training compiles. Each function takes the instance as an argument, and so serves every seed and slab."""

    def __init__(self, objective: Trainable) -> None:
        self.objective, at, compiled = objective, objective.at, compiler(objective)
        self.redraw = compiled(
            lambda instance, key, theta, growth: at(instance).redraw(key, theta, objective.counts("fixed", growth)), static_argnums=3
        )
        self.prepare = jax.jit(lambda instance, points: at(instance).prepare(points))
        self.draw_validation = jax.jit(lambda instance: _fresh(at(instance), jax.random.fold_in(instance.key, 1 << 20)))
        self._named = bool(jax.eval_shape(objective.unknowns, objective.start))
        self._unknowns = jax.jit(objective.unknowns)
        self.validate = compiled(lambda instance, theta, batch: at(instance).validate(theta, batch))
        self._runners: dict[Phase, FirstOrderRunner | SecondOrderRunner] = {}

    def unknowns(self, theta: Array) -> dict[str, float]:
        """Values of the unknown coefficients."""
        return {name: float(value) for name, value in self._unknowns(theta).items()} if self._named else {}

    def runner(self, settings: Phase) -> Any:
        """The runner of all phases with these settings."""
        if settings not in self._runners:
            if isinstance(settings, Adam):
                self._runners[settings] = FirstOrderRunner(self.objective, settings)
            else:
                self._runners[settings] = SecondOrderRunner(self.objective, settings)
        return self._runners[settings]


def compiler(objective: Trainable) -> Callable[..., Any]:
    """How functions that a training calls again and again are compiled."""
    return optimised if objective.runs_long else jax.jit


def _fresh(objective: Trainable, key: Array) -> Any:
    """Points that are never trained on."""
    return objective.prepare(objective.draw(key, objective.counts("validation")))


def _parts(lanes: Sequence[Lane]) -> list[Sequence[Lane]]:
    """Lanes in parts whose sizes are powers of two, the largest first."""
    parts, begun = [], 0
    while begun < len(lanes):
        size = 1 << ((len(lanes) - begun).bit_length() - 1)
        parts.append(lanes[begun : begun + size])
        begun += size
    return parts


def _copied(tree: Any) -> Any:
    """Arrays of strong types, none of which shares its memory: `advance` takes it from them, and compiles once."""
    return jax.tree.map(lambda leaf: jnp.array(leaf, leaf.dtype), tree)


def _stacked(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _unstacked(tree: Any, count: int) -> list[Any]:
    return [jax.tree.map(lambda leaf: leaf[number], tree) for number in range(count)]  # noqa: B023


def next_multiple(step: int, every: int) -> int:
    """The next multiple of `every` behind `step`."""
    return step - step % every + every


def _known(value: Any) -> float | None:
    """A number, or None in place of one that is not finite."""
    return float(value) if np.isfinite(value) else None
