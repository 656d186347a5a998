"""Candidate terms of a right-hand side: products of powers of elementary functions of the states, and a user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations_with_replacement, zip_longest
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.errors import ProblemError, suggest

BLOCK = 512

SAMPLES_PER_TERM = 3
"""Measured times per candidate term below which a library is too large for a series."""

HILL = {f"hill{order}": order for order in (1, 2, 3, 4)}
"""Saturating functions `z^n / (1 + |z|^n)` of `z = x / K` (Hill 1910; n = 1: Michaelis & Menten, Monod, Holling's second type)."""


def _hill(order: int) -> Callable[[Array], Array]:
    def function(value: Array) -> Array:
        power = value**order
        return power / (1 + jnp.abs(power))

    return function


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "": lambda value: value,
    "sin": jnp.sin,
    "cos": jnp.cos,
    "exp": jnp.exp,
    "log": lambda value: jnp.log(jnp.abs(value) + jnp.finfo(value.dtype).tiny),
    "sqrt": lambda value: jnp.sqrt(jnp.abs(value)),
    "abs": jnp.abs,
    "tanh": jnp.tanh,
    **{name: _hill(order) for name, order in HILL.items()},
}
"""Functions of a factor, continued to all real numbers so that an integration that strays does not end in NaN."""


@dataclass(frozen=True)
class Factor:
    """`function(sum of weights * variables) ** power`."""

    function: str
    weights: tuple[tuple[int, float], ...]
    """(variable, weight) pairs; a single pair for functions of one variable."""
    power: int = 1


@dataclass(frozen=True)
class Term:
    """A product of factors, or a function of the user's; without either it is the constant 1."""

    factors: tuple[Factor, ...] = ()
    function: Callable[..., Any] | None = None
    name: str | None = None

    @property
    def complexity(self) -> int:
        """How many symbols it takes to write the term: what decides between two terms that explain equally well."""
        if self.function:
            return 2
        return sum(
            abs(factor.power) + HILL.get(factor.function, bool(factor.function)) + len(factor.weights) - 1 for factor in self.factors
        )


