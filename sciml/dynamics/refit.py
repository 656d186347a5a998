"""Coefficients fitted through the solver: Gauss-Newton on all windows, the noise from the misfit, intervals from the curvature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.special import stdtrit

from sciml.device import put
from sciml.dynamics import levenberg_marquardt
from sciml.dynamics.shooting import Shooting
from sciml.jacobian import Linearised
from sciml.uncertainty import spread, why_not

LEVEL = 0.95

ROUNDS = 8
"""Alternations between the fit and the standard deviations of the noise."""

SETTLED = 0.01
"""Relative change of the noise below which it has settled."""

QUIETEST = 1e-6
"""Smallest noise, relative to a channel's size: below it lies what the solver itself may be wrong by."""

DENSE_LIMIT = 3000
"""Trainable numbers up to which the covariance of a network is computed."""

FAINT = 1e-6
"""Precision of a starting state or coefficient, in units of its size, before any data: as good as none, and nothing is singular."""

VAGUE = 1.0
"""A standard error as large as the coefficient itself: not even its size is known."""

UNREACHED = "the solver does not reach all measured times"

TOGETHER = 0.995
"""Correlation beyond which two coefficients are known only in combination."""


class Coefficient(NamedTuple):
    """A fitted coefficient; `lower` and `upper` bound its interval at the level `LEVEL`."""

    value: float
    standard_error: float | None
    lower: float | None
    upper: float | None
    reason: str | None
    """What these data cannot tell about it."""

    def __str__(self) -> str:
        if self.standard_error is None or self.lower is None or self.upper is None:
            return f"{self.value:.6g} ({self.reason})"
        note = f" ({self.reason})" if self.reason else ""
        return f"{self.value:.4g} [{self.lower:.4g}, {self.upper:.4g}]{note}"


class Refit(NamedTuple):
    """A fit through the solver and how well the data determine it."""

    theta: np.ndarray
    sigma: np.ndarray
    """`(channels,)`: standard deviation of the noise, on the scale of the noise model."""
    coefficients: dict[str, Coefficient]
    correlation: np.ndarray
    """`(k, k)` of the coefficients; NaN where one has no standard error."""
    covariance: np.ndarray
    """`(P, P)` of `theta`."""
    degrees: float
    """Degrees of freedom that are left."""
    converged: bool
    steps: int


def refit(shooting: Shooting, theta: Array | np.ndarray, steps: int = 100, rounds: int = ROUNDS) -> Refit:
    """Fits all trainable numbers and all starting states by Levenberg-Marquardt, with the noise of each channel from its misfit.

    The standard deviations and the fit take turns until both have settled: maximum likelihood for normal noise on the noise's own
    scale, corrected for the degrees of freedom. The covariance is that of `sciml.uncertainty` (Gauss-Newton), not a number where the
    solver does not reach all measured times.
    """
    sigma, found, taken = shooting.sigma, None, 0
    linearise = jax.jit(shooting.linearise)
    for _ in range(rounds):
        found = levenberg_marquardt.minimise(lambda theta, sigma=sigma: linearise(theta, sigma), theta, steps)
        theta, taken = found.theta, taken + found.steps
        if shooting.lost(found.residuals):
            return _unreached(shooting, found.theta, np.asarray(sigma), taken)
        before, left = np.asarray(sigma), _degrees(shooting, found.jacobian)
        sigma = noise_level(shooting, shooting.misfits(found.residuals, before), left)
        if np.max(np.abs(np.log(np.asarray(sigma) / before))) < SETTLED:
            break
    assert found is not None
    return _describe(shooting, found, np.asarray(sigma), taken)


def _unreached(shooting: Shooting, theta: np.ndarray, sigma: np.ndarray, steps: int) -> Refit:
    """A fit whose solution does not reach all measured times: it says nothing about what the data determine."""
    values = {name: Coefficient(float(value), None, None, None, UNREACHED) for name, value in shooting.unknowns(theta).items()}
    correlation, covariance = (np.full((size, size), np.nan) for size in (len(values), theta.size))
    return Refit(theta, sigma, values, correlation, covariance, float("nan"), False, steps)


