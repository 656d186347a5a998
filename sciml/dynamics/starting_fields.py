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
from sciml.dynamics.noise import Noise
from sciml.dynamics.problem import Dynamics
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.starting_terms import sparse_start
from sciml.dynamics.vector_fields import Given, NeuralODE, Scaling, SecondOrder, SparseLibrary, Universal, VectorField
from sciml.errors import ProblemError
from sciml.nets.model import flattened, trainable_mask
from sciml.settings import GivenField, NeuralField, SparseField, UniversalField

FieldSettings = GivenField | SparseField | NeuralField | UniversalField

PULL = 0.03
"""Weight of a network's distance from its start where slopes are matched."""


def names_of_states(settings: FieldSettings, problem: Dynamics | None, series: TimeSeries) -> tuple[str, ...]:
    """The states that a vector field of these settings has, measured ones first."""
    if isinstance(settings, GivenField | UniversalField):
        assert problem is not None
        return problem.states
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
    """The vector field that the settings, a module, or libraries of candidate terms describe; and what is known of the states then."""
    if module is not None:
        return _of_module(module, series, states, begin), begin
    if isinstance(settings, SparseField):
        start = sparse_start(series, noise, settings, libraries)
        field = SparseLibrary(start.library, start.coefficients, states, series.names, start.inclusion, start.cross_validation)
        return field, begin if start.states is None else replace(begin, states=start.states, sigma=start.sigma, brief=True)
    return _described(settings, problem, series, states, begin, seed), begin


def _of_module(module: Any, series: TimeSeries, states: tuple[str, ...], begin: Start) -> VectorField:
    if isinstance(module, VectorField):
        return module
    _check_module(module, len(states) + len(series.control_names), len(states))
    return NeuralODE(network=module, scaling=_scaling(series, begin), states=states, channels=series.names)


def _described(
    settings: GivenField | NeuralField | UniversalField, problem: Dynamics | None, series: TimeSeries, states: tuple[str, ...],
    begin: Start, seed: int,
) -> VectorField:  # fmt: skip
    if isinstance(settings, GivenField):
        assert problem is not None
        return Given(problem)
    scaling, inputs = _scaling(series, begin), len(states) + len(series.control_names)
    key = jax.random.fold_in(random_key(seed), 1 << 30)
    if isinstance(settings, NeuralField) and settings.second_order:
        net = vector_fields.network(inputs, len(states) // 2, settings.width, settings.depth, settings.activation, key)
        return SecondOrder(network=net, scaling=scaling, states=states, channels=series.names)
    net = vector_fields.network(inputs, len(states), settings.width, settings.depth, settings.activation, key)
    neural = NeuralODE(network=net, scaling=scaling, states=states, channels=series.names)
    if isinstance(settings, UniversalField):
        assert problem is not None
        return Universal(Given(problem), neural)
    return neural


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


def _check_module(module: Any, inputs: int, states: int) -> None:
    if not callable(module):
        raise ProblemError(f"vector_field: {type(module).__name__} is not callable; give a module that maps ({inputs},) to ({states},)")
    try:
        shape = jax.eval_shape(module, jax.ShapeDtypeStruct((inputs,), jnp.zeros(()).dtype)).shape
    except (TypeError, ValueError) as error:
        raise ProblemError(f"vector_field: it fails on {inputs} scaled states and controls: {error}") from error
    if shape != (states,):
        raise ProblemError(f"vector_field: it maps ({inputs},) to {shape}; make it return one derivative per state, ({states},)")
