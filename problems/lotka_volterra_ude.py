"""Lotka-Volterra with the interactions missing: which terms does a network in their place turn out to be?"""

import numpy as np
from scipy.integrate import solve_ivp

import sciml

ATTACK, GAIN = 0.9, 0.8
"""The truth that the network has to find: -0.9 x y and +0.8 x y."""


class LotkaVolterraUDE(sciml.Dynamics):
    r"""Growth and death are known, $\dot x = 1.3 x + ?$ and $\dot y = -1.8 y + ?$ (Rackauckas et al. 2020, universal equations).

    31 noisy values of both on [0, 3]; `noise_level` is the standard deviation of the noise relative to each mean, `draw` its seed.
    """

    growth: float = 1.3
    death: float = 1.8
    noise_level: float = 0.005
    draw: int = 0

    def vector_field(self, x, y):
        return self.growth * x, -self.death * y

    def series(self):
        times = np.linspace(0.0, 3.0, 31)

        def truth(t, state):
            x, y = state
            return [self.growth * x - ATTACK * x * y, GAIN * x * y - self.death * y]

        values = solve_ivp(truth, (0.0, 3.0), [0.44249296, 4.6280594], t_eval=times, rtol=1e-10, atol=1e-12).y.T
        noise = np.random.default_rng(self.draw).standard_normal(values.shape) * self.noise_level * values.mean(axis=0)
        return sciml.TimeSeries.from_arrays(times, values + noise, ("x", "y"))
