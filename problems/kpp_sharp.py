"""Sharp Fisher-KPP fronts: fast reaction makes them thin."""

import math

from jax.nn import sigmoid

import sciml


class KPPSharp(sciml.Problem):
    r"""Fisher-KPP wave, $u_t = D u_{xx} + r u (1 - u)$, with $D = 1$ and $r = 10^2 \ldots 10^4$ on $-5 < x < 5$, $0 < t < 0.004$.

    The exact solution is the wave of `fisher_kpp` (Ablowitz & Zeppetella 1979) starting at $x = 0$; the family is that of
    Rohrhofer, Posch, Gößnitzer & Geiger (2024, arXiv:2402.08313). The front is $\sqrt{6 D / r}$ wide.
    """

    D: float = 1.0
    r: float = 1e2
    domain = sciml.Box(t=(0.0, 0.004), x=(-5.0, 5.0))

    def equation(self, u, u_t, u_xx):
        return u_t - self.D * u_xx - self.r * u * (1 - u)

    def conditions(self):
        return [sciml.Initial(self.exact), sciml.Dirichlet(self.exact, on="x")]

    def exact(self, t, x):
        speed = 5 / math.sqrt(6) * math.sqrt(self.r * self.D)
        return sigmoid(-math.sqrt(self.r / (6 * self.D)) * (x - speed * t)) ** 2
