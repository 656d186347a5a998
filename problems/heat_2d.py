"""The heat equation on a square plate whose edges are kept cold: two space coordinates and time."""

import jax.numpy as jnp

import sciml


class Heat2D(sciml.Problem):
    r"""Heat in a plate, $u_t = \kappa (u_{xx} + u_{yy})$ on the unit square, zero on its edges.

    Two modes of Fourier's series decay at rates of their own:
    $u = e^{-2 \pi^2 \kappa t} \sin(\pi x) \sin(\pi y) + \tfrac12 e^{-5 \pi^2 \kappa t} \sin(2 \pi x) \sin(\pi y)$
    (Carslaw & Jaeger 1959, Conduction of Heat in Solids, chapter 5).
    """

    kappa: float = 0.1
    domain = sciml.Box(t=(0.0, 1.0), x=(0.0, 1.0), y=(0.0, 1.0))

    def equation(self, u_t, u_xx, u_yy):
        return u_t - self.kappa * (u_xx + u_yy)

    def conditions(self):
        return [sciml.Initial(self.exact), sciml.Dirichlet(0.0, on="x"), sciml.Dirichlet(0.0, on="y")]

    def exact(self, t, x, y):
        rate = self.kappa * jnp.pi**2
        first = jnp.exp(-2 * rate * t) * jnp.sin(jnp.pi * x)
        second = 0.5 * jnp.exp(-5 * rate * t) * jnp.sin(2 * jnp.pi * x)
        return (first + second) * jnp.sin(jnp.pi * y)
