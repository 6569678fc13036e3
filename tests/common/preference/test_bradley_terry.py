"""Bradley-Terry labels, likelihood and information, against loops, differences and circuits by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from common.preference.bradley_terry import (
    contrast_information,
    first_wins,
    information,
    log_likelihood,
    log_sigmoid,
    preference,
)


def test_both_outcomes_of_a_comparison_sum_to_one_far_out_too():
    margins = np.array([-800.0, -1.0, 0.0, 1.0, 800.0])
    assert_allclose(preference(margins) + preference(-margins), 1)
    assert_allclose(log_sigmoid(margins[1:]), np.log(preference(margins[1:])), atol=1e-15)
    assert log_sigmoid(np.array(-800.0)) == -800


def test_labels_have_the_models_frequency():
    uniforms = (np.arange(1000) + 0.5) / 1000
    assert first_wins(np.full(1000, np.log(3.0)), uniforms).sum() == 750


@given(st.integers(0, 10**6))
def test_the_likelihood_is_the_sum_over_comparisons_and_knows_differences_only(seed):
    rng = np.random.default_rng(seed)
    rewards, wins = rng.normal(size=4), rng.integers(0, 4, (4, 4))
    np.fill_diagonal(wins, 0)
    expected = sum(
        wins[a, b] * np.log(1 / (1 + np.exp(rewards[b] - rewards[a]))) for a in range(4) for b in range(4)
    )
    assert_allclose(log_likelihood(rewards, wins), expected)
    assert_allclose(log_likelihood(rewards + 7, wins), expected)


def test_information_is_the_curvature():
    step = 1e-4
    for margin in (-2.0, 0.0, 3.0):
        points = log_sigmoid(margin + step * np.array([-1.0, 0.0, 1.0]))
        assert_allclose(information(np.array(margin)), -np.diff(points, 2)[0] / step**2, rtol=1e-5)


def test_conductance_in_series_and_parallel():
    rewards = np.zeros(3)  # every comparison carries 1/4
    path = np.array([[0, 0, 8.0], [0, 0, 4.0], [8.0, 4.0, 0]])
    assert_allclose(contrast_information(rewards, path, 0, 1), 1 / (1 / 2 + 1))
    with_edge = path + np.array([[0, 4.0, 0], [4.0, 0, 0], [0, 0, 0]])
    assert_allclose(contrast_information(rewards, with_edge, 0, 1), 1 / (1 / 2 + 1) + 1)


@given(st.integers(0, 10**6))
def test_conductance_is_the_inverse_variance_of_the_contrast(seed):
    rng = np.random.default_rng(seed)
    rewards, counts = rng.normal(size=4), rng.integers(1, 9, (4, 4)).astype(float)
    counts = np.triu(counts, 1) + np.triu(counts, 1).T
    weights = counts * information(rewards[:, None] - rewards)
    np.fill_diagonal(weights, 0)
    contrast = np.array([0, 1.0, 0, -1.0])
    variance = contrast @ np.linalg.pinv(np.diag(weights.sum(axis=1)) - weights) @ contrast
    assert_allclose(contrast_information(rewards, counts, 1, 3), 1 / variance)


def test_arms_that_nothing_joins_have_no_information():
    counts = np.zeros((4, 4))
    counts[0, 2] = counts[2, 0] = counts[1, 3] = counts[3, 1] = 5
    assert contrast_information(np.zeros(4), counts, 0, 1) == 0
    assert_allclose(contrast_information(np.zeros(4), counts, 0, 2), 1.25)
    with pytest.raises(ValueError, match="two responses"):
        contrast_information(np.zeros(4), counts, 1, 1)
