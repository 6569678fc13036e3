import numpy as np
import pytest
from scipy import stats

from common.statistics import (
    interquartile_mean,
    iqm_interval,
    is_constant,
    mean_interval,
    probability_of_improvement,
)


def test_mean_interval_by_hand():
    estimate, low, high, n = mean_interval([1.0, 2.0, 3.0, 4.0])
    half = 3.182446305 * np.sqrt(5 / 3) / 2  # t quantile at 0.975 with 3 degrees of freedom
    assert (estimate, n) == (2.5, 4)
    assert (low, high) == pytest.approx((2.5 - half, 2.5 + half), rel=1e-8)


def test_mean_interval_agrees_with_the_t_test():
    values = np.random.default_rng(0).normal(0.4, 1, 12)
    for confidence in (0.9, 0.95, 0.99):
        expected = stats.ttest_1samp(values, 0).confidence_interval(confidence)
        assert mean_interval(values, confidence)[1:3] == pytest.approx(tuple(expected))


def test_mean_interval_covers_at_its_rate():
    rng = np.random.default_rng(1)
    hits = [low <= 0 <= high for _, low, high, _ in (mean_interval(rng.normal(size=5)) for _ in range(2000))]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.015)


def test_degenerate_samples():
    assert mean_interval([3.0]) == (3.0, -np.inf, np.inf, 1)
    assert mean_interval([2.0, 2.0]) == (2.0, 2.0, 2.0, 2)


@pytest.mark.parametrize("values", [[], [[1.0, 2.0]], [1.0, np.nan], [np.inf, 1.0]])
def test_bad_samples(values):
    with pytest.raises(ValueError, match="'values'"):
        mean_interval(values)


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_bad_confidence(confidence):
    with pytest.raises(ValueError, match="confidence"):
        mean_interval([1.0, 2.0], confidence)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_a_sample_is_constant_up_to_rounding_at_every_scale(scale):
    assert is_constant([scale * (0.1 + 0.2), scale * 0.3, scale * 0.3])
    assert is_constant([0.0, 0.0])
    assert not is_constant([scale * 0.3, scale * 0.3 * (1 + 1e-9)])


def test_interquartile_mean_by_hand():
    assert interquartile_mean([100.0, 1.0, 2.0, -50.0]) == 1.5
    np.testing.assert_allclose(interquartile_mean(np.array([[0.0, 9.0], [1.0, 9.0]]), axis=0), [0.5, 9.0])


def test_iqm_interval_is_stratified_by_task():
    """With no spread inside a task a stratified bootstrap has none; mixing tasks would widen it."""
    scores = np.tile([0.0, 1.0, 2.0, 3.0], (6, 1))
    assert iqm_interval(scores, np.random.default_rng(0), 200) == (1.5, 1.5, 1.5, 6)


def test_iqm_interval_is_deterministic_and_brackets_the_estimate():
    scores = np.random.default_rng(3).normal(size=(20, 3))
    first = iqm_interval(scores, np.random.default_rng(0), 500)
    assert first == iqm_interval(scores, np.random.default_rng(0), 500)
    assert first.low < first.estimate < first.high


def test_probability_of_improvement_equals_the_u_statistic():
    rng = np.random.default_rng(4)
    method, baseline = rng.integers(0, 4, (9, 2)), rng.integers(0, 3, (7, 2))
    result = probability_of_improvement(method, baseline, np.random.default_rng(0), 300)
    u = [stats.mannwhitneyu(method[:, t], baseline[:, t]).statistic / 63 for t in range(2)]
    assert result.estimate == pytest.approx(np.mean(u))
    assert result.low <= result.estimate <= result.high
    assert result.n == 7


def test_probability_of_improvement_extremes_and_errors():
    better, worse = np.full((4, 1), 2.0), np.full((4, 1), 1.0)
    rng = np.random.default_rng(0)
    assert probability_of_improvement(better, worse, rng, 50)[:3] == (1, 1, 1)
    assert probability_of_improvement(worse, worse, rng, 50)[:3] == (0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="same tasks"):
        probability_of_improvement(np.ones((4, 2)), worse, rng)
    with pytest.raises(ValueError, match="at least two seeds"):
        iqm_interval(np.ones((1, 3)), rng)
