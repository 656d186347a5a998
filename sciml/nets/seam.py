"""Initial values that do not close smoothly where a period does: the kink, smoothed by diffusion at once, is given to the network."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import erfc

from sciml.derivatives import chain
from sciml.device import random_key
from sciml.domain import TIME
from sciml.problem import Derivative, Problem

PointFunction = Callable[[Array], Array]

REACH = 6.0
"""Diffusion lengths beyond which a kink is not felt: erfc(6) = 2e-17."""


@dataclass(frozen=True)
class Seam:
    """The ends of a periodic coordinate, where derivatives of a field's initial values jump: the first, second and third by `jumps(point)`.

    With s = sqrt(4 D t) and the integrals of erfc(|x| / s) (Carslaw & Jaeger 1959, appendix II), diffusion makes |x| / 2 into
    |x| / 2 + s / 2 ierfc, which is smooth; so are sign(x) (x^2 / 4 - s^2 / 2 (i2erfc - erfc / 4)) and
    |x|^3 / 12 + s^3 / 2 (i3erfc - ierfc / 4). What is added, summed over all images of the kink, joins the lift of the hard conditions.
    A network does not find such layers by itself: those that it still needs are among its inputs.
    """

    axis: int
    time: int
    start: float
    lower: float
    length: float
    diffusivity: float
    images: int
    jumps: PointFunction
    bends: bool
    """Whether the second derivative jumps."""

    @property
    def size(self) -> int:
        """Number of inputs."""
        return 2 if self.bends else 1

    def smoothing(self, point: Array) -> Array:
        """What is added to the initial values so that they close smoothly after the start, at which it is zero."""
        first, second, third = self.jumps(point)
        spread, integrals = self._integrals(point)
        odd = second * (integrals[2] - 0.25 * integrals[0])
        even = third * (integrals[3] - 0.25 * integrals[1])
        return 0.5 * spread * (first * integrals[1] - spread * odd + spread**2 * even)

    def inputs(self, point: Array) -> Array:
        """The smoothed kink, and a smoothed jump where `bends`: periodic, smooth after the start, of order one."""
        place = (point[self.axis] - self.lower) / self.length
        spread, integrals = self._integrals(point)
        kink = 8.0 * (place * (1.0 - place) + spread * integrals[1] / self.length) - 1.0
        return jnp.stack([kink, 1.0 - 2.0 * place - integrals[0]][: self.size])

    def _integrals(self, point: Array) -> tuple[Array, list[Array]]:
        """The diffusion length, and erfc, ierfc, i2erfc, i3erfc of the distance to the kink in that unit, with its sign where that is odd.

        Each is summed over all images of the kink and has no mean. After L^2 / D nothing changes any more: exp(-4 pi^2) = 7e-18.
        """
        eps = jnp.finfo(point.dtype).eps
        elapsed = jnp.clip(point[self.time] - self.start, eps**2, self.length**2 / self.diffusivity)
        spread = jnp.sqrt(4.0 * self.diffusivity * elapsed)
        place = point[self.axis] - self.lower
        shifts = self.length * jnp.arange(self.images, dtype=point.dtype)
        distance = jnp.stack([place + shifts, self.length - place + shifts]) / spread
        zeroth = erfc(distance)
        first = jnp.exp(-(distance**2)) / math.sqrt(math.pi) - distance * zeroth
        second = (zeroth - 2.0 * distance * first) / 4.0
        third = (first - 2.0 * distance * second) / 6.0
        (a, b), (c, d), (e, f), (g, h) = [jnp.sum(each, axis=1) for each in (zeroth, first, second, third)]
        share = spread / self.length
        return spread, [a - b, c + d - share / 2.0, e - f, g + h - share / 16.0]


def find_seam(problem: Problem, name: str, axis: int, initial: PointFunction) -> Seam | None:
    """The seam of a field along a periodic axis; None where there is nothing to smooth, or nothing known of how.

    That is where `initial` closes smoothly, jumps, or has no three derivatives at the ends, and where the equation does not say of
    itself how its kinks spread: one constant diffusivity, which no advection outruns and no other second derivative joins.
    """
    domain, time = problem.domain, problem.domain.axis(TIME)
    diffusivity = _diffusivity(problem, name, axis)
    if diffusivity is None:
        return None
    lower, upper = domain.lower[axis], domain.upper[axis]

    def derivatives(point: Array) -> Array:
        return jnp.stack(chain(initial, point, jnp.zeros_like(point).at[axis].set(1.0), 3))

    def jumps(point: Array) -> Array:
        return derivatives(point.at[axis].set(lower)) - derivatives(point.at[axis].set(upper))

    sizes, found = (jnp.max(jnp.abs(jax.vmap(each)(_samples(problem))), axis=0) for each in (derivatives, jumps))
    closes = found <= jnp.finfo(found.dtype).eps ** 0.4 * sizes
    if not bool(jnp.all(jnp.isfinite(found))) or not closes[0] or bool(jnp.all(closes[1:])):
        return None
    length = upper - lower
    elapsed = min(domain.upper[time] - domain.lower[time], length**2 / diffusivity)
    images = 1 + math.ceil(REACH * math.sqrt(4.0 * diffusivity * elapsed) / length)
    return Seam(axis, time, domain.lower[time], lower, length, diffusivity, images, lambda point: jumps(point)[1:], not bool(closes[2]))


def _diffusivity(problem: Problem, name: str, axis: int) -> float | None:
    """D of u_t = D u_xx + (lower orders), read off the equation by differentiating it at random values; None unless it is one number."""
    time = problem.domain.axis(TIME)
    rate, bend, slope = (Derivative(name, index) for index in ((time,), (axis, axis), (axis,)))
    higher = [need for need in problem.needs if need.index.count(axis) >= 2 or (time in need.index and len(need.index) > 1)]
    if problem.unknowns or rate not in problem.needs or bend not in higher or any(need.index != bend.index for need in higher):
        return None
    points = _samples(problem)
    keys = jax.random.split(random_key(1), len(problem.needs))
    values = {
        need: jax.random.uniform(key, points.shape[:1], points.dtype, 0.1, 0.9) for need, key in zip(problem.needs, keys, strict=True)
    }

    def sensitivity(need: Derivative) -> Array:
        def residuals(value: Array) -> Array:
            return jnp.stack(problem.residuals(values | {need: value}, points, {}))

        return jax.jvp(residuals, (values[need],), (jnp.ones_like(values[need]),))[1]

    rates, bends = sensitivity(rate), sensitivity(bend)
    rows = [row for row in range(len(rates)) if bool(jnp.any(rates[row] != 0) | jnp.any(bends[row] != 0))]
    if len(rows) != 1 or any(bool(jnp.any(sensitivity(need)[rows[0]] != 0)) for need in higher if need != bend):
        return None
    ratios = -bends[rows[0]] / rates[rows[0]]
    found = float(jnp.median(ratios))
    constant = bool(jnp.all(jnp.abs(ratios - found) <= jnp.sqrt(jnp.finfo(points.dtype).eps) * abs(found)))
    speed = float(jnp.max(jnp.abs(sensitivity(slope)[rows[0]] / rates[rows[0]]))) if slope in problem.needs else 0.0
    duration = problem.domain.upper[time] - problem.domain.lower[time]
    return found if constant and found > 0 and speed**2 * duration <= found else None


def _samples(problem: Problem) -> Array:
    domain = problem.domain
    return jax.random.uniform(random_key(0), (64, domain.dimension), minval=jnp.asarray(domain.lower), maxval=jnp.asarray(domain.upper))
