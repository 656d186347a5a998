"""Burgers' equation: a sine wave that steepens into a thin shock at x = 0."""

import jax.numpy as jnp
import numpy as np

import sciml
from sciml.reference import cole_hopf


class Burgers(sciml.Problem):
    r"""Viscous Burgers' equation, $u_t + u u_x = \nu u_{xx}$ with $u(0, x) = -\sin(\pi x)$, $u(t, \pm 1) = 0$.

    With $\nu = 0.01 / \pi$ as in Basdevant et al. (1986), Computers & Fluids 14, 23-41. Compared with the Cole-Hopf solution.
    """

    nu: float = 0.01 / np.pi
    domain = sciml.Box(t=(0.0, 1.0), x=(-1.0, 1.0))

    def equation(self, u, u_t, u_x, u_xx):
        return u_t + u * u_x - self.nu * u_xx

    def conditions(self):
        return [sciml.Initial(self.start), sciml.Dirichlet(0.0, on="x")]

    def start(self, x):
        return -jnp.sin(jnp.pi * x)

    def reference(self):
        def initial(x):
            return -np.sin(np.pi * x)

        def antiderivative(x):
            return np.cos(np.pi * x) / np.pi

        return cole_hopf(initial, antiderivative, self.nu, np.linspace(0.0, 1.0, 101), np.linspace(-1.0, 1.0, 513))
