"""Dynamics: a user's vector field with unknown coefficients, what was measured of it, and how the measurements scatter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.dynamics.noise import Gaussian, Noise
from sciml.dynamics.series import TimeSeries
from sciml.errors import ProblemError, ScimlError, suggest
from sciml.problem import failing_line, parameter_names
from sciml.unknown import Coefficients

TIME = "t"


class Dynamics(Coefficients):
    """Base of all ordinary differential equations whose coefficients are to be found from a time series.

    The arguments of `vector_field` are the states by name (and `t` and the series' controls, where it needs them); it returns the
    time derivative of each state, in the same order. A channel of the series that is called like a state measures it; anything
    else that was measured is said by `observe`. See `docs/design.md`, 3.8.
    """

    noise: ClassVar[Noise] = Gaussian()
    hold_out: ClassVar[int] = 0
    """Last points of each trajectory that are kept from the fit and forecast instead."""
    sizes: ClassVar[Mapping[str, float]] = {}
    """Typical sizes of states that nobody measured and whose initial value is not known; 1 where nothing is said."""

    def series(self) -> TimeSeries:
        """What was measured."""
        raise ProblemError(f"{self.name} has no data; write a method `def series(self)` that returns a sciml.TimeSeries")

    def initial(self) -> Mapping[str, Any]:
        """Initial values that are known, or functions of the coefficients, by state; every other one is found."""
        return {}

    @cached_property
    def measured(self) -> TimeSeries:
        """The series, checked against the vector field."""
        series = self._series()
        held: Any = self.hold_out
        if not (isinstance(held, int) and held >= 0) and not (isinstance(held, float) and 0 < held < 1):
            raise ProblemError(f"hold_out of {self.name} is {held!r}; write how many of the last points to keep from the fit, or a share")
        if isinstance(self.noise, type) or not callable(getattr(self.noise, "check", None)):
            raise ProblemError(f"noise of {self.name} is {self.noise!r}; write sciml.Gaussian(), sciml.LogNormal() or sciml.Counts()")
        looked_at = parameter_names(self.observe) if hasattr(self, "observe") else ()  # type: ignore[attr-defined]
        mistakes = [
            f"`observe` takes '{name}', which is no state; {suggest(name, self.states)}" for name in looked_at if name not in self.states
        ]
        mistakes += [
            f"channel '{name}' is neither a state nor returned by `observe`; {suggest(name, self.states)}"
            for name in series.names
            if name not in self.states and not hasattr(self, "observe")
        ]
        if TIME in series.names:
            mistakes.append("a channel is called 't', which is time; give it another name")
        if mistakes:
            raise ProblemError(mistakes, self.name)
        self.noise.check(np.concatenate(series.values), series.names)
        return series

    @cached_property
    def states(self) -> tuple[str, ...]:
        """The names of the states, in the order of the vector field's arguments."""
        if not callable(getattr(self, "vector_field", None)):
            raise ProblemError(f"{self.name} has no vector field; write a method `def vector_field(self, x, y)`")
        inputs = (TIME, *self._series().control_names)
        return tuple(name for name in parameter_names(self.vector_field) if name not in inputs)  # type: ignore[attr-defined]

    def _series(self) -> TimeSeries:
        if not callable(self.series):
            raise ProblemError(f"`series` of {self.name} is no method; write `def series(self)` that returns it")
        found = self._called(self.series)
        if not isinstance(found, TimeSeries):
            advice = "return sciml.TimeSeries.from_arrays(times, values, names)"
            raise ProblemError(f"`series` of {self.name} returns a {type(found).__name__}; {advice}")
        return found

    def derivative(self, t: Array, state: Array, controls: Array, unknowns: Mapping[str, Array]) -> Array:
        """The time derivative `(states,)` at time `t`, state `(states,)` and controls `(controls,)`."""
        known = dict(zip(self.states, state, strict=True)) | {TIME: t}
        known |= dict(zip(self.measured.control_names, controls, strict=True))
        bound = self.bind(unknowns)
        given = [known[name] for name in parameter_names(bound.vector_field)]  # type: ignore[attr-defined]
        slopes = self._called(bound.vector_field, *given)  # type: ignore[attr-defined]
        return self._stacked(slopes, state.dtype, "vector_field")

    def observed(self, state: Array, unknowns: Mapping[str, Array]) -> Array:
        """What the channels would show of a state `(states,)`, without noise."""
        known = dict(zip(self.states, state, strict=True))
        if hasattr(self, "observe"):
            observe = self.bind(unknowns).observe  # type: ignore[attr-defined]
            shown = self._called(observe, *(known[name] for name in parameter_names(observe)))
            if not isinstance(shown, Mapping):
                raise ProblemError(f"`observe` of {self.name} returns a {type(shown).__name__}; return a dictionary of channels by name")
            known |= shown
        missing = [name for name in self.measured.names if name not in known]
        if missing:
            raise ProblemError(f"`observe` does not return the channel '{missing[0]}'; return a dictionary with {', '.join(missing)}")
        return jnp.stack([jnp.asarray(known[name], state.dtype) for name in self.measured.names])

    def start(self, free: Array, unknowns: Mapping[str, Array]) -> Array:
        """The initial state: `free` where nothing else is said by `initial`."""
        given = self.stated(unknowns)
        return jnp.stack([jnp.asarray(given.get(name, free[number]), free.dtype) for number, name in enumerate(self.states)])

    def stated(self, unknowns: Mapping[str, Any]) -> Mapping[str, Any]:
        """What `initial` says of the states' initial values."""
        if not callable(self.initial):
            raise ProblemError(f"`initial` of {self.name} is no method; write `def initial(self)` that returns values by state")
        given = self._called(self.bind(unknowns).initial)
        if not isinstance(given, Mapping):
            raise ProblemError(f"`initial` of {self.name} returns a {type(given).__name__}; return a dictionary of values by state")
        strange = [name for name in given if name not in self.states]
        if strange:
            raise ProblemError(f"`initial` of {self.name}: there is no state '{strange[0]}'; {suggest(strange[0], self.states)}")
        return given

    def _called(self, function: Callable[..., Any], *given: Any) -> Any:
        """What the user's function returns. Raises `ProblemError` with its line where it fails."""
        try:
            return function(*given)
        except ScimlError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            numpy = isinstance(error, jax.errors.TracerArrayConversionError)
            cure = "; write it with jax.numpy so that it can be differentiated" if numpy else ""
            raise ProblemError(f"{function.__name__} of {self.name} fails{failing_line(error, function)}: {reason}{cure}") from error

    def _stacked(self, slopes: Any, dtype: Any, what: str) -> Array:
        parts = tuple(slopes) if isinstance(slopes, tuple | list) else (slopes,)
        if len(parts) != len(self.states):
            raise ProblemError(
                f"{what} of {self.name} returns {len(parts)} values for {len(self.states)} states ({', '.join(self.states)}); "
                "return one derivative per state, in the order of the arguments"
            )
        return jnp.stack([jnp.asarray(part, dtype) for part in parts])
