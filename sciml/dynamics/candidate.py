"""A library's best model of a series: terms and coefficients take turns, each judged by the likelihood of short windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sciml.dynamics.library import Library
from sciml.dynamics.likelihood import Fit, KnownField, Windows, again, maximise
from sciml.dynamics.selection import costs, improved, neighbours

ROUNDS = 5
"""Times that terms are chosen again after the coefficients were fitted."""

NEIGHBOURS = 8
"""Choices next to the one found that are fitted as well, because far from the truth the quadratic model errs."""


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


def noise_variance(candidates: Sequence[Candidate]) -> float:
    """The noise's variance, in units of what the smoothing found, as the best fit among the candidates shows it; at least one."""
    return max(1.0, min(each.fit.squares / each.fit.points for each in candidates))


def propose(library: Library, windows: Windows, coefficients: np.ndarray, known: KnownField | None = None) -> Candidate:
    """The library's model from first coefficients on, before its neighbours are tried: see `descended`."""
    fit = maximise(library, windows, coefficients, known)
    if not np.isfinite(fit.squares):  # the first model runs away within a window: begin with none
        fit = maximise(library, windows, np.zeros_like(coefficients), known)
    return settled(Candidate(fit))


def settled(best: Candidate) -> Candidate:
    """Coefficients and terms take turns until the terms stay."""
    for _ in range(ROUNDS):
        fit = best.fit
        if not np.isfinite(fit.squares):
            break
        design, target = fit.least_squares()
        terms = improved(design, target, best.terms, best.costs, achievable_variance(fit, design, target))
        if terms == best.terms:
            break
        other = Candidate(again(fit, _restarted(fit, design, target, terms)))
        variance = noise_variance((best, other))
        if other.information(variance) >= best.information(variance):
            break
        best = other
    return best


def descended(best: Candidate) -> Candidate:
    """Moves to the best of the neighbouring choices, each fitted, until none is better."""
    for _ in range(ROUNDS):
        fit = best.fit
        if not np.isfinite(fit.squares):
            return best
        design, target = fit.least_squares()
        achievable = achievable_variance(fit, design, target)
        around = neighbours(design, target, best.terms, best.costs, achievable, NEIGHBOURS)
        hopeful = [terms for terms in around if best.costs[list(terms)].sum() < best.information(achievable)]
        others = [Candidate(again(fit, _restarted(fit, design, target, terms))) for terms in hopeful]
        variance = noise_variance((best, *others))
        winner = min((best, *others), key=lambda each: each.information(variance))
        if winner is best:
            return best
        best = winner
    return best


def achievable_variance(fit: Fit, design: np.ndarray, target: np.ndarray) -> float:
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
