"""Multiple shooting: windows whose starting states are estimated, not read off noisy data, and a penalty where they do not join."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from sciml.device import put, random_key
from sciml.dynamics.integrate import RUNAWAY, Path, integrate, interpolate, runge_kutta
from sciml.dynamics.noise import Noise
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.vector_fields import VectorField, precisions
from sciml.nets.model import flattened, trainable_mask
from sciml.objective import MICRO_BATCHES, Evaluation, Instance, Validation
from sciml.settings import Integrator

LOST = 1e3
"""Residual, in standard deviations, of a value that the solver did not reach: large enough that no optimiser goes there."""

FORWARD = 40
"""Numbers per window up to which its derivatives are taken forwards, in one pass; beyond, backwards with checkpoints."""


class Windows(NamedTuple):
    """All windows of all trajectories in arrays of one shape; `W` windows of `m` times."""

    times: np.ndarray
    """`(W, m)`; past the end the last time is repeated."""
    values: np.ndarray
    """`(W, m, channels)`, zero where nothing was measured."""
    mask: np.ndarray
    """`(W, m, channels)`. The last time of a window that another follows belongs to that one."""
    controls: np.ndarray
    """`(W, m, controls)`."""
    first: np.ndarray
    """`(W,)`: whether it begins a trajectory."""
    linked: np.ndarray
    """`(W,)`: whether the next window goes on where this one ends."""
    trajectory: np.ndarray
    begin: np.ndarray
    """`(W,)`: the row of its trajectory at which it begins."""


def cut(series: TimeSeries, intervals: int | None) -> Windows:
    """Windows of `intervals` sampling intervals each (the last of a trajectory may be shorter); one per trajectory for None."""
    parts = []
    for number, times in enumerate(series.times):
        length = len(times) - 1 if intervals is None else min(intervals, len(times) - 1)
        begins = list(range(0, len(times) - 1, length))
        if len(begins) > 1 and len(times) - 1 - begins[-1] < max(1, length // 2):
            begins.pop()  # a stub joins the window before it
        ends = [*begins[1:], len(times) - 1]
        parts += [(number, begin, end, end == ends[-1]) for begin, end in zip(begins, ends, strict=True)]
    width = 1 + max(end - begin for _, begin, end, _ in parts)
    columns: dict[str, list[Any]] = {name: [] for name in Windows._fields}
    for number, begin, end, last in parts:
        rows = np.minimum(np.arange(begin, begin + width), end)
        inside = np.arange(width) <= end - begin if last else np.arange(width) < end - begin
        values = series.values[number][rows]
        columns["times"].append(series.times[number][rows])
        columns["values"].append(np.nan_to_num(values, nan=0.0))
        columns["mask"].append(~np.isnan(values) & inside[:, None])
        columns["controls"].append(series.controls[number][rows])
        columns["first"].append(begin == 0)
        columns["linked"].append(not last)
        columns["trajectory"].append(number)
        columns["begin"].append(begin)
    return Windows(*(np.stack(column) for column in columns.values()))


def _in_units(start: np.ndarray, unravel: Callable[[Any], Any], units: np.ndarray) -> tuple[np.ndarray, Callable[[Any], Any]]:
    """Numbers `(P,)` counted in `units` `(P,)`, and the way back from them; nothing is multiplied where all units are one."""
    return (start, unravel) if np.all(units == 1) else (start / units, lambda flat: unravel(flat * units))


class _Term(NamedTuple):
    """What the optimisers ask of a loss term: its name, and which entry of `[points]` counts its samples (none)."""

    name: str
    count: str = "windows"  # pyright: ignore[reportIncompatibleMethodOverride]


class Shooting:
    """The weighted misfit of a vector field's trajectories in windows, as functions of one flat vector: an objective for `train`.

    `theta` holds the field's trainable leaves in their `units`, then the windows' starting states, each as its distance from `anchors`
    in units of `scale` (for positive states as the logarithm of the ratio to it). `sigma` `(channels,)` is the standard deviation of
    the noise on the noise's own scale, and `continuity` the allowed gap between windows in units of it. Numbers of a network have a
    normal distribution before any data (`vector_fields.precisions`), so that few noisy values are not fitted to the last digit.
    """

    devices: tuple[Any, ...] = ()
    terms = (_Term("shooting"),)
    runs_long = False

    def __init__(
        self,
        field: VectorField,
        series: TimeSeries,
        noise: Noise,
        integrator: Integrator,
        intervals: int | None,
        anchors: np.ndarray,
        scale: np.ndarray,
        sigma: np.ndarray,
        continuity: float,
        seed: int = 0,
    ) -> None:
        self.field, self.series, self.noise, self.integrator = field, series, noise, integrator
        self.windows = cut(series, intervals)
        self.intervals = intervals
        self.dtype = put(0.0).dtype
        size = np.nanstd(np.asarray(noise.scale(put(np.concatenate(series.values)))), axis=0)
        self.channel_size = put(np.where(size > 0, size, 1.0), self.dtype)
        """Standard deviation of each channel, `(channels,)`, on the noise's scale."""
        self.anchors, self.scale, self.sigma = (put(each, self.dtype) for each in (anchors, scale, sigma))
        self.continuity = float(continuity)
        self.seed, self.instance = seed, Instance(random_key(seed), (), None)
        trainable, self._fixed = eqx.partition(field, trainable_mask(field))
        start, self.unravel = _in_units(*flattened(trainable), flattened(field.units())[0])
        self.field_start = start
        self.field_size, self.count = int(start.size), len(self.windows.first)
        self.start = put(np.concatenate([start, np.zeros(self.count * self.states)]), self.dtype)
        self.measured = int(self.windows.mask.sum())
        before = np.concatenate([np.zeros(0), *map(np.ravel, jax.tree.leaves(precisions(field)))])
        self.precisions = put(before, self.dtype)
        """`(field numbers,)`: one over the standard deviation before any data; zero where nothing is known."""
        self.has_prior = bool(before.any())
        self.components = ("data", "continuity", "prior") if self.has_prior else ("data", "continuity")
        self.weights = put([1.0] * len(self.components), self.dtype)
        self._arrays = jax.tree.map(put, self.windows)
        self._slopes = jax.jit(jax.vmap(lambda t, state, times, controls: field(t, state, interpolate(times, controls, t))))
        self._forward = self.field_size + self.states <= FORWARD

    @property
    def states(self) -> int:
        return len(self.field.states)

    @property
    def parameters(self) -> int:
        return int(self.start.size)

    def with_windows(self, intervals: int | None) -> Shooting:
        """The same with other windows, anchored where these begin nearest before."""
        new, old = cut(self.series, intervals), self.windows
        source = [
            int(np.flatnonzero((old.trajectory == trajectory) & (old.begin <= begin))[-1])
            for trajectory, begin in zip(new.trajectory, new.begin, strict=True)
        ]
        return self._changed(intervals=intervals, anchors=np.asarray(self.anchors)[source])

    def with_anchors(self, anchors: np.ndarray) -> Shooting:
        """The same with other states, `(W, states)`, from which those at the start of the windows are counted."""
        return self._changed(anchors=anchors)

    def with_noise(self, sigma: np.ndarray, continuity: float | None = None) -> Shooting:
        """The same with another noise level, and another tolerance for gaps."""
        return self._changed(sigma=sigma, continuity=continuity or self.continuity)

    def with_field(self, field: VectorField) -> Shooting:
        """The same with another vector field over the same states."""
        return self._changed(field=field)

    def with_integrator(self, integrator: Integrator) -> Shooting:
        """The same with other tolerances."""
        moved = copy(self)
        moved.integrator = integrator
        return moved

    def _changed(self, **changes: Any) -> Shooting:
        names = ("field", "series", "noise", "integrator", "intervals", "anchors", "scale", "sigma", "continuity", "seed")
        return Shooting(**{name: getattr(self, name) for name in names} | changes)

    def raw_of(self, states: Array) -> Array:
        """The trainable numbers `(W, states)` at which the windows start at `states`."""
        if self.noise.positive:
            return jnp.log(jnp.maximum(states, 1e-12 * self.scale[None]) / self.anchors)
        return (states - self.anchors) / self.scale[None]

    # -- the parts of theta -------------------------------------------------------------------------------------------

    def field_of(self, theta: Array | np.ndarray) -> Any:
        """The vector field at `theta`."""
        return eqx.combine(self.unravel(theta[: self.field_size]), self._fixed)

    def raw_states(self, theta: Array) -> Array:
        """`(W, states)`."""
        return theta[self.field_size :].reshape(self.count, self.states)

    def unknowns(self, theta: Array | np.ndarray) -> dict[str, Array]:
        """Values of the field's named coefficients."""
        return self.field_of(theta).coefficients()

    def paths(self, theta: Array) -> Path:
        """States at the times of all windows, `(W, m, states)`."""
        run = lambda raw, anchor, window: self._path(theta[: self.field_size], raw, anchor, window)  # noqa: E731
        return self._each(run, self.raw_states(theta), self.anchors, self._arrays)

    def paths_at(self, theta: Array, times: Array) -> Array:
        """States at other times `(W, n)`, which begin where the windows do: `(W, n, states)`."""

        def run(raw: Array, anchor: Array, window: Windows, at: Array) -> Array:
            times, controls = jnp.asarray(window.times), jnp.asarray(window.controls)
            inputs = jax.vmap(lambda t: interpolate(times, controls, t))(at)
            return self._path(theta[: self.field_size], raw, anchor, window._replace(times=at, controls=inputs)).states

        return self._each(run, self.raw_states(theta), self.anchors, self._arrays, times)

    def slopes(self, t: np.ndarray, states: np.ndarray) -> np.ndarray:
        """The field as it starts, at one time `(W,)` and state `(W, states)` per window: `(W, states)`."""
        return np.asarray(self._slopes(t, states, self.windows.times, self.windows.controls))

    def followed(self, substeps: int) -> np.ndarray:
        """States in units of their size from the anchors on, `(W, m, states)`, by `substeps` fixed steps between two times.

        Computed on the host, so that only the field is compiled, whatever the number of steps.
        """
        times, scale = self.windows.times, np.asarray(self.scale)
        lengths = np.diff(times, axis=1)[..., None] / substeps

        def slope(t: np.ndarray, state: np.ndarray) -> np.ndarray:
            return self.slopes(t[:, 0], scale * state) / scale

        anchors = np.asarray(self.anchors)
        starts = [self.field.start(anchor) if first else anchor for anchor, first in zip(anchors, self.windows.first, strict=True)]
        states = [np.stack(starts) / scale]
        with np.errstate(over="ignore", invalid="ignore"):
            for number in range(times.shape[1] - 1):
                state = states[-1]
                for step in range(substeps):
                    length = lengths[:, number]
                    state = state + runge_kutta(slope, times[:, number, None] + step * length, length, state)
                states.append(np.where(np.abs(state) < RUNAWAY, state, np.inf))
        return np.stack(states, axis=1)

    def predictions(self, theta: Array) -> Array:
        """What the channels would show at the times of all windows, without noise: `(W, m, channels)`."""
        return jax.vmap(jax.vmap(self.field_of(theta).observe))(self.paths(theta).states)

    # -- residuals ----------------------------------------------------------------------------------------------------

    def linearise(self, theta: Array, sigma: Array) -> tuple[Array, Array]:
        """Residuals `(N,)` in standard deviations and their Jacobian `(N, P)`: first the data, then the gaps between windows."""
        data, ends, of_data, of_ends = self._differentiated(theta, sigma)
        links = self._arrays.linked
        gaps = self._gaps(theta, ends, sigma)
        field, own = self.field_size, self.count * self.states
        block = lambda rows: jnp.zeros((*rows.shape[:-1], own), self.dtype)  # noqa: E731

        def spread(rows: Array, number: Array) -> Array:
            """Derivatives by a window's own start, moved to its place among all starts: `(..., own)`."""
            return jax.lax.dynamic_update_slice_in_dim(block(rows), rows, number * self.states, rows.ndim - 1)

        numbers = jnp.arange(self.count)
        jacobian_data = jnp.concatenate([of_data[..., :field], jax.vmap(spread)(of_data[..., field:], numbers)], axis=-1)
        own_ends = jax.vmap(spread)(of_ends[..., field:], numbers)
        tolerance = self._gap_tolerance(sigma)
        next_start = jax.vmap(spread)(jnp.broadcast_to(jnp.eye(self.states, dtype=self.dtype), of_ends[..., field:].shape), numbers + 1)
        jacobian_ends = jnp.concatenate([of_ends[..., :field], own_ends - next_start], axis=-1) / tolerance[None, :, None]
        jacobian_gaps = jnp.where(links[:, None, None], jacobian_ends, 0.0)
        rows = jnp.concatenate([data.ravel(), gaps.ravel()])
        jacobian = jnp.concatenate([part.reshape(-1, theta.size) for part in (jacobian_data, jacobian_gaps)])
        return rows, jnp.where(jnp.isfinite(jacobian), jacobian, 0.0)

    def measured_rows(self) -> np.ndarray:
        """`(N,)`: which rows of `linearise` are measured values."""
        return np.concatenate([self.windows.mask.ravel(), np.zeros(self.count * self.states, bool)])

    def lost(self, residuals: ArrayLike) -> bool:
        """Whether the solver did not reach a measured value, from the residuals of `linearise`."""
        return bool(np.any(self.measured_rows() & (np.abs(residuals) >= LOST)))

    def misfits(self, residuals: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        """Measured minus predicted on the noise's scale, `(W, m, channels)`, from the residuals of `linearise`; zero where not measured."""
        return residuals[: self.windows.mask.size].reshape(self.windows.mask.shape) * sigma

    def unscaled(self, theta: Array, paths: Array) -> np.ndarray:
        """Measured minus predicted on the noise's scale for paths `(W, m, states)`: `(W, m, channels)`, zero where not measured.

        What the solver did not reach is missed by the size of its channel.
        """
        reached = jnp.all(jnp.isfinite(paths), axis=-1, keepdims=True)
        known = jnp.where(reached, paths, self.anchors[:, None])
        misfits = self._misfits(jax.vmap(jax.vmap(self.field_of(theta).observe))(known), self._arrays)
        return np.asarray(jnp.where(reached | ~self._arrays.mask, misfits, self.channel_size))

    # -- what `train` asks for ----------------------------------------------------------------------------------------

    def stochastic(self) -> tuple[bool, ...]:
        """Whether there are enough windows for their spread to say how noisy the gradient is."""
        return (self.count >= MICRO_BATCHES,)

    def replicate(self, tree: Any) -> Any:
        return tree

    def at(self, instance: Instance) -> Shooting:
        moved = copy(self)
        moved.instance = instance
        return moved

    def counts(self, purpose: str, growth: int = 1) -> dict[str, int]:
        """The windows are what they are: nothing is sampled."""
        return {}

    def draw(self, key: Array, counts: Mapping[str, int] | None = None) -> tuple[Array, ...]:
        return (jnp.zeros((1, 0, 0), self.dtype),)

    def redraw(self, key: Array, theta: Array, counts: Mapping[str, int] | None = None) -> tuple[Array, ...]:
        return self.draw(key)

    def prepare(self, points: Sequence[Array]) -> tuple[Array, ...]:
        return tuple(points)

    def value_and_gradient(self, theta: Array, batch: Any) -> tuple[Array, Array]:
        """The mean squares of both components together, and their gradient."""
        evaluation = self.evaluate(theta, batch)
        return jnp.sum(evaluation.components), evaluation.gradient

    def evaluate(self, theta: Array, batch: Any) -> Evaluation:
        """Mean squares and gradient over all windows."""
        components, gradient = self._grouped(theta, jnp.ones((1, self.count), self.dtype))
        zero = jnp.zeros(1, self.dtype)
        return Evaluation(jnp.sum(components, 0), gradient[0], zero, zero + jnp.vdot(gradient[0], gradient[0]))

    def sample_and_evaluate(self, theta: Array, step: Array, counts: Mapping[str, int]) -> Evaluation:
        """The same, with the spread of the gradient over random groups of windows as its noise."""
        if not self.stochastic()[0]:
            return self.evaluate(theta, None)
        order = jax.random.permutation(jax.random.fold_in(self.instance.key, step), self.count)
        groups = (jnp.arange(MICRO_BATCHES)[:, None] == order[None] % MICRO_BATCHES).astype(self.dtype)
        components, gradients = self._grouped(theta, groups)
        gradient = jnp.sum(gradients, axis=0)
        each = MICRO_BATCHES * gradients
        variance = jnp.sum((each - gradient[None]) ** 2) / (MICRO_BATCHES * (MICRO_BATCHES - 1))
        return Evaluation(jnp.sum(components, axis=0), gradient, variance[None], (jnp.vdot(gradient, gradient) - variance)[None])

    def validate(self, theta: Array, batch: Any) -> Validation:
        """The loss and the largest residual; measured values are few, and all of them are trained on."""
        data, ends = self._rows(theta, self.sigma)
        gaps = self._gaps(theta, ends, self.sigma)
        total = (jnp.sum(data**2) + jnp.sum(gaps**2) + self._expected(theta)) / self.measured
        return Validation(total, jnp.maximum(jnp.max(jnp.abs(data)), jnp.max(jnp.abs(gaps))), total)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _expected(self, theta: Array) -> Array:
        """Sum of squares of a network's numbers, in standard deviations before any data."""
        return jnp.sum((self.precisions * theta[: self.field_size]) ** 2)

    def _grouped(self, theta: Array, groups: Array) -> tuple[Array, Array]:
        """Shares of the components `(K, 2 or 3)` and of the gradient `(K, P)` that belong to groups of windows, weights `(K, W)`."""
        parts, gradient = self._grouped_misfit(theta, groups)
        if not self.has_prior:
            return parts, gradient
        shares = jnp.sum(groups, axis=1)[:, None] / self.count
        value, slope = jax.value_and_grad(lambda theta: self._expected(theta) / self.measured)(theta)
        return jnp.concatenate([parts, shares * value], axis=1), gradient + shares * slope[None]

    def _grouped_misfit(self, theta: Array, groups: Array) -> tuple[Array, Array]:
        """The same without the prior."""

        def loss(theta: Array, group: Array) -> tuple[Array, Array]:
            data, ends = self._rows(theta, self.sigma, diffrax.RecursiveCheckpointAdjoint())
            gaps = self._gaps(theta, ends, self.sigma)
            parts = jnp.stack([group @ jnp.sum(data**2, axis=(1, 2)), group @ jnp.sum(gaps**2, axis=1)]) / self.measured
            return jnp.sum(parts), parts

        if not self._forward:
            differentiated = jax.value_and_grad(loss, has_aux=True)
            if len(groups) == 1:  # a group by itself compiles, and runs, without a dimension for the others
                (_, parts), gradient = differentiated(theta, groups[0])
                return parts[None], gradient[None]
            (_, parts), gradient = jax.vmap(differentiated, in_axes=(None, 0))(theta, groups)
            return parts, gradient
        rows, jacobian = self.linearise(theta, self.sigma)
        of_window = jnp.concatenate(
            [jnp.repeat(jnp.arange(self.count), self._arrays.mask[0].size), jnp.repeat(jnp.arange(self.count), self.states)]
        )
        data = jnp.arange(rows.size) < self._arrays.mask.size
        weights = groups[:, of_window] / self.measured
        parts = jnp.stack([weights @ jnp.where(data, rows**2, 0.0), weights @ jnp.where(data, 0.0, rows**2)], axis=1)
        return parts, 2.0 * (weights * rows[None]) @ jacobian

    def _each(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """A function of one window, for all of them; where there is only one, nothing is compiled for a dimension of windows."""
        if self.count > 1:
            return jax.vmap(function)(*arguments)
        found = function(*jax.tree.map(lambda array: array[0], arguments))
        return jax.tree.map(lambda array: array[None], found)

    def _rows(self, theta: Array, sigma: Array, adjoint: Any = None) -> tuple[Array, Array]:
        """Residuals of the data `(W, m, channels)` and the windows' last states as distances `(W, states)`."""
        run = lambda raw, anchor, window: self._window(theta[: self.field_size], raw, anchor, window, sigma, adjoint)  # noqa: E731
        return self._each(run, self.raw_states(theta), self.anchors, self._arrays)

    def _differentiated(self, theta: Array, sigma: Array) -> tuple[Array, Array, Array, Array]:
        """The same with their derivatives `(..., P_field + states)` by what a window itself depends on."""

        def one(raw: Array, anchor: Array, window: Windows) -> Any:
            def both(own: Array) -> Any:
                result = self._window(own[: self.field_size], own[self.field_size :], anchor, window, sigma, None)
                return result, result

            own = jnp.concatenate([theta[: self.field_size], raw])
            slopes, values = jax.jacfwd(both, has_aux=True)(own)
            return *values, *slopes

        return self._each(one, self.raw_states(theta), self.anchors, self._arrays)

    def _window(self, field: Array, raw: Array, anchor: Array, window: Windows, sigma: Array, adjoint: Any) -> tuple[Array, Array]:
        path = self._path(field, raw, anchor, window, adjoint)
        reached = jnp.isfinite(path.states)
        states = jnp.where(reached, path.states, anchor[None])
        predicted = jax.vmap(self.field_of(field).observe)(states)
        known = jnp.all(reached, axis=1)[:, None]
        rows = self._misfits(predicted, window) / sigma[None]
        rows = jnp.where(known, rows, jnp.where(window.mask, LOST, 0.0))
        end = jnp.where(known[-1], self._distance(states[-1]), LOST)
        return rows, end

    def _path(self, field: Array, raw: Array, anchor: Array, window: Windows, adjoint: Any = None) -> Path:
        vector_field = self.field_of(field)
        free = self._state(raw, anchor)
        start = jnp.where(window.first, vector_field.start(free), free)
        times, controls = jnp.asarray(window.times), jnp.asarray(window.controls)
        return integrate(vector_field, times, start, controls, self.scale, self.integrator, adjoint)

    def _misfits(self, predicted: Array, window: Windows) -> Array:
        scaled = self.noise.scale(jnp.where(window.mask, window.values, 1.0)) - self.noise.scale(predicted)
        return jnp.where(window.mask, scaled, 0.0)

    def _state(self, raw: Array, anchor: Array) -> Array:
        return anchor * jnp.exp(raw) if self.noise.positive else anchor + self.scale * raw

    def _distance(self, state: Array) -> Array:
        """The inverse of `_state` up to the anchor, so that differences of distances are differences of raw states."""
        if self.noise.positive:
            return jnp.log(jnp.maximum(state, 1e-12 * self.scale))
        return state / self.scale

    def _gaps(self, theta: Array, ends: Array, sigma: Array) -> Array:
        """Where windows do not join, in units of the tolerance: `(W, states)`, zero where no window follows."""
        if not self.windows.linked.any():
            return jnp.zeros_like(ends)
        starts = jax.vmap(lambda raw, anchor: self._distance(self._state(raw, anchor)))(self.raw_states(theta), self.anchors)
        gaps = (ends - jnp.roll(starts, -1, axis=0)) / self._gap_tolerance(sigma)[None]
        return jnp.where(self._arrays.linked[:, None], gaps, 0.0)

    def _gap_tolerance(self, sigma: Array) -> Array:
        """`(states,)`: the noise of the channels, relative to their size, times `continuity`."""
        relative = sigma if self.noise.positive else sigma / self.channel_size
        return self.continuity * jnp.full(self.states, jnp.sqrt(jnp.mean(relative**2)), self.dtype)
