"""After the stages: a refit through the solver of all that has symbols, and the sparse model that takes a network's place."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.dynamics.refit import QUIETEST, Refit, as_it_is, noise_level, refit
from sciml.dynamics.shooting import Shooting
from sciml.dynamics.sparse import discover_sparse
from sciml.dynamics.stages import carry
from sciml.dynamics.starting_terms import sparse_start
from sciml.dynamics.vector_fields import SparseLibrary, Universal, VectorField
from sciml.settings import SparseField

TIGHT = 0.03
"""Tolerance for gaps between windows in a refit that needs several, in standard deviations of the noise."""

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
    """The sparse model in a trained network's place, refitted to the data; the network itself where that fits clearly worse.

    Terms are chosen by the data, whose noise is known, not by the network's own curves, whose errors are smooth and would be taken
    for terms; known coefficients are those that the network was trained with. States that nobody measured have no units that
    symbols could be given in: the network stays, and so does one in a vector field of the user's own.
    """
    paths = jax.jit(lambda theta: stage.paths(theta).states)(theta)
    own = as_it_is(stage, theta, stage.unscaled(theta, paths))
    trained = stage.with_noise(np.maximum(own.sigma, QUIETEST * np.asarray(stage.channel_size)))
    field = stage.field_of(theta)
    if not field.stands_in or set(field.states) != set(field.channels) or not np.isfinite(paths).all():
        return trained, own
    sparse = _read(field, stage)
    candidate = trained.with_field(sparse)
    shooting, fit = join(candidate, jnp.concatenate([candidate.field_start, theta[stage.field_size :]]))
    if np.all(fit.sigma <= np.maximum(WORSE * own.sigma, 0.02 * np.asarray(stage.channel_size))):
        return shooting, fit
    return trained, own


def _read(field: VectorField, stage: Shooting) -> VectorField:
    """The sparse model of the data, beside the known physics where there is some."""
    if not isinstance(field, Universal):
        start = sparse_start(stage.series, stage.noise, SparseField())
        return SparseLibrary(start.library, start.coefficients, field.states, field.channels, start.inclusion, start.cross_validation)

    def known(variables: Array) -> Array:
        rows = variables.reshape(-1, variables.shape[-1])
        slopes = jax.vmap(lambda row: field.known(jnp.zeros((), row.dtype), row[: stage.states], row[stage.states :]))(rows)
        return slopes.reshape(*variables.shape[:-1], stage.states)

    model = discover_sparse(stage.series, known=known)
    sparse = SparseLibrary(model.library, model.coefficients, field.states, field.channels, model.inclusion, model.cross_validation)
    return Universal(field.known, sparse)
