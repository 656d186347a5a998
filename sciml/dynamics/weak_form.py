"""Weak-form regression: the coefficients of candidate terms without differentiating the data, weighted by what noise does to each row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, eigh, solve_triangular
from scipy.sparse import csr_array

from sciml.dynamics.library import Library
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.smoothing import Smoothed

QUADRATURE_NODES = 5
"""Gauss-Legendre nodes between two neighbouring times: exact for irregular grids, unlike a rule with equal weights."""

POWER = 4
"""Test functions are (1 - u^2)^POWER on their support."""

NARROWEST = 2.0
"""Radius of the narrowest test functions, in time steps, or in the resolution that the smoothing left where noise blurs more."""

MOST_TEST_FUNCTIONS = 240
"""Per trajectory; finer scales are left out once there are more."""

UNMODELLED = 1e-4
"""Share of each row's variance that is taken as independent of the other rows: quadrature and smoothing are not exact either."""

Known = Callable[[np.ndarray], np.ndarray]
"""The part of the right-hand side that is known: points `(n, variables)` -> `(n, states)`."""


@dataclass(frozen=True)
class Rows:
    """One trajectory's weak form `target[:, a] = design @ coefficients[:, a]`, and how its rows answer to errors of the states.

    Each row is the equation multiplied by a test function and integrated by parts, so that the derivative falls on the test function.
    """

    design: np.ndarray
    """`(rows, terms)`: integrals of test function times term."""
    target: np.ndarray
    """`(rows, states)`: minus the integral of the test function's derivative times the state (and times the known part)."""
    derivative: np.ndarray
    """`(rows, nodes)`: quadrature weights times the test functions' derivatives."""
    value: np.ndarray
    """`(rows, nodes)`: quadrature weights times the test functions."""
    slopes: np.ndarray
    """`(nodes, terms, states)`: derivatives of the terms."""
    known_slopes: np.ndarray
    """`(nodes, states, states)`: derivatives of the known part."""
    points: np.ndarray
    """`(nodes, variables)`: smoothed states and control inputs."""
    factors: tuple[tuple[csr_array, np.ndarray], ...]
    """Per state, its derivatives at the nodes by the spline's coefficients `(nodes, k)`, and a factor F `(k, k)` of their covariance."""

    def covariance(self, coefficients: np.ndarray, equation: int) -> np.ndarray:
        """Covariance of one equation's residuals: errors in the derivative's place and in the candidate terms, to first order."""
        total = np.zeros((len(self.design), len(self.design)))
        field = np.einsum("np...,p->n...", self.slopes, coefficients[:, equation]) + self.known_slopes[:, equation]
        for state, (basis, factor) in enumerate(self.factors):
            reaction = self.value * field[:, state]
            if state == equation:
                reaction = reaction + self.derivative
            spread = (reaction @ basis) @ factor
            total += spread @ spread.T
        return total


@dataclass(frozen=True)
class WeightedRows:
    """One equation as ordinary least squares: rows divided by their noise, `|target - design @ coefficients|` of unit variance."""

    design: np.ndarray
    target: np.ndarray


def weak_rows(series: TimeSeries, smoothed: Smoothed, library: Library, known: Known | None = None) -> tuple[Rows, ...]:
    """The weak form of every trajectory (Messenger & Bortz 2021, Multiscale Model. Simul. 19, 1474-1497) on its smoothed states."""
    return tuple(_trajectory_rows(series, smoothed, library, known, index) for index in range(len(series.times)))


def weighted_rows(rows: tuple[Rows, ...], coefficients: np.ndarray, equation: int) -> WeightedRows:
    """Generalised least squares with the covariance that `coefficients` imply (Bortz, Messenger & Dukic 2023, Bull. Math. Biol. 85, 110).

    Iterated with the coefficients that come out, this removes most of the bias that noise in the candidate terms causes.
    """
    designs, targets = [], []
    for each in rows:
        covariance = each.covariance(coefficients, equation)
        covariance[np.diag_indices_from(covariance)] *= 1 + UNMODELLED
        factor = cholesky(covariance, lower=True)
        designs.append(solve_triangular(factor, each.design, lower=True))
        targets.append(solve_triangular(factor, each.target[:, equation], lower=True))
    return WeightedRows(np.concatenate(designs), np.concatenate(targets))


