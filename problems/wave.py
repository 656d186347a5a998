"""The wave equation: a string with fixed ends, plucked at rest in two of its modes."""

import jax.numpy as jnp

import sciml


class Wave(sciml.Problem):
    r"""Vibrating string, $u_{tt} = c^2 u_{xx}$, fixed at both ends and released at rest.

    $u = \sin(\pi x) \cos(c \pi t) + \tfrac12 \sin(4 \pi x) \cos(4 c \pi t)$ (d'Alembert 1747; with these data in
    Wang, Yu & Perdikaris 2022, J. Comput. Phys. 449, 110768).
    """

    c: float = 2.0
    domain = sciml.Box(t=(0.0, 1.0), x=(0.0, 1.0))

    def equation(self, u_tt, u_xx):
        return u_tt - self.c**2 * u_xx

    def conditions(self):
        return [
            sciml.Initial(self.start, of="u"),
            sciml.Initial(0.0, of="u_t"),
            sciml.Dirichlet(0.0, on="x"),
        ]

    def start(self, x):
        return jnp.sin(jnp.pi * x) + 0.5 * jnp.sin(4 * jnp.pi * x)

    def exact(self, t, x):
        a = jnp.pi
        slow = jnp.sin(a * x) * jnp.cos(self.c * a * t)
        return slow + 0.5 * jnp.sin(4 * a * x) * jnp.cos(4 * self.c * a * t)
