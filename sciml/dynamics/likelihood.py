"""The likelihood of a sparse model given the measured trajectories: states of short windows are estimated with the coefficients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.linalg import LinAlgError, cho_solve_banded, cholesky_banded

from sciml.dynamics.integrate import RUNGE_KUTTA
from sciml.dynamics.library import Library
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.smoothing import Smoothed

WINDOW = 8
"""Time steps per window, where there are enough for FEWEST_WINDOWS."""

FEWEST_WINDOWS = 8
LEAP = 0.1
"""How far neighbouring windows may lie apart, in standard deviations of the noise."""

TIES, TIE = 3, 0.1
"""How often, and by what factor, the gaps of the model found are closed."""

STEPS, JOINING_STEPS = 12, 40

DIGITS = 1e-4
"""Accuracy, relative to a channel's spread, beyond which measurements are not believed: smooth errors of an instrument or a
simulation would otherwise count as evidence for small terms."""

SUBSTEPS = 2
MOST_SUBSTEPS = 64
INACCURACY = 1e-3
"""Share of the sum of squares by which it may depend on the integration step."""

PADDING = 16
"""Numbers of windows are rounded up to multiples of it, so that compiled code is shared."""

BUNDLES = (8, 32)
"""Numbers of coefficients that are followed through the windows are rounded up to one of these, or to all, for the same reason."""

KnownField = Callable[[Array], Array]
"""The part of the right-hand side that is known: variables `(..., variables)` -> `(..., states)`; made of jax.numpy."""


class Windows(NamedTuple):
    """All trajectories, cut into windows of equally many steps; the last one of a trajectory repeats its last time."""

    times: np.ndarray
    """`(W, w + 1)`."""
    values: np.ndarray
    """`(W, w + 1, states)`."""
    weights: np.ndarray
    """`(W, w + 1, states)`: one over the noise where a value belongs to this window, else zero."""
    controls: np.ndarray
    """`(W, w + 1, controls)`."""
    linked: np.ndarray
    """`(W,)`: True where the next window continues this one."""
    starts: np.ndarray
    """`(W, states)`: smoothed states where the windows begin."""
    leap: np.ndarray
    """`(states,)`: scale of the gaps between windows."""
    unpadded: int
    """Windows that are not padding."""
    substeps: int
    """Integration steps per time step that a fit begins with."""


class Quadratic(NamedTuple):
    """`squares + 2 gradient' d + d' matrix d`: the sum of squares near the current coefficients when the states follow along."""

    squares: float
    gradient: np.ndarray
    matrix: np.ndarray


@dataclass(frozen=True, eq=False)
class Fit:
    """Coefficients and window states that were fitted to `windows`."""

    library: Library
    windows: Windows
    known: KnownField | None
    substeps: int
    coefficients: np.ndarray
    """`(terms, states)`."""
    starts: np.ndarray
    squares: float
    """Sum of squared residuals and gaps, in units of the noise's variance; infinite where the model cannot be integrated."""

    @property
    def points(self) -> int:
        """Measured values."""
        return int((self.windows.weights > 0).sum())

    @cached_property
    def quadratic(self) -> Quadratic:
        """The quadratic model of the sum of squares over all candidate coefficients, zero or not."""
        size = self.coefficients.size
        pieces = _linearised(self, np.arange(size))
        if not np.isfinite(pieces.squares):
            return Quadratic(np.inf, np.zeros(size), np.eye(size))
        _, matrix, gradient = _eliminated(self.windows, pieces, 0.0)
        response = matrix[:size, size:] @ np.linalg.pinv(matrix[size:, size:], hermitian=True)
        return Quadratic(
            pieces.squares, gradient[:size] - response @ gradient[size:], matrix[:size, :size] - response @ matrix[size:, :size]
        )

    def least_squares(self) -> tuple[np.ndarray, np.ndarray]:
        """The quadratic model as `|target - design @ coefficients|^2` (and a constant) over all candidate coefficients."""
        scale = np.sqrt(np.maximum(np.diag(self.quadratic.matrix), 1e-300))
        values, vectors = np.linalg.eigh(self.quadratic.matrix / np.outer(scale, scale))
        roots = np.sqrt(np.maximum(values, 1e-13 * values[-1]))
        design = roots[:, None] * vectors.T * scale
        pull = (vectors.T @ (self.quadratic.gradient / scale)) / roots
        return design, design @ self.coefficients.ravel() - pull

    def covariance(self, support: np.ndarray) -> np.ndarray:
        """Gauss-Newton covariance of the coefficients in `support` (flat indices), with the noise scaled to the residuals."""
        matrix = self.quadratic.matrix[np.ix_(support, support)]
        scale = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
        inverse = np.linalg.pinv(matrix / np.outer(scale, scale), hermitian=True) / np.outer(scale, scale)
        return inverse * max(self.squares / max(self.points - len(support), 1), 1e-30)


