"""Smoothing of noisy, irregular, gappy measurements: a penalised spline whose noise level is estimated from the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from scipy.interpolate import BSpline
from scipy.linalg import eigh
from scipy.optimize import minimize_scalar

from sciml.dynamics.series import TimeSeries
from sciml.errors import ProblemError

MOST_COEFFICIENTS = 500
"""Spline coefficients per trajectory; longer ones get knots at a subset of their times."""

FEWEST = 3
"""Measurements from which both a line and a noise level can be estimated."""

REWEIGHTINGS = 3
EVIDENCE = 3.0
"""Multiples of log(n) by which noise that grows with the value must explain the residuals better than constant noise."""

FREE = 0.25
"""Share of the measurements that the spline must leave to the noise: where it interpolates, what is left over says nothing about noise,
and where spikes are left over they would pass for noise that grows with the value."""

STABILISER = 1e-13
"""Share of the roughness matrix that keeps the eigenvalue problem definite where times cluster."""

SMOOTHNESS_RANGE = (-14.0, 10.0)
"""Decimal logarithms of the smoothing parameter that are searched, relative to the roughness of the average spline mode."""


@dataclass(frozen=True)
class Smooth:
    """One channel of one trajectory as a smoothing spline, linear in the measurements (or their logarithms) behind it.

    `coefficients = response @ measured`; `covariance` is that of the coefficients given the measurements (Bayesian: Wahba 1983,
    J. R. Stat. Soc. B 45, 133-150), `noise` the standard deviation of the measurements (or their logarithms) around the truth.
    """

    knots: np.ndarray
    degree: int
    coefficients: np.ndarray
    response: np.ndarray
    covariance: np.ndarray
    noise: float
    degrees: float
    """Degrees of freedom that are left for the noise."""
    measured: np.ndarray
    """`(n,)`, True where the channel was measured."""
    deviance: float
    """Minus twice the logarithm of the restricted likelihood of what was smoothed, up to a constant."""
    logarithmic: bool = False
    """Whether the spline is the logarithm of the channel."""

    @property
    def order(self) -> int:
        """Of the derivative whose square is the roughness: polynomials below it are free."""
        return (self.degree + 1) // 2

    def __call__(self, times: np.ndarray, derivative: Literal[0, 1] = 0) -> np.ndarray:
        """The channel, or its time derivative, at `times`."""
        spline = _basis(times, self.knots, self.degree, derivative) @ self.coefficients
        if not self.logarithmic:
            return spline
        return self(times) * spline if derivative else np.exp(spline)

    def sensitivity(self, times: np.ndarray, derivative: Literal[0, 1] = 0) -> np.ndarray:
        """Derivatives of what a call returns by the coefficients, `(len(times), coefficients)`."""
        basis = _basis(times, self.knots, self.degree)
        if not self.logarithmic:
            return _basis(times, self.knots, self.degree, derivative)
        value = self(times)[:, None]
        return value * _basis(times, self.knots, self.degree, 1) + self(times, 1)[:, None] * basis if derivative else value * basis

    def standard_error(self, times: np.ndarray, derivative: Literal[0, 1] = 0) -> np.ndarray:
        """Posterior standard deviation of the value or derivative at `times`."""
        sensitivity = self.sensitivity(times, derivative)
        return np.sqrt(np.maximum(((sensitivity @ self.covariance) * sensitivity).sum(axis=1), 0.0))


@dataclass(frozen=True)
class Smoothed:
    """A smoothed series: `splines[trajectory][channel]`."""

    splines: tuple[tuple[Smooth, ...], ...]
    noise: np.ndarray
    """`(channels,)`: root mean square of the measurement noise, all trajectories together."""
    constant: np.ndarray
    """`(channels,)`: the part of the noise that does not depend on the value."""
    proportional: np.ndarray
    """`(channels,)`: the part that grows with the value, as a share of it; zero where the data do not call for it."""

    def noise_at(self, trajectory: int, times: np.ndarray) -> np.ndarray:
        """Standard deviations of measurements at `times`, `(len(times), channels)`; a state that may be larger counts as larger."""
        squares = self.states(trajectory, times) ** 2 + self.standard_errors(trajectory, times) ** 2
        return np.sqrt(self.constant**2 + self.proportional**2 * squares)

    def states(self, trajectory: int, times: np.ndarray, derivative: Literal[0, 1] = 0) -> np.ndarray:
        """States or their time derivatives at any `times` within the trajectory, `(len(times), channels)`."""
        return np.stack([spline(times, derivative) for spline in self.splines[trajectory]], axis=1)

    def standard_errors(self, trajectory: int, times: np.ndarray, derivative: Literal[0, 1] = 0) -> np.ndarray:
        """Posterior standard deviations of `states`, same shape."""
        return np.stack([spline.standard_error(times, derivative) for spline in self.splines[trajectory]], axis=1)


def smooth(series: TimeSeries) -> Smoothed:
    """States, derivatives and noise level of every channel of a series, with error bars.

    A spline of degree 5 with a penalty on its third derivative (lower for fewer than six measurements), the smoothing parameter
    by restricted maximum likelihood (Wood 2011, J. R. Stat. Soc. B 73, 3-36). Raises `ProblemError` for a trajectory on
    which a channel has fewer than three measurements.
    """
    for index, values in enumerate(series.values):
        for name, column in zip(series.names, values.T, strict=True):
            if np.isfinite(column).sum() < FEWEST:
                few = f"column '{name}' has fewer than {FEWEST} values in trajectory {index + 1}"
                raise ProblemError(f"{few}; leave the trajectory or the column out")
    channels = [_smooth_channel_of(series, channel) for channel in range(series.channels)]
    splines = tuple(zip(*(each.splines for each in channels), strict=True))
    noise, constant, proportional = (np.array([each[place] for each in channels]) for place in (1, 2, 3))
    return Smoothed(splines, noise, constant, proportional)


class _Channel(NamedTuple):
    """One channel of all trajectories, and its noise."""

    splines: tuple[Smooth, ...]
    noise: float
    """Root mean square."""
    constant: float
    proportional: float
    deviance: float


def _smooth_channel_of(series: TimeSeries, channel: int) -> _Channel:
    """One channel, itself or, where its noise is a share of its value and that is likelier, its logarithm as a spline.

    What spans decades is no smooth curve under weights that span them squared; its logarithm may be one.
    """
    columns = [values[:, channel] for values in series.values]
    plain = _smooth_as_it_is(series.times, columns)
    if plain.proportional == 0 or not all((column[np.isfinite(column)] > 0).all() for column in columns):
        return plain
    logarithmic = _smooth_logarithms(series.times, columns)
    margin = EVIDENCE * np.log(sum(np.isfinite(column).sum() for column in columns))
    return logarithmic if logarithmic.deviance < plain.deviance - margin else plain


def _smooth_as_it_is(times: Sequence[np.ndarray], columns: Sequence[np.ndarray]) -> _Channel:
    """Noise that is constant or, where the residuals say so, grows with the value: then the values are weighted."""
    splines = tuple(smooth_channel(at, column) for at, column in zip(times, columns, strict=True))
    noise = _pooled_noise(splines)
    constant, proportional = noise, 0.0
    for _ in range(REWEIGHTINGS):
        fitted = [spline(at) for spline, at in zip(splines, times, strict=True)]
        residuals = [(column - values)[np.isfinite(column)] for column, values in zip(columns, fitted, strict=True)]
        sizes = [np.abs(values)[np.isfinite(column)] for column, values in zip(columns, fitted, strict=True)]
        degrees = sum(spline.degrees for spline in splines) / sum(len(each) for each in sizes)
        found = noise_model(np.concatenate(residuals) / np.sqrt(max(degrees, 1e-6)), np.concatenate(sizes))
        if found is None or degrees < FREE:
            break
        constant, proportional = found
        squares = [values**2 + spline.standard_error(at) ** 2 for values, spline, at in zip(fitted, splines, times, strict=True)]
        weights = [noise**2 / (constant**2 + proportional**2 * each) for each in squares]
        splines = tuple(smooth_channel(*each) for each in zip(times, columns, weights, strict=True))
        scale = _pooled_noise(splines) / noise
        constant, proportional = constant * scale, proportional * scale
    return _channel(times, splines, constant, proportional)


def _smooth_logarithms(times: Sequence[np.ndarray], columns: Sequence[np.ndarray]) -> _Channel:
    """Noise that is a share of the value. The Jacobian counts as many values as the likelihood does: those that polynomials leave."""
    splines = tuple(replace(smooth_channel(at, np.log(column)), logarithmic=True) for at, column in zip(times, columns, strict=True))
    found = _channel(times, splines, 0.0, _pooled_noise(splines))
    logarithms = [np.log(column[np.isfinite(column)]) for column in columns]
    stretch = [(each.size - spline.order) * each.mean() for each, spline in zip(logarithms, splines, strict=True)]
    return found._replace(deviance=found.deviance + 2 * float(sum(stretch)))


def _channel(times: Sequence[np.ndarray], splines: tuple[Smooth, ...], constant: float, proportional: float) -> _Channel:
    squares = np.concatenate([spline(at) ** 2 for spline, at in zip(splines, times, strict=True)])
    noise = float(np.sqrt(constant**2 + proportional**2 * np.mean(squares)))
    return _Channel(splines, noise, constant, proportional, sum(spline.deviance for spline in splines))


def noise_model(residuals: np.ndarray, sizes: np.ndarray) -> tuple[float, float] | None:
    """Constant and proportional part of the noise by maximum likelihood; None where a constant one explains the residuals as well."""
    level = float(np.sqrt(np.mean(residuals**2)))
    largest = float(sizes.max())
    if level <= 1e-9 * largest:
        return None

    def deviance(share: float) -> tuple[float, float]:
        shape = (1 - share) + share * (sizes / largest) ** 2
        variance = float(np.mean(residuals**2 / shape))
        return len(residuals) * np.log(variance) + float(np.log(shape).sum()), variance

    shares = 1 - np.logspace(-6, 0, 61)
    values = [deviance(share)[0] for share in shares]
    best = int(np.argmin(values))
    if values[best] > deviance(0.0)[0] - EVIDENCE * np.log(len(residuals)):
        return None
    variance = deviance(shares[best])[1]
    return float(np.sqrt(variance * (1 - shares[best]))), float(np.sqrt(variance * shares[best]) / largest)


def smooth_channel(times: np.ndarray, values: np.ndarray, weights: np.ndarray | None = None) -> Smooth:
    """One channel, `(n,)` values with NaN where not measured. `weights` are inverse noise variances up to a factor."""
    measured = np.isfinite(values)
    known, y = times[measured], values[measured]
    root = np.sqrt(weights[measured]) if weights is not None else np.ones_like(y)
    scale = max(float(np.std(y)), np.finfo(float).tiny)
    knots, degree, design, stiffness, modes = _modes(known.tobytes(), root.tobytes(), float(times[0]), float(times[-1]))
    order = (degree + 1) // 2
    target = root * y / scale
    projected = modes.T @ (design.T @ target)
    residual = max(float(target @ target - projected @ projected), 0.0)
    left = len(y) - order

    def variance(decades: float) -> float:
        return (residual + float(projected**2 @ (1 - shrinkage(decades)))) / max(left, 1)

    def shrinkage(decades: float) -> np.ndarray:
        return 1.0 / (1.0 + 10.0**decades * stiffness / unit)

    def deviance(decades: float) -> float:
        kept = shrinkage(decades)[order:]
        return left * np.log(max(variance(decades), 1e-30)) - float(np.log(np.maximum(1 - kept, 1e-300)).sum())

    unit = float(np.exp(np.mean(np.log(stiffness[order:] + 1e-30)))) if len(stiffness) > order else 1.0
    grid = np.linspace(*SMOOTHNESS_RANGE, 49)
    best = int(np.argmin([deviance(decades) for decades in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    decades = float(minimize_scalar(deviance, bounds=(low, high), method="bounded").x)  # type: ignore[union-attr]
    kept = shrinkage(decades)
    response = (modes * kept) @ modes.T @ design.T * root[None, :]
    noise = scale * np.sqrt(variance(decades))
    covariance = noise**2 * (modes * kept) @ modes.T
    degrees = len(y) - float(kept.sum())
    likelihood = deviance(decades) + 2 * left * float(np.log(scale) - np.mean(np.log(root)))
    return Smooth(knots, degree, response @ y, response, covariance, noise, degrees, measured, likelihood)


@lru_cache(maxsize=16)
def _modes(known: bytes, root: bytes, start: float, end: float) -> tuple[np.ndarray, int, np.ndarray, np.ndarray, np.ndarray]:
    """Knots, degree, weighted design, and the spline's modes with their roughness (Demmler & Reinsch 1975, Numer. Math. 24, 375-382).

    They depend on the times and weights alone, so channels and trajectories that are measured together share them.
    """
    times, weights = np.frombuffer(known), np.frombuffer(root)
    degree = 5 if len(times) >= 6 else 3 if len(times) >= 4 else 1
    knots = _knots(times, start, end, degree)
    design = weights[:, None] * _basis(times, knots, degree)
    order = (degree + 1) // 2
    roughness = _roughness(knots, degree, order)
    gram = design.T @ design
    roughness *= np.trace(gram) / np.trace(roughness)
    stiffness, modes = eigh(roughness, gram + STABILISER * roughness)
    stiffness = np.maximum(stiffness, 0.0)
    stiffness[:order] = 0.0
    return knots, degree, design, stiffness, modes


def _basis(times: np.ndarray, knots: np.ndarray, degree: int, derivative: int = 0) -> np.ndarray:
    inside = np.clip(times, knots[degree], knots[-degree - 1])
    if derivative == 0:
        return BSpline.design_matrix(inside, knots, degree).toarray()
    count = len(knots) - degree - 1
    return BSpline(knots, np.eye(count), degree).derivative(derivative)(inside)


def _knots(times: np.ndarray, start: float, end: float, degree: int) -> np.ndarray:
    """As many basis splines as measurements (at most MOST_COEFFICIENTS): the first and last inner times carry no knot."""
    inner = times[(degree + 1) // 2 : len(times) - (degree + 1) // 2]
    wanted = min(len(inner), MOST_COEFFICIENTS - degree - 1)
    chosen = inner[np.round(np.linspace(0, len(inner) - 1, wanted)).astype(int)] if wanted > 0 else inner[:0]
    return np.concatenate([np.full(degree + 1, start), chosen, np.full(degree + 1, end)])


def _roughness(knots: np.ndarray, degree: int, order: int) -> np.ndarray:
    """The integral of products of the basis splines' derivatives of that order, by Gauss-Legendre quadrature on every interval."""
    nodes, weights = np.polynomial.legendre.leggauss(degree - order + 1)
    edges = np.unique(knots)
    half = np.diff(edges)[:, None] / 2
    points = (edges[:-1, None] + half + half * nodes).ravel()
    derivatives = _basis(points, knots, degree, order)
    return derivatives.T @ ((half * weights).ravel()[:, None] * derivatives)


def _pooled_noise(splines: tuple[Smooth, ...]) -> float:
    degrees = np.array([max(spline.degrees, 1e-6) for spline in splines])
    return float(np.sqrt(degrees @ np.array([spline.noise for spline in splines]) ** 2 / degrees.sum()))
