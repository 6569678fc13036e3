"""Tier A: expectations against brute force and finite differences, and the facts they show."""

from pathlib import Path

import numpy as np
import pytest

from common.study.jobs import Job
from common.tabular.tree import PrefixTree
from papers.rl_zvp.runs.theory import (
    RATES,
    advantage_rules,
    draw,
    equation_5,
    grpo_coefficient,
    halves,
    identities,
    moved,
)

TREE = PrefixTree(3, 3)


def instance(policies: int = 3, seed: int = 0):
    return draw(TREE, policies, np.random.default_rng(seed))


@pytest.mark.parametrize("rate", [0.002, 0.5, 0.998])
def test_moved_policies_have_the_success_rate(rate):
    policies, correct = instance(policies=20)
    np.testing.assert_allclose(moved(policies, correct, rate).success(correct), rate, rtol=1e-6)


@pytest.mark.parametrize(("p", "size"), [(0.3, 4), (0.9, 8)])
def test_grpos_expected_update_against_sampled_groups(p, size):
    """With ∇log π of mean g+ = 1/p on correct and g- = -1/(1-p) on wrong responses, ∇p is 1."""
    correct = np.random.default_rng(0).random((200_000, size)) < p
    std = correct.std(axis=1, keepdims=True)
    advantages = np.divide(
        correct - correct.mean(axis=1, keepdims=True), std, where=std > 0, out=np.zeros(correct.shape)
    )
    sampled = (advantages * np.where(correct, 1 / p, -1 / (1 - p))).mean()
    assert grpo_coefficient(p, size) == pytest.approx(sampled, rel=0.02)


@pytest.fixture(scope="module")
def record():
    job = Job("theory", {}, "", {"policies": 40, "vocabulary": 3, "length": 3}, (7,))
    return {name: values[0].reshape(len(RATES), -1) for name, values in halves(job, Path()).series.items()}


def test_an_unconditional_update_has_zero_mean_and_the_identity_holds():
    job = Job("theory", {}, "", {"policies": 50, "vocabulary": 4, "length": 2}, (7,))
    errors = identities(job, Path()).series
    assert errors["zero_mean"].shape == errors["drift"].shape == (1, 50)
    assert max(errors["zero_mean"].max(), errors["drift"].max()) < 1e-12


def test_the_positive_half_vanishes_and_the_negative_half_does_not(record):
    positive, negative = record["positive_norm"].mean(axis=1), record["negative_norm"].mean(axis=1)
    assert positive[-1] < 0.02 * positive.max()
    assert negative[0] > 0.2 * negative.max()
    assert record["constant_norm"].mean(axis=1)[0] < 0.2 * negative[0]
    assert record["positive_rms"].mean(axis=1)[-1] > 0.2


def test_the_negative_half_approaches_the_drift_in_proportion_to_p(record):
    distance = record["drift_distance"].mean(axis=1)
    assert distance[0] / distance[1] == pytest.approx(RATES[0] / RATES[1], rel=0.2)


def test_group_weights(record):
    rates = np.array(RATES)[:, None]
    np.testing.assert_allclose(record["positive_group_8"], rates**7 * record["positive_norm"])
    np.testing.assert_allclose(record["negative_group_16"], (1 - rates) ** 15 * record["negative_norm"])


def test_advantage_rules_hold_on_random_groups():
    job = Job("theory", {}, "", {"draws": 60, "group_size": 5, "length": 4, "alpha": 0.1}, (3,))
    errors = {name: values[0] for name, values in advantage_rules(job, Path()).series.items()}
    assert len(errors["pattern_error"]) == len(errors["mixed_difference"]) == 30
    assert errors["pattern_error"].max() < 1e-12
    assert errors["mixed_difference"].max() == 0
    assert errors["grpo_gradient"].max() == 0
    assert errors["zvp_gradient"].min() > 0


def test_equation_5_is_zero_for_a_mixed_group_and_ignores_padding():
    rows = np.array([[0.5, 2.0, np.nan], [1.0, np.nan, np.nan]])
    np.testing.assert_allclose(equation_5(np.array([0.0, 0.0]), rows, 1.0), [[-1.5, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(equation_5(np.array([1.0, 1.0]), rows, 1.0), [[0.5, 2, 0], [1, 0, 0]])
    assert (equation_5(np.array([1.0, 0.0]), rows, 1.0) == 0).all()
