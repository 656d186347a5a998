"""A flame front: reaction of second order in the unburnt share."""

import math

from jax.nn import sigmoid

import sciml


class Zeldovich(sciml.Problem):
    r"""Zeldovich's front, $u_t = D u_{xx} + k u^2 (1 - u)$, with the wave $(1 + e^{\sqrt{k / 2D} (x - c t)})^{-1}$, $c = \sqrt{kD / 2}$.

    Gilding & Kersner 2004, Travelling Waves in Nonlinear Diffusion-Convection Reaction, section 13.
    """

    D: float = 5e-3
    k: float = 8.0
    domain = sciml.Box(t=(0.0, 2.0), x=(-1.0, 1.0))

    def equation(self, u, u_t, u_xx):
        return u_t - self.D * u_xx - self.k * u**2 * (1 - u)

    def conditions(self):
        return [sciml.Initial(self.exact), sciml.Dirichlet(self.exact, on="x")]

    def exact(self, t, x):
        return sigmoid(-math.sqrt(self.k / (2 * self.D)) * (x + 0.2 - math.sqrt(self.k * self.D / 2) * t))
