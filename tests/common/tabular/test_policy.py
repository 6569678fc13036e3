"""Exact quantities of tabular policies against enumeration of all sequences."""

import numpy as np
import pytest

from common.tabular.policy import Policy, Targets, pass_at, token_softmax
from common.tabular.tree import PrefixTree

SEEDS, PROMPTS = 2, 3


def random_policy(tree: PrefixTree, scale: float = 2.0) -> Policy:
    generator = np.random.default_rng(5)
    return Policy(
        tree,
        scale * generator.standard_normal((tree.vocabulary, SEEDS, tree.nodes)),
        scale * generator.standard_normal((tree.vocabulary, SEEDS, PROMPTS, tree.nodes)),
    )


def enumerate_sequences(policy: Policy) -> tuple[np.ndarray, np.ndarray]:
    """Probability of every sequence and the mean entropy of the distributions it passes, ``[S, P, Q]``."""
    tree = policy.tree
    logits = policy.shared[:, :, None] + policy.private
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=0)
    entropies = -(probabilities * np.log(probabilities)).sum(axis=0)
    nodes, tokens = tree.path(np.arange(tree.sequences))
    mass, mean = np.ones((2, SEEDS, PROMPTS, tree.sequences))
    for q in range(tree.sequences):
        for node, token in zip(nodes[q], tokens[q], strict=True):
            mass[..., q] *= probabilities[token, ..., node]
        mean[..., q] = entropies[..., nodes[q]].mean(axis=-1)
    return mass, mean


@pytest.mark.parametrize(("vocabulary", "length"), [(2, 1), (3, 3), (4, 2), (2, 5)])
def test_token_entropy_is_the_mean_over_sampled_tokens_and_the_sequence_entropy(
    vocabulary: int, length: int
) -> None:
    policy = random_policy(PrefixTree(vocabulary, length))
    mass, mean = enumerate_sequences(policy)
    entropy = policy.evaluate().token_entropy()
    np.testing.assert_allclose(entropy, (mass * mean).sum(axis=-1).mean(axis=-1), rtol=1e-12)
    np.testing.assert_allclose(
        entropy, -(mass * np.log(mass)).sum(axis=-1).mean(axis=-1) / length, rtol=1e-12
    )


def test_uniform_policy_has_entropy_log_v() -> None:
    entropy = random_policy(PrefixTree(5, 3), scale=0.0).evaluate().token_entropy()
    np.testing.assert_allclose(entropy, np.log(5), rtol=1e-14)


def test_success_is_the_mass_of_the_correct_set_also_when_it_is_empty() -> None:
    policy = random_policy(PrefixTree(3, 3))
    correct = np.random.default_rng(1).random((SEEDS, PROMPTS, 27)) < 0.3
    correct[1, 2] = False
    mass, _ = enumerate_sequences(policy)
    targets = Targets.index(policy.tree, correct)
    success = policy.evaluate().success(targets)
    np.testing.assert_allclose(success, (mass * correct).sum(axis=-1), rtol=1e-12)
    assert success[1, 2] == 0.0
    sequences = np.random.default_rng(2).integers(27, size=(SEEDS, PROMPTS, 4))
    for index in np.ndindex(sequences.shape):
        assert targets.reward(sequences)[index] == correct[index[0], index[1], sequences[index]]


def test_pass_at_k() -> None:
    success = np.array([[0.0, 1.0, 0.5], [0.25, 0.25, 0.25]])
    np.testing.assert_allclose(pass_at(success, 2), [(0 + 1 + 0.75) / 3, 1 - 0.75**2])
    np.testing.assert_array_equal(pass_at(success, 1), success.mean(axis=1))


def test_samples_follow_the_policy() -> None:
    policy = random_policy(PrefixTree(3, 2), scale=1.0)
    mass, _ = enumerate_sequences(policy)
    draws = 40_000
    uniforms = np.random.default_rng(3).random((SEEDS, PROMPTS, draws, 2))
    nodes, tokens = policy.evaluate().sample(uniforms)
    assert (nodes[..., 0] == 0).all()
    np.testing.assert_array_equal(nodes[..., 1], 1 + tokens[..., 0])
    sequences = policy.tree.code(nodes[..., -1], tokens[..., -1])
    for seed, prompt in np.ndindex(SEEDS, PROMPTS):
        frequency = np.bincount(sequences[seed, prompt], minlength=9) / draws
        assert np.abs(frequency - mass[seed, prompt]).max() < 5 * np.sqrt(0.25 / draws)


def test_sampling_inverts_the_cumulative_distribution_at_its_ends() -> None:
    policy = random_policy(PrefixTree(3, 1), scale=0.0)
    policy.private[0] = -1000.0  # token 0 has probability zero
    uniforms = np.array([0.0, 0.49, 0.51, np.nextafter(1.0, 0.0)])[:, None]
    _, tokens = policy.evaluate().sample(np.broadcast_to(uniforms, (SEEDS, PROMPTS, 4, 1)))
    assert (tokens[..., 0] == [1, 1, 2, 2]).all()


def test_softmax_survives_large_logits() -> None:
    probabilities, entropy = token_softmax(np.array([[1e4, 0.0], [-1e4, 0.0]]))
    np.testing.assert_array_equal(probabilities, [[1.0, 0.5], [0.0, 0.5]])
    np.testing.assert_allclose(entropy, [0.0, np.log(2)])
