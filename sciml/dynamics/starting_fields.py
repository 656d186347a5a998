"""The vector field that a fit begins with: what the settings or a module describe, a network matched to the slopes of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.device import put, random_key
from sciml.dynamics import levenberg_marquardt, vector_fields
from sciml.dynamics.first_look import Start, velocity
from sciml.dynamics.library import Library
from sciml.dynamics.modules import check_network, check_own
from sciml.dynamics.noise import Noise
from sciml.dynamics.problem import Dynamics
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.starting_terms import sparse_start
from sciml.dynamics.vector_fields import Given, NeuralODE, Scaling, SecondOrder, SparseLibrary, Universal, VectorField
from sciml.nets.model import flattened, trainable_mask
from sciml.settings import GivenField, NeuralField, SparseField, UniversalField

FieldSettings = GivenField | SparseField | NeuralField | UniversalField

PULL = 0.03
"""Weight of a network's distance from its start where slopes are matched."""


def names_of_states(settings: FieldSettings, module: Any, problem: Dynamics | None, series: TimeSeries) -> tuple[str, ...]:
    """The states that a vector field has: those of the problem, of the user's own field, or of the settings, measured ones first."""
    if isinstance(settings, GivenField | UniversalField):
        assert problem is not None
        return problem.states
    if isinstance(module, VectorField):
        return module.states
    if isinstance(settings, NeuralField) and settings.second_order:
        return (*series.names, *(velocity(name) for name in series.names))
    hidden = settings.hidden if isinstance(settings, NeuralField) else 0
    return (*series.names, *(f"hidden_{number}" for number in range(1, hidden + 1)))


def build_field(
    settings: FieldSettings,
    module: Any,
    problem: Dynamics | None,
    series: TimeSeries,
    noise: Noise,
    states: tuple[str, ...],
    begin: Start,
    seed: int,
    libraries: Sequence[Library] = (),
) -> tuple[VectorField, Start]:
    """The vector field that the settings, or libraries of candidate terms, describe; and what is known of the states then.

    `module` is a `VectorField` of the user's own, which is the vector field or what that of the problem lacks, or the settings' network.
    """
    if isinstance(settings, SparseField):
        start = sparse_start(series, noise, settings, libraries)
        field = SparseLibrary(start.library, start.coefficients, states, series.names, start.inclusion, start.cross_validation)
        return field, begin if start.states is None else replace(begin, states=start.states, sigma=start.sigma, brief=True)
    known = None
    if isinstance(settings, GivenField | UniversalField):
        assert problem is not None
        known = Given(problem)
    if isinstance(settings, GivenField):
        assert known is not None
        return known, begin
    if isinstance(module, VectorField):
        check_own(module, series, known)
    else:
        module = _neural(settings, module, series, states, begin, seed)
    return module if known is None else Universal(known, module), begin


def _neural(
    settings: NeuralField | UniversalField, module: Any, series: TimeSeries, states: tuple[str, ...], begin: Start, seed: int
) -> VectorField:
    """A network as a vector field: the user's module, or one of the settings' size."""
    second_order = isinstance(settings, NeuralField) and settings.second_order
    inputs, outputs = len(states) + len(series.control_names), len(states) // 2 if second_order else len(states)
    if module is None:
        key = jax.random.fold_in(random_key(seed), 1 << 30)
        module = vector_fields.network(inputs, outputs, settings.width, settings.depth, settings.activation, key)
    else:
        check_network(module, inputs, outputs)
    kind = SecondOrder if second_order else NeuralODE
    return kind(network=module, scaling=_scaling(series, begin), states=states, channels=series.names)


def match(field: VectorField, series: TimeSeries, begin: Start, steps: int = 40) -> VectorField:
    """The field whose slopes match those of the smoothed data: a start for shooting that no trajectory has to be integrated for.

    Gauss-Newton on the slopes at the measured times, relative to each state's typical slope, with a weak pull to the start.
    """
    trainable, fixed = eqx.partition(field, trainable_mask(field))
    times, states, controls, slopes = (np.concatenate(parts) for parts in (series.times, begin.states, series.controls, begin.slopes))
    known = np.isfinite(slopes)
    slopes = np.nan_to_num(slopes)
    size = np.std(slopes, axis=0)
    size = np.where(size > 0, size, 1.0)

    start, unravel = flattened(trainable)

    def misfit(theta: Array, t: Array, state: Array, controls: Array, slope: Array, there: Array) -> Array:
        model = eqx.combine(unravel(theta), fixed)
        return jnp.where(there, (model(t, state, controls) - slope) / size, 0.0)

    @jax.jit
    def linearise(theta: Array, rows: tuple[Array, ...]) -> tuple[Array, Array]:
        residuals, jacobian = jax.vmap(lambda *row: (misfit(theta, *row), jax.jacrev(misfit)(theta, *row)))(*rows)
        return residuals.ravel(), jacobian.reshape(-1, theta.size)

    rows = jax.tree.map(put, (times, states, controls, slopes, known))
    matched = levenberg_marquardt.minimise(lambda theta: linearise(theta, rows), start, steps, 1e-4, PULL).theta
    moved = jax.tree.map(lambda new, old: put(new, old.dtype), unravel(matched), trainable)
    return eqx.combine(moved, fixed)


def _scaling(series: TimeSeries, begin: Start) -> Scaling:
    states, controls = np.concatenate(begin.states), np.concatenate(series.controls)
    spread = np.std(controls, axis=0)
    as_tuple = lambda array: tuple(float(value) for value in array)  # noqa: E731
    return Scaling(
        as_tuple(states.mean(axis=0)), as_tuple(begin.scale), as_tuple(controls.mean(axis=0)),
        as_tuple(np.where(spread > 0, spread, 1.0)), 1.0 / max(begin.rate, 1e-12),
    )  # fmt: skip
