"""Poisson's equation on the unit square: no time, a source and values on all four sides."""

import jax.numpy as jnp

import sciml


class Poisson2D(sciml.Problem):
    r"""Poisson's equation, $-(u_{xx} + u_{yy}) = f$ on the unit square.

    The source is manufactured (Roache 2002, J. Fluids Eng. 124, 4-10) so that
    $u = \sin(k \pi x) \sin(2 k \pi y) + \tfrac12 e^{x - y^2}$, which has neither symmetry nor zero boundary values.
    """

    k: float = 1.0
    domain = sciml.Box(x=(0.0, 1.0), y=(0.0, 1.0))

    def equation(self, x, y, u_xx, u_yy):
        return -(u_xx + u_yy) - self.source(x, y)

    def conditions(self):
        return [sciml.Dirichlet(self.exact, on="x"), sciml.Dirichlet(self.exact, on="y")]

    def source(self, x, y):
        a = self.k * jnp.pi
        waves = 5 * a**2 * jnp.sin(a * x) * jnp.sin(2 * a * y)
        return waves + 0.5 * (1 - 4 * y**2) * jnp.exp(x - y**2)

    def exact(self, x, y):
        a = self.k * jnp.pi
        return jnp.sin(a * x) * jnp.sin(2 * a * y) + 0.5 * jnp.exp(x - y**2)
