"""The loss in DPO form against the reward form, and by hand."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

import papers.rlhf_exploration as package
from common.preference.bradley_terry import log_likelihood
from common.preference.tabular import gibbs_policy, soft_value
from papers.rlhf_exploration.method import optimistic_dpo_loss


def instance(seed):
    rng = np.random.default_rng(seed)
    rewards, pairs = rng.normal(size=6), rng.integers(0, 6, (2, 9))
    reference, calibration = rng.dirichlet(np.ones(6), 2)
    return rewards, pairs, reference, calibration


@pytest.mark.parametrize("alpha", [0.0, 2.5])
@pytest.mark.parametrize("beta", [0.1, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_n_times_the_loss_is_minus_the_optimistic_objective(alpha, beta, seed):
    rewards, (winners, losers), reference, calibration = instance(seed)
    wins = np.zeros((6, 6))
    np.add.at(wins, (winners, losers), 1)
    bonus = soft_value(reference, rewards, beta) - calibration @ rewards
    expected = -(log_likelihood(rewards, wins) + alpha * bonus)
    ratio = torch.from_numpy(np.log(gibbs_policy(reference, rewards, beta) / reference))
    weights = torch.from_numpy(calibration)
    loss = optimistic_dpo_loss(ratio[winners], ratio[losers], ratio, beta, alpha, weights)
    assert_allclose(len(winners) * loss.item(), expected, atol=1e-10)


def test_samples_of_the_calibration_policy_stand_for_its_expectation():
    ratio = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64)
    responses, weights = torch.tensor([0, 0, 1, 2]), torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    sampled = optimistic_dpo_loss(ratio[:1], ratio[1:2], ratio[responses], 0.5, 2.0)
    exact = optimistic_dpo_loss(ratio[:1], ratio[1:2], ratio, 0.5, 2.0, weights)
    assert_allclose(sampled.item(), exact.item())


def test_the_bonus_pushes_the_calibration_policy_down():
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    ratio = logits.log_softmax(dim=0) - np.log(1 / 3)
    optimistic_dpo_loss(ratio[:1], ratio[:1], ratio[2:], 1.0, 1.0).backward()
    assert logits.grad[2] > 0 > logits.grad[0]


def test_without_a_bonus_it_is_dpo_and_calibration_is_not_read():
    chosen, rejected = torch.tensor([0.4, 0.1]), torch.tensor([-0.2, 0.3])
    loss = optimistic_dpo_loss(chosen, rejected, torch.empty(0), 0.5, 0.0)
    assert_allclose(loss.item(), np.log1p(np.exp(-np.array([0.3, -0.1]))).mean(), rtol=1e-6)


def test_empty_batches_are_refused():
    empty, one = torch.empty(0), torch.zeros(1)
    with pytest.raises(ValueError, match="at least one comparison"):
        optimistic_dpo_loss(empty, empty, one, 1.0, 1.0)
    with pytest.raises(ValueError, match="calibration"):
        optimistic_dpo_loss(one, one, empty, 1.0, 1.0)


def test_the_package_offers_the_loss_lazily():
    assert package.optimistic_dpo_loss is optimistic_dpo_loss
    with pytest.raises(AttributeError, match="no attribute 'trainers'"):
        _ = package.trainers
