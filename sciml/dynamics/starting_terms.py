"""The terms that a sparse vector field begins with: chosen by the data, on the scale on which their errors are normal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from sciml.dynamics.library import Factor, Library, Term, functions, polynomials
from sciml.dynamics.noise import Gaussian, LogNormal, Noise
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.sparse import SparseModel, affordable, discover_sparse
from sciml.errors import ProblemError
from sciml.settings import SparseField


class SparseStart(NamedTuple):
    """A sparse model before it is fitted through the solver."""

    library: Library
    coefficients: np.ndarray
    """`(terms, states)`."""
    inclusion: np.ndarray
    """`(terms, states)`: share of data sets simulated by the model that lead to a term again."""
    cross_validation: float | None = None
    """How well parts of the data are predicted from the rest; see `SparseModel`."""
    states: tuple[np.ndarray, ...] | None = None
    """`(n, states)` per trajectory at the measured times, where the model grew from the well sampled part of the data; then with"""
    sigma: np.ndarray | None = None
    """`(channels,)`, the standard deviation of the noise on its own scale."""


def own_libraries(given: Any, series: TimeSeries) -> tuple[Library, ...]:
    """The candidate terms that a user gives as a library or several; none where `given` is something else.

    Raises `ProblemError` for a library over other variables than the series has, or without terms.
    """
    libraries = (given,) if isinstance(given, Library) else tuple(given) if isinstance(given, Sequence) else ()
    variables = (*series.names, *series.control_names)
    for library in libraries:
        if not isinstance(library, Library):
            raise ProblemError(f"vector_field: {type(library).__name__} is not a library; sciml.polynomials({variables}, 2) makes one")
        if library.variables != variables or not library.terms:
            raise ProblemError(
                f"vector_field: a library of {len(library)} terms over {', '.join(library.variables) or 'nothing'}; "
                f"it needs terms over {', '.join(variables)}, in this order"
            )
    return libraries


def sparse_start(series: TimeSeries, noise: Noise, settings: SparseField, libraries: Sequence[Library] = ()) -> SparseStart:
    """The terms that the data choose: what the fit begins with.

    Where errors are factors, logarithms are what has normal errors, and their derivatives are growth rates: terms are then chosen
    for x'/x as a polynomial of the states: one degree less than that of the terms asked for; of degree one or, where there are enough
    data, two, if none is. Functions of states are not growth rates: where they are asked for, terms are chosen for x' itself.
    """
    if libraries or settings.functions or not isinstance(noise, LogNormal):
        model = discover_sparse(series, libraries or _library(settings, series))
        start = SparseStart(model.library, model.coefficients, model.inclusion, model.cross_validation)
        return start._replace(states=model.states, sigma=model.noise) if isinstance(noise, Gaussian) else start
    logarithms = replace(series, values=tuple(np.log(values) for values in series.values))
    degrees = (1, 2) if settings.degree is None else (settings.degree - 1,)
    model = discover_sparse(logarithms, affordable([_growth_terms(series, degree) for degree in degrees], series))
    return _from_growth_rates(model, series)


def _growth_terms(series: TimeSeries, degree: int) -> Library:
    """Monomials of the states (and controls, which have no logarithm) as functions of the states' logarithms."""
    count = series.channels

    def written(factor: Factor) -> Factor:
        variable = factor.weights[0][0]
        return factor if variable >= count else Factor("exp", ((variable, float(factor.power)),))

    variables = (*series.names, *series.control_names)
    return Library(variables, tuple(Term(tuple(map(written, term.factors))) for term in polynomials(variables, degree).terms))


def _from_growth_rates(model: SparseModel, series: TimeSeries) -> SparseStart:
    """x' = x g(x) as a library of its own, from the growth rates g of the logarithms."""

    def powers(term: Term, state: int) -> tuple[tuple[int, int], ...]:
        found: dict[int, int] = {state: 1}
        for factor in term.factors:
            variable, weight = factor.weights[0]
            found[variable] = found.get(variable, 0) + (round(weight) if factor.function == "exp" else factor.power)
        return tuple(sorted(found.items()))

    entries = {
        (powers(model.library.terms[row], state), state): (float(model.coefficients[row, state]), float(model.inclusion[row, state]))
        for row, state in np.argwhere(model.coefficients != 0)
    }
    terms = sorted({key for key, _ in entries}, key=lambda key: (sum(power for _, power in key), key)) or [((0, 1),)]
    library = Library(
        (*series.names, *series.control_names),
        tuple(Term(tuple(Factor("", ((index, 1.0),), power) for index, power in key)) for key in terms),
    )
    found = np.array([[entries.get((key, state), (0.0, 0.0)) for state in range(series.channels)] for key in terms])
    coefficients, inclusion = np.moveaxis(found.reshape(len(terms), series.channels, 2), -1, 0)
    states = None if model.states is None else tuple(np.exp(each) for each in model.states)
    return SparseStart(library, coefficients, inclusion, model.cross_validation, states, model.noise)


def _library(settings: SparseField, series: TimeSeries) -> Library | None:
    if settings.degree is None and not settings.functions:
        return None
    variables = (*series.names, *series.control_names)
    found = polynomials(variables, settings.degree or 3)
    return found + functions(variables, settings.functions) if settings.functions else found
