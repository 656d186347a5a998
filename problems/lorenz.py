"""The Lorenz attractor: are three numbers found in a chaotic signal?"""

import numpy as np
from scipy.integrate import solve_ivp

import sciml

TRUTH = (10.0, 28.0, 8.0 / 3.0)


class Lorenz(sciml.Dynamics):
    r"""$\dot x = \sigma (y - x)$, $\dot y = x (\rho - z) - y$, $\dot z = x y - \beta z$ (Lorenz 1963), from a noisy chaotic trajectory.

    201 values of each state on [0, 10]; `noise_level` is the standard deviation of the noise relative to that of each state.
    """

    sigma: sciml.Unknown = sciml.Unknown(8.0, positive=True)
    rho: sciml.Unknown = sciml.Unknown(25.0, positive=True)
    beta: sciml.Unknown = sciml.Unknown(2.0, positive=True)
    noise_level: float = 0.01
    draw: int = 0

    def vector_field(self, x, y, z):
        return self.sigma * (y - x), x * (self.rho - z) - y, x * y - self.beta * z

    def series(self):
        sigma, rho, beta = TRUTH
        times = np.linspace(0.0, 10.0, 201)

        def truth(t, state):
            x, y, z = state
            return [sigma * (y - x), x * (rho - z) - y, x * y - beta * z]

        values = solve_ivp(truth, (0.0, 10.0), [-8.0, 8.0, 27.0], t_eval=times, rtol=1e-11, atol=1e-12).y.T
        noise = np.random.default_rng(self.draw).standard_normal(values.shape) * self.noise_level * values.std(axis=0)
        return sciml.TimeSeries.from_arrays(times, values + noise, ("x", "y", "z"))
