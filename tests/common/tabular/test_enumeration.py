"""Exact expectations against autograd and finite differences."""

import numpy as np
import pytest
import torch

from common.tabular.enumeration import Enumeration
from common.tabular.tree import PrefixTree

TREE = PrefixTree(3, 3)


def instance(policies: int) -> Enumeration:
    shape = (policies, TREE.nodes, TREE.vocabulary)
    return Enumeration(TREE, np.random.default_rng(0).standard_normal(shape))


def log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """log π of each token of each sequence, by autograd-friendly torch: ``[Q, L]``."""
    nodes, tokens = TREE.path(np.arange(TREE.sequences))
    return logits.log_softmax(dim=-1)[torch.from_numpy(nodes), torch.from_numpy(tokens)]


@pytest.mark.parametrize("policy", range(3))
def test_expected_update_and_second_moment_against_autograd(policy):
    policies = instance(3)
    weights = np.random.default_rng(1).normal(size=policies.entropies.shape)
    logits = torch.from_numpy(policies.logits[policy]).requires_grad_()
    scores = (torch.from_numpy(weights[policy]) * log_probabilities(logits)).sum(dim=1)
    gradients = torch.stack([torch.autograd.grad(score, logits, retain_graph=True)[0] for score in scores])
    probability = log_probabilities(logits).sum(dim=1).exp().detach()
    mean = (probability[:, None, None] * gradients).sum(dim=0)
    np.testing.assert_allclose(policies.expected_update(weights)[policy], mean.numpy(), atol=1e-14)
    square = float((probability * (gradients**2).sum(dim=(1, 2))).sum())
    assert policies.second_moment(weights)[policy] == pytest.approx(square)


def test_success_gradient_against_finite_differences():
    policies = instance(2)
    correct = np.random.default_rng(3).random((2, TREE.sequences)) < 0.3
    direction = np.random.default_rng(2).normal(size=policies.logits.shape)
    step = 1e-6
    up, down = (
        Enumeration(TREE, policies.logits + sign * step * direction).success(correct) for sign in (1, -1)
    )
    slope = (policies.success_gradient(correct) * direction).sum(axis=(1, 2))
    np.testing.assert_allclose(slope, (up - down) / (2 * step), atol=1e-8)


def test_entropies_are_those_of_the_next_token():
    policies = instance(1)
    probabilities = policies.probabilities[0]
    expected = -(probabilities * np.log(probabilities)).sum(axis=-1)
    nodes, _ = TREE.path(np.arange(TREE.sequences))
    np.testing.assert_allclose(policies.entropies[0], expected[nodes])
    assert policies.sequences.sum() == pytest.approx(1.0)
