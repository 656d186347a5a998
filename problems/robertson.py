"""Robertson's stiff reaction: three rates over nine orders of magnitude, from noisy concentrations."""

import numpy as np
from scipy.integrate import solve_ivp

import sciml

TRUTH = (0.04, 3e7, 1e4)


class Robertson(sciml.Dynamics):
    r"""$\dot A = -k_1 A + k_3 B C$, $\dot B = k_1 A - k_3 B C - k_2 B^2$, $\dot C = k_2 B^2$ (Robertson 1966).

    30 values of each at times from 1e-4 to 1e4 on a logarithmic scale, with errors by a factor.
    """

    k1: sciml.Unknown = sciml.Unknown(0.06, positive=True)
    k2: sciml.Unknown = sciml.Unknown(1e7, positive=True)
    k3: sciml.Unknown = sciml.Unknown(2e4, positive=True)
    noise_level: float = 0.03
    draw: int = 0
    noise = sciml.LogNormal()

    def vector_field(self, A, B, C):
        forward, back, onward = self.k1 * A, self.k3 * B * C, self.k2 * B**2
        return -forward + back, forward - back - onward, onward

    def initial(self):
        return {"A": 1.0, "B": 0.0, "C": 0.0}

    def series(self):
        k1, k2, k3 = TRUTH
        times = np.concatenate([[0.0], np.logspace(-4, 4, 30)])

        def truth(t, state):
            A, B, C = state
            return [-k1 * A + k3 * B * C, k1 * A - k3 * B * C - k2 * B**2, k2 * B**2]

        values = solve_ivp(truth, (0.0, 1e4), [1.0, 0.0, 0.0], t_eval=times, method="Radau", rtol=1e-10, atol=1e-14).y.T
        factors = np.exp(self.noise_level * np.random.default_rng(self.draw).standard_normal(values.shape))
        return sciml.TimeSeries.from_arrays(times, np.where(times[:, None] > 0, values * factors, np.nan), ("A", "B", "C"))
