"""What was found in a series: a vector field, its equations and coefficients with intervals, a forecast, and what the data cannot tell."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from sciml.dynamics import forecast as ahead
from sciml.dynamics import stored
from sciml.dynamics.curves import Curves
from sciml.dynamics.doubts import doubts
from sciml.dynamics.forecast import Band, Score
from sciml.dynamics.integrate import Failure
from sciml.dynamics.integrate import failure as why
from sciml.dynamics.refit import Coefficient, Refit
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.shooting import Shooting
from sciml.dynamics.vector_fields import VectorField
from sciml.errors import ProblemError, suggest
from sciml.labelled import Labelled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

Form = Literal["text", "latex", "sympy"]

CURVE = 60
"""Times between the last measurement and the last held-out one at which a band is drawn."""

AHEAD = 0.25
"""How far beyond the data a forecast goes where nothing is held out and no times are given, as a share of their span."""


@dataclass(frozen=True)
class Discovered:
    """The dynamics behind a series. Callable as a vector field: `found(t, state, controls)`."""

    name: str
    series: TimeSeries
    """What was learned from."""
    held_out: TimeSeries | None
    shooting: Shooting
    fit: Refit
    seconds: float
    """What the refit took."""
    history: Sequence[Mapping[str, Any]] = ()
    result: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, t: float, state: Any, controls: Any = ()) -> np.ndarray:
        """The time derivative `(states,)` at a time, a state `(states,)` and controls `(controls,)`, in the units of the data."""
        return np.asarray(self.vector_field(jnp.asarray(float(t)), jnp.asarray(state, float), jnp.asarray(controls, float)))

    @cached_property
    def vector_field(self) -> VectorField:
        """The fitted vector field."""
        return self.shooting.field_of(jnp.asarray(self.fit.theta)).without_statistics()

    @property
    def coefficients(self) -> dict[str, Coefficient]:
        """Every named coefficient with its standard error and interval, or why there is none."""
        return self.fit.coefficients

    @property
    def inclusion(self) -> dict[str, float]:
        """Share of data sets, simulated by the model with its noise, that lead to each term again (a parametric bootstrap).

        Terms are chosen again near the model found. Empty where the terms were not chosen from the data.
        """
        return self.shooting.field.inclusion()

    @property
    def cross_validation(self) -> float | None:
        """Root mean square error of each fifth of the data predicted from the rest, relative to the fit's own.

        Of the model whose terms were chosen, before its last fit. Far above one where terms are wrong, and where one fifth alone tells a
        coefficient. None where no terms were chosen from the data, the data are too few, or the fit is exact.
        """
        sparse = self.shooting.field.sparse_part
        return None if sparse is None else sparse.cross_validation

    @property
    def states(self) -> tuple[str, ...]:
        return self.shooting.field.states

    @property
    def joined(self) -> bool:
        """Whether one solution passes through each whole trajectory; otherwise windows with estimated states do."""
        return not bool(self.shooting.windows.linked.any())

    def equations(self, form: Form = "text") -> Any:
        """The equations with fitted coefficients: text or LaTeX (standard errors in brackets), or SymPy expressions by state.

        Of a vector field of the user's own, its source and its coefficients as text, else what it does to SymPy's symbols. A network has
        no symbols: `ProblemError` but for text.
        """
        if form not in get_args(Form):
            raise ProblemError(f"equations: the form {form!r} does not exist; {suggest(str(form), get_args(Form))}")
        found, controls = self.vector_field, self.series.control_names
        errors = {name: each.standard_error for name, each in self.coefficients.items()}
        if form == "sympy":
            return found.sympy(controls)
        if form == "latex":
            return found.latex(errors, controls)
        listed = [] if found.sparse_part is found else [f"{name} = {value}" for name, value in self.coefficients.items()]
        return "\n".join([found.text(errors), *listed])

    def forecast(self, times: Any = None, trajectory: int = 0, controls: Any = None) -> Band:
        """The continuation of a trajectory with its 95 % band: at `times`, or for a duration after its last row where one number is given.

        Without `times`: at the held-out times, or a quarter of the data's span beyond them. The band is for new measurements: it holds
        the noise and the uncertainty of the coefficients, or of a network's numbers (up to 3,000 of them). Arrays are `(n, channels)`.
        Controls not given are those of the data, held-out ones too, and keep their last value beyond them. Raises `ProblemError` for
        times that do not increase or begin before the last window of the fit.
        """
        at = self.series.times[trajectory]
        if times is None and self.held_out is not None:
            times = self.held_out.times[trajectory]
        elif times is None or np.ndim(times) == 0:
            span = float(times) if times is not None else AHEAD * float(at[-1] - at[0])
            step = float(np.median(np.diff(at)))
            times = at[-1] + np.linspace(0.0, span, max(2, min(200, 1 + round(span / step))))
        times = np.asarray(times, float)
        if times.ndim != 1 or not len(times) or np.any(np.diff(times) <= 0):
            raise ProblemError("forecast: times must be an increasing list, or one number: how long")
        if controls is None and self.held_out is not None:
            later = np.concatenate([at, self.held_out.times[trajectory]])
            columns = np.concatenate([self.series.controls[trajectory], self.held_out.controls[trajectory]]).T
            controls = np.stack([np.interp(times, later, column) for column in columns], axis=1) if len(columns) else None
        return ahead.forecast(self.shooting, self.fit, trajectory, times, controls)

    @cached_property
    def predictions(self) -> tuple[np.ndarray, ...]:
        """What the channels would show at the measured times, `(n, channels)` per trajectory; NaN where the solver did not get to."""
        shown = np.asarray(jax.jit(self.shooting.predictions)(jnp.asarray(self.fit.theta)))
        return self._in_order(np.where(np.isfinite(shown), shown, np.nan))

    @cached_property
    def failure(self) -> Failure | None:
        """Why the solver does not get through the first window in which it gives up; None where it gets through all."""
        paths = jax.jit(self.shooting.paths)(jnp.asarray(self.fit.theta))
        stuck = np.flatnonzero(np.asarray(paths.code))
        if not stuck.size:
            return None
        path = jax.tree.map(lambda leaf: leaf[stuck[0]], paths)
        return why(path, self.shooting.windows.times[stuck[0]])

    @cached_property
    def scores(self) -> dict[str, dict[str, Score]]:
        """How good: `fit` on what was learned from, and on what was held out the `forecast` and each trivial baseline."""
        scores = {"fit": {"model": ahead.score(np.concatenate(self.predictions), np.concatenate(self.series.values), self.series)}}
        if self.held_out is not None:
            truth = np.concatenate(self.held_out.values)
            rivals = [ahead.baselines(self.series, number, times) for number, times in enumerate(self.held_out.times)]
            scores["held_out"] = {"model": ahead.score(np.concatenate([band.values for band in self.bands]), truth, self.series)}
            for name in ahead.BASELINES:
                scores["held_out"][name] = ahead.score(np.concatenate([rival[name] for rival in rivals]), truth, self.series)
        return scores

    @cached_property
    def bands(self) -> tuple[Band, ...]:
        """The default forecast of each trajectory: at the held-out times, where there are any."""
        if self.held_out is None:
            return self.drawn_bands
        return tuple(
            _at(band, np.searchsorted(band.times, times)) for band, times in zip(self.drawn_bands, self.held_out.times, strict=True)
        )

    @cached_property
    def drawn_bands(self) -> tuple[Band, ...]:
        """The same from the last measured time on, at times close enough to be drawn as a curve."""
        if self.held_out is None:
            return tuple(self.forecast(trajectory=number) for number in range(len(self.series.times)))
        found = []
        for number, (past, future) in enumerate(zip(self.series.times, self.held_out.times, strict=True)):
            times = np.union1d(np.linspace(past[-1], future[-1], CURVE), future)
            inputs = [
                np.interp(times, np.append(past[-1:], future), np.append(before[-1:], after))
                for before, after in zip(self.series.controls[number].T, self.held_out.controls[number].T, strict=True)
            ]
            found.append(self.forecast(times, number, np.stack(inputs, axis=1) if inputs else None))
        return tuple(found)

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before believing any of it."""
        return doubts(self)

    def as_dict(self) -> dict[str, Any]:
        """What `result.json` adds for a discovery."""
        return stored.as_dict(self)

    def to_xarray(self) -> xarray.Dataset:
        """Data, fit and forecast along time, per trajectory; and all numbers that the fit consists of."""
        import xarray

        return xarray.Dataset(*self.labelled())

    def labelled(self) -> Labelled:
        """What `to_xarray` returns, as plain arrays."""
        return stored.labelled(self)

    @cached_property
    def curves(self) -> Curves:
        """What figures draw of the fit."""
        return Curves(self)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Fit, forecast with its band, phase portrait and residuals as one matplotlib figure, also written to `path`."""
        from sciml import figures
        from sciml.figures.dynamics import discovery_figure

        figure = discovery_figure(self)
        if path is not None:
            figures.save(figure, Path(path))
        return figure

    def with_history(self, history: Sequence[Mapping[str, Any]], result: Mapping[str, Any]) -> Discovered:
        """The same, with all that was computed of it, with the rows of its training and the content of `result.json`."""
        other = copy(self)
        other.__dict__.update(history=[dict(row) for row in history], result=dict(result))
        return other

    def __repr__(self) -> str:
        return f"Dynamics of {self.name}:\n{textwrap.indent(self.equations(), '  ')}"

    # -- inside -------------------------------------------------------------------------------------------------------

    def _in_order(self, shown: np.ndarray) -> tuple[np.ndarray, ...]:
        """Arrays `(W, m, ...)` by window as arrays `(n, ...)` by trajectory."""
        windows = self.shooting.windows
        found = []
        for number, times in enumerate(self.series.times):
            rows = np.empty((len(times), *shown.shape[2:]))
            for window in np.flatnonzero(windows.trajectory == number):
                begin = windows.begin[window]
                count = min(shown.shape[1], len(times) - begin)
                rows[begin : begin + count] = shown[window, :count]
            found.append(rows)
        return tuple(found)


def _at(band: Band, rows: np.ndarray) -> Band:
    """A forecast at some of its times."""
    return band._replace(**{name: getattr(band, name)[rows] for name in ("times", "values", "lower", "upper", "states")})