def _trajectory_rows(series: TimeSeries, smoothed: Smoothed, library: Library, known: Known | None, index: int) -> Rows:
    times, splines = series.times[index], smoothed.splines[index]
    resolved = max(float(spline.measured.sum()) - spline.degrees for spline in splines)
    narrowest = NARROWEST / resolved * (times[-1] - times[0])
    nodes, weights = quadrature(times, 0.75 * narrowest)
    states = smoothed.states(index, nodes)
    controls = series.controls[index]
    inputs = [np.interp(nodes, times, column) for column in controls.T]
    points = np.concatenate([states, *(column[:, None] for column in inputs)], axis=1)
    values, derivatives = bumps(nodes, times, narrowest)
    value, derivative = values * weights, derivatives * weights
    terms = library.numpy(points)
    count = states.shape[1]
    known_values = known(points) if known else np.zeros_like(states)
    return Rows(
        design=value @ terms,
        target=-derivative @ states - value @ known_values,
        derivative=derivative,
        value=value,
        slopes=library.slopes(points)[:, :, :count],
        known_slopes=_numerical_slopes(known, points, count) if known else np.zeros((len(nodes), count, count)),
        points=points,
        factors=tuple((csr_array(spline.sensitivity(nodes)), _root(spline.covariance)) for spline in splines),
    )


def quadrature(times: np.ndarray, longest: float = np.inf) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of a composite Gauss-Legendre rule on the intervals between `times`, those above `longest` divided."""
    pieces = np.maximum(np.ceil(np.diff(times) / longest), 1).astype(int)
    cuts = zip(times[:-1], times[1:], pieces, strict=True)
    edges = np.concatenate([np.linspace(begin, end, count, endpoint=False) for begin, end, count in cuts])
    edges = np.append(edges, times[-1])
    nodes, weights = np.polynomial.legendre.leggauss(QUADRATURE_NODES)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half + half * nodes).ravel(), (half * weights).ravel()


def bumps(nodes: np.ndarray, times: np.ndarray, narrowest: float) -> tuple[np.ndarray, np.ndarray]:
    """Values and derivatives, `(functions, nodes)`, of bumps of all radii: from half the interval down to `narrowest`."""
    start, span = times[0], times[-1] - times[0]
    narrowest = min(narrowest, span / 2)
    centres, radii = [], []
    radius = span / 2
    while radius >= narrowest * (1 - 1e-12) and len(centres) < MOST_TEST_FUNCTIONS:
        count = max(1, int(np.floor((span - 2 * radius) / (radius / 2) + 1.5)))
        centres += list(np.linspace(start + radius, start + span - radius, count))
        radii += [radius] * count
        radius /= 2
    radii_column = np.array(radii)[:, None]
    place = (nodes[None, :] - np.array(centres)[:, None]) / radii_column
    inside = np.clip(1 - place**2, 0, None)
    amplitude = 1 / np.sqrt(radii_column)
    return amplitude * inside**POWER, amplitude * (-2 * POWER) * place * inside ** (POWER - 1) / radii_column


def _root(covariance: np.ndarray) -> np.ndarray:
    variances, directions = eigh(covariance)
    return directions * np.sqrt(np.maximum(variances, 0.0))


def _numerical_slopes(known: Known, points: np.ndarray, count: int) -> np.ndarray:
    """Central differences of the known part with respect to the states, `(n, states, states)`."""
    columns = []
    for state in range(count):
        step = np.zeros(points.shape[1])
        step[state] = 1e-5 * max(float(np.abs(points[:, state]).max()), 1e-8)
        columns.append((known(points + step) - known(points - step)) / (2 * step[state]))
    return np.stack(columns, axis=2)
