"""A pulse that drifts, spreads and decays: linear, with known flux at its ends."""

import jax.numpy as jnp

import sciml


class DriftingPulse(sciml.Problem):
    r"""Convection, diffusion and decay, $u_t + a u_x = D u_{xx} - k u$, of a Gaussian (the fundamental solution at a later time)."""

    a: float = 1.0
    D: float = 0.01
    k: float = 0.5
    domain = sciml.Box(t=(0.0, 1.0), x=(-1.0, 2.0))

    def equation(self, u, u_t, u_x, u_xx):
        return u_t + self.a * u_x - self.D * u_xx + self.k * u

    def conditions(self):
        return [sciml.Initial(self.exact), sciml.Dirichlet(self.exact, on="x-"), sciml.Neumann(self.slope, on="x+")]

    def exact(self, t, x):
        age = t + 0.5
        return jnp.exp(-((x - self.a * t) ** 2) / (4 * self.D * age) - self.k * t) / jnp.sqrt(2 * age)

    def slope(self, t, x):
        return -(x - self.a * t) / (2 * self.D * (t + 0.5)) * self.exact(t, x)
