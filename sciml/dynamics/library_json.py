"""A library of candidate terms as text, so that a run's file holds it."""

from __future__ import annotations

import json

from sciml.dynamics.library import Factor, Library, Term


def library_text(library: Library) -> str:
    """A library without functions of the user's own as JSON."""
    terms = [
        [[factor.function, [(int(index), float(weight)) for index, weight in factor.weights], int(factor.power)] for factor in term.factors]
        for term in library.terms
    ]
    return json.dumps({"variables": library.variables, "terms": terms})


def library_from(text: str) -> Library:
    """The inverse of `library_text`."""
    content = json.loads(text)
    factors = [
        tuple(
            Factor(function, tuple((int(index), float(weight)) for index, weight in weights), int(power))
            for function, weights, power in term
        )
        for term in content["terms"]
    ]
    return Library(tuple(content["variables"]), tuple(Term(each) for each in factors))
