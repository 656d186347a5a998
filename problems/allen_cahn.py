"""Allen-Cahn: phases separate into plateaus at -1 and +1, in a periodic domain."""

import jax.numpy as jnp
import numpy as np

import sciml
from sciml.reference import fourier_etdrk4


class AllenCahn(sciml.Problem):
    r"""Allen-Cahn equation, $u_t = D u_{xx} + r (u - u^3)$, periodic, with $u(0, x) = x^2 \cos(\pi x)$.

    With $D = 10^{-4}$, $r = 5$ as in Raissi, Perdikaris & Karniadakis (2019), J. Comput. Phys. 378, 686-707. The initial
    values have a kink where the period closes, which diffusion smooths (`sciml.nets.seam`). Compared with Fourier modes and
    ETDRK4.
    """

    D: float = 1e-4
    r: float = 5.0
    domain = sciml.Box(t=(0.0, 1.0), x=(-1.0, 1.0))

    def equation(self, u, u_t, u_xx):
        return u_t - self.D * u_xx - self.r * (u - u**3)

    def conditions(self):
        return [sciml.Initial(self.start), sciml.Periodic(on="x")]

    def start(self, x):
        return x**2 * jnp.cos(jnp.pi * x)

    def reference(self):
        return fourier_etdrk4(
            linear_symbol=lambda k: -self.D * k**2,
            nonlinear=lambda u: self.r * (u - u**3),
            initial=lambda x: x**2 * np.cos(np.pi * x),
            interval=(-1.0, 1.0),
            times=np.linspace(0.0, 1.0, 101),
            modes=8192,
            steps=400,
            points=512,
        )
