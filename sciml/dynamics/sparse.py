"""discover_sparse: from a time series to a sparse model, with the library, the terms and the coefficients chosen by the data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.dynamics import equations
from sciml.dynamics.candidate import Candidate, achievable_variance, descended, noise_variance, propose
from sciml.dynamics.cross_validation import not_outpredicted, prediction_error
from sciml.dynamics.growing import grow
from sciml.dynamics.library import SAMPLES_PER_TERM, Factor, Library, Term, differences, functions, polynomials
from sciml.dynamics.likelihood import LEAP, KnownField, Windows, cut, joined, states_of
from sciml.dynamics.regression import regressions
from sciml.dynamics.saturation import saturating_library
from sciml.dynamics.selection import inclusion
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.smoothing import Smoothed, smooth
from sciml.dynamics.steadiness import is_steady
from sciml.dynamics.undersampling import sampling

WORSE = 0.2
"""Share of the sum of squares that one solution per trajectory may cost beside windows with gaps."""


@dataclass(frozen=True, eq=False)
class SparseModel:
    """A right-hand side that is linear in few candidate terms; callable as a vector field `(t, state, args)`.

    `args` is None, or a function that gives the control inputs at a time. Coefficients are in the units of the data.
    """

    library: Library
    coefficients: np.ndarray
    """`(terms, states)`, zero where a term is left out."""
    standard_errors: np.ndarray
    """`(terms, states)`; NaN where a term is left out."""
    inclusion: np.ndarray
    """`(terms, states)`: share of data sets simulated by the model that lead to the term again; NaN where `resamples` was 0."""
    cross_validation: float | None
    """Root mean square error with which each fifth of the data is predicted from the rest, relative to that of the fit to all data. Far
    above one where terms are wrong, and where one fifth alone tells a coefficient. None for too few data, and where the fit is exact."""
    names: tuple[str, ...]
    noise: np.ndarray
    """`(states,)`: standard deviation of the measurements around the trajectory."""
    information: float
    """Extended Bayesian information criterion; comparable between models of the same series."""
    states: tuple[np.ndarray, ...] | None
    """`(n, states)` per trajectory: states at the measured times, where the model grew from the well sampled part of the data."""
    known: KnownField | None = None

    def __call__(self, t: Any, y: Array, args: Any = None) -> Array:
        variables = y if args is None else jnp.concatenate([y, jnp.atleast_1d(args(t))])
        field = self.library(variables) @ jnp.asarray(self.coefficients, dtype=y.dtype)
        return field if self.known is None else field + self.known(variables)

    @property
    def support(self) -> tuple[tuple[str, ...], ...]:
        """The names of the terms in each equation."""
        names = self.library.names()
        return tuple(tuple(names[row] for row in np.flatnonzero(column)) for column in self.coefficients.T)

    def equations(self, form: Literal["text", "latex", "sympy"] = "text") -> Any:
        """The right-hand sides in symbols; in text and LaTeX the standard error of the last digits stands in brackets."""
        if form == "sympy":
            return equations.sympy(self.library, self.coefficients, self.names)
        write = equations.text if form == "text" else equations.latex
        return write(self.library, self.coefficients, self.names, self.standard_errors)


def affordable(libraries: Sequence[Library], series: TimeSeries) -> tuple[Library, ...]:
    """The libraries for whose terms there are enough data, at least the smallest one."""
    found = tuple(library for library in libraries if SAMPLES_PER_TERM * len(library) <= series.rows)
    return found or (min(libraries, key=len),)


def default_libraries(series: TimeSeries, smoothed: Smoothed, known: KnownField | None = None) -> tuple[Library, ...]:
    """Polynomials, of a degree that leaves at most a few dozen terms; elementary functions, and a Hill function, beside lower degrees."""
    variables = (*series.names, *series.control_names)
    count = len(variables)
    degree = {1: 6, 2: 5, 3: 4, 4: 3}.get(count, 2)
    lower = tuple(polynomials(variables, each) for each in range(1, degree))
    modulus = Library(variables, tuple(Term((Factor("", ((i, 1.0),)), Factor("abs", ((i, 1.0),)))) for i in range(count)))
    logarithms = Library(variables, tuple(Term((Factor("", ((i, 1.0),)), Factor("log", ((i, 1.0),)))) for i in range(count)))
    elementary = (
        polynomials(variables, {1: 3, 2: 2}.get(count, 1)) + functions(variables, ("sin", "cos"), (1.0, 2.0)) + modulus + logarithms
    )
    largest = affordable((*lower, polynomials(variables, degree)), series)[-1]
    others = (elementary + differences(variables, ("sin", "cos")), saturating_library(series, smoothed, known))
    return affordable((largest, *(each for each in others if each)), series)


def discover_sparse(
    series: TimeSeries,
    library: Library | Sequence[Library] | None = None,
    known: KnownField | None = None,
    resamples: int = 50,
    seed: int = 0,
) -> SparseModel:
    """A sparse model of the series: smoothing, weak-form regression, then maximum likelihood through short integrations.

    Where one solution per trajectory follows the data, coefficients and standard errors are those of its least-squares fit.
    `library` defaults to `default_libraries`; of several libraries whose models predict unseen parts of the data equally well, the
    information criterion chooses. `known` is a part of the
    right-hand side that is given (made of jax.numpy, `(..., variables) -> (..., states)`). `resamples` counts the simulated data sets
    behind the inclusion probabilities. Raises `ProblemError` for a series that cannot be smoothed.
    """
    smoothed = smooth(series)
    given = (library,) if isinstance(library, Library) else library or default_libraries(series, smoothed, known)
    grown = _grown(series, given, known)
    windows, starts = grown or (
        cut(series, smoothed),
        [(each, coefficients) for each in given for coefficients in regressions(series, smoothed, each, known)],
    )
    proposed = _distinct(propose(each, windows, coefficients, known) for each, coefficients in starts)
    best = _best(not_outpredicted(_distinct(map(descended, proposed))), series)
    states = states_of(best.fit, series) if grown and np.isfinite(best.fit.squares) else None
    unseen = prediction_error(replace(best.fit, windows=best.fit.windows._replace(leap=windows.leap)))
    return _model(series, windows, best, _stability(best, resamples, seed), unseen, states)


def _grown(
    series: TimeSeries, libraries: Sequence[Library], known: KnownField | None
) -> tuple[Windows, list[tuple[Library, np.ndarray]]] | None:
    """Windows on which to compare models, and first coefficients of each library, where the series is sampled too seldom in part.

    Of libraries without scales to be fitted; None where none of them explains that part.
    """
    found = sampling(series)
    if not found.undersampled:
        return None
    plain = [each for each in libraries if not each.saturating]
    grown = [(each, *start) for each in plain if (start := grow(series, found, each, known)) is not None]
    if not grown:
        return None
    windows = min((windows for _, windows, _ in grown), key=lambda each: np.log(each.leap).sum())
    return windows, [(library, coefficients) for library, _, coefficients in grown]


def _distinct(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The candidates without those that have the terms of another one of the same library, but fit worse."""
    found: dict[tuple[Library, tuple[int, ...]], Candidate] = {}
    for each in sorted(candidates, key=lambda each: -each.fit.squares):
        found[each.library.structure, each.terms] = each
    return list(found.values())


