import numpy as np
import pytest

from common.study.jobs import Job
from papers._template.method import reward_variance
from papers._template.runs.theory import variance


def test_the_variance_is_that_of_a_coin():
    p = np.array([0.0, 0.25, 0.5, 1.0])
    np.testing.assert_allclose(reward_variance(p), [0.0, 0.1875, 0.25, 0.0])


def test_a_rate_above_one_is_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        reward_variance(np.array([1.2]))


def test_the_record_holds_the_curve_and_small_errors(tmp_path):
    record = variance(Job("theory", {}, "", {"draws": 50, "points": 11}, (0,)), tmp_path)
    assert record.series["variance"][0, 5] == 0.25
    assert np.abs(record.series["error"]).max() < 1e-12
