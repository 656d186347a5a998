"""Best subsets, the criterion that chooses among them, and how stable the choice is."""

import itertools

import numpy as np
import pytest

from sciml.dynamics.selection import best_subsets, chosen, improved, inclusion, penalty


def regression(seed, rows=80, candidates=10, noise=1.0):
    random = np.random.default_rng(seed)
    mixing = np.eye(candidates) + 0.5 * random.normal(size=(candidates, candidates))
    design = random.normal(size=(rows, candidates)) @ mixing
    coefficients = np.zeros(candidates)
    coefficients[[1, 4, 7]] = [2.0, -3.0, 1.5]
    return design, design @ coefficients + noise * random.normal(size=rows), coefficients


@pytest.mark.parametrize("seed", range(4))
def test_the_path_is_that_of_exhaustive_search(seed):
    design, target, _ = regression(seed)
    for subset in best_subsets(design, target, 4):
        squares = [
            np.linalg.norm(target - design[:, terms] @ np.linalg.lstsq(design[:, terms], target, rcond=None)[0]) ** 2
            for terms in map(list, itertools.combinations(range(10), len(subset.terms)))
        ]
        assert subset.squares == pytest.approx(min(squares))


def test_a_pair_that_only_helps_together_is_found():
    random = np.random.default_rng(0)
    base, difference = random.normal(size=(2, 200))
    stand_in = base + 10 * difference
    noise = 0.01 * random.normal(size=200)
    design = np.stack([base, base + 0.01 * difference, stand_in + random.normal(size=200)], axis=1)
    found = best_subsets(design, 100 * (design[:, 1] - design[:, 0]) + noise, 2)[-1]
    assert found.terms == (0, 1)


@pytest.mark.parametrize("seed", range(4))
def test_the_right_terms_are_chosen(seed):
    design, target, coefficients = regression(seed)
    found = chosen(best_subsets(design, target, 8), len(target), 10)
    assert found.terms == tuple(np.flatnonzero(coefficients))


def test_noise_alone_calls_for_nothing():
    random = np.random.default_rng(5)
    empty = sum(chosen(best_subsets(random.normal(size=(60, 20)), random.normal(size=60), 6), 60, 20).terms == () for _ in range(20))
    assert empty >= 18


def test_more_candidates_make_the_criterion_stricter():
    assert penalty(2, 50, 100) > penalty(2, 50, 10) > penalty(1, 50, 10) > penalty(0, 50, 10) == 0


@pytest.mark.parametrize("start", [(), (0,), (0, 2, 3), (1, 2, 4, 7)])
def test_local_search_repairs_any_start(start):
    design, target, coefficients = regression(2)
    assert improved(design, target, start, len(target), 1.0) == tuple(np.flatnonzero(coefficients))


def test_inclusion_tells_strong_from_weak_terms():
    design, _, coefficients = regression(3)
    coefficients[7] = 0.25  # about as large as what the criterion asks for
    shares = inclusion(design, coefficients, len(design), 1.0, 100, np.random.default_rng(0))
    assert shares[1] == shares[4] == 1.0
    assert shares[7] < 0.95
    assert shares[[0, 2, 3, 5, 6, 8, 9]].max() < 0.2