@dataclass(frozen=True)
class Library:
    """Candidate terms over named variables: the states, then the control inputs.

    Immutable and hashable, so that compiled code is shared by all data sets with the same library.
    """

    variables: tuple[str, ...]
    terms: tuple[Term, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.terms)

    def __add__(self, other: Library) -> Library:
        if self.variables != other.variables:
            raise ProblemError(f"libraries over {', '.join(self.variables)} and {', '.join(other.variables)} cannot be joined")
        return Library(self.variables, tuple(dict.fromkeys((*self.terms, *other.terms))))

    @cached_property
    def saturating(self) -> tuple[Factor, ...]:
        """The distinct Hill functions, whatever power they are raised to."""
        factors = (factor for term in self.terms for factor in term.factors if factor.function in HILL)
        return tuple(dict.fromkeys(replace(factor, power=1) for factor in factors))

    @property
    def scales(self) -> np.ndarray:
        """1 / K of every Hill function: the numbers inside terms that can be fitted."""
        return np.array([factor.weights[0][1] for factor in self.saturating])

    def scaled(self, scales: Sequence[float] | np.ndarray) -> Library:
        """The library with other `scales`."""
        new = {
            (old.function, old.weights): ((old.weights[0][0], float(scale)),) for old, scale in zip(self.saturating, scales, strict=True)
        }

        def changed(factor: Factor) -> Factor:
            return replace(factor, weights=new.get((factor.function, factor.weights), factor.weights))

        terms = (replace(term, factors=tuple(changed(factor) for factor in term.factors)) for term in self.terms)
        return replace(self, terms=tuple(terms)) if new else self

    @cached_property
    def structure(self) -> Library:
        """The library without what compiled code need not know: names, and numbers that `__call__` takes as `scales`."""
        numbered = self.scaled(range(1, len(self.saturating) + 1))
        return replace(numbered, variables=tuple(f"x{index}" for index in range(len(self.variables))))

    def __call__(self, variables: Array, scales: Array | None = None) -> Array:
        """All terms at points `(..., variables)`, as `(..., terms)`; `scales` takes the place of the library's own.

        Every distinct factor is computed once and picked by the terms: a few operations on arrays instead of some for each term, which
        would take several times as long to compile.
        """
        given = {} if scales is None else {(hill.function, hill.weights): scales[at] for at, hill in enumerate(self.saturating)}
        powers = _powers(self.terms, variables, given)
        own = {term: self._user_value(term, variables) for term in self.terms if term.function is not None}
        values = jnp.stack([jnp.ones_like(variables[..., 0]), *powers.values(), *own.values()], axis=-1)
        place = {key: index for index, key in enumerate((*powers, *own), start=1)}
        factors = [[place[term]] if term.function else [place[factor] for factor in term.factors] for term in self.terms]
        product = jnp.ones((*variables.shape[:-1], len(self.terms)), dtype=variables.dtype)
        for column in zip_longest(*factors, fillvalue=0):
            product = product * values[..., np.array(column)]
        return product

    def _user_value(self, term: Term, variables: Array) -> Array:
        assert term.function is not None
        value = term.function(*(variables[..., index] for index in range(len(self.variables))))
        return jnp.broadcast_to(jnp.asarray(value, dtype=variables.dtype), variables.shape[:-1])

    def names(self) -> tuple[str, ...]:
        """Every term as text: "1", "x", "x^2 y", "sin(x)"."""
        return tuple(self.name(term) for term in self.terms)

    def name(self, term: Term) -> str:
        """One term as text."""
        if term.name is not None:
            return term.name
        return " ".join(_factor_text(factor, self.variables) for factor in term.factors) or "1"

    def without(self, names: Sequence[str]) -> Library:
        """The library without the terms of these names; raises `ProblemError` for a name that it does not have."""
        known = self.names()
        for name in names:
            if name not in known:
                raise ProblemError(f"the library has no term '{name}'; {suggest(name, known)}")
        return Library(self.variables, tuple(term for term, name in zip(self.terms, known, strict=True) if name not in names))

    def numpy(self, points: np.ndarray) -> np.ndarray:
        """All terms at points `(n, variables)`, `(n, terms)`, outside of compiled code."""
        return np.asarray(_evaluate(self.structure, jnp.asarray(self.scales), _padded(points)))[: len(points)]

    def slopes(self, points: np.ndarray) -> np.ndarray:
        """Derivatives of all terms with respect to all variables at points `(n, variables)`: `(n, terms, variables)`."""
        return np.asarray(_slopes(self.structure, jnp.asarray(self.scales), _padded(points)))[: len(points)]


def polynomials(variables: Sequence[str], degree: int, constant: bool = True) -> Library:
    """All monomials up to `degree`: 1, x, y, x^2, x y, y^2, ..."""
    terms = []
    for total in range(0 if constant else 1, degree + 1):
        for chosen in combinations_with_replacement(range(len(variables)), total):
            terms.append(Term(tuple(Factor("", ((index, 1.0),), chosen.count(index)) for index in sorted(set(chosen)))))
    return Library(tuple(variables), tuple(terms))


def functions(variables: Sequence[str], names: Sequence[str] = ("sin", "cos"), frequencies: Sequence[float] = (1.0,)) -> Library:
    """Elementary functions of every variable at every frequency: sin(x), cos(x), sin(2 x), ..."""
    for name in names:
        if name not in FUNCTIONS:
            raise ProblemError(f"no function '{name}' for a library; {suggest(name, [known for known in FUNCTIONS if known])}")
    return Library(
        tuple(variables),
        tuple(
            Term((Factor(name, ((index, frequency),)),)) for index in range(len(variables)) for frequency in frequencies for name in names
        ),
    )


