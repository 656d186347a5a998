"""What comes next, with bands from parameters and noise; how good it is where it can be checked, and beside what is trivial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sciml.dynamics.integrate import Failure, failure, integrate
from sciml.dynamics.refit import LEVEL, Refit
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.shooting import Shooting
from sciml.errors import ProblemError

DRAWS = 400
"""Draws from the distribution of the fit."""

VALID = 30.0
"""Symmetric percentage error, over all times so far, beyond which a forecast is no longer valid (Gilpin 2021)."""

FLAT = 0.1
"""Predictions that vary less than this share of the measured variation, while the data vary, are a flat line."""

MEMORY = 1.2
"""Squared steps over squared deviations (von Neumann 1941), two for noise alone, below which data have a course in time."""

BASELINES = ("constant", "persistence", "linear")


class Band(NamedTuple):
    """A forecast of one trajectory: at `times` `(n,)`, arrays `(n, channels)`."""

    times: np.ndarray
    values: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    states: np.ndarray
    """`(n, states)`."""
    lost: float
    """Share of the draws whose solution did not reach the end; they are left out of the bands."""
    failure: Failure | None


class Score(NamedTuple):
    """How good predictions are: over all channels, whatever their units, and channel by channel."""

    nrmse: float
    """Root mean square error, that of each channel in standard deviations of what was learned from."""
    r2: float
    """Share of the variance that is explained, on that scale."""
    smape: float
    """Symmetric mean absolute percentage error, 0 to 200."""
    channels: dict[str, dict[str, float]]
    """`rmse` of each in its own units, `r2` and `smape`."""


def forecast(shooting: Shooting, fit: Refit, trajectory: int, times: np.ndarray, controls: np.ndarray | None = None, seed: int = 0) -> Band:
    """The continuation of a trajectory at `times` (increasing; they may begin before its end), with its `LEVEL` band of new measurements.

    Starts from the estimated state of the trajectory's last window. The band comes from draws of all parameters and that state
    from the normal distribution of the fit, with noise added; those of a network move the forecast as its derivatives say, for in most of
    its directions they are far beyond where these hold for anything else (Immer, Korzepa & Bauer 2021, AISTATS 130, 703-711).
    `controls` `(n, controls)` at `times`; where not given, those of the series, the last ones held beyond it. Raises `ProblemError` for
    times before that window, and for controls of another shape.
    """
    times = np.asarray(times, float)
    windows, past = shooting.windows, shooting.series.times[trajectory]
    last = int(np.flatnonzero(windows.trajectory == trajectory)[-1])
    begin = float(windows.times[last, 0])
    if times[0] < begin:
        raise ProblemError(f"forecast: it begins at t = {begin:g}, where the last window of the fit does, not at {times[0]:g}")
    measured = shooting.series.controls[trajectory].T
    given = _controls(controls, len(times), len(measured))
    grid, where = np.unique(np.concatenate([past[past >= begin], times]), return_inverse=True)
    place = where[-len(times) :]
    before = past < times[0] if given is not None else np.full(len(past), True)
    at = past if given is None else np.concatenate([past[before], times])
    columns = measured if given is None else np.concatenate([measured[:, before], given.T], axis=1)
    inputs = np.stack([np.interp(grid, at, column) for column in columns], axis=1) if len(columns) else np.zeros((len(grid), 0))
    own = np.concatenate([np.arange(shooting.field_size), shooting.field_size + last * shooting.states + np.arange(shooting.states)])
    random = np.random.default_rng(seed)
    moves = random.standard_normal((DRAWS, own.size)) @ _root(fit.covariance[np.ix_(own, own)]).T
    centre, ahead = jnp.asarray(fit.theta[own]), lambda own: _continue(shooting, own, last, jnp.asarray(grid), jnp.asarray(inputs))
    if shooting.has_prior:
        scaled = lambda own: shooting.noise.scale(ahead(own)[1])  # noqa: E731
        (path, values), slopes = jax.jit(lambda own: (ahead(own), jax.jacfwd(scaled)(own)))(centre)
        drawn = shooting.noise.inverse(shooting.noise.scale(values)[None] + jnp.einsum("ncp,dp->dnc", slopes, jnp.asarray(moves)))
    else:
        paths, shown = jax.jit(jax.vmap(ahead))(jnp.concatenate([centre[None], fit.theta[own][None] + moves]))
        path, values, drawn = jax.tree.map(lambda leaf: leaf[0], paths), shown[0], shown[1:]
    many = np.asarray(drawn)[:, place]
    kept = np.isfinite(many).all(axis=(1, 2))
    lower, upper = _bands(shooting, fit, many[kept], random)
    return Band(
        times, np.asarray(values)[place], lower, upper, np.asarray(path.states)[place], 1 - float(kept.mean()),
        failure(path, grid),
    )  # fmt: skip


def inside(bands: Sequence[Band], held_out: TimeSeries) -> tuple[int, int]:
    """How many measured values lie in the bands, and how many there are; where a forecast does not get to, none lies inside."""
    pairs = list(zip(bands, held_out.values, strict=True))
    within = sum(int(np.sum((values >= band.lower) & (values <= band.upper))) for band, values in pairs)
    return within, sum(int(np.sum(~np.isnan(values))) for _, values in pairs)


def score(predicted: np.ndarray, measured: np.ndarray, learned: TimeSeries) -> Score:
    """Of predictions `(n, channels)` against measurements with NaN where there is none; `learned` is what was learned from.

    NaN where a prediction is not finite, and of a channel that was not measured at all.
    """
    there, spread = ~np.isnan(measured), np.nanstd(np.concatenate(learned.values), axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        mean = np.nansum(measured, axis=0) / there.sum(axis=0)
        error = np.where(there, np.where(np.isfinite(predicted), predicted, np.nan) - measured, 0.0)
        parts = (
            (error / spread) ** 2,
            np.where(there, (measured - mean) / spread, 0.0) ** 2,
            np.where(error == 0, 0.0, 200 * np.abs(error) / (np.abs(predicted) + np.abs(measured))),
            there,
        )
        sums = [part.sum(axis=0) for part in parts]
        nrmse, r2, smape = map(float, _rates(*(np.sum(each) for each in sums)))
        columns = dict(zip(("rmse", "r2", "smape"), _rates(*sums), strict=True))
    columns["rmse"] = columns["rmse"] * spread
    channels = {name: {what: float(row[number]) for what, row in columns.items()} for number, name in enumerate(learned.names)}
    return Score(nrmse, r2, smape, channels)


def _rates(squares: np.ndarray, variation: np.ndarray, percentages: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, ...]:
    """Root mean square error, R2 and sMAPE from sums over measured values."""
    return np.sqrt(squares / count), 1 - squares / np.where(variation > 0, variation, np.nan), percentages / count


def valid_time(start: float, times: np.ndarray, predicted: np.ndarray, measured: np.ndarray) -> float:
    """How long after `start`, the last time that was learned from, the running symmetric error stays up to `VALID`."""
    there, reached = ~np.isnan(measured), np.isfinite(predicted)
    predicted = np.where(reached, predicted, 0.0)
    size = np.abs(predicted) + np.abs(np.nan_to_num(measured))
    relative = np.where(there & (size > 0), 200 * np.abs(predicted - np.nan_to_num(measured)) / np.where(size > 0, size, 1.0), 0.0)
    relative = np.where(reached, relative, np.inf)
    running = np.cumsum(relative.sum(axis=1)) / np.maximum(np.cumsum(there.sum(axis=1)), 1)
    held = int(np.argmax(np.append(running, np.inf) > VALID))
    return float(np.append(start, times)[held] - start)


def baselines(series: TimeSeries, trajectory: int, times: np.ndarray) -> dict[str, np.ndarray]:
    """What needs no model, `(n, channels)` each: the mean, the last value, and the straight line through each channel.

    NaN for a channel that was never measured on this trajectory.
    """
    values, at = series.values[trajectory], series.times[trajectory]
    columns: dict[str, list[np.ndarray]] = {name: [] for name in BASELINES}
    for column in values.T:
        there = ~np.isnan(column)
        if not there.any():
            for parts in columns.values():
                parts.append(np.full(len(times), np.nan))
            continue
        line = np.polynomial.Polynomial.fit(at[there], column[there], min(1, int(there.sum()) - 1))
        columns["constant"].append(np.full(len(times), column[there].mean()))
        columns["persistence"].append(np.full(len(times), column[there][-1]))
        columns["linear"].append(line(times))
    return {name: np.stack(parts, axis=1) for name, parts in columns.items()}


def flat_channels(series: TimeSeries, predicted: Sequence[np.ndarray], noise: np.ndarray | float = 0.0) -> tuple[str, ...]:
    """Channels whose data go up and down in time, by more than `noise` `(channels,)`, where predictions, `(n, channels)` each, do not."""
    found, noise = [], np.broadcast_to(noise, series.channels)
    for channel, name in enumerate(series.names):
        measured = [values[:, channel][~np.isnan(values[:, channel])] for values in series.values]
        data = [column for column in measured if column.size]
        squares = sum(float(np.sum((column - column.mean()) ** 2)) for column in data)
        steps = sum(float(np.sum(np.diff(column) ** 2)) for column in data)
        varied = sum(float(np.sum((values[:, channel] - values[:, channel].mean()) ** 2)) for values in predicted)
        loud = squares > noise[channel] ** 2 * sum(column.size for column in data)
        if loud and steps < MEMORY * squares and varied < FLAT**2 * squares:
            found.append(name)
    return tuple(found)


def _controls(given: np.ndarray | None, times: int, count: int) -> np.ndarray | None:
    """A user's controls as `(times, count)`."""
    if given is None:
        return None
    found = np.asarray(given, float)
    found = found[:, None] if found.ndim == 1 and count == 1 else found
    if found.shape != (times, count):
        raise ProblemError(
            f"forecast: controls of shape {found.shape}; give one row per time and one column per control, ({times}, {count})"
        )
    return found