def _best(loose: list[Candidate], series: TimeSeries) -> Candidate:
    """The candidate with the least information criterion as one solution per trajectory, its terms looked over once more.

    One that runs away from starts near the fitted one gives way to any that fits nearly as well and stays. Where no solution follows
    the data (a disturbed trajectory, an equation that no library has, chaos in data that are exact), the one whose windows fit best
    stays as it is.
    """
    enough = (1 + WORSE) * min(each.fit.squares for each in loose)
    runs_away = lambda each: each.fit.squares < enough and not is_steady(each.fit, series)  # noqa: E731
    first, *others = sorted(loose, key=lambda each: each.information(noise_variance(loose)))
    best = Candidate(joined(first.fit))
    away = runs_away(best)
    for other in others:
        variance = noise_variance((best,))
        if away or other.information(variance) < best.information(variance):  # closing its gaps can only raise it
            tied = Candidate(joined(other.fit))
            variance, gone = noise_variance((best, tied)), runs_away(tied)
            lower = tied.information(variance) < best.information(variance)
            if (lower and gone <= away) or (away and not gone and tied.fit.squares < enough):
                best, away = tied, gone
    further = descended(best)
    if further is not best and (away or not runs_away(further)):
        best = further
    return best if best.fit.squares < enough else first


def _stability(best: Candidate, resamples: int, seed: int) -> np.ndarray:
    fit = best.fit
    if resamples == 0 or not np.isfinite(fit.squares):
        return np.full(fit.coefficients.shape, np.nan)
    design, target = fit.least_squares()
    variance = achievable_variance(fit, design, target)
    random = np.random.default_rng(seed)
    shares = inclusion(design, fit.coefficients.ravel(), best.costs, variance, resamples, random)
    return shares.reshape(fit.coefficients.shape)


def _model(
    series: TimeSeries,
    windows: Windows,
    best: Candidate,
    inclusion: np.ndarray,
    unseen: float | None,
    states: tuple[np.ndarray, ...] | None,
) -> SparseModel:
    coefficients = best.fit.coefficients
    support = np.flatnonzero(coefficients.ravel())
    errors = np.full(coefficients.size, np.nan)
    if np.isfinite(best.fit.squares):
        variances = np.diag(best.fit.covariance(support))
        errors[support] = np.sqrt(np.where(variances > 0, variances, np.nan))
    noise = windows.leap / LEAP * np.sqrt(min(best.fit.squares / best.fit.points, 1e12))
    return SparseModel(
        best.library,
        coefficients,
        errors.reshape(coefficients.shape),
        inclusion,
        unseen,
        series.names,
        noise,
        best.information(noise_variance((best,))),
        states,
        best.fit.known,
    )
