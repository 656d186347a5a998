"""discover_sparse: from a time series to a sparse model, with the library, the terms and the coefficients chosen by the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.dynamics import equations
from sciml.dynamics.growing import grow
from sciml.dynamics.library import Factor, Library, Term, differences, functions, polynomials
from sciml.dynamics.likelihood import LEAP, Fit, KnownField, Windows, again, cut, joined, maximise, states_of
from sciml.dynamics.saturation import saturating_library
from sciml.dynamics.selection import best_subsets, chosen, costs, improved, inclusion, neighbours
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.smoothing import Smoothed, smooth
from sciml.dynamics.undersampling import sampling
from sciml.dynamics.weak_form import weak_rows, weighted_rows

MOST_TERMS = 12
"""Terms per equation in the weak-form regression."""

REWEIGHTINGS = 3
ROUNDS = 5
"""Times that terms are chosen again after the coefficients were fitted."""


WORSE = 0.2
"""Share of the sum of squares that one solution per trajectory may cost beside windows with gaps."""

NEIGHBOURS = 8
"""Choices next to the one found that are fitted as well, because far from the truth the quadratic model errs."""


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
    """`(terms, states)`: how often resamples of the data choose the term; NaN where `resamples` was 0."""
    names: tuple[str, ...]
    noise: np.ndarray
    """`(states,)`: standard deviation of the measurements around the trajectory."""
    information: float
    """Extended Bayesian information criterion; comparable between models of the same series."""
    states: tuple[np.ndarray, ...]
    """`(n, states)` per trajectory: estimated states at the measured times."""
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


@dataclass(frozen=True, eq=False)
class Candidate:
    """A library's best model before libraries are compared."""

    fit: Fit

    @property
    def library(self) -> Library:
        """Candidate terms, with the scales that were fitted."""
        return self.fit.library

    @cached_property
    def terms(self) -> tuple[int, ...]:
        """Flat indices of the non-zero coefficients."""
        return tuple(int(index) for index in np.flatnonzero(self.fit.coefficients.ravel()))

    @cached_property
    def costs(self) -> np.ndarray:
        """What every candidate coefficient must gain in the sum of squares."""
        complexities = [term.complexity for term in self.library.terms]
        return costs(complexities, self.fit.points, self.fit.coefficients.shape[1])

    def information(self, variance: float) -> float:
        """The information criterion when the noise has `variance` times the variance that the smoothing found."""
        inside = np.log(max(self.fit.points, 2)) * len(self.library.saturating)
        return self.fit.squares / variance + float(self.costs[list(self.terms)].sum() + inside)


SAMPLES_PER_TERM = 3
"""Measured times per candidate term below which a library is too large for a series."""


def affordable(libraries: Sequence[Library], series: TimeSeries) -> tuple[Library, ...]:
    """The libraries for whose terms there are enough data, at least the smallest one."""
    rows = max(int(np.sum([np.isfinite(values[:, channel]).sum() for values in series.values])) for channel in range(series.channels))
    found = tuple(library for library in libraries if SAMPLES_PER_TERM * len(library) <= rows)
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
    `library` defaults to `default_libraries`; of several libraries the information criterion chooses. `known` is a part of the
    right-hand side that is given (made of jax.numpy, `(..., variables) -> (..., states)`). `resamples` counts the bootstrap resamples
    behind the inclusion probabilities. Raises `ProblemError` for a series that cannot be smoothed.
    """
    smoothed = smooth(series)
    given = (library,) if isinstance(library, Library) else library or default_libraries(series, smoothed, known)
    windows, starts = _starts(series, smoothed, given, known)
    best = _best([propose(each, windows, coefficients, known) for each, coefficients in starts])
    return _model(series, windows, best, _stability(best, resamples, seed))


def _starts(
    series: TimeSeries, smoothed: Smoothed, libraries: Sequence[Library], known: KnownField | None
) -> tuple[Windows, list[tuple[Library, np.ndarray]]]:
    """The windows on which all models are compared, and first coefficients of each library."""
    found = sampling(series)
    if found.undersampled:
        grown = [(each, *start) for each in libraries if (start := grow(series, found, each, known)) is not None]
        if grown:
            windows = min((windows for _, windows, _ in grown), key=lambda each: np.log(each.leap).sum())
            return windows, [(library, coefficients) for library, _, coefficients in grown]
    return cut(series, smoothed), [(each, regress(series, smoothed, each, known)) for each in libraries]


def _best(loose: list[Candidate]) -> Candidate:
    """The candidate with the least information criterion as one solution per trajectory, its terms looked over once more.

    Where no such solution follows the data (a disturbed trajectory, an equation that no library has, chaos in data that are exact),
    the one whose windows fit best stays as it is.
    """
    first, *others = sorted(loose, key=lambda each: each.information(_variance(loose)))
    best = Candidate(joined(first.fit))
    for other in others:
        variance = _variance((best,))
        if other.information(variance) < best.information(variance):  # closing its gaps can only raise it
            tied = Candidate(joined(other.fit))
            variance = _variance((best, tied))
            best = min(best, tied, key=lambda each: each.information(variance))
    best = _descended(best)
    return best if best.fit.squares < (1 + WORSE) * min(each.fit.squares for each in loose) else first


def _variance(candidates: Sequence[Candidate]) -> float:
    """The noise's variance, in units of what the smoothing found, as the best fit among the candidates shows it; at least one."""
    return max(1.0, min(each.fit.squares / each.fit.points for each in candidates))