def cut(series: TimeSeries, smoothed: Smoothed) -> Windows:
    """The windows of a series, their states started from the smoothed ones."""
    shortest = min(len(times) for times in series.times)
    width = max(1, min(WINDOW, (shortest - 1) // FEWEST_WINDOWS))
    least = believed(series, smoothed.noise)
    states = [smoothed.states(index, times) for index, times in enumerate(series.times)]
    deviations = [np.maximum(smoothed.noise_at(index, times), believed(series)) for index, times in enumerate(series.times)]
    return windows_of(series, width, states, deviations, least, SUBSTEPS)


def believed(series: TimeSeries, noise: np.ndarray | float = 0.0) -> np.ndarray:
    """`noise`, but no less than what measurements are believed to."""
    return np.maximum(noise, DIGITS * np.nanstd(np.concatenate(series.values), axis=0))


def windows_of(
    series: TimeSeries, width: int, states: Sequence[np.ndarray], deviations: Sequence[np.ndarray], noise: np.ndarray, substeps: int
) -> Windows:
    """Windows of `width` time steps; `states` and `deviations` of the measurements are `(n, states)` per trajectory."""
    parts: list[list[np.ndarray]] = [[] for _ in range(6)]
    for times, values, controls, begin, deviation in zip(series.times, series.values, series.controls, states, deviations, strict=True):
        first = np.arange(0, len(times) - 1, width)
        rows = np.minimum(first[:, None] + np.arange(width + 1), len(times) - 1)
        own = np.diff(np.concatenate([rows, rows[:, -1:] + 1], axis=1), axis=1) > 0
        own[:-1, -1] = False
        measured = np.isfinite(values)[rows] & own[:, :, None]
        linked = np.arange(len(first)) < len(first) - 1
        pieces = (times[rows], np.nan_to_num(values)[rows], measured / deviation[rows], controls[rows], linked, begin[first])
        for part, piece in zip(parts, pieces, strict=True):
            part.append(piece)
    return _padded([np.concatenate(part) for part in parts], LEAP * noise, substeps, PADDING)


def _padded(arrays: list[np.ndarray], leap: np.ndarray, substeps: int, padding: int) -> Windows:
    count = len(arrays[0])
    arrays = [np.concatenate([each, np.repeat(each[-1:], -count % padding, axis=0)]) for each in arrays]
    arrays[2][count:] = 0.0
    arrays[4][count:] = False
    return Windows(*arrays, leap=leap, unpadded=count, substeps=substeps)


def selected(windows: Windows, chosen: np.ndarray) -> Windows:
    """The chosen of windows of single steps; where the next one is left out, a window keeps the value at its end."""
    rows = np.flatnonzero(chosen)
    linked = windows.linked[rows] & np.append(np.diff(rows) == 1, False)
    weights = windows.weights[rows].copy()
    broken = windows.linked[rows] & ~linked
    weights[broken, 1] = windows.weights[rows[broken] + 1, 0]
    arrays = [each[rows] for each in windows[:6]]
    arrays[2], arrays[4] = weights, linked
    return _padded(arrays, windows.leap, windows.substeps, PADDING << max(0, (len(rows) - 1) // PADDING).bit_length())


def maximise(library: Library, windows: Windows, coefficients: np.ndarray, known: KnownField | None = None, steps: int = STEPS) -> Fit:
    """Levenberg-Marquardt on the non-zero coefficients, the scales inside Hill functions and all window states together.

    Every window starts from its own state, so that a model that is unstable, chaotic or still wrong is followed only for a few time
    steps (multiple shooting: Bock 1983); gaps between windows are penalised on the scale `windows.leap`. Derivatives come from the
    variational equations, integrated with the states. States are eliminated, so each step costs a banded solve.
    """
    return maximised(Fit(library, windows, known, windows.substeps, coefficients, windows.starts, np.inf), steps)


def again(fit: Fit, coefficients: np.ndarray) -> Fit:
    """The fit that `maximise` reaches from the states of another one, and from other coefficients."""
    return maximised(replace(fit, coefficients=coefficients), STEPS)


def joined(fit: Fit) -> Fit:
    """The fit with its windows tied ever closer, up to one solution per trajectory.

    Gaps between windows help the search, but they forgive small errors of the coefficients, and terms that are missing, which one
    solution through all the data would show.
    """
    for _ in range(TIES):
        fit = maximised(replace(fit, windows=fit.windows._replace(leap=TIE * fit.windows.leap)), JOINING_STEPS)
    return fit


def maximised(fit: Fit, steps: int) -> Fit:
    """The fit that at most `steps` of Levenberg-Marquardt reach from another one."""
    support = np.flatnonzero(fit.coefficients.ravel())
    pieces = _linearised(fit, support)
    damping = 1e-3
    for _ in range(steps):
        if not np.isfinite(pieces.squares):
            break
        before = pieces.squares
        for _ in range(6):
            change, moved = _step(fit.windows, pieces, damping)
            coefficients = fit.coefficients.copy().ravel()
            coefficients[support] += change[: len(support)]
            library = fit.library.scaled(fit.library.scales * np.exp(np.clip(change[len(support) :], -1, 1)))
            trial = replace(fit, library=library, coefficients=coefficients.reshape(fit.coefficients.shape), starts=fit.starts + moved)
            attempt = _linearised(trial, support)
            if attempt.squares < pieces.squares:
                fit, pieces = trial, attempt
                damping = max(damping / 10, 1e-12)
                break
            damping *= 10
        else:
            break
        if before - pieces.squares < 1e-4 * (1 + pieces.squares):
            finer = replace(fit, substeps=2 * fit.substeps)
            found = _linearised(finer, support)
            if fit.substeps >= MOST_SUBSTEPS or abs(found.squares - pieces.squares) < INACCURACY * (1 + pieces.squares):
                break
            fit, pieces = finer, found
    return replace(fit, squares=pieces.squares)


def paths(fit: Fit, windows: Windows) -> np.ndarray:
    """The fit's model from the starts of any windows, `(windows, times, states)`; not finite where it runs away."""
    arrays = (windows.times, windows.controls, windows.starts, fit.coefficients, np.asarray(fit.library.scales), float(fit.substeps))
    return np.asarray(_paths(fit.library.structure, fit.known, *(jnp.asarray(each) for each in arrays)))[: windows.unpadded]


@partial(jax.jit, static_argnums=(0, 1))
def _paths(
    library: Library, known: KnownField | None, times: Array, controls: Array, starts: Array, coefficients: Array, scales: Array,
    substeps: Array,
) -> Array:  # fmt: skip
    nobody = jnp.zeros(0, dtype=int)
    return jax.vmap(partial(_shoot, library, known, coefficients, nobody, scales, substeps))(times, controls, starts)[0]


def states_of(fit: Fit, series: TimeSeries) -> tuple[np.ndarray, ...]:
    """The fitted states at the measured times, `(n, states)` per trajectory; at the start of a window its own."""
    found = paths(fit, fit.windows._replace(starts=fit.starts))
    width, first, parts = found.shape[1] - 1, 0, []
    for times in series.times:
        count = len(range(0, len(times) - 1, width))
        states = found[first : first + count]
        parts.append(np.concatenate([states[:, :-1].reshape(-1, states.shape[-1]), states[-1, -1:]])[: len(times)])
        first += count
    return tuple(parts)


def residuals(fit: Fit) -> np.ndarray:
    """Root mean squares of what is measured where windows start, around the fitted starts: `(states,)`."""
    there = fit.windows.weights[:, 0] > 0
    missed = np.where(there, fit.starts - fit.windows.values[:, 0], 0.0)
    return np.sqrt((missed**2).sum(axis=0) / np.maximum(there.sum(axis=0), 1))


class _Pieces(NamedTuple):
    """Residuals' products per window; A: states, B: states by coefficients, C: coefficients."""

    squares: float
    diagonal: np.ndarray
    """`(W, d, d)`."""
    coupling: np.ndarray
    """`(W, d, d)`: block between a window and the next."""
    border: np.ndarray
    """`(W, d, q)`."""
    corner: np.ndarray
    """`(q, q)`."""
    gradient_states: np.ndarray
    gradient_coefficients: np.ndarray


def _linearised(fit: Fit, support: np.ndarray) -> _Pieces:
    """Residuals and their products; derivatives by the coefficients at the flat indices `support`, then by the scales' logarithms."""
    library, windows, coefficients = fit.library, fit.windows, fit.coefficients
    bundle = min((size for size in BUNDLES if size >= len(support)), default=coefficients.size)
    followed = np.pad(support, (0, bundle - len(support)))
    scales = np.asarray(library.scales)
    kept = np.concatenate([np.arange(len(support)), np.arange(len(followed), len(followed) + len(scales))])
    arrays = (windows.times, windows.values, windows.weights, windows.controls, windows.linked, windows.leap, float(fit.substeps))
    found = _normal_equations(
        library.structure, fit.known, *(jnp.asarray(each) for each in (*arrays, coefficients, fit.starts, followed, scales))
    )
    squares, diagonal, coupling, border, corner, pull, slope = (np.asarray(each) for each in found)
    rest = (diagonal, coupling, border[:, :, kept], corner[np.ix_(kept, kept)], pull, slope[kept])
    finite = bool(np.isfinite(squares)) and all(np.isfinite(each).all() for each in rest)
    return _Pieces(float(squares) if finite else np.inf, *rest)


@partial(jax.jit, static_argnums=(0, 1))
def _normal_equations(
    library: Library, known: KnownField | None, times: Array, values: Array, weights: Array, controls: Array, linked: Array,
    leap: Array, substeps: Array, coefficients: Array, starts: Array, followed: Array, scales: Array,
) -> tuple[Array, ...]:  # fmt: skip
    shoot = partial(_shoot, library, known, coefficients, followed, scales, substeps)
    states, by_start, by_coefficients = jax.vmap(shoot)(times, controls, starts)
    windows, points, count = states.shape
    size = by_coefficients.shape[-1]
    residual = (weights * (states - values)).reshape(windows, points * count)
    to_start = (weights[..., None] * by_start).reshape(windows, points * count, count)
    to_coefficients = (weights[..., None] * by_coefficients).reshape(windows, points * count, size)
    linking = linked.astype(states.dtype)[:, None] / leap[None, :]
    gap = linking * (jnp.roll(starts, -1, axis=0) - states[:, -1])
    gap_start = -linking[..., None] * by_start[:, -1]
    gap_coefficients = -linking[..., None] * by_coefficients[:, -1]
    gap_next = linking[..., None] * jnp.eye(count, dtype=states.dtype)[None]
    product = partial(jnp.einsum, "wri,wrj->wij")
    diagonal = product(to_start, to_start) + product(gap_start, gap_start) + jnp.roll(product(gap_next, gap_next), 1, axis=0)
    border = product(to_start, to_coefficients) + product(gap_start, gap_coefficients)
    border = border + jnp.roll(product(gap_next, gap_coefficients), 1, axis=0)
    rows = jnp.concatenate([to_coefficients, gap_coefficients], axis=1).reshape(-1, size)
    all_residuals = jnp.concatenate([residual, gap], axis=1)
    pull = jnp.einsum("wri,wr->wi", to_start, residual) + jnp.einsum("wri,wr->wi", gap_start, gap)
    pull = pull + jnp.roll(jnp.einsum("wri,wr->wi", gap_next, gap), 1, axis=0)
    squares = jnp.sum(all_residuals**2)
    return squares, diagonal, product(gap_start, gap_next), border, rows.T @ rows, pull, rows.T @ all_residuals.reshape(-1)


def _shoot(
    library: Library, known: KnownField | None, coefficients: Array, followed: Array, scales: Array, substeps: Array, times: Array,
    controls: Array, start: Array,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """One window: states at its times, derivatives by the start, and by the coefficients `followed` and the logarithms of `scales`.

    Derivatives follow from the variational equations (Hairer, Norsett & Wanner 1993, I.14), integrated with the states by the
    classical Runge-Kutta method, `substeps` steps between neighbouring times. The four stages are one loop: compilation is short.
    """
    count, size = start.shape[0], followed.size + scales.size
    rows = jax.nn.one_hot(followed % count, count, axis=0, dtype=start.dtype)

    def field(state: Array, inputs: Array) -> tuple[Array, tuple[Array, Array]]:
        variables = jnp.concatenate([state, inputs])
        terms = library(variables, scales)
        value = terms @ coefficients if known is None else terms @ coefficients + known(variables)
        return value, (value, terms)

    def slope(pair: Array, inputs: Array) -> Array:
        state, sensitivity = pair[:, 0], pair[:, 1:]
        jacobian, (value, terms) = jax.jacfwd(field, has_aux=True)(state, inputs)
        stretched = jax.jacfwd(lambda logs: library(jnp.concatenate([state, inputs]), scales * jnp.exp(logs)) @ coefficients)
        by_scales = stretched(jnp.zeros_like(scales)) if scales.size else jnp.zeros((count, 0), dtype=start.dtype)
        forced = jnp.concatenate([jnp.zeros_like(jacobian), rows * terms[None, followed // count], by_scales], axis=1)
        return jnp.concatenate([value[:, None], jacobian @ sensitivity + forced], axis=1)

    def across(pair: Array, ends: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        first, last, before, after = ends
        step = (last - first) / substeps

        def one(index: Array, pair: Array) -> Array:
            def stage(carry: tuple[Array, Array], weights: Array) -> tuple[tuple[Array, Array], None]:
                total, previous = carry
                share = (index.astype(pair.dtype) + weights[0]) / substeps
                found = slope(pair + weights[0] * step * previous, before + share * (after - before))
                return (total + weights[1] * step * found, found), None

            return jax.lax.scan(stage, (pair, jnp.zeros_like(pair)), jnp.array(RUNGE_KUTTA, dtype=pair.dtype))[0][0]

        after_all = jax.lax.fori_loop(0, substeps.astype(int), one, pair)
        return after_all, after_all

    begin = jnp.concatenate([start[:, None], jnp.eye(count, dtype=start.dtype), jnp.zeros((count, size), dtype=start.dtype)], axis=1)
    _, later = jax.lax.scan(across, begin, (times[:-1], times[1:], controls[:-1], controls[1:]))
    path = jnp.concatenate([begin[None], later])
    return path[:, :, 0], path[:, :, 1 : count + 1], path[:, :, count + 1 :]


def _factor(windows: Windows, pieces: _Pieces, damping: float) -> np.ndarray:
    """Cholesky factor of the states' block-tridiagonal matrix in banded storage."""
    count = windows.unpadded
    states = pieces.diagonal.shape[1]
    size = count * states
    banded = np.zeros((2 * states, size))
    diagonal = pieces.diagonal[:count].copy()
    corner = np.einsum("wii->wi", diagonal)
    corner *= 1 + damping
    corner += 1e-12 * corner.max(axis=0)  # of each state, whatever its unit
    for row in range(states):
        for column in range(row + 1):
            banded[row - column, column::states] = diagonal[:, row, column]
        for column in range(states):  # block (next, this) = coupling'
            banded[states + row - column, column : size - states : states] = pieces.coupling[: count - 1, column, row]
    return cholesky_banded(banded, lower=True)


def _eliminated(windows: Windows, pieces: _Pieces, damping: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(solutions for states per coefficient and for the gradient, reduced matrix, reduced gradient) of the coefficients followed."""
    pull = pieces.gradient_states[: windows.unpadded].reshape(-1)
    border = pieces.border[: windows.unpadded].reshape(len(pull), -1)
    solved = cho_solve_banded((_factor(windows, pieces, damping), True), np.concatenate([border, pull[:, None]], axis=1))
    matrix = pieces.corner - border.T @ solved[:, :-1]
    return solved, (matrix + matrix.T) / 2, pieces.gradient_coefficients - border.T @ solved[:, -1]


def _step(windows: Windows, pieces: _Pieces, damping: float) -> tuple[np.ndarray, np.ndarray]:
    moved = np.zeros(pieces.gradient_states.shape)
    try:
        solved, matrix, gradient = _eliminated(windows, pieces, damping)
        scale = np.sqrt(np.maximum(np.diag(pieces.corner), 1e-300))
        system = matrix / np.outer(scale, scale) + (damping + 1e-14) * np.eye(len(scale))
        change = -np.linalg.solve(system, gradient / scale) / scale
    except (LinAlgError, np.linalg.LinAlgError):
        return np.full(len(pieces.gradient_coefficients), np.nan), moved
    moved[: windows.unpadded] = -(solved[:, -1] + solved[:, :-1] @ change).reshape(windows.unpadded, -1)
    return change, moved
