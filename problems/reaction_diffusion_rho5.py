"""Logistic growth with strong diffusion on a ring: a published failure mode of plain networks."""

import jax.numpy as jnp
import numpy as np

import sciml
from sciml.reference import fourier_etdrk4


class ReactionDiffusionRho5(sciml.Problem):
    r"""Reaction and diffusion, $u_t = \nu u_{xx} + \rho u (1 - u)$, periodic, from the bell $h(x) = e^{-(x - \pi)^2 / 2 (\pi / 4)^2}$.

    With $\rho = 5$, $\nu = 3$ as in Krishnapriyan et al. (2021), NeurIPS 34. The bell has a small kink where the period
    closes ($h' = \pm 1.7 \cdot 10^{-3}$ there). Compared with Fourier modes and ETDRK4.
    """

    nu: float = 3.0
    rho: float = 5.0
    domain = sciml.Box(t=(0.0, 1.0), x=(0.0, 2 * jnp.pi))

    def equation(self, u, u_t, u_xx):
        return u_t - self.nu * u_xx - self.rho * u * (1 - u)

    def conditions(self):
        return [sciml.Initial(self.start), sciml.Periodic(on="x")]

    def start(self, x):
        return jnp.exp(-((x - jnp.pi) ** 2) / (2 * (jnp.pi / 4) ** 2))

    def reference(self):
        return fourier_etdrk4(
            linear_symbol=lambda k: -self.nu * k**2 + self.rho,
            nonlinear=lambda u: -self.rho * u**2,
            initial=lambda x: np.exp(-((x - np.pi) ** 2) / (2 * (np.pi / 4) ** 2)),
            interval=(0.0, 2 * np.pi),
            times=np.linspace(0.0, 1.0, 101),
            modes=2048,
            steps=1600,
            points=512,
        )
