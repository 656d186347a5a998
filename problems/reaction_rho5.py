"""Logistic growth without diffusion: each place grows by itself, a published failure mode of plain networks."""

import jax.numpy as jnp

import sciml


class ReactionRho5(sciml.Problem):
    r"""Reaction alone, $u_t = \rho u (1 - u)$, from the bell $h(x) = e^{-(x - \pi)^2 / 2 (\pi / 4)^2}$.

    The exact solution is $u = h e^{\rho t} / (h e^{\rho t} + 1 - h)$; with $\rho = 5$ plain networks fail on it (Krishnapriyan et al. 2021,
    NeurIPS 34). Equal values at both ends follow from the initial ones; the bell's slopes there are not equal, and so periodic
    features, which would force them to be, are not used.
    """

    rho: float = 5.0
    domain = sciml.Box(t=(0.0, 1.0), x=(0.0, 2 * jnp.pi))

    def equation(self, u, u_t):
        return u_t - self.rho * u * (1 - u)

    def conditions(self):
        return [sciml.Initial(self.start), sciml.Periodic(on="x", hard=False)]

    def start(self, x):
        return jnp.exp(-((x - jnp.pi) ** 2) / (2 * (jnp.pi / 4) ** 2))

    def exact(self, t, x):
        grown = self.start(x) * jnp.exp(self.rho * t)
        return grown / (grown + 1 - self.start(x))
