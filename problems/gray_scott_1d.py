"""Gray-Scott in one dimension: a pulse of catalyst that splits in two."""

import jax.numpy as jnp
import numpy as np

import sciml
from sciml.reference import fourier_etdrk4


class GrayScott1D(sciml.Problem):
    r"""Gray-Scott model, $u_t = D_u u_{xx} + F (1 - u) - k u v^2$, $v_t = D_v v_{xx} - G v + k u v^2$, periodic.

    F is `feed`, G `removal` and k `rate`; their values are those of the two-dimensional benchmark of Wang, Sankaran, Wang &
    Perdikaris (2023, arXiv:2308.08468). It starts from $u = 1 - \tfrac12 e^{-40 x^2}$, $v = \tfrac12 e^{-40 x^2}$. Compared with
    Fourier modes and ETDRK4.
    """

    D_u: float = 0.2
    D_v: float = 0.1
    feed: float = 40.0
    removal: float = 100.0
    rate: float = 1000.0
    domain = sciml.Box(t=(0.0, 0.5), x=(-1.0, 1.0))

    def equation(self, u, u_t, u_xx, v, v_t, v_xx):
        reaction = self.rate * u * v**2
        return {
            "feed": u_t - self.D_u * u_xx - self.feed * (1 - u) + reaction,
            "catalyst": v_t - self.D_v * v_xx + self.removal * v - reaction,
        }

    def conditions(self):
        return [sciml.Initial(self.start), sciml.Periodic(on="x")]

    def start(self, x):
        pulse = 0.5 * jnp.exp(-40 * x**2)
        return 1 - pulse, pulse

    def reference(self):
        def initial(x):
            pulse = 0.5 * np.exp(-40 * x**2)
            return np.stack([1 - pulse, pulse])

        def reaction(fields):
            u, v = fields
            made = self.rate * u * v**2
            return np.stack([self.feed - made, made])

        return fourier_etdrk4(
            linear_symbol=lambda k: np.stack([-self.D_u * k**2 - self.feed, -self.D_v * k**2 - self.removal]),
            nonlinear=reaction,
            initial=initial,
            interval=(-1.0, 1.0),
            times=np.linspace(0.0, 0.5, 101),
            modes=512,
            steps=6400,
            points=128,
            fields=("u", "v"),
        )
