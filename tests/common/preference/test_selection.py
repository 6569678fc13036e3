"""Selectors between their two controls, and the exact accuracy of sequential verification."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.preference.selection import (
    accuracy,
    at_random,
    expected_first_accepted,
    first_accepted,
    highest,
    majority,
    oracle,
    random_accuracy,
)


def test_the_first_accepted_is_taken_and_else_the_last():
    accepted = np.array([[False, True, True], [True, False, True], [False, False, False]])
    np.testing.assert_array_equal(first_accepted(accepted), [1, 0, 2])


def test_the_highest_score_is_taken_and_a_missing_one_is_the_lowest():
    scores = np.array([[0.1, 0.5, 0.5], [np.nan, -3.0, np.nan], [np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(highest(scores), [1, 1, 0])


@given(st.lists(st.sampled_from([None, "a", "b", 3]), min_size=1, max_size=7))
def test_the_majoritys_answer_is_the_most_frequent_one(row):
    chosen = majority([row])[0]
    counts = Counter(answer for answer in row if answer is not None)
    assert not counts or counts[row[chosen]] == max(counts.values())
    assert not counts or row.index(row[chosen]) == chosen


@pytest.mark.parametrize("seed", range(5))
def test_every_selector_lies_below_the_oracle_and_random_choice_has_its_expectation(seed):
    generator = np.random.default_rng(seed)
    correct = generator.random((20_000, 4)) < 0.4
    best = accuracy(correct, oracle(correct))
    assert best == correct.any(axis=1).mean()
    chosen = at_random(correct.shape, generator)
    assert accuracy(correct, chosen) == pytest.approx(random_accuracy(correct), abs=0.02)
    for selected in (first_accepted(generator.random(correct.shape) < 0.3), highest(correct * 1.0), chosen):
        assert accuracy(correct, selected) <= best
    assert accuracy(correct, first_accepted(correct)) == best


@pytest.mark.parametrize(
    ("right", "passes", "slips", "known"), [(0.6, 0.9, 0.3, 0.810), (0.3, 0.7, 0.1, 0.582)]
)
def test_the_formula_is_what_a_simulation_gives(right, passes, slips, known):
    generator = np.random.default_rng(0)
    correct = generator.random((200_000, 4)) < right
    accepted = generator.random(correct.shape) < np.where(correct, passes, slips)
    expected = expected_first_accepted(right, passes, slips, 4)
    assert accuracy(correct, first_accepted(accepted)) == pytest.approx(expected, abs=0.004)
    assert expected == pytest.approx(known, abs=5e-4)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 9))
def test_the_formula_at_its_limits(right, blind, count):
    assert expected_first_accepted(right, 1, 0, count) == pytest.approx(1 - (1 - right) ** count, abs=1e-12)
    assert expected_first_accepted(right, blind, blind, count) == pytest.approx(right, abs=1e-12)
    assert expected_first_accepted(right, 0, 0, count) == pytest.approx(right, abs=1e-12)
