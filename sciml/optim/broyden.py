"""Self-scaled Broyden on a dense inverse Hessian (Al-Baali & Khalfan 2005; Urban, Stefanou & Pons 2025)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sciml.optim.second_order import Metric, Pair


class SelfScaledBroyden(Metric):
    """The inverse Hessian H as a full matrix `(P, P)`. Its unit step overshoots (docs/decisions/007-first-trial.md)."""

    lengthening = 1.25

    def start(self, size: int, dtype: Any) -> Array:
        return jnp.eye(size, dtype=dtype)

    def apply(self, metric: Array, vector: Array) -> Array:
        return metric @ vector

    def update(self, metric: Array, pair: Pair, good: Array, forget: Array) -> tuple[Array, Array]:
        """H+ = (1/tau) [H - Hy (Hy)'/(y'Hy) + phi (y'Hy) v v'] + rho s s', with v = rho s - Hy/(y'Hy).

        H g+ needs one product with H; H y and the next direction follow from it. A pair that is not good leaves H as it is by its
        coefficients, so that no branch copies the matrix.
        """
        product = metric @ pair.new_gradient
        s, y = pair.step, pair.change
        hy = product - pair.natural
        good = good & (jnp.vdot(pair.change, hy) > 0)
        sy = jnp.where(good, jnp.vdot(s, y), 1.0)
        yhy = jnp.where(good, jnp.vdot(y, hy), 1.0)
        scale = jnp.where(pair.fresh & good, sy / yhy, 1.0)
        hy, yhy, product = scale * hy, scale * yhy, scale * product
        rho = 1.0 / sy
        b = jnp.where(good, -pair.length * rho * jnp.vdot(s, pair.gradient) / scale, 1.0)
        tau, phi = scaling(b, rho * yhy, s.size)
        v = rho * s - hy / yhy
        keep, drop, add, grow = (
            jnp.where(good, on, off) for on, off in ((scale / tau, 1.0), (1 / (tau * yhy), 0.0), (phi * yhy / tau, 0.0), (rho, 0.0))
        )
        updated = keep * metric - drop * _square(hy) + add * _square(v) + grow * _square(s)
        g = pair.new_gradient
        natural = (
            jnp.where(good, 1.0 / tau, 1.0) * product - drop * hy * jnp.vdot(hy, g) + add * v * jnp.vdot(v, g) + grow * s * jnp.vdot(s, g)
        )
        rows, columns = jax.lax.iota(jnp.int32, s.size)[:, None], jax.lax.iota(jnp.int32, s.size)[None, :]
        identity = (rows == columns).astype(metric.dtype)
        return jnp.where(forget, identity, updated), jnp.where(forget, g, natural)


def _square(vector: Array) -> Array:
    """The outer product with itself, exactly symmetric."""
    return vector[:, None] * vector[None, :]


def scaling(b: Array, h: Array, size: int) -> tuple[Array, Array]:
    """The scaling tau and Broyden's parameter phi from b = s'Bs/s'y and h = y'Hy/s'y (SSBroyden2 of Urban et al. 2025).

    `a = b h - 1` is not negative by Cauchy-Schwarz; where it vanishes by rounding, the pair says nothing new and BFGS is used.
    """
    a = jnp.maximum(b * h - 1.0, 1e-14)
    c = jnp.sqrt(a / (1.0 + a))
    rho_minus = jnp.minimum(1.0, h * (1.0 - c))
    theta_minus = (rho_minus - 1.0) / a
    theta_plus = 1.0 / rho_minus
    theta = jnp.maximum(theta_minus, jnp.minimum(theta_plus, (1.0 - b) / b))
    sigma = 1.0 + theta * a
    root = jnp.abs(sigma) ** (-1.0 / max(size - 1, 1))
    bound = jnp.minimum(1.0, 1.0 / b)
    tau = jnp.where(theta <= 0, jnp.minimum(bound * root, sigma), bound * jnp.minimum(root, 1.0 / theta))
    phi = (1.0 - theta) / (1.0 + a * theta)
    return tau, phi
