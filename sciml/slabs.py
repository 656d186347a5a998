"""Time slabs: windows of time, trained one after the other, each joined continuously to the one before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from sciml.conditions import Initial
from sciml.data import Data
from sciml.domain import TIME, Box
from sciml.errors import ProblemError
from sciml.nets.ansatz import Ansatz
from sciml.problem import Problem


class March(NamedTuple):
    """How far a march has come: the slab that is trained, and the trainable numbers `(slabs, P)` of those before it."""

    number: Array
    frozen: Array
    """Rows from `number` on are zero."""


@dataclass(frozen=True)
class Slabs:
    """Equal windows of a box's time.

    With hard initial values the solution is one sum over slabs, u = lift + sum_j V(s_j, x) N_j(s_j, x), where s_j is the time
    since the start of slab j, held between zero and the slab's length, and V vanishes at s_j = 0. So each network starts from where
    the one before has ended, whatever it does.
    """

    domain: Box
    count: int

    @property
    def axis(self) -> int:
        return self.domain.axis(TIME)

    @property
    def start(self) -> float:
        return self.domain.lower[self.axis]

    @property
    def length(self) -> float:
        return (self.domain.upper[self.axis] - self.start) / self.count

    @property
    def window(self) -> Box:
        """The box of the first slab, in which all networks live."""
        return Box(**{**self.domain.intervals, TIME: (self.start, self.start + self.length)})

    def place(self, points: Array, number: Array) -> Array:
        """Points `(..., d)` of the whole box, moved into one slab."""
        time = points[..., self.axis]
        return points.at[..., self.axis].set(self.start + (time - self.start) / self.count + number.astype(points.dtype) * self.length)

    def local(self, points: Array, number: Array) -> Array:
        """Points of the whole box as slab `number` sees them: in `window`, at its start before the slab and at its end after it."""
        time = points[..., self.axis] - number.astype(points.dtype) * self.length
        return points.at[..., self.axis].set(jnp.clip(time, self.start, self.start + self.length))

    def end(self, points: Array) -> Array:
        """The same places at the end of `window`."""
        return points.at[..., self.axis].set(self.start + self.length)


def check_slabs(problem: Problem, ansatz: Ansatz, soft: Sequence[object]) -> None:
    """Raises `ProblemError` where time cannot be marched."""
    mistakes = []
    if not problem.domain.has_time:
        mistakes.append(f"{problem.domain} has no time to march through")
    if problem.unknowns or any(isinstance(condition, Data) for condition in soft):
        mistakes.append("data and unknown coefficients belong to all times at once")
    if any(isinstance(condition, Initial) for condition in soft):
        mistakes.append("a soft initial condition does not join one slab to the next; make it hard")
    elif problem.domain.has_time:
        mistakes += [f"'{name}' has no hard initial value to start from" for name in problem.field_names if not ansatz.starts(name)]
    if any(ansatz.has_velocity(name) for name in problem.field_names):
        mistakes.append("an equation of second order in time would need slabs that are joined smoothly")
    if mistakes:
        raise ProblemError([f"{mistake}; leave time_slabs out" for mistake in mistakes], f"time_slabs with {problem.name}")
