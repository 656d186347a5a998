"""Small systems with known truth, for the tests of shooting, refit and discovery."""

import functools

import numpy as np
from scipy.integrate import solve_ivp

import sciml

TRUTH = {"a": 1.3, "b": 0.9, "c": 0.8, "d": 1.8}


@functools.cache
def lotka_volterra_path(count=31):
    times = np.linspace(0.0, 6.0, count)
    slope = lambda t, z: [TRUTH["a"] * z[0] - TRUTH["b"] * z[0] * z[1], TRUTH["c"] * z[0] * z[1] - TRUTH["d"] * z[1]]  # noqa: E731
    return times, solve_ivp(slope, (0.0, 6.0), [0.44, 4.6], t_eval=times, rtol=1e-11, atol=1e-12).y.T


class LotkaVolterra(sciml.Dynamics):
    a: sciml.Unknown = sciml.Unknown(1.0, positive=True)
    b: sciml.Unknown = sciml.Unknown(1.0, positive=True)
    c: sciml.Unknown = sciml.Unknown(1.0, positive=True)
    d: sciml.Unknown = sciml.Unknown(1.5, positive=True)
    level: float = 0.05
    draw: int = 0

    def vector_field(self, x, y):
        return self.a * x - self.b * x * y, self.c * x * y - self.d * y

    def series(self):
        times, values = lotka_volterra_path()
        noise = self.level * np.random.default_rng(self.draw).standard_normal(values.shape)
        return sciml.TimeSeries.from_arrays(times, values + noise, ("x", "y"))
