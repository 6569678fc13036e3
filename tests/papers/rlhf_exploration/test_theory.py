"""The exact checks: they hold, and they can fail."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from common.study.jobs import Job
from papers.rlhf_exploration.runs.theory import comparisons, horizons, identities


def run(entry, seeds=(0,), **config):
    return entry(Job("theory", {}, "", config, seeds), Path())


def test_the_identities_hold_and_the_flipped_sign_does_not():
    series = run(identities, draws=300, arms=4).series
    for name in ("regret", "optimum", "dpo", "shift"):
        assert series[name].max() < 1e-12
    assert series["gradient"].max() < 1e-6
    assert series["flipped"][0, 1:].min() > 1e-3
    assert series["flipped"].shape == (1, 300)


def test_the_waiting_time_of_ce1():
    series = run(horizons, betas="0.2,0.15,0.1").series
    assert_allclose(series["waiting"], series["closed"], rtol=1e-12)
    assert_allclose(series["leading"][0], [74.2, 392.9, 11013.2], rtol=1e-3)
    assert (np.abs(series["closed"] / series["leading"] - 1) < 0.02).all()


def test_a_direct_comparison_on_ce2_is_worth_the_exponential_of_the_gap():
    series = run(comparisons, gaps="4,8").series
    assert_allclose(series["ratio"], series["closed"], rtol=1e-12)
    assert_allclose(series["direct"], 0.19661, rtol=1e-4)
    assert_allclose(series["leading"], series["ratio"], rtol=0.15)
    assert_allclose(series["leading"][0] / np.exp([4, 8]), 0.5379, rtol=1e-3)


def test_identities_take_one_seed():
    with pytest.raises(ValueError, match="too many values"):
        run(identities, seeds=(0, 1), draws=10, arms=3)
