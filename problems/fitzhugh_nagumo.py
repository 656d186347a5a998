"""A nerve that fires, of which only the voltage is measured."""

import numpy as np
from scipy.integrate import solve_ivp

import sciml

TRUTH = (0.2, 0.2, 3.0)


class FitzHughNagumo(sciml.Dynamics):
    r"""$\dot V = c (V - V^3 / 3 + R)$, $\dot R = -(V - a + b R) / c$ (FitzHugh 1961, Nagumo 1962), the recovery $R$ never measured.

    41 noisy values of $V$ on [0, 20] (the setting of Ramsay et al. 2007, J. R. Stat. Soc. B 69, 741-796).
    """

    a: sciml.Unknown = sciml.Unknown(0.5)
    b: sciml.Unknown = sciml.Unknown(0.5)
    c: sciml.Unknown = sciml.Unknown(2.5, positive=True)
    noise_level: float = 0.1
    draw: int = 0

    def vector_field(self, V, R):
        return self.c * (V - V**3 / 3 + R), -(V - self.a + self.b * R) / self.c

    def series(self):
        a, b, c = TRUTH
        times = np.linspace(0.0, 20.0, 41)

        def truth(t, state):
            V, R = state
            return [c * (V - V**3 / 3 + R), -(V - a + b * R) / c]

        values = solve_ivp(truth, (0.0, 20.0), [-1.0, 1.0], t_eval=times, rtol=1e-10, atol=1e-12).y.T[:, :1]
        noise = self.noise_level * np.random.default_rng(self.draw).standard_normal(values.shape)
        return sciml.TimeSeries.from_arrays(times, values + noise, ("V",))
