"""Algae in a channel: how fast do they grow, and where are they between the sensors?"""

import functools

import jax.numpy as jnp
import numpy as np

import sciml
from sciml.reference import method_of_lines

GROWTH = 0.7
"""The truth, per day."""
MOORINGS = (0.5, 2.0, 3.5, 5.0, 6.5, 8.0, 9.5)
"""Kilometres along the channel."""


class AlgaeBloom(sciml.Problem):
    r"""Find the growth rate $r$ of $u_t = D u_{xx} + r u (1 - u)$ and the whole bloom from a few noisy sensors.

    Density $u$ in units of the channel's capacity, $t$ in days, $x$ in kilometres; nothing leaves through the ends. Seven moored
    sensors report twice a day; where the algae began is not known. The measured values are those of an independent solver (collocation
    and an implicit integrator, $r = 0.7$) with Gaussian noise of standard deviation `noise`, `draw` its seed.
    """

    r: sciml.Unknown = sciml.Unknown(0.3, positive=True)
    D: float = 0.3
    noise: float = 0.02
    draw: int = 0
    domain = sciml.Box(t=(0.0, 10.0), x=(0.0, 10.0))

    def equation(self, u, u_t, u_xx):
        return u_t - self.D * u_xx - self.r * u * (1 - u)

    def conditions(self):
        return [sciml.Neumann(0.0, on="x"), self.observations()]

    def observations(self):
        times = np.arange(0.5, 10.1, 0.5)
        truth = bloom(self.D, (0.0, *times), MOORINGS).fields["u"][1:]
        values = truth + self.noise * np.random.default_rng(self.draw).standard_normal(truth.shape)
        t, x = np.meshgrid(times, MOORINGS, indexing="ij")
        return sciml.Data({"t": t.ravel(), "x": x.ravel()}, {"u": values.ravel()})

    def reference(self):
        return bloom(self.D, tuple(np.linspace(0.0, 10.0, 101)), tuple(np.linspace(0.0, 10.0, 201)))


class _Truth(sciml.Problem):
    """The bloom as it was, from two small patches."""

    D: float
    domain = AlgaeBloom.domain

    def equation(self, u, u_t, u_xx):
        return u_t - self.D * u_xx - GROWTH * u * (1 - u)

    def conditions(self):
        return [sciml.Initial(self.start), sciml.Neumann(0.0, on="x")]

    def start(self, x):
        return 0.3 * jnp.exp(-((x - 3.0) ** 2)) + 0.1 * jnp.exp(-((x - 7.5) ** 2) / 0.5)


@functools.cache
def bloom(D, times, places):
    """The true densities on a grid, from the method of lines."""
    return method_of_lines(_Truth(D=D), points=64, grid={"t": np.array(times), "x": np.array(places)})
