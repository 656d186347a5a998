"""After the stages: a refit through the solver of all that has symbols, and the sparse model that a network turns out to be."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.dynamics.refit import QUIETEST, Refit, as_it_is, noise_level, refit
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.shooting import Shooting
from sciml.dynamics.sparse import discover_sparse
from sciml.dynamics.stages import carry
from sciml.dynamics.vector_fields import SparseLibrary, Universal, VectorField

TIGHT = 0.03
"""Tolerance for gaps between windows in a refit that needs several, in standard deviations of the noise."""

DENSE = 40
"""Times per window at which a trained network is read out."""

WORSE = 1.5
"""A read-out is taken where it raises the noise level by less than this factor over the network's."""

ACCEPTED = 1.3
"""A fit with fewer, longer windows is kept where it raises the noise level by less than this factor."""


def join(stage: Shooting, theta: Array) -> tuple[Shooting, Refit]:
    """The refit through the solver: one solution per trajectory where that fits about as well as the windows did, else on windows."""
    paths = jax.jit(lambda theta: stage.paths(theta).states)(theta)
    own = noise_level(stage, stage.unscaled(theta, paths), float(stage.measured - stage.parameters))
    whole = stage.with_windows(None)
    fit = refit(whole.with_noise(np.asarray(own)), carry(stage, theta, whole, paths))
    if whole.count == stage.count or (fit.converged and np.all(fit.sigma <= ACCEPTED * np.asarray(own))):
        return whole, fit
    tight = stage.with_noise(np.asarray(own), continuity=TIGHT)
    return tight, refit(tight, theta)


def read_out(stage: Shooting, theta: Array) -> tuple[Shooting, Refit]:
    """The sparse model behind a trained network, refitted to the data; the network itself where that fits clearly worse.

    The network's own trajectories, dense and without noise, take the place of the data in the search for terms. States that
    nobody measured have no units that symbols could be given in: the network stays.
    """
    paths = jax.jit(lambda theta: stage.paths(theta).states)(theta)
    own = as_it_is(stage, theta, stage.unscaled(theta, paths))
    trained = stage.with_noise(np.maximum(own.sigma, QUIETEST * np.asarray(stage.channel_size)))
    field = stage.field_of(theta)
    if set(field.states) != set(field.channels) or not np.isfinite(paths).all():
        return trained, own
    sparse = _read(field, _dense(stage, theta), stage.states)
    candidate = trained.with_field(sparse)
    shooting, fit = join(candidate, jnp.concatenate([candidate.field_start, theta[stage.field_size :]]))
    if np.all(fit.sigma <= np.maximum(WORSE * own.sigma, 0.02 * np.asarray(stage.channel_size))):
        return shooting, fit
    return trained, own


def _read(field: VectorField, dense: TimeSeries, states: int) -> VectorField:
    """The sparse model of a network's dense trajectories, beside the known physics where there is some."""
    if not isinstance(field, Universal):
        model = discover_sparse(dense, resamples=0)
        return SparseLibrary(model.library, model.coefficients, field.states, field.channels)

    def known(variables: Array) -> Array:
        rows = variables.reshape(-1, variables.shape[-1])
        slopes = jax.vmap(lambda row: field.known(jnp.zeros((), row.dtype), row[:states], row[states:]))(rows)
        return slopes.reshape(*variables.shape[:-1], states)

    model = discover_sparse(dense, known=known, resamples=0)
    return Universal(field.known, SparseLibrary(model.library, model.coefficients, field.states, field.channels))


def _dense(stage: Shooting, theta: Array) -> TimeSeries:
    """The fitted trajectories of all windows at evenly spaced times, as a series of their own."""
    windows = stage.windows
    fine = np.stack([np.linspace(times[0], times[-1], DENSE) for times in windows.times])
    states = np.asarray(jax.jit(stage.paths_at)(theta, jnp.asarray(fine)))
    inputs = [
        np.stack([np.interp(at, times, column) for column in controls.T], axis=1) if controls.shape[1] else np.zeros((DENSE, 0))
        for at, times, controls in zip(fine, windows.times, windows.controls, strict=True)
    ]
    return TimeSeries(tuple(fine), tuple(states), stage.field.states, tuple(inputs), stage.series.control_names, stage.series.time_name)
