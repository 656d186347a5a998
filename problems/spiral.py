"""A cubic spiral: a network learns a vector field from one trajectory."""

import numpy as np
from scipy.integrate import solve_ivp

import sciml


class Spiral(sciml.Dynamics):
    r"""$\dot y = A y^3$ (element by element) with $A = ((-0.1, 2), (-2, -0.1))$ (Chen et al. 2018, Neural Ordinary Differential Equations).

    30 values on [0, 1.5] from (2, 0), without noise where `noise_level` is 0.
    """

    damping: sciml.Unknown = sciml.Unknown(0.2, positive=True)
    turning: sciml.Unknown = sciml.Unknown(1.5, positive=True)
    noise_level: float = 0.0
    draw: int = 0

    def vector_field(self, x, y):
        return -self.damping * x**3 + self.turning * y**3, -self.turning * x**3 - self.damping * y**3

    def series(self):
        times = np.linspace(0.0, 1.5, 30)

        def truth(t, state):
            x, y = state
            return [-0.1 * x**3 + 2.0 * y**3, -2.0 * x**3 - 0.1 * y**3]

        values = solve_ivp(truth, (0.0, 1.5), [2.0, 0.0], t_eval=times, rtol=1e-11, atol=1e-12).y.T
        noise = self.noise_level * np.random.default_rng(self.draw).standard_normal(values.shape)
        return sciml.TimeSeries.from_arrays(times, values + noise, ("x", "y"))
