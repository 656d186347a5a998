"""SymPy: a function written with JAX as expressions, every operation that JAX records of it done with symbols."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from sciml.errors import ProblemError

CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "custom_jvp_call": "call_jaxpr"}
"""Operations that are functions of their own, and where these stand."""

CIRCULAR = [f"{inverse}{name}{hyperbolic}" for inverse in ("", "a") for name in ("sin", "cos", "tan") for hyperbolic in ("", "h")]
SAME = ("exp", "log", "sqrt", "sign", "erf", "atan2", *CIRCULAR)
"""Functions that SymPy calls as JAX does."""


def imported() -> Any:
    """SymPy. Raises `ProblemError` where it is not installed."""
    try:
        import sympy
    except ImportError as error:
        raise ProblemError("SymPy is not installed; pip install sympy, or use the equations as text") from error
    return sympy


def symbol(name: str) -> Any:
    """A variable, a real number."""
    return imported().Symbol(name, real=True)


def traced(field: Callable[..., Any], states: Sequence[str], controls: Sequence[str]) -> dict[str, Any]:
    """State -> expression, of a vector field `(t, state, controls) -> (states,)`.

    Raises `ProblemError` for an operation that has no expression here: those of `jax.numpy` on single states do, most on arrays do not.
    """
    if "t" in (*states, *controls):
        raise ProblemError("equations: a column is called t, as time is in symbols; rename it, or take found.equations(), the text")
    variables = [np.array([symbol(name) for name in names], object) for names in (("t",), states, controls)]
    record = jax.make_jaxpr(field)(jnp.zeros(()), jnp.zeros(len(states)), jnp.zeros(len(controls)))
    (derivatives,) = _follow(record, [variables[0][0], *variables[1:]])
    return {name: imported().sympify(each) for name, each in zip(states, np.asarray(derivatives, object), strict=True)}


def _follow(record: ClosedJaxpr, given: Sequence[Any]) -> list[Any]:
    """What a recorded function gives: arrays of numbers, and arrays of expressions where a symbol goes in."""
    inner: Jaxpr = record.jaxpr
    values = dict(zip([*inner.constvars, *inner.invars], [*record.consts, *given], strict=True))
    value = lambda each: each.val if isinstance(each, Literal) else values[each]  # noqa: E731
    for step in inner.eqns:
        values |= zip(step.outvars, _done(step, [value(each) for each in step.invars]), strict=True)
    return [value(each) for each in inner.outvars]


def _done(step: JaxprEqn, given: list[Any]) -> list[Any]:
    name, about = step.primitive.name, step.params
    if name in CALLS:
        return _follow(about[CALLS[name]], given)
    if all(np.asarray(each).dtype != object for each in given):
        found = step.primitive.bind(*given, **about)
        return found if step.primitive.multiple_results else [found]
    arrays = [np.asarray(each).astype(object) for each in given]
    try:
        if name in _arrays():
            return [np.asarray(_arrays()[name](about, *arrays), object)]
        function = _functions()[name]
        return [np.asarray(np.frompyfunc(lambda *each: function(about, *each), len(arrays), 1)(*arrays), object)]
    except (KeyError, TypeError) as error:
        raise ProblemError(
            f"equations: the vector field uses '{name}' of JAX in a way that has no symbols here; "
            "write it with arithmetic and functions of single states, or take found.equations(), the text"
        ) from error


@cache
def _functions() -> Mapping[str, Callable[..., Any]]:
    """What is done number by number: the operation's parameters and its arguments to an expression."""
    sympy = imported()
    plain = {
        **{name: getattr(sympy, name) for name in SAME},
        **{name: getattr(operator, name) for name in ("add", "sub", "mul", "neg", "pow", "gt", "lt", "ge", "le")},
        "div": operator.truediv,
        "abs": sympy.Abs,
        "max": sympy.Max,
        "min": sympy.Min,
        "square": lambda x: x**2,
        "log1p": lambda x: sympy.log(1 + x),
        "expm1": lambda x: sympy.exp(x) - 1,
        "logistic": lambda x: 1 / (1 + sympy.exp(-x)),
        "rsqrt": lambda x: 1 / sympy.sqrt(x),
        "select_n": lambda where, no, yes: sympy.Piecewise((yes, where), (no, True)),
    }
    return {name: lambda _, *given, function=function: function(*given) for name, function in plain.items()} | {
        "integer_pow": lambda about, x: x ** about["y"],
    }


@cache
def _arrays() -> Mapping[str, Callable[..., Any]]:
    """What moves, joins and picks numbers: the operation's parameters and its arrays to an array."""
    return {
        "slice": lambda about, x: x[tuple(map(slice, about["start_indices"], about["limit_indices"], about["strides"] or [1] * x.ndim))],
        "squeeze": lambda about, x: np.squeeze(x, about["dimensions"]),
        "reshape": lambda about, x: x.reshape(about["new_sizes"]),
        "broadcast_in_dim": _broadcast,
        "stack": lambda about, *each: np.stack(each, about["axis"]),
        "concatenate": lambda about, *each: np.concatenate(each, about["dimension"]),
        "convert_element_type": _converted,
        "reduce_sum": lambda about, x: x.sum(axis=about["axes"]),
        "dot_general": _dot,
    }


def _converted(about: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    if not jnp.issubdtype(about["new_dtype"], jnp.floating):
        raise TypeError("a number that is cut off has no expression")
    return x


def _broadcast(about: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    kept = about["broadcast_dimensions"]
    sizes = [x.shape[kept.index(axis)] if axis in kept else 1 for axis in range(len(about["shape"]))]
    return np.broadcast_to(x.reshape(sizes), about["shape"])


def _dot(about: Mapping[str, Any], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    summed, repeated = about["dimension_numbers"]
    if any(repeated):
        raise TypeError("a product of stacked matrices")
    return np.tensordot(x, y, summed)
