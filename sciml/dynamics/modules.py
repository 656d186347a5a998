"""A user's own module as a vector field, or as a network in one: does it fit the states and channels, and is there something to fit?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from sciml.dynamics.series import TimeSeries
from sciml.dynamics.vector_fields import VectorField
from sciml.errors import ProblemError
from sciml.nets.model import trainable_mask
from sciml.problem import failing_line

WRITE = (
    "write equations as a sciml.Dynamics with sciml.Unknown coefficients, or as a sciml.VectorField whose coefficients are JAX arrays; "
    "or give a network, an Equinox or Flax NNX module"
)


def check_own(field: VectorField, series: TimeSeries, known: VectorField | None) -> None:
    """Raises `ProblemError` for a vector field of the user's own that does not fit the series, or the known one that it is added to."""
    name = type(field).__name__
    _check_names(name, field, series, known)
    if not _numbers(field):
        raise ProblemError(f"vector_field: {name} has no numbers to fit; give its coefficients as JAX arrays, for example jnp.array(1.0)")
    states, controls = _like(len(field.states)), _like(len(series.control_names))
    _check_shape(f"{name}.__call__", field.__call__, (_like(), states, controls), len(field.states), "state")
    _check_shape(f"{name}.observe", field.observe, (states,), len(field.channels), "channel")
    _check_shape(f"{name}.start", field.start, (states,), len(field.states), "state")


def _check_names(name: str, field: VectorField, series: TimeSeries, known: VectorField | None) -> None:
    if known is None:
        if field.channels != series.names:
            raise ProblemError(f"vector_field: {name} has the channels {field.channels}; write channels = {series.names}, as in the series")
        return
    if field.states != known.states:
        raise ProblemError(f"vector_field: {name} has the states {field.states}; write states = {known.states}, as in the problem")
    if both := sorted(set(field.coefficients()) & set(known.coefficients())):
        raise ProblemError(
            f"vector_field: '{both[0]}' is a coefficient of the problem and of {name}, which is what the problem's vector field lacks; "
            "give one another name, or the series instead of the problem where this is the whole vector field"
        )


def check_network(network: Any, inputs: int, outputs: int) -> None:
    """Raises `ProblemError` for what is no network `(inputs,) -> (outputs,)`."""
    name = getattr(network, "__name__", type(network).__name__)
    if isinstance(network, type):
        raise ProblemError(f"vector_field: {name} is a class; give an instance of it, {name}(...)")
    if not callable(network):
        raise ProblemError(f"vector_field: {name} is not callable; give a module that maps ({inputs},) to ({outputs},)")
    if not _numbers(network):
        raise ProblemError(f"vector_field: {name} has no numbers to fit; {WRITE}")
    _check_shape(f"{name} on {inputs} scaled states and controls", network, (_like(inputs),), outputs, "derivative to be modelled")


def _numbers(module: Any) -> list[Any]:
    return jax.tree.leaves(eqx.filter(module, trainable_mask(module)))


def _like(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.zeros(()).dtype)


def _check_shape(what: str, function: Callable[..., Any], given: tuple[Any, ...], count: int, of: str) -> None:
    """Raises `ProblemError` where a function does not return `count` numbers."""
    try:
        found = jax.eval_shape(function, *given)
    except Exception as error:
        raise ProblemError(f"vector_field: {what} fails{failing_line(error, function)}: {type(error).__name__}: {error}") from error
    shape = getattr(found, "shape", f"a {type(found).__name__}")
    if shape != (count,):
        raise ProblemError(f"vector_field: {what} returns {shape}; return ({count},), one number per {of}, for example by jnp.stack")
