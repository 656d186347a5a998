"""What figures draw of a discovery: the fitted solution between the measured times, the vector field, and what the fit leaves over."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from sciml.dynamics.discovered import Discovered

FINE = 400
"""Times at which a smooth curve is drawn."""

BETWEEN = 8
"""Points of a curve per sampling interval, at least."""


class Curves:
    """Computed where they are asked for, once."""

    def __init__(self, found: Discovered) -> None:
        self.found = found

    @cached_property
    def states(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Fitted solutions between the measured times, one per window: times `(n,)` and states `(n, states)`; NaN where not reached."""
        shooting, theta = self.found.shooting, jnp.asarray(self.found.fit.theta)
        windows = shooting.windows
        span = windows.times.shape[1] - 1
        parts = max(BETWEEN, -(-max(20, FINE // shooting.count) // span))
        rows = np.linspace(0, span, parts * span + 1)
        fine = np.stack([np.interp(rows, np.arange(span + 1), times) for times in windows.times])
        states = np.asarray(jax.jit(lambda theta, fine: shooting.paths_at(theta, fine))(theta, jnp.asarray(fine)))
        return tuple(zip(fine, np.where(np.isfinite(states), states, np.nan), strict=True))

    @cached_property
    def channels(self) -> tuple[tuple[tuple[np.ndarray, np.ndarray], ...], ...]:
        """The same by trajectory, as what the channels would show: times and values `(n, channels)`."""
        observe = jax.jit(jax.vmap(self.found.vector_field.observe))
        shown = [(times, np.asarray(observe(jnp.asarray(states)))) for times, states in self.states]
        owner = self.found.shooting.windows.trajectory
        return tuple(
            tuple(curve for curve, trajectory in zip(shown, owner, strict=True) if trajectory == number)
            for number in range(len(self.found.series.times))
        )

    def slopes(self, states: np.ndarray) -> np.ndarray:
        """The vector field at `(n, states)`, at the first time and controls."""
        controls, t = (jnp.asarray(arrays[0][0]) for arrays in (self.found.series.controls, self.found.series.times))
        return np.asarray(jax.vmap(lambda state: self.found.vector_field(t, state, controls))(jnp.asarray(states)))

    @cached_property
    def residuals(self) -> tuple[np.ndarray, ...]:
        """Measured minus fitted in standard deviations of the noise, `(n, channels)` per trajectory."""
        scale = self.found.shooting.noise.scale
        return tuple(
            np.asarray(scale(jnp.asarray(values)) - scale(jnp.asarray(fitted))) / self.found.fit.sigma
            for values, fitted in zip(self.found.series.values, self.found.predictions, strict=True)
        )
