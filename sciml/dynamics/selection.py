"""Which candidate terms the data call for: best subsets of every size, an information criterion, stability over resamples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BEAM = 12
"""Subsets of every size that are kept while the search goes on."""

SWEEPS = 3
"""Times that the search goes up to larger subsets and down again."""


@dataclass(frozen=True)
class Subset:
    """A choice of terms and its least-squares fit."""

    terms: tuple[int, ...]
    coefficients: np.ndarray
    """`(candidates,)`, zero for terms left out."""
    squares: float
    """Sum of squared residuals."""


def best_subsets(design: np.ndarray, target: np.ndarray, largest: int) -> list[Subset]:
    """The best subset found of every size from 0 to `largest`: a beam search that adds terms and takes them away again.

    `design` is `(rows, candidates)`. Going down as well as up removes terms that only stood in for a pair that came later,
    where sequential thresholding (Brunton et al. 2016, PNAS 113, 3932-3937) or a greedy search would keep them.
    """
    columns, goal, usable = _reduced(design, target)
    largest = min(largest, int(usable.sum()), max(len(target) - 1, 0))
    beams: list[dict[tuple[int, ...], float]] = [{} for _ in range(largest + 1)]
    beams[0][()] = float(goal @ goal)
    for _ in range(SWEEPS):
        before = [min(beam.values(), default=np.inf) for beam in beams]
        for size in range(largest):
            for terms in list(beams[size]):
                _merge(beams[size + 1], _larger(columns, goal, usable, terms))
        for size in range(largest, 1, -1):
            for terms in list(beams[size]):
                _merge(beams[size - 1], _smaller(columns, goal, terms))
        if all(min(beam.values(), default=np.inf) >= 0.999999 * old for beam, old in zip(beams, before, strict=True)):
            break
    found = []
    for beam in beams:
        if beam:
            terms = min(beam, key=lambda each: beam[each])
            found.append(fitted(design, target, terms))
    return found


COMPLEXITY = 1.0
"""What every symbol of a term costs, in units of twice the logarithm of the odds against it."""


def costs(complexities: Sequence[int], rows: int, equations: int = 1) -> np.ndarray:
    """What each candidate of every equation must gain in the sum of squares, for noise of unit variance: `(candidates * equations,)`.

    Bayesian information (Schwarz 1978) counts the rows, risk inflation (Foster & George 1994, Ann. Stat. 22, 1947-1975) the
    candidates: of many, one will fit the noise by chance. Of two that explain as much the simpler one is cheaper.
    """
    each = np.log(max(rows, 2)) + 2 * np.log(len(complexities) * equations) + COMPLEXITY * np.asarray(complexities)
    return np.repeat(each, equations)


def chosen(subsets: list[Subset], rows: int, costs: np.ndarray) -> Subset:
    """The subset of a path with the least information criterion, for rows of unit variance.

    Where even the largest subset leaves more than that, the library is only approximately right, and the variance is what it leaves.
    """
    last = subsets[-1]
    variance = max(1.0, last.squares / max(rows - len(last.terms), 1))
    return min(subsets, key=lambda subset: subset.squares / variance + costs[list(subset.terms)].sum())


def improved(design: np.ndarray, target: np.ndarray, terms: tuple[int, ...], costs: np.ndarray, variance: float) -> tuple[int, ...]:
    """Adds, drops and exchanges single terms as long as that lowers the information criterion of `costs` and noise of `variance`."""
    columns, goal, usable = _reduced(design, target)
    best = terms
    value = fitted(columns, goal, terms).squares / variance + costs[list(terms)].sum()
    while True:
        around = _neighbours(columns, goal, usable, best, costs, variance)
        winner = min(around, key=lambda each: around[each], default=best)
        if winner == best or around[winner] >= value - 1e-9 * (1 + abs(value)):
            return best
        best, value = winner, around[winner]


def neighbours(
    design: np.ndarray, target: np.ndarray, terms: tuple[int, ...], costs: np.ndarray, variance: float, count: int
) -> list[tuple[int, ...]]:
    """The `count` most promising choices that differ from `terms` by adding, dropping or exchanging one."""
    around = _neighbours(*_reduced(design, target), terms, costs, variance)
    return sorted(around, key=lambda each: around[each])[:count]


def _reduced(design: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns of unit length and the target as seen by the triangular factor of both, and which columns can be used."""
    norms = np.linalg.norm(design, axis=0)
    usable = np.isfinite(norms) & (norms > 0)
    scaled = np.where(usable, design / np.where(usable, norms, 1.0), 0.0)
    triangle = np.asarray(np.linalg.qr(np.concatenate([scaled, target[:, None]], axis=1), mode="r"))
    count = design.shape[1]
    return triangle[:, :count], triangle[:, count], usable


