"""First coefficients of a sparse model: weak-form regression on the smoothed series."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from sciml.dynamics.library import Library
from sciml.dynamics.likelihood import KnownField
from sciml.dynamics.selection import best_subsets, chosen, costs, fitted
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.smoothing import Smoothed
from sciml.dynamics.weak_form import Rows, WeightedRows, weak_rows, weighted_rows

MOST_TERMS = 12
"""Terms per equation in the weak-form regression."""

SIMPLE = 2
"""Complexity of the terms that are tried all together."""

REWEIGHTINGS = 3


def regressions(series: TimeSeries, smoothed: Smoothed, library: Library, known: KnownField | None = None) -> tuple[np.ndarray, ...]:
    """Coefficients `(terms, states)` by the weak form alone: of the subset that the criterion chooses per equation; of all simple terms.

    Where the smoothing errs, so does the choice, and what follows may not find its way back. From all simple terms, fitted through the
    integration, the criterion chooses without it.
    """
    evaluated = None if known is None else lambda points: np.asarray(known(jnp.asarray(points)))
    rows = weak_rows(series, smoothed, library, evaluated)
    complexities = np.array([term.complexity for term in library.terms])
    simple = np.flatnonzero(complexities <= SIMPLE)

    def sparse(weighted: WeightedRows) -> np.ndarray:
        path = best_subsets(weighted.design, weighted.target, min(MOST_TERMS, len(weighted.target) // 2))
        return chosen(path, len(weighted.target), costs(complexities.tolist(), len(weighted.target))).coefficients

    def dense(weighted: WeightedRows) -> np.ndarray:
        return fitted(weighted.design, weighted.target, tuple(simple.tolist())).coefficients

    return tuple(_reweighted(rows, select, series.channels) for select in (sparse, dense))


def _reweighted(rows: tuple[Rows, ...], select: Callable[[WeightedRows], np.ndarray], equations: int) -> np.ndarray:
    """Coefficients `(terms, equations)`, whose own errors then weigh the rows."""
    coefficients = np.zeros((rows[0].design.shape[1], equations))
    for _ in range(REWEIGHTINGS):
        columns = [select(weighted_rows(rows, coefficients, equation)) for equation in range(equations)]
        coefficients = np.stack(columns, axis=1)
    return coefficients