def differences(variables: Sequence[str], names: Sequence[str] = ("sin",)) -> Library:
    """Functions of the difference of every pair of variables, as between coupled oscillators: sin(x - y)."""
    pairs = [(first, second) for first in range(len(variables)) for second in range(first + 1, len(variables))]
    return Library(tuple(variables), tuple(Term((Factor(name, ((i, 1.0), (j, -1.0))),)) for name in names for i, j in pairs))


def products(first: Library, second: Library) -> Library:
    """Every term of one library times every term of the other."""
    if first.variables != second.variables or any(term.function for term in (*first.terms, *second.terms)):
        raise ProblemError("products: both libraries need the same variables, and no terms of your own; write those products as user_terms")
    joined = tuple(Term(_merged((*a.factors, *b.factors))) for a in first.terms for b in second.terms)
    return Library(first.variables, tuple(dict.fromkeys(joined)))


def user_terms(variables: Sequence[str], **terms: Callable[..., Any]) -> Library:
    """Terms of the user's: `user_terms(("x", "v"), drag=lambda x, v: v * jnp.abs(v))`; arguments are all variables, in order."""
    return Library(tuple(variables), tuple(Term(function=function, name=name) for name, function in terms.items()))


def _merged(factors: Sequence[Factor]) -> tuple[Factor, ...]:
    powers: dict[tuple[str, tuple[tuple[int, float], ...]], int] = {}
    for factor in factors:
        key = (factor.function, factor.weights)
        powers[key] = powers.get(key, 0) + factor.power
    return tuple(Factor(function, weights, power) for (function, weights), power in sorted(powers.items(), key=str) if power)


def _powers(terms: Sequence[Term], variables: Array, scales: Mapping[Any, Array]) -> dict[Factor, Array]:
    """Every distinct factor once; `scales` are the weights of Hill functions that have others than those written there."""
    found: dict[Factor, Array] = {}
    arguments: dict[Any, Array] = {}
    for factor in dict.fromkeys(factor for term in terms for factor in term.factors):
        key = (factor.function, factor.weights)
        if key not in arguments:
            weighted = (variables[..., index] * scales.get(key, weight) for index, weight in factor.weights)
            argument = sum(weighted, start=jnp.zeros_like(variables[..., 0]))
            arguments[key] = FUNCTIONS[factor.function](argument)
        found[factor] = arguments[key] ** factor.power
    return found


def _factor_text(factor: Factor, variables: Sequence[str]) -> str:
    if factor.function in HILL:
        (index, scale), order = factor.weights[0], HILL[factor.function]
        name, exponent = variables[index], f"^{order}" if order > 1 else ""
        size = name if order % 2 == 0 else f"|{name}|"
        quotient = f"{name}{exponent}/({scale**-order:.4g} + {size}{exponent})"
        return quotient if factor.power == 1 else f"({quotient})^{factor.power}"
    argument = ""
    for index, weight in factor.weights:
        size = "" if abs(weight) == 1 else f"{abs(weight):g} "
        sign = (" - " if weight < 0 else " + ") if argument else ("-" if weight < 0 else "")
        argument += f"{sign}{size}{variables[index]}"
    base = f"{factor.function}({argument})" if factor.function else argument
    return base if factor.power == 1 else f"{base}^{factor.power}"


def _padded(points: np.ndarray) -> Array:
    """The points and copies of the last one, up to a multiple of BLOCK: data sets of similar length share compiled code."""
    return jnp.asarray(np.pad(points, ((0, -len(points) % BLOCK), (0, 0)), mode="edge"))


@jax.jit(static_argnums=0)
def _evaluate(library: Library, scales: Array, points: Array) -> Array:
    return library(points, scales)


@jax.jit(static_argnums=0)
def _slopes(library: Library, scales: Array, points: Array) -> Array:
    return jax.vmap(jax.jacfwd(library), in_axes=(0, None))(points, scales)
