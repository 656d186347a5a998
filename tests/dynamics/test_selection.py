"""Best subsets, the criterion that chooses among them, and how stable the choice is."""

import itertools

import numpy as np
import pytest

from sciml.dynamics.selection import best_subsets, chosen, costs, improved, inclusion


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
    found = chosen(best_subsets(design, target, 8), len(target), costs([1] * 10, len(target)))
    assert found.terms == tuple(np.flatnonzero(coefficients))


def test_noise_alone_calls_for_nothing():
    random = np.random.default_rng(5)
    equal = costs([1] * 20, 60)
    empty = sum(chosen(best_subsets(random.normal(size=(60, 20)), random.normal(size=60), 6), 60, equal).terms == () for _ in range(20))
    assert empty >= 18


def test_more_candidates_and_more_symbols_make_a_term_dearer():
    small, large = costs([0, 1, 1, 2], 50), costs([0, 1, 1, 2] * 2, 50)
    assert (large[:4] > small).all()
    assert small[3] > small[2] == small[1] > small[0] > np.log(50)
    np.testing.assert_array_equal(costs([1, 2], 50, equations=2)[1:3], costs([1, 1, 2, 2], 50)[1:3])


def test_of_two_terms_that_explain_as_much_the_simpler_one_is_chosen():
    design = np.random.default_rng(0).normal(size=(60, 3))
    design = np.concatenate([design, design[:, :1] + 0.001 * design[:, 1:2]], axis=1)
    target = design[:, 0] + 0.1 * np.random.default_rng(1).normal(size=60)
    for complexities, simple in (((1, 1, 1, 3), 0), ((3, 1, 1, 1), 3)):
        assert improved(design, target, (3 - simple,), costs(complexities, 60), 0.01) == (simple,)


@pytest.mark.parametrize("start", [(), (0,), (0, 2, 3), (1, 2, 4, 7)])
def test_local_search_repairs_any_start(start):
    design, target, coefficients = regression(2)
    assert improved(design, target, start, costs([1] * 10, len(target)), 1.0) == tuple(np.flatnonzero(coefficients))


def test_inclusion_tells_strong_from_weak_terms():
    design, _, coefficients = regression(3)
    coefficients[7] = 0.25  # about as large as what the criterion asks for
    shares = inclusion(design, coefficients, costs([1] * 10, len(design)), 1.0, 100, np.random.default_rng(0))
    assert shares[1] == shares[4] == 1.0
    assert shares[7] < 0.95
    assert shares[[0, 2, 3, 5, 6, 8, 9]].max() < 0.2