def regress(series: TimeSeries, smoothed: Smoothed, library: Library, known: KnownField | None = None) -> np.ndarray:
    """Sparse coefficients `(terms, states)` by weak-form regression alone: per equation the subset that the criterion chooses."""
    evaluated = None if known is None else lambda points: np.asarray(known(jnp.asarray(points)))
    rows = weak_rows(series, smoothed, library, evaluated)
    coefficients = np.zeros((len(library), series.channels))
    complexities = [term.complexity for term in library.terms]
    for _ in range(REWEIGHTINGS):
        columns = []
        for equation in range(series.channels):
            weighted = weighted_rows(rows, coefficients, equation)
            path = best_subsets(weighted.design, weighted.target, min(MOST_TERMS, len(weighted.target) // 2))
            columns.append(chosen(path, len(weighted.target), costs(complexities, len(weighted.target))).coefficients)
        coefficients = np.stack(columns, axis=1)
    return coefficients


def propose(library: Library, windows: Windows, coefficients: np.ndarray, known: KnownField | None = None) -> Candidate:
    """The library's model: from the first coefficients on, coefficients and terms take turns until the terms stay."""
    fit = maximise(library, windows, coefficients, known)
    if not np.isfinite(fit.squares):  # the first model runs away within a window: begin with none
        fit = maximise(library, windows, np.zeros_like(coefficients), known)
    best = Candidate(fit)
    for _ in range(ROUNDS):
        fit = best.fit
        if not np.isfinite(fit.squares):
            break
        design, target = fit.least_squares()
        terms = improved(design, target, best.terms, best.costs, _achievable(fit, design, target))
        if terms == best.terms:
            break
        other = Candidate(again(fit, _restarted(fit, design, target, terms)))
        variance = _variance((best, other))
        if other.information(variance) >= best.information(variance):
            break
        best = other
    return _descended(best)


def _descended(best: Candidate) -> Candidate:
    """Moves to the best of the neighbouring choices, each fitted, until none is better."""
    for _ in range(ROUNDS):
        fit = best.fit
        if not np.isfinite(fit.squares):
            return best
        design, target = fit.least_squares()
        achievable = _achievable(fit, design, target)
        around = neighbours(design, target, best.terms, best.costs, achievable, NEIGHBOURS)
        hopeful = [terms for terms in around if best.costs[list(terms)].sum() < best.information(achievable)]
        others = [Candidate(again(fit, _restarted(fit, design, target, terms))) for terms in hopeful]
        variance = _variance((best, *others))
        winner = min((best, *others), key=lambda each: each.information(variance))
        if winner is best:
            return best
        best = winner
    return best


def _stability(best: Candidate, resamples: int, seed: int) -> np.ndarray:
    fit = best.fit
    if resamples == 0 or not np.isfinite(fit.squares):
        return np.full(fit.coefficients.shape, np.nan)
    design, target = fit.least_squares()
    variance = _achievable(fit, design, target)
    random = np.random.default_rng(seed)
    shares = inclusion(design, fit.coefficients.ravel(), best.costs, variance, resamples, random)
    return shares.reshape(fit.coefficients.shape)


def _achievable(fit: Fit, design: np.ndarray, target: np.ndarray) -> float:
    """The variance of the residuals, relative to the smoothing's, that all candidate terms together would leave."""
    gain = float(((target - design @ fit.coefficients.ravel()) ** 2).sum())
    free = max(fit.points - design.shape[1], 1)
    return max(1.0, (fit.squares - gain) / free)


def _restarted(fit: Fit, design: np.ndarray, target: np.ndarray, terms: tuple[int, ...]) -> np.ndarray:
    """Coefficients of the chosen terms by the quadratic model."""
    columns = design[:, list(terms)]
    norms = np.linalg.norm(columns, axis=0)
    coefficients = np.zeros(fit.coefficients.size)
    coefficients[list(terms)] = np.linalg.lstsq(columns / norms, target, rcond=None)[0] / norms
    return coefficients.reshape(fit.coefficients.shape)


def _model(series: TimeSeries, windows: Windows, best: Candidate, inclusion: np.ndarray) -> SparseModel:
    coefficients = best.fit.coefficients
    support = np.flatnonzero(coefficients.ravel())
    errors = np.full(coefficients.size, np.nan)
    if np.isfinite(best.fit.squares):
        errors[support] = np.sqrt(np.diag(best.fit.covariance(support)))
    noise = windows.leap / LEAP * np.sqrt(min(best.fit.squares / best.fit.points, 1e12))
    return SparseModel(
        best.library,
        coefficients,
        errors.reshape(coefficients.shape),
        inclusion,
        series.names,
        noise,
        best.information(_variance((best,))),
        states_of(best.fit, series),
        best.fit.known,
    )
