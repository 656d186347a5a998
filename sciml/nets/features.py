"""Inputs of a network: coordinates scaled to [-1, 1], exact periodic and even features, random Fourier features."""

from __future__ import annotations

import math
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from sciml.derivatives import SCALAR_FUNCTIONS, Jet, MultiIndex, affine, compose, coordinates_jet, nested, stack
from sciml.domain import Box
from sciml.nets.seam import Seam

Kind = Literal["linear", "periodic", "even"]


class Features(eqx.Module):
    """Maps a point `(dimension,)` to the network's inputs `(size,)`.

    A `linear` coordinate is scaled to [-1, 1]. A `periodic` one becomes cosines and sines of its `harmonics`, so that every
    function of them is exactly periodic (Dong & Ni 2021, section 2); an `even` one becomes cosines of half the frequency,
    so that every function of them has zero slope at both ends. The inputs of each seam (`sciml.nets.seam`) follow, then random Fourier
    features (Tancik et al. 2020) of all these.
    """

    domain: Box = eqx.field(static=True)
    kinds: tuple[Kind, ...] = eqx.field(static=True)
    harmonics: int = eqx.field(static=True)
    seams: tuple[Seam, ...] = eqx.field(static=True)
    frequencies: Array | None

    def __init__(
        self, domain: Box, kinds: tuple[Kind, ...], harmonics: int, fourier: int, scale: float, key: Array, seams: tuple[Seam, ...] = ()
    ) -> None:
        self.domain, self.kinds, self.harmonics, self.seams = domain, kinds, harmonics, seams
        self.frequencies = scale * jax.random.normal(key, (fourier, self._plain_size)) if fourier else None

    @property
    def _plain_size(self) -> int:
        sizes = {"linear": 1, "periodic": 2 * self.harmonics, "even": self.harmonics}
        return sum(sizes[kind] for kind in self.kinds) + sum(seam.size for seam in self.seams)

    @property
    def size(self) -> int:
        """Number of inputs of the network."""
        return self._plain_size + (0 if self.frequencies is None else 2 * self.frequencies.shape[0])

    def __call__(self, point: Array) -> Array:
        return self.jet(point[None], ((),))[()][:, 0]

    def jet(self, points: Array, indices: tuple[MultiIndex, ...]) -> Jet:
        """The jet of the inputs at `points` of shape `(n, dimension)`."""
        coordinates = coordinates_jet(points)
        parts = [part for axis, kind in enumerate(self.kinds) for part in self._coordinate(coordinates, axis, kind, indices)]
        parts += [nested(seam.inputs, points, indices) for seam in self.seams]
        plain = stack(parts)
        if self.frequencies is None:
            return plain
        phase = affine(self.frequencies.astype(points.dtype), None, plain)
        waves = [compose(SCALAR_FUNCTIONS[name], phase, indices) for name in ("cos", "sin")]
        return stack([plain, *waves])

    def _coordinate(self, coordinates: Jet, axis: int, kind: Kind, indices: tuple[MultiIndex, ...]) -> list[Jet]:
        lower, upper = self.domain.lower[axis], self.domain.upper[axis]
        own: Jet = {index: value[axis : axis + 1] for index, value in coordinates.items() if index in ((), (axis,))}
        start = {**own, (): own[()] - lower}
        if kind == "linear":
            scaled = {index: value * (2.0 / (upper - lower)) for index, value in start.items()}
            return [{**scaled, (): scaled[()] - 1.0}]
        turn = (2.0 if kind == "periodic" else 1.0) * math.pi / (upper - lower)
        rates = jnp.arange(1, self.harmonics + 1, dtype=own[()].dtype)[:, None] * turn
        phase = {index: rates * value for index, value in start.items()}
        names = ("cos", "sin") if kind == "periodic" else ("cos",)
        return [compose(SCALAR_FUNCTIONS[name], phase, indices) for name in names]
