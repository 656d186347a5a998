"""Unknown coefficients: numbers that a run finds, with bounds; and what has coefficients."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn, Self, dataclass_transform

import jax.numpy as jnp
from jax import Array
from jax.nn import sigmoid
from jax.scipy.special import logit

from sciml.errors import ProblemError

LEAK = (
    "an Unknown coefficient is used outside `equation` (in a condition, an exact solution or a reference); "
    "give boundary and initial values as numbers or as functions of the coordinates alone"
)


@dataclass(frozen=True)
class Unknown:
    """A coefficient to be found, starting from `start`. Inside `equation` it is a number, and inside `vector_field`, `observe` and
    `initial` of a Dynamics; in conditions, exact solutions and references it raises `ProblemError`.

    `positive=True` keeps it above zero (it is then found on a logarithmic scale), `lower` and `upper` keep it in an interval.
    Raises `ProblemError` for a start outside its bounds.
    """

    start: float
    positive: bool = False
    lower: float | None = None
    upper: float | None = None

    def __post_init__(self) -> None:
        if self.positive and (self.lower is not None or self.upper is not None):
            raise ProblemError("Unknown: give either positive=True or lower and upper, not both")
        if (self.lower is None) != (self.upper is None):
            raise ProblemError("Unknown: lower and upper come together; write Unknown(0.5, lower=0.0, upper=1.0)")
        if not math.isfinite(self.start) or (self.positive and self.start <= 0):
            raise ProblemError(f"Unknown: the start {self.start:g} must be {'positive' if self.positive else 'finite'}")
        if self.lower is not None and self.upper is not None and not self.lower < self.start < self.upper:
            raise ProblemError(f"Unknown: the start {self.start:g} is not inside ({self.lower:g}, {self.upper:g})")

    def value(self, raw: Array) -> Array:
        """The coefficient at the trainable number `raw` (zero at the start)."""
        if self.positive:
            return self.start * jnp.exp(raw)
        if self.lower is not None and self.upper is not None:
            width = self.upper - self.lower
            return self.lower + width * sigmoid(raw + logit(jnp.asarray((self.start - self.lower) / width, raw.dtype)))
        return self.start + (abs(self.start) or 1.0) * raw

    def _leak(self, *_: Any) -> NoReturn:
        raise ProblemError(LEAK)

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _leak
    __pow__ = __rpow__ = __neg__ = __abs__ = __float__ = __array__ = _leak
    __lt__ = __le__ = __gt__ = __ge__ = _leak


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Coefficients:
    """Base of what a user writes down as a class: its annotated attributes are coefficients, keyword arguments of its constructor."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, kw_only=True, eq=False)(cls)

    @property
    def name(self) -> str:
        return type(self).__name__

    @cached_property
    def unknowns(self) -> dict[str, Unknown]:
        """Coefficients that are to be found."""
        return {name: value for name, value in self._values.items() if isinstance(value, Unknown)}

    @cached_property
    def coefficients(self) -> dict[str, float]:
        """Coefficients that are given."""
        return {name: value for name, value in self._values.items() if not isinstance(value, Unknown)}

    def bind(self, unknowns: Mapping[str, Array]) -> Self:
        """The same with numbers in the place of its unknown coefficients."""
        return dataclasses.replace(self, **unknowns) if unknowns else self  # type: ignore[type-var]

    @cached_property
    def _values(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
