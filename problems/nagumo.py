"""Nagumo's equation: a bistable front that invades only from above a threshold."""

import math

from jax.nn import sigmoid

import sciml


class Nagumo(sciml.Problem):
    r"""Bistable front, $u_t = D u_{xx} + k u (1 - u)(u - a)$ with the threshold $0 < a < 1$.

    The exact solution is the travelling wave $u = (1 + e^z)^{-1}$ with $z = \sqrt{k / 2D}\,(x - c t + 0.2)$ and the speed
    $c = \sqrt{k D / 2}\,(1 - 2 a)$ (Murray 2002, Mathematical Biology I, section 13.2, equations (13.21)-(13.25)).

    Values at the start and at the ends are terms of the loss: a network of tanh holds this wave itself, but not what is left of it
    when a function that satisfies them is taken away (`scripts/ablate.py`).
    """

    D: float = 1e-2
    k: float = 10.0
    a: float = 0.2
    domain = sciml.Box(t=(0.0, 1.0), x=(-1.0, 1.0))

    def equation(self, u, u_t, u_xx):
        return u_t - self.D * u_xx - self.k * u * (1 - u) * (u - self.a)

    def conditions(self):
        return [sciml.Initial(self.exact, hard=False), sciml.Dirichlet(self.exact, on="x", hard=False)]

    def exact(self, t, x):
        speed = math.sqrt(self.k * self.D / 2) * (1 - 2 * self.a)
        return sigmoid(-math.sqrt(self.k / (2 * self.D)) * (x - speed * t + 0.2))
