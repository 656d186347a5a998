"""Fisher-KPP backwards: how fast does a population spread and grow, judging by noisy counts?"""

import math

import jax.numpy as jnp
import numpy as np
from jax.nn import sigmoid

import sciml

DIFFUSION, GROWTH = 1e-2, 5.0
"""The truth: what makes the data, the initial values and the boundary values."""


class FisherKPPInverse(sciml.Problem):
    r"""Find $D$ and $r$ of $u_t = D u_{xx} + r u (1 - u)$ from 200 noisy values of $u$ at random points.

    The truth is the wave of `fisher_kpp` (Ablowitz & Zeppetella 1979) with $D = 0.01$, $r = 5$; initial and boundary values
    are given as numbers. `noise` is the standard deviation of the Gaussian noise, `draw` the seed of points and noise.
    """

    D: sciml.Unknown = sciml.Unknown(0.05, positive=True)
    r: sciml.Unknown = sciml.Unknown(1.0, positive=True)
    noise: float = 0.01
    draw: int = 0
    domain = sciml.Box(t=(0.0, 1.0), x=(-1.0, 1.0))

    def equation(self, u, u_t, u_xx):
        return u_t - self.D * u_xx - self.r * u * (1 - u)

    def conditions(self):
        return [sciml.Initial(self.exact), sciml.Dirichlet(self.exact, on="x"), self.observations()]

    def observations(self, count=200):
        generator = np.random.default_rng(self.draw)
        t, x = generator.uniform(0.0, 1.0, count), generator.uniform(-1.0, 1.0, count)
        values = np.asarray(self.exact(jnp.asarray(t), jnp.asarray(x)), np.float64)
        return sciml.Data({"t": t, "x": x}, {"u": values + self.noise * generator.standard_normal(count)})

    def exact(self, t, x):
        speed = 5 / math.sqrt(6) * math.sqrt(GROWTH * DIFFUSION)
        return sigmoid(-math.sqrt(GROWTH / (6 * DIFFUSION)) * (x - speed * t + 0.3)) ** 2