def _neighbours(
    columns: np.ndarray, goal: np.ndarray, usable: np.ndarray, terms: tuple[int, ...], costs: np.ndarray, variance: float
) -> dict[tuple[int, ...], float]:
    """The information criterion of all choices that differ by one term, and of the best exchanges."""
    smaller = _smaller(columns, goal, terms) if terms else {}
    found = smaller | _larger(columns, goal, usable, terms)
    for less in sorted(smaller, key=lambda each: smaller[each])[:BEAM]:
        found |= _larger(columns, goal, usable, less)
    found.pop(terms, None)
    return {key: squares / variance + costs[list(key)].sum() for key, squares in found.items()}


def inclusion(
    design: np.ndarray, coefficients: np.ndarray, costs: np.ndarray, variance: float, resamples: int, random: np.random.Generator
) -> np.ndarray:
    """How often resampled noise leads to each term: a parametric bootstrap of the choice, `(candidates,)` shares between 0 and 1.

    Each resample adds fresh noise of `variance` to what the chosen model predicts, and chooses again.
    """
    terms = tuple(int(term) for term in np.flatnonzero(coefficients))
    counts = np.zeros(len(coefficients))
    for _ in range(resamples):
        target = design @ coefficients + np.sqrt(variance) * random.normal(size=len(design))
        counts[list(improved(design, target, terms, costs, variance))] += 1
    return counts / resamples


def _merge(beam: dict[tuple[int, ...], float], more: dict[tuple[int, ...], float]) -> None:
    beam.update(more)
    for terms in sorted(beam, key=lambda each: beam[each])[BEAM:]:
        del beam[terms]


def _larger(columns: np.ndarray, goal: np.ndarray, usable: np.ndarray, terms: tuple[int, ...]) -> dict[tuple[int, ...], float]:
    """All subsets with one term more, and their sums of squares."""
    chosen = list(terms)
    orthogonal = np.linalg.qr(columns[:, chosen])[0]
    left = goal - orthogonal @ (orthogonal.T @ goal)
    free = columns - orthogonal @ (orthogonal.T @ columns)
    lengths = (free**2).sum(axis=0)
    open_terms = usable & (lengths > 1e-18)
    open_terms[chosen] = False
    gains = (left @ free) ** 2 / np.where(open_terms, lengths, 1.0)
    squares = float(left @ left)
    best = [term for term in np.argsort(-np.where(open_terms, gains, -1.0))[:BEAM] if open_terms[term]]
    return {tuple(sorted((*terms, int(term)))): squares - float(gains[term]) for term in best}


def _smaller(columns: np.ndarray, goal: np.ndarray, terms: tuple[int, ...]) -> dict[tuple[int, ...], float]:
    """All subsets with one term less, and their sums of squares."""
    orthogonal, triangle = np.linalg.qr(columns[:, list(terms)])
    projected = orthogonal.T @ goal
    squares = float(goal @ goal - projected @ projected)
    try:
        inverse = np.linalg.inv(triangle)
    except np.linalg.LinAlgError:
        return {}
    coefficients = inverse @ projected
    losses = coefficients**2 / (inverse**2).sum(axis=1)
    return {terms[:place] + terms[place + 1 :]: squares + float(loss) for place, loss in enumerate(losses)}


def fitted(design: np.ndarray, target: np.ndarray, terms: tuple[int, ...]) -> Subset:
    """The least-squares fit of some of the candidates."""
    coefficients = np.zeros(design.shape[1])
    if terms:
        chosen = design[:, list(terms)]
        norms = np.linalg.norm(chosen, axis=0)
        coefficients[list(terms)] = np.linalg.lstsq(chosen / norms, target, rcond=None)[0] / norms
    residual = target - design @ coefficients
    return Subset(terms, coefficients, float(residual @ residual))
