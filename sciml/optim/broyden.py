"""Self-scaled Broyden on a dense inverse Hessian (Al-Baali & Khalfan 2005; Urban, Stefanou & Pons 2025)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sciml.optim.second_order import Metric, Pair

PENDING = 16
"""Updates that wait until the matrix is written: docs/decisions/019-updates-that-wait.md."""


class InverseHessian(NamedTuple):
    """H = scale M + diagonal I + sum_k c_k w_k w_k', its last few updates not yet written into the matrix."""

    matrix: Array
    """M `(P, P)`."""
    scale: Array
    diagonal: Array
    columns: Array
    """w `(P, 3 PENDING)`, three for each update."""
    coefficients: Array
    """c `(3 PENDING,)`, zero where a column says nothing."""
    used: Array
    """Columns that are taken."""


class SelfScaledBroyden(Metric):
    """The inverse Hessian H as a full matrix `(P, P)`. Its unit step overshoots (docs/decisions/007-first-trial.md)."""

    lengthening = 1.25

    def start(self, size: int, dtype: Any) -> InverseHessian:
        zero, columns = jnp.zeros((), dtype), 3 * PENDING
        return InverseHessian(
            jnp.zeros((size, size), dtype), zero, zero + 1, jnp.zeros((size, columns), dtype), jnp.zeros(columns, dtype), jnp.zeros((), int)
        )

    def apply(self, metric: InverseHessian, vector: Array) -> Array:
        pending = metric.columns @ (metric.coefficients * (vector @ metric.columns))
        return metric.scale * (metric.matrix @ vector) + metric.diagonal * vector + pending

    def update(self, metric: InverseHessian, pair: Pair, good: Array, forget: Array) -> tuple[InverseHessian, Array]:
        """H+ = (1/tau) [H - Hy (Hy)'/(y'Hy) + phi (y'Hy) v v'] + rho s s', with v = rho s - Hy/(y'Hy).

        H g+ needs one product with H; H y and the next direction follow from it. A pair that is not good, or whose update is not finite,
        leaves H as it is by its coefficients, so that no branch copies the matrix. The metric must not be full.
        """
        product = self.apply(metric, pair.new_gradient)
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
        coefficients = (scale / tau, 1 / (tau * yhy), phi * yhy / tau, rho)
        good = good & jnp.all(jnp.isfinite(jnp.stack(coefficients))) & jnp.all(jnp.isfinite(hy))
        keep, drop, add, grow = (jnp.where(good, on, off) for on, off in zip(coefficients, (1.0, 0.0, 0.0, 0.0), strict=True))
        g = pair.new_gradient
        natural = (
            jnp.where(good, 1.0 / tau, 1.0) * product - drop * hy * jnp.vdot(hy, g) + add * v * jnp.vdot(v, g) + grow * s * jnp.vdot(s, g)
        )
        columns = jnp.where(good, jnp.stack([hy, v, s], axis=1), 0.0)
        waiting = InverseHessian(
            metric.matrix,
            jnp.where(forget, 0.0, keep * metric.scale),
            jnp.where(forget, 1.0, keep * metric.diagonal),
            jax.lax.dynamic_update_slice(metric.columns, columns, (jnp.zeros_like(metric.used), metric.used)),
            jnp.where(
                forget,
                0.0,
                jax.lax.dynamic_update_slice(keep * metric.coefficients, jnp.stack([-drop, add, grow]), (metric.used,)),
            ),
            metric.used + 3,
        )
        return waiting, jnp.where(forget, g, natural)

    def is_full(self, metric: InverseHessian) -> Array:
        return metric.used >= metric.coefficients.size

    def settle(self, metric: InverseHessian) -> InverseHessian:
        """The same H, all of it in the matrix where no more updates can wait.

        Each column times the root of its coefficient stands on both sides of the product, so that the sum is symmetric to the last bit.
        """
        full = self.is_full(metric)
        roots = jnp.where(full, jnp.sqrt(jnp.abs(metric.coefficients)), 0.0)[None, :] * metric.columns
        indices = jax.lax.iota(jnp.int32, metric.matrix.shape[0])
        diagonal = jnp.where(full & (indices[:, None] == indices[None, :]), metric.diagonal, 0.0)
        written = jnp.where(full, metric.scale, 1.0) * metric.matrix + diagonal + roots @ (jnp.sign(metric.coefficients)[None, :] * roots).T
        return InverseHessian(
            written,
            jnp.where(full, 1.0, metric.scale),
            jnp.where(full, 0.0, metric.diagonal),
            metric.columns,
            jnp.where(full, 0.0, metric.coefficients),
            jnp.where(full, 0, metric.used),
        )


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
