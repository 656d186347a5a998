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

    def features(self, point: Array) -> Array:
        """The smoothed kink, and a smoothed jump where `bends`: periodic, smooth after the start, of order one."""
        place = (point[self.axis] - self.lower) / self.length
        spread, integrals = self._integrals(point)
        kink = 8.0 * (place * (1.0 - place) + spread * integrals[1] / self.length) - 1.0
        return jnp.stack([kink, 1.0 - 2.0 * place - integrals[0]][: self.size])

    def _integrals(self, point: Array) -> tuple[Array, list[Array]]:
        """The diffusion length, and erfc, ierfc, i2erfc, i3erfc of the distance to the kink in that unit, with its sign where that is odd.

        Each is summed over all images of the kink.
        """
        elapsed = jnp.maximum(point[self.time] - self.start, jnp.finfo(point.dtype).eps ** 2)
        spread = jnp.sqrt(4.0 * self.diffusivity * elapsed)
        place = point[self.axis] - self.lower
        shifts = self.length * jnp.arange(self.images, dtype=point.dtype)
        distance = jnp.stack([place + shifts, self.length - place + shifts]) / spread
        zeroth = erfc(distance)
        first = jnp.exp(-(distance**2)) / math.sqrt(math.pi) - distance * zeroth
        second = (zeroth - 2.0 * distance * first) / 4.0
        third = (first - 2.0 * distance * second) / 6.0
        sides = [jnp.sum(each, axis=1) for each in (zeroth, first, second, third)]
        return spread, [above + below if order % 2 else above - below for order, (above, below) in enumerate(sides)]


def find_seam(problem: Problem, name: str, axis: int, initial: PointFunction) -> Seam | None:
    """The seam of a field along a periodic axis; None where its initial values close smoothly, or jump, or diffusion is not constant."""
    domain = problem.domain
    diffusivity = _diffusivity(problem, name, axis)
    if diffusivity is None:
        return None
    lower, upper = domain.lower[axis], domain.upper[axis]

    def derivatives(point: Array) -> Array:
        return jnp.stack(chain(initial, point, jnp.zeros_like(point).at[axis].set(1.0), 3))

    def jumps(point: Array) -> Array:
        return derivatives(point.at[axis].set(lower)) - derivatives(point.at[axis].set(upper))

    points = _samples(problem)
    sizes, found = (jnp.max(jnp.abs(jax.vmap(each)(points)), axis=0) for each in (derivatives, jumps))
    closes = found <= jnp.sqrt(jnp.finfo(points.dtype).eps) * sizes
    if not closes[0] or bool(jnp.all(closes[1:])):
        return None
    time = domain.axis(TIME)
    start, length = domain.lower[time], upper - lower
    images = 1 + math.ceil(REACH * math.sqrt(4.0 * diffusivity * (domain.upper[time] - start)) / length)
    return Seam(axis, time, start, lower, length, diffusivity, images, lambda point: jumps(point)[1:], not bool(closes[2]))


def _diffusivity(problem: Problem, name: str, axis: int) -> float | None:
    """D of u_t = D u_xx + (lower orders along the axis), read off the equation; None unless it is one positive number."""
    time = problem.domain.axis(TIME)
    rate, bend = Derivative(name, (time,)), Derivative(name, (axis, axis))
    orders = [need.index for need in problem.needs if need.field == name]
    if (
        problem.unknowns
        or {rate, bend} - set(problem.needs)
        or any(index.count(axis) > 2 or (time in index and index != (time,)) for index in orders)
    ):
        return None
    points = _samples(problem)
    values = {
        need: jax.random.uniform(jax.random.key(number), points.shape[:1], points.dtype, 0.1, 0.9)
        for number, need in enumerate(problem.needs)
    }

    def sensitivity(need: Derivative) -> tuple[Array, ...]:
        return jax.jvp(
            lambda value: problem.residuals(values | {need: value}, points, {}), (values[need],), (jnp.ones_like(values[need]),)
        )[1]

    ratios = [-second / first for first, second in zip(sensitivity(rate), sensitivity(bend), strict=True) if bool(jnp.all(first != 0))]
    if len(ratios) != 1:
        return None
    found = float(jnp.median(ratios[0]))
    constant = bool(jnp.all(jnp.abs(ratios[0] - found) <= jnp.sqrt(jnp.finfo(points.dtype).eps) * abs(found)))
    return found if constant and found > 0 else None


def _samples(problem: Problem) -> Array:
    domain = problem.domain
    return jax.random.uniform(jax.random.key(0), (64, domain.dimension), minval=jnp.asarray(domain.lower), maxval=jnp.asarray(domain.upper))
