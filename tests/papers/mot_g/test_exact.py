"""Formulas of one step against sampling, brute force and finite differences."""

import numpy as np
import pytest
import torch

from common.tabular.draws import (
    chain_variance,
    coverage,
    masks,
    order_probabilities,
    orders,
    reward_gradient,
    softmax,
)
from common.tabular.surrogates import SURROGATES, cosine, dirichlet_diversity, surrogate_gradient
from papers.mot_g.method import mixture_log_prob

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((20, 5))
P = softmax(LOGITS)
REWARDS = RNG.standard_normal((20, 32))


def test_diversity_of_sampled_dirichlet_weights_within_four_standard_errors():
    for concentration in (0.3, 1.0, 10.0):
        weights = RNG.dirichlet(concentration * P[0], size=20000)
        diversity = 1 - (weights**2).sum(axis=1)
        error = diversity.std() / np.sqrt(len(diversity))
        assert abs(diversity.mean() - dirichlet_diversity(P[0], concentration)) < 4 * error


def test_with_concentration_one_the_diversity_is_half_that_of_the_weights():
    assert dirichlet_diversity(P, 1.0) == pytest.approx((1 - (P**2).sum(axis=1)) / 2)


def test_one_draw_covers_its_probability_and_all_draws_do_not_vary():
    embeddings = RNG.standard_normal((20, 5, 3))
    assert coverage(P, 5) == pytest.approx(1.0)
    assert chain_variance(P, embeddings, 5) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_the_gradient_by_complex_steps_is_that_of_finite_differences(k):
    def reward(logits):
        likely = order_probabilities(softmax(logits), orders(5, k))
        return (likely * REWARDS[:, masks(orders(5, k))]).sum(axis=1)

    exact, step = reward_gradient(LOGITS, REWARDS, k), 1e-5
    for token in range(5):
        moved = np.eye(5)[token] * step
        slope = (reward(LOGITS + moved) - reward(LOGITS - moved)) / (2 * step)
        assert exact[:, token] == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_the_expected_gradient_is_that_of_autograd_through_the_trainers_surrogate(surrogate):
    k, chosen = 2, orders(5, 2)
    logits = torch.tensor(LOGITS[:1].repeat(len(chosen), 0), requires_grad=True)
    log_probs, candidates = logits.log_softmax(-1), torch.tensor(chosen)
    likely = torch.tensor(order_probabilities(P[:1], chosen)[0])
    reward = torch.tensor(REWARDS[0, masks(chosen)])
    advantage = likely * (reward - (likely * reward).sum())
    if surrogate == "single":  # the mean over representatives
        drawn = log_probs.gather(-1, candidates)
        value = (drawn.detach().softmax(-1) * drawn).sum(-1)
    else:
        value = mixture_log_prob(log_probs, candidates, surrogate)
    (advantage * value).sum().backward()
    expected = surrogate_gradient(LOGITS[:1], REWARDS[:1], k, surrogate)[0]
    assert logits.grad.sum(dim=0).numpy() == pytest.approx(expected, abs=1e-12)


def test_only_the_ordered_likelihood_is_unbiased_and_all_are_for_one_token():
    for k in (1, 2, 3):
        true = reward_gradient(LOGITS, REWARDS, k)
        for surrogate in SURROGATES:
            angle = cosine(surrogate_gradient(LOGITS, REWARDS, k, surrogate), true)
            assert (np.abs(angle - 1) < 1e-10).all() == (k == 1 or surrogate == "plackett_luce")


def test_a_likelihood_at_another_temperature_is_biased_too():
    true = reward_gradient(LOGITS, REWARDS, 2, 0.9)
    own = surrogate_gradient(LOGITS, REWARDS, 2, "plackett_luce", 0.9)
    other = surrogate_gradient(LOGITS, REWARDS, 2, "plackett_luce", 0.9, scored=1.0)
    assert own == pytest.approx(true, abs=1e-12)
    assert cosine(other, true).min() < 1 - 1e-6