def _describe(shooting: Shooting, found: levenberg_marquardt.Minimum, sigma: np.ndarray, steps: int) -> Refit:
    """How well the data determine a fit."""
    theta, residuals = found.theta, found.residuals
    columns = np.linalg.norm(found.jacobian, axis=0)
    columns = np.where(columns > 0, columns, 1.0)
    rows = Linearised(*map(put, (residuals, found.jacobian / columns, np.ones_like(residuals), shooting.measured_rows())))
    covariance, free, _, left = (np.asarray(each) for each in jax.jit(lambda rows: spread(rows, np.arange(theta.size)))(rows))
    covariance = covariance / np.outer(columns, columns)
    unclear = lambda slopes: why_not(float(free[np.abs(slopes) > 0].max(initial=0.0)), float(left))  # noqa: E731
    coefficients, correlation = _coefficients(shooting, theta, covariance, float(left), unclear)
    return Refit(theta, sigma, coefficients, correlation, covariance, float(left), found.converged, steps)


def _coefficients(
    shooting: Shooting, theta: np.ndarray, covariance: np.ndarray, left: float, unclear: Callable[[np.ndarray], str | None]
) -> tuple[dict[str, Coefficient], np.ndarray]:
    """The named coefficients and their correlation `(k, k)`; `unclear` says why the one with these derivatives `(P,)` has no interval."""
    values = {name: float(value) for name, value in shooting.unknowns(theta).items()}
    names, slopes = tuple(values), _slopes(shooting, theta)
    spread_of = slopes @ covariance @ slopes.T
    errors, correlation = np.sqrt(np.maximum(np.diag(spread_of), 0.0)), _correlation(spread_of)
    quantile = float(stdtrit(max(left, 1.0), 0.5 * (1 + LEVEL)))
    coefficients = {}
    for number, name in enumerate(names):
        value, error, reason = values[name], float(errors[number]), unclear(slopes[number])
        if reason:
            coefficients[name] = Coefficient(value, None, None, None, reason)
            correlation[number] = correlation[:, number] = np.nan
            continue
        partners = [names[other] for other in np.flatnonzero(np.abs(correlation[number]) > TOGETHER) if other != number]
        coefficients[name] = Coefficient(
            value, error, *_interval(shooting, name, value, error, quantile), _weakness(value, error, partners)
        )
    return coefficients, correlation


def as_it_is(shooting: Shooting, theta: Array | np.ndarray, misfits: np.ndarray) -> Refit:
    """A network as it was trained: the noise from its misfit, the covariance from the curvature of data and prior together.

    That is Laplace's approximation, and the noise is corrected for the numbers that the data determine (MacKay 1992, Neural Comput. 4,
    448-472). Unknown coefficients beside the network have the intervals that it leaves them: what it could do as well, no data tell.
    The covariance is zero beyond `DENSE_LIMIT` numbers, and where the solver does not reach all measured times.
    """
    theta, sigma, left = np.asarray(theta), shooting.sigma, float("nan")
    size = theta.size
    covariance = np.zeros((size, size))
    linearise = jax.jit(shooting.linearise)
    reason = None if size <= DENSE_LIMIT else "the network beside it has no covariance"
    if reason is None:
        rows, jacobian = linearise(theta, sigma)
        reason = UNREACHED if shooting.lost(rows) else None
        left = _laplace(shooting, jacobian)[1] if reason is None else left
    known = reason is None
    sigma = noise_level(shooting, misfits, left if known else float(shooting.measured))
    if known:
        covariance, left = _laplace(shooting, linearise(theta, sigma)[1])
    coefficients, correlation = _coefficients(shooting, theta, covariance, left if known else 1.0, lambda _: reason)
    return Refit(theta, np.asarray(sigma), coefficients, correlation, covariance, left, True, 0)


