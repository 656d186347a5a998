"""Fisher-KPP: a population front that grows and diffuses at constant speed."""

import math

from jax.nn import sigmoid

import sciml


class FisherKPP(sciml.Problem):
    r"""Fisher-KPP wave, $u_t = D u_{xx} + r u (1 - u)$.

    The exact solution is the travelling wave $u = (1 + e^z)^{-2}$ with $z = \sqrt{r / 6D}\,(x - c t + 0.3)$ and the speed
    $c = \tfrac{5}{\sqrt 6} \sqrt{r D}$ (Ablowitz & Zeppetella 1979, Bull. Math. Biol. 41, 835-840).

    Values at the start and at the ends are terms of the loss: a network of tanh holds this wave itself, but not what is left of it
    when a function that satisfies them is taken away (`scripts/ablate.py`).
    """

    D: float = 1e-2
    r: float = 5.0
    domain = sciml.Box(t=(0.0, 1.0), x=(-1.0, 1.0))

    def equation(self, u, u_t, u_xx):
        return u_t - self.D * u_xx - self.r * u * (1 - u)

    def conditions(self):
        return [sciml.Initial(self.exact, hard=False), sciml.Dirichlet(self.exact, on="x", hard=False)]

    def exact(self, t, x):
        speed = 5 / math.sqrt(6) * math.sqrt(self.r * self.D)
        z = math.sqrt(self.r / (6 * self.D)) * (x - speed * t + 0.3)
        return sigmoid(-z) ** 2
