"""What must hold: the equation, its conditions, its coefficients; reads the equation's signature."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from sciml.derivatives import MAXIMUM_ORDER, MultiIndex
from sciml.domain import TIME, Box
from sciml.errors import ProblemError, ScimlError, failing_frame, suggest
from sciml.unknown import LEAK, Coefficients, Unknown

if TYPE_CHECKING:
    from sciml.conditions import Condition


@dataclasses.dataclass(frozen=True, order=True)
class Derivative:
    """A partial derivative of a field; an empty `index` is the field itself."""

    field: str
    index: MultiIndex


Argument = str | Derivative
Values = Mapping[Derivative, Array]


class Problem(Coefficients):
    """Base of all problems: a domain, an `equation` whose argument names say what it needs, and `conditions`.

    Annotated attributes of a subclass are its coefficients, keyword arguments of its constructor. `equation` gets arrays `(n,)`:
    coordinates (`t`), fields (`u`) and derivatives of order one to four (`u_t`, `u_xx`), all in the user's own units, and returns one
    residual `(n,)`, a tuple or a dictionary of them. Optional: `fields` names the fields in order; `exact(t, x)` or `reference()` is
    what errors are measured by; `observe(u)` returns what is reported in place of the fields. What cannot be read raises `ProblemError`
    when it is prepared.
    """

    domain: ClassVar[Box]
    fields: ClassVar[tuple[str, ...]]

    def conditions(self) -> Sequence[Condition]:
        """Initial and boundary conditions, data, constraints."""
        return ()

    @cached_property
    def arguments(self) -> tuple[Argument, ...]:
        """What the equation's arguments stand for, in order. Raises `ProblemError` for names that cannot be read."""
        if not callable(getattr(self, "equation", None)):
            raise ProblemError(f"{self.name} has no equation; write a method `def equation(self, u, u_t, u_xx)`")
        if not isinstance(getattr(type(self), "domain", None), Box):
            raise ProblemError(f"{self.name} has no domain; write `domain = sciml.Box(t=(0.0, 1.0), x=(-1.0, 1.0))`")
        names = parameter_names(self.equation)  # type: ignore[attr-defined]
        mistakes: list[str] = []
        found: list[Argument] = []
        for name in names:
            try:
                found.append(name if name in self.domain.coordinates else self.derivative(name))
            except ProblemError as error:
                mistakes.extend(error.mistakes)
        if mistakes:
            raise ProblemError(mistakes, f"equation of {self.name}")
        return tuple(found)

    @cached_property
    def field_names(self) -> tuple[str, ...]:
        """The unknown functions, as stated by `fields` or in order of appearance in the equation."""
        stated = getattr(type(self), "fields", None)
        if stated is not None:
            return tuple(stated)
        return tuple(dict.fromkeys(argument.field for argument in self.arguments if isinstance(argument, Derivative)))

    @cached_property
    def observable_names(self) -> tuple[str, ...]:
        """What is reported: the fields, or what `observe` makes of them. Raises `ProblemError` where it does not fit them."""
        names: list[str] = []  # `eval_shape` alone would sort them
        jax.eval_shape(lambda fields: names.extend(self.observables(fields)), {name: jnp.ones(3) for name in self.field_names})
        return tuple(names)

    def observables(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """What is reported, drawn and compared with references, from arrays of one shape: the fields, or functions of them.

        A method `def observe(self, w)` takes fields by name and returns a dictionary, `{"u": jax.nn.sigmoid(w)}`.
        Raises `ProblemError` where it fails.
        """
        observe = getattr(self, "observe", None)
        if observe is None:
            return dict(fields)
        what = f"observe of {self.name}"
        try:
            found = observe(**fields)
        except TypeError as error:
            raise ProblemError(f"{what} fails on the fields {', '.join(fields)}: {error}") from error
        if not isinstance(found, Mapping):
            raise ProblemError(f"{what} returns a {type(found).__name__}; return a dictionary such as {{'u': ...}}")
        shape = next(iter(fields.values())).shape
        wrong = [
            f"'{name}' has shape {jnp.shape(value)} for fields of shape {shape}"
            for name, value in found.items()
            if jnp.shape(value) != shape
        ]
        if wrong:
            raise ProblemError(wrong, what)
        return dict(found)

    @cached_property
    def needs(self) -> tuple[Derivative, ...]:
        """The fields and derivatives that the equation asks for."""
        return tuple(argument for argument in self.arguments if isinstance(argument, Derivative))

    def derivative(self, name: str) -> Derivative:
        """Reads `u`, `u_t`, `u_xx`; raises `ProblemError` for a coordinate or field that does not exist."""
        field, _, suffix = name.partition("_")
        stated = getattr(type(self), "fields", None)
        if stated is not None and field not in stated:
            raise ProblemError(f"'{name}': there is no field '{field}'; {suggest(field, tuple(stated))}")
        if field in self.domain.coordinates:
            raise ProblemError(f"'{name}': '{field}' is a coordinate and has no derivatives")
        index = _split(suffix, self.domain.coordinates) if suffix else ()
        if index is None or name.endswith("_"):
            known = ", ".join(self.domain.coordinates)
            raise ProblemError(
                f"'{name}': '{suffix}' is not made of the coordinates of {self.domain} ({known}); "
                f"write for example {field}_{self.domain.coordinates[-1]}"
            )
        if len(index) > MAXIMUM_ORDER:
            raise ProblemError(
                f"'{name}': derivatives are available up to order {MAXIMUM_ORDER}; introduce an auxiliary field for higher ones"
            )
        return Derivative(field, tuple(sorted(index)))

    @cached_property
    def residual_names(self) -> tuple[str, ...]:
        """One name per equation: `equation`, or `equation_1`, ..., or the keys of the dictionary that it returns."""
        result = jax.eval_shape(
            lambda: self._call_equation({need: jnp.ones(3) for need in self.needs}, jnp.ones((3, self.domain.dimension)), {})
        )
        if isinstance(result, dict):
            return tuple(str(name) for name in result)
        if isinstance(result, (tuple, list)):
            return tuple(f"equation_{number}" for number in range(1, len(result) + 1))
        return ("equation",)

    def residuals(self, values: Values, points: Array, unknowns: Mapping[str, Array]) -> tuple[Array, ...]:
        """The residual of each equation at `points` of shape `(n, dimension)`; `values` holds arrays of shape `(n,)`."""
        result = self._call_equation(values, points, unknowns)
        return tuple(per_point(part, points.shape[0], f"equation of {self.name}", points.dtype) for part in residual_parts(result))

    def _call_equation(self, values: Values, points: Array, unknowns: Mapping[str, Array]) -> Any:
        started = {name: unknown.value(jnp.zeros((), points.dtype)) for name, unknown in self.unknowns.items()}
        bound = self.bind(started | dict(unknowns))
        given = [values[a] if isinstance(a, Derivative) else points[:, self.domain.axis(a)] for a in self.arguments]
        try:
            return bound.equation(*given)  # type: ignore[attr-defined]
        except ScimlError:
            raise
        except Exception as error:
            told = str(error) if isinstance(error, TypeError | ValueError) else f"{type(error).__name__}: {error}"
            raise ProblemError(f"equation of {self.name} fails on arrays of shape ({points.shape[0]},): {told}") from error


def parameter_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """The positional parameters of a function or bound method."""
    return tuple(inspect.signature(function).parameters)


def residual_parts(result: Any) -> tuple[Any, ...]:
    """What an equation returns, one residual, several or a dictionary of them, as a tuple."""
    if isinstance(result, dict):
        return tuple(result.values())
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def per_point(value: Any, count: int, what: str, dtype: Any) -> Array:
    """`value` as an array of shape `(count,)`; raises `ProblemError` for shapes that do not broadcast."""
    if value is None or isinstance(value, str):
        raise ProblemError(f"{what}: it gives {value!r}, no number; does it end with `return ...`?")
    array = jnp.asarray(value)
    if array.shape not in ((), (count,), (1,)):
        raise ProblemError(f"{what}: expected one value per point, shape ({count},), but got shape {array.shape}")
    return jnp.broadcast_to(array.astype(dtype), (count,))


def conditions_of(problem: Problem) -> list[Condition]:
    """What `problem.conditions()` returns. Raises `ProblemError` where it fails, or returns something else than conditions."""
    try:
        found = problem.conditions()
        listed = list(found) if isinstance(found, Iterable) else None
    except ScimlError:
        raise
    except Exception as error:
        line = failing_line(error, problem.conditions)
        raise ProblemError(f"conditions of {problem.name} fail{line}: {type(error).__name__}: {error}") from error
    strange = [found] if listed is None else [each for each in listed if not callable(getattr(each, "terms", None))]
    if listed is None or strange:
        advice = "write `return [sciml.Initial(...), ...]`"
        raise ProblemError(f"conditions of {problem.name}: {strange[0]!r} stands where a list of conditions should; {advice}")
    return listed


def failing_line(error: BaseException, function: Callable[..., Any]) -> str:
    """The last line of the function's own file at which an error arose, in brackets; empty where there is none."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    frame = failing_frame(error, code.co_filename) if code is not None else None
    return f" ({Path(frame.filename).name}, line {frame.lineno}: {frame.line})" if frame else ""


def call_by_name(function: Callable[..., Any] | float, domain: Box, points: Array, what: str) -> Any:
    """A number, or a function of coordinates matched by name, at `points` of shape `(n, dimension)` or `(dimension,)`."""
    if not callable(function):
        return function
    names = parameter_names(function)
    for name in names:
        if name not in domain.coordinates:
            raise ProblemError(f"{what}: '{name}' is not a coordinate of {domain}; {suggest(name, domain.coordinates)}")
    try:
        return function(*(points[..., domain.axis(name)] for name in names))
    except jax.errors.TracerArrayConversionError as error:
        raise ProblemError(f"{what}: it uses NumPy functions; write it with jax.numpy so that it can be differentiated") from error
    except (TypeError, ValueError) as error:
        fails = f"it fails on points of shape {points.shape[:-1]}{failing_line(error, function)}: {error}"
        raise ProblemError(f"{what}: {LEAK if Unknown.__name__ in str(error) else fails}") from error


def _split(suffix: str, coordinates: Sequence[str]) -> MultiIndex | None:
    """`xxt` as axes, longest names first, with backtracking; `None` if it cannot be read."""
    if not suffix:
        return ()
    for axis, name in sorted(enumerate(coordinates), key=lambda item: -len(item[1])):
        if suffix.startswith(name):
            rest = _split(suffix[len(name) :], coordinates)
            if rest is not None:
                return (axis, *rest)
    return None


__all__ = ["TIME", "Derivative", "Problem", "call_by_name", "parameter_names", "per_point", "residual_parts"]