def _laplace(shooting: Shooting, jacobian: Array) -> tuple[np.ndarray, float]:
    """The covariance `(P, P)` under data and prior, and the degrees of freedom that are left."""
    rows = np.asarray(jacobian)
    before = np.full(rows.shape[1], FAINT)
    before[: shooting.field_size] = np.maximum(np.asarray(shooting.precisions), FAINT)
    root = np.linalg.inv(np.linalg.qr(np.concatenate([rows, np.diag(before)]), mode="r"))
    used = rows[np.asarray(shooting.measured_rows())] @ root
    return root @ root.T, float(shooting.measured - np.sum(used**2))


def recall(
    shooting: Shooting,
    theta: np.ndarray,
    covariance: np.ndarray,
    coefficients: Mapping[str, Mapping[str, Any]],
    degrees: float,
    converged: bool,
) -> Refit:
    """A refit from what was kept of it."""
    slopes = _slopes(shooting, theta)
    named = {name: Coefficient(*(row[part] for part in Coefficient._fields)) for name, row in coefficients.items()}
    sigma = np.asarray(shooting.sigma)
    return Refit(theta, sigma, named, _correlation(slopes @ covariance @ slopes.T), covariance, degrees, converged, 0)


def noise_level(shooting: Shooting, misfits: np.ndarray, left: float) -> Array:
    """`(channels,)`: root mean square misfit per channel, corrected for the share of degrees of freedom that the fit has used."""
    counts = np.maximum(shooting.windows.mask.sum(axis=(0, 1)), 1)
    share = np.clip(left / shooting.measured, 1.0 / shooting.measured, 1.0)
    level = np.sqrt(np.sum(misfits**2, axis=(0, 1)) / (counts * share))
    sizes = np.asarray(shooting.channel_size)
    return jnp.asarray(np.maximum(level, QUIETEST * sizes), shooting.dtype)


def _slopes(shooting: Shooting, theta: np.ndarray) -> np.ndarray:
    """Derivatives `(k, P)` of the named coefficients."""
    if not shooting.unknowns(theta):
        return np.zeros((0, theta.size))
    slopes = jax.jit(jax.jacobian(lambda theta: jnp.stack(list(shooting.unknowns(theta).values()))))
    return np.asarray(slopes(put(theta, shooting.dtype)))


def _degrees(shooting: Shooting, jacobian: np.ndarray) -> float:
    """Measured values minus the trace of the part of the hat matrix that belongs to them."""
    columns = np.linalg.norm(jacobian, axis=0)
    left, sizes, _ = np.linalg.svd(jacobian / np.where(columns > 0, columns, 1.0), full_matrices=False)
    used = left[shooting.measured_rows()][:, sizes > 1e-10 * sizes[0]]
    return float(shooting.measured - np.sum(used**2))


def _correlation(covariance: np.ndarray) -> np.ndarray:
    errors = np.sqrt(np.diag(covariance))
    with np.errstate(divide="ignore", invalid="ignore"):
        return covariance / np.outer(errors, errors)


def _interval(shooting: Shooting, name: str, value: float, error: float, quantile: float) -> tuple[float, float]:
    """On the scale on which the coefficient is trained, so that a positive one has a positive interval."""
    unknown = shooting.field.unknowns().get(name)
    if unknown is not None and unknown.positive:
        factor = float(np.exp(min(quantile * error / value, 700.0)))
        return value / factor, value * factor
    lower, upper = value - quantile * error, value + quantile * error
    if unknown is not None and unknown.lower is not None and unknown.upper is not None:
        return max(lower, unknown.lower), min(upper, unknown.upper)
    return lower, upper


def _weakness(value: float, error: float, partners: list[str]) -> str | None:
    if partners:
        return f"only known in combination with {', '.join(partners)}"
    if error >= VAGUE * abs(value):
        return "hardly determined by these data: the standard error is as large as the value"
    return None
