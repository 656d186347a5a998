"""Allen-Cahn from smooth periodic values: the phases separate as in `allen_cahn`, without its kink."""

import jax.numpy as jnp
import numpy as np

import sciml
from sciml.reference import fourier_etdrk4


class AllenCahnSmooth(sciml.Problem):
    r"""Allen-Cahn equation, $u_t = D u_{xx} + r (u - u^3)$, periodic, with $u(0, x) = \tfrac12 \cos(\pi x) (1 - \cos(\pi x))$.

    Coefficients as in Raissi, Perdikaris & Karniadakis (2019), J. Comput. Phys. 378, 686-707; the initial values are smooth
    where the period closes, and so the reference converges spectrally. Compared with Fourier modes and ETDRK4.
    """

    D: float = 1e-4
    r: float = 5.0
    domain = sciml.Box(t=(0.0, 1.0), x=(-1.0, 1.0))

    def equation(self, u, u_t, u_xx):
        return u_t - self.D * u_xx - self.r * (u - u**3)

    def conditions(self):
        return [sciml.Initial(self.start), sciml.Periodic(on="x")]

    def start(self, x):
        wave = jnp.cos(jnp.pi * x)
        return wave * (1 - wave) / 2

    def reference(self):
        return fourier_etdrk4(
            linear_symbol=lambda k: -self.D * k**2,
            nonlinear=lambda u: self.r * (u - u**3),
            initial=lambda x: np.cos(np.pi * x) * (1 - np.cos(np.pi * x)) / 2,
            interval=(-1.0, 1.0),
            times=np.linspace(0.0, 1.0, 101),
            modes=2048,
            steps=1600,
            points=512,
        )