def _continue(shooting: Shooting, own: jax.Array, window: int, times: jax.Array, controls: jax.Array) -> tuple:
    field = shooting.field_of(own)
    free = shooting._state(own[shooting.field_size :], shooting.anchors[window])
    start = field.start(free) if bool(shooting.windows.first[window]) else free
    path = integrate(field, times, start, controls, shooting.scale, shooting.integrator)
    return path, jax.vmap(field.observe)(path.states)


def _bands(shooting: Shooting, fit: Refit, drawn: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    if not len(drawn):
        empty = np.full(drawn.shape[1:], np.nan)
        return empty, empty
    scaled = np.asarray(shooting.noise.scale(jnp.asarray(drawn))) + fit.sigma * random.standard_normal(drawn.shape)
    noisy = np.asarray(shooting.noise.inverse(jnp.asarray(scaled)))
    tail = 0.5 * (1 - LEVEL)
    return np.quantile(noisy, tail, axis=0), np.quantile(noisy, 1 - tail, axis=0)


def _root(covariance: np.ndarray) -> np.ndarray:
    """A square root of a covariance that may be singular; not a number where a fit that went nowhere has none."""
    if not np.isfinite(covariance).all():
        return np.full_like(covariance, np.nan)
    sizes, vectors = np.linalg.eigh(0.5 * (covariance + covariance.T))
    return vectors * np.sqrt(np.maximum(sizes, 0.0))
