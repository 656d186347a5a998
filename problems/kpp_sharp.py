"""Sharp Fisher-KPP fronts: fast reaction makes them thin."""

import math

import jax.numpy as jnp
from jax.nn import log_sigmoid, sigmoid

import sciml


class KPPSharp(sciml.Problem):
    r"""Fisher-KPP wave, $u_t = D u_{xx} + r u (1 - u)$, with $D = 1$ and $r = 10^2 \ldots 10^4$ on $-5 < x < 5$, $0 < t < 0.004$.

    The exact solution is the wave of `fisher_kpp` (Ablowitz & Zeppetella 1979) starting at $x = 0$; the family is that of
    Rohrhofer, Posch, Gößnitzer & Geiger (2024, arXiv:2402.08313). The front is $\sqrt{6 D / r}$ wide, and its far tail, smaller
    than any rounding error of $u$, sets its speed (Brunet & Derrida 1997). So the unknown is the logit $w = \log(u / (1 - u))$, with
    $w_t = D w_{xx} + D (1 - 2 u) w_x^2 + r$: a kink between two straight lines. What is reported is $u$.
    """

    D: float = 1.0
    r: float = 1e2
    domain = sciml.Box(t=(0.0, 0.004), x=(-5.0, 5.0))

    def equation(self, w, w_t, w_x, w_xx):
        return (w_t - self.D * w_xx - self.D * (1 - 2 * sigmoid(w)) * w_x**2) / self.r - 1

    def conditions(self):
        return [sciml.Initial(self.exact), sciml.Dirichlet(self.exact, on="x")]

    def observe(self, w):
        return {"u": sigmoid(w)}

    def exact(self, t, x):
        speed = 5 / math.sqrt(6) * math.sqrt(self.r * self.D)
        wave = -math.sqrt(self.r / (6 * self.D)) * (x - speed * t)
        root = log_sigmoid(wave)
        return 2 * root - log_sigmoid(-wave) - jnp.log1p(jnp.exp(root))
