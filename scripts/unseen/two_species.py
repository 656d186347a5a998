"""Two species on a square that react and spread without crossing its edges."""

import jax.numpy as jnp

import sciml


class TwoSpecies(sciml.Problem):
    r"""A manufactured solution of $u_t = D \Delta u + u - u^3 - v + f$, $v_t = \Delta v / 10 + u - v + g$, zero flux on all edges.

    $u = e^{-t} \cos \pi x \cos \pi y$ and $v = (1 + \sin t) \cos \pi x$.
    """

    D: float = 0.05
    domain = sciml.Box(t=(0.0, 1.0), x=(0.0, 1.0), y=(0.0, 1.0))
    fields = ("u", "v")

    def equation(self, t, x, y, u, u_t, u_xx, u_yy, v, v_t, v_xx, v_yy):
        exact_u, exact_v = self.exact(t, x, y)
        f = -exact_u + 2 * self.D * jnp.pi**2 * exact_u - exact_u + exact_u**3 + exact_v
        g = jnp.cos(t) * jnp.cos(jnp.pi * x) + 0.1 * jnp.pi**2 * exact_v - exact_u + exact_v
        return {
            "first": u_t - self.D * (u_xx + u_yy) - u + u**3 + v - f,
            "second": v_t - 0.1 * (v_xx + v_yy) - u + v - g,
        }

    def conditions(self):
        return [sciml.Initial(lambda x, y: self.exact(0.0, x, y)), sciml.Neumann(0.0, on="x"), sciml.Neumann(0.0, on="y")]

    def exact(self, t, x, y):
        return jnp.exp(-t) * jnp.cos(jnp.pi * x) * jnp.cos(jnp.pi * y), (1 + jnp.sin(t)) * jnp.cos(jnp.pi * x)
