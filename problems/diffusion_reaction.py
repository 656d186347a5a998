"""Diffusion with a source: five harmonics that decay together."""

import jax.numpy as jnp

import sciml


class DiffusionReaction(sciml.Problem):
    r"""Forced diffusion, $u_t = u_{xx} + e^{-t} (\tfrac32 \sin 2x + \tfrac83 \sin 3x + \tfrac{15}{4} \sin 4x + \tfrac{63}{8} \sin 8x)$.

    The exact solution is $u = e^{-t} (\sin x + \tfrac12 \sin 2x + \tfrac13 \sin 3x + \tfrac14 \sin 4x + \tfrac18 \sin 8x)$ (an example of
    DeepXDE: Lu et al. 2021, SIAM Rev. 63, 208-228).
    """

    domain = sciml.Box(t=(0.0, 1.0), x=(-jnp.pi, jnp.pi))

    def equation(self, t, x, u_t, u_xx):
        source = sum((n - 1 / n) * jnp.sin(n * x) for n in (2, 3, 4, 8))
        return u_t - u_xx - jnp.exp(-t) * source

    def conditions(self):
        return [sciml.Initial(self.exact), sciml.Dirichlet(0.0, on="x")]

    def exact(self, t, x):
        return jnp.exp(-t) * sum(jnp.sin(n * x) / n for n in (1, 2, 3, 4, 8))
