"""Rooflines, Amdahl, early termination and the oracle against closed forms and brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.speculative import costs
from common.speculative.costs import Costs
from common.speculative.tree import TreePolicy


@pytest.mark.parametrize(("width", "gap"), [(4096, 0.0154), (128, 1 / 3)])
def test_the_exact_intensity_lies_below_the_papers_by_what_the_sheet_says(width, gap):
    exact = costs.intensity(32, width, width, 2)
    assert 1 - exact / (2 * 32 / 2) == pytest.approx(gap, abs=1e-3)


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.integers(1, 10_000), st.sampled_from([1, 2, 4]))
def test_intensity_by_counting(tokens, inner, outer, element):
    moved = element * (tokens * inner + inner * outer + tokens * outer)
    assert costs.intensity(tokens, inner, outer, element) == pytest.approx(
        2 * tokens * inner * outer / moved, rel=1e-12
    )
    assert costs.intensity(tokens, inner, outer, element) <= 2 * tokens / element


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12))
def test_early_termination_by_simulation(lengths):
    def seconds(rows: int) -> float:
        return 1.0 + 0.1 * rows

    left, without, with_it = list(lengths), 0.0, 0.0
    while any(left):
        without += seconds(len(lengths))
        with_it += seconds(sum(length > 0 for length in left))
        left = [max(0, length - 1) for length in left]
    found = costs.early_termination_speedup(np.array(lengths), seconds)
    assert found == pytest.approx(without / with_it)


def test_equal_lengths_gain_nothing_from_early_termination():
    assert costs.early_termination_speedup(np.full(9, 7), lambda rows: 1.0 + rows) == 1.0


def test_interpolation_is_linear_inside_and_beyond():
    at = costs.interpolate({1: 1.0, 3: 2.0, 5: 6.0})
    assert [at(size) for size in (1, 2, 4, 5, 6)] == [1.0, 1.5, 4.0, 6.0, 8.0]


def toy() -> Costs:
    return Costs(
        verify=lambda rows, tokens: max(1.0, rows * tokens / 20),
        propose=lambda rows, top_k, depth: 0.1 * depth,
        accepted=lambda top_k, depth, kept: sum(0.7**level for level in range(1, min(depth, kept) + 1)),
    )


def test_the_oracle_is_the_best_of_the_grid():
    grid = costs.candidates((1, 2, 4, 8, 16), (1, 2, 4), (1, 2, 3))
    best = costs.oracle_schedule((1, 4, 16, 64), toy(), grid)
    for rows, policy in best.items():
        assert toy().throughput(rows, policy) == max(toy().throughput(rows, each) for each in grid)
    assert best[1].depth > 1
    assert best[64] is None


def test_regret_is_zero_for_the_oracle_and_positive_for_what_is_worse():
    rows, grid = (1, 4, 16, 64), costs.candidates((1, 2, 4, 8), (1, 2), (1, 2, 3))
    best = costs.oracle_schedule(rows, toy(), grid)
    np.testing.assert_array_equal(costs.regret(rows, toy(), grid, best.get), 0)
    static = costs.regret(rows, toy(), grid, lambda rows: TreePolicy(3, 2, 8))
    assert static[-1] > static[0] >= 0


def test_the_grid_has_no_tree_that_cannot_be_filled():
    grid = costs.candidates((1, 4), (1, 2), (1, 2))
    brute = {
        (depth, k, n) for n, k, depth in itertools.product((1, 4), (1, 2), (1, 2)) if n >= k and n >= depth
    }
    assert {(p.depth, p.top_k, p.budget) for p in grid if p} == brute
    assert grid[0] is None
