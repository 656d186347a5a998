"""Rational terms: the Hill function that the data call for, with the constant inside it, found in the weak form."""

from __future__ import annotations

import itertools
from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from sciml.dynamics.library import HILL, SAMPLES_PER_TERM, Factor, Library, Term, polynomials, products
from sciml.dynamics.likelihood import KnownField
from sciml.dynamics.selection import Subset, best_subsets, chosen, costs, improved
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.smoothing import Smoothed
from sciml.dynamics.weak_form import Rows, WeightedRows, weak_rows, weighted_rows

HALVES = 9
"""Half-saturation constants that are tried, evenly on a logarithmic scale."""

REACH = (0.05, 2.0)
"""The least and the greatest of them, in units of a variable's largest value: outside, a Hill function is a constant or a power."""

MOST_TERMS = 6

Trial = tuple[int, str, float]
"""(variable, function, scale)."""


def saturating_library(series: TimeSeries, smoothed: Smoothed, known: KnownField | None = None) -> Library | None:
    """Polynomials and their products with one Hill function; None where no Hill function helps the weak form.

    Which function of which variable, and where it is half saturated, is what lowers the information criterion of the weak-form
    regression most, all equations together. The likelihood then fits the constant with the coefficients.
    """
    base, lower = _parts(series)
    variables = base.variables
    evaluated = None if known is None else lambda points: np.asarray(known(jnp.asarray(points)))
    rows = weak_rows(series, smoothed, base, evaluated)
    largest = np.maximum(np.abs(np.concatenate([each.points for each in rows])).max(axis=0), np.finfo(float).tiny)
    trials = [
        (variable, function, 1 / (half * largest[variable]))
        for variable, function in itertools.product(range(len(variables)), HILL)
        for half in np.geomspace(*REACH, HALVES)
    ]
    information = np.sum([_information(rows, base, lower, trials, equation) for equation in range(series.channels)], axis=0)
    best = int(np.argmin(information[1:])) + 1
    if information[best] >= information[0]:
        return None
    return base + _products(lower, trials[best - 1])


def _parts(series: TimeSeries) -> tuple[Library, Library]:
    """The polynomials, and the monomials that multiply a Hill function; fewer where the data are few."""
    variables = (*series.names, *series.control_names)
    highest = {1: 3, 2: 3, 3: 2}.get(len(variables), 1)
    factors = {1: 1, 2: 2}.get(len(variables), 1)
    options = [
        (polynomials(variables, degree), polynomials(variables, min(factors, degree - (degree < highest))))
        for degree in range(highest, 0, -1)
    ]
    affordable = (each for each in options if SAMPLES_PER_TERM * sum(map(len, each)) <= series.rows)
    return next(affordable, options[-1])


def _information(rows: tuple[Rows, ...], base: Library, lower: Library, trials: list[Trial], equation: int) -> np.ndarray:
    """The criterion of one equation: of the polynomials, then of each trial beside them."""
    coefficients = np.zeros((len(base), rows[0].target.shape[1]))
    plain = [term.complexity for term in base.terms]
    found = _chosen(rows, base, coefficients, equation)
    coefficients[:, equation] = found.coefficients
    found = _chosen(rows, base, coefficients, equation)
    coefficients[:, equation] = found.coefficients
    weighted = weighted_rows(_widened(rows, lower, trials), coefficients, equation)
    count, data = len(base), len(weighted.target)
    values = [found.squares + costs(plain, data)[list(found.terms)].sum()]
    for index, trial in enumerate(trials):
        own = count + index * len(lower) + np.arange(len(lower))
        design = weighted.design[:, np.concatenate([np.arange(count), own])]
        dear = costs([*plain, *(term.complexity for term in _products(lower, trial).terms)], data)
        terms = list(improved(design, weighted.target, found.terms, dear, 1.0))
        squares = _squares(WeightedRows(design[:, terms], weighted.target))
        inside = np.log(data) if terms and max(terms) >= count else 0.0
        values.append(squares + dear[terms].sum() + inside)
    return np.array(values)


def _chosen(rows: tuple[Rows, ...], base: Library, coefficients: np.ndarray, equation: int) -> Subset:
    """The polynomial terms of one equation, with rows weighted as `coefficients` imply."""
    weighted = weighted_rows(rows, coefficients, equation)
    path = best_subsets(weighted.design, weighted.target, MOST_TERMS)
    return chosen(path, len(weighted.target), costs([term.complexity for term in base.terms], len(weighted.target)))


def _products(lower: Library, trial: Trial) -> Library:
    variable, function, scale = trial
    hill = Library(lower.variables, (Term((Factor(function, ((variable, scale),)),)),))
    return products(hill, lower)


def _widened(rows: tuple[Rows, ...], lower: Library, trials: list[Trial]) -> tuple[Rows, ...]:
    """The rows with the columns of all trials after those of the polynomials."""
    widened = []
    for each in rows:
        monomials = lower.numpy(each.points)
        columns = [_hill_values(each.points, trial)[:, None] * monomials for trial in trials]
        widened.append(replace(each, design=np.concatenate([each.design, each.value @ np.concatenate(columns, axis=1)], axis=1)))
    return tuple(widened)


def _hill_values(points: np.ndarray, trial: Trial) -> np.ndarray:
    variable, function, scale = trial
    power = (points[:, variable] * scale) ** HILL[function]
    return power / (1 + np.abs(power))


def _squares(rows: WeightedRows) -> float:
    if rows.design.shape[1] == 0:
        return float(rows.target @ rows.target)
    norms = np.linalg.norm(rows.design, axis=0)
    left = rows.target - rows.design / norms @ np.linalg.lstsq(rows.design / norms, rows.target, rcond=None)[0]
    return float(left @ left)
