"""Nodes, differentiation and interpolation matrices of one coordinate: Chebyshev between two faces, Fourier on a period."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Axis:
    """One coordinate, discretised: `nodes` of shape (n,), increasing, and the matrix (n, n) that differentiates values there."""

    nodes: np.ndarray
    derivative: np.ndarray
    interpolation: Callable[[np.ndarray], np.ndarray]
    """The matrix (m, n) from values at the nodes to values at m points."""
    periodic: bool

    @property
    def free(self) -> slice:
        """The nodes at which the equation holds: all on a period, all but the two faces otherwise."""
        return slice(None) if self.periodic else slice(1, -1)


def chebyshev_axis(interval: tuple[float, float], count: int, focus: tuple[float, float] | None = None) -> Axis:
    """`count` Chebyshev points of the second kind, both ends included (Trefethen 2000, Spectral Methods in MATLAB, chapter 6).

    `focus = (centre, width)` draws them together around a front: spacing grows from the centre on a scale of `width`, by the
    hyperbolic sine map of Tee & Trefethen (2006), SIAM J. Sci. Comput. 28, 1798-1811.
    """
    lower, upper = interval
    angles = np.pi * (np.arange(count) - (count - 1) / 2) / (count - 1)
    standard = np.sin(angles)
    # Differences as products: no cancellation between close nodes.
    gaps = 2 * np.sin((angles[:, None] - angles) / 2) * np.cos((angles[:, None] + angles) / 2)
    if focus is None:
        nodes = lower + (upper - lower) * (standard + 1) / 2
        differences = (upper - lower) / 2 * gaps
    else:
        centre, width = focus
        first, last = np.arcsinh((np.array(interval) - centre) / width)
        stretched = first + (last - first) * (standard + 1) / 2
        nodes = centre + width * np.sinh(stretched)
        differences = 2 * width * np.cosh((stretched[:, None] + stretched) / 2) * np.sinh((last - first) / 4 * gaps)
    nodes[0], nodes[-1] = lower, upper
    weights = (-1.0) ** np.arange(count)
    weights[[0, -1]] /= 2
    np.fill_diagonal(differences, 1.0)
    matrix = weights / weights[:, None] / differences
    return Axis(nodes, _with_rows_summing_to_zero(matrix), _barycentric(nodes, weights, lambda gap: gap), periodic=False)


def fourier_axis(interval: tuple[float, float], count: int) -> Axis:
    """An odd number of at least `count` equally spaced points of a period, without its upper end."""
    lower, upper = interval
    period = upper - lower
    count = count | 1
    nodes = lower + period * np.arange(count) / count
    signs = (-1.0) ** np.arange(count)
    sines = np.sin(np.pi * np.subtract.outer(np.arange(count), np.arange(count)) / count)
    np.fill_diagonal(sines, 1.0)
    matrix = np.pi / period * signs[:, None] * signs / sines
    interpolation = _barycentric(nodes, signs, lambda gap: np.sin(np.pi * gap / period))
    return Axis(nodes, _with_rows_summing_to_zero(matrix), interpolation, periodic=True)


def _with_rows_summing_to_zero(matrix: np.ndarray) -> np.ndarray:
    """Sets the diagonal so that constants have no derivative, which also removes most of the rounding error."""
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return matrix


def _barycentric(
    nodes: np.ndarray, weights: np.ndarray, distance: Callable[[np.ndarray], np.ndarray]
) -> Callable[[np.ndarray], np.ndarray]:
    """Interpolation in barycentric form (Berrut & Trefethen 2004, SIAM Review 46, 501-517)."""

    def interpolation(points: np.ndarray) -> np.ndarray:
        gaps = distance(points[:, None] - nodes)
        hits = np.abs(gaps) < 1e-15 * (nodes[-1] - nodes[0])
        shares = weights / np.where(hits, 1.0, gaps)
        shares = np.where(hits.any(axis=1, keepdims=True), hits, shares)
        return shares / shares.sum(axis=1, keepdims=True)

    return interpolation
