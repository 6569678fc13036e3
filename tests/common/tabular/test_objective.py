"""The analytic surrogate gradient against a token-by-token loss: finite differences and torch autograd."""

import numpy as np
import pytest
import torch

from common.tabular.objective import Rollout, Surrogate, collect, loss_gradient
from common.tabular.policy import Policy
from common.tabular.tree import PrefixTree

SEEDS, PROMPTS, GROUP = 2, 3, 6
TREE = PrefixTree(3, 3)
LOW, HIGH = 0.2, 0.28


def make(
    token_level: bool = False, drift: float = 0.4
) -> tuple[Policy, Rollout, np.ndarray, np.ndarray, Surrogate]:
    """A policy that has moved away from the one that sampled the batch."""
    generator = np.random.default_rng(11)
    policy = Policy(
        TREE,
        generator.standard_normal((3, SEEDS, TREE.nodes)),
        generator.standard_normal((3, SEEDS, PROMPTS, TREE.nodes)),
    )
    old = policy.evaluate()
    nodes, tokens = old.sample(generator.random((SEEDS, PROMPTS, GROUP, 3)))
    rewards = generator.integers(2, size=(SEEDS, PROMPTS, GROUP)).astype(float)
    rewards[0, 1] = 1.0
    rollout = Rollout(nodes, tokens, np.zeros(nodes.shape), rewards, np.zeros(rewards.shape))
    advantages = generator.standard_normal(tokens.shape)
    if not token_level:
        advantages = np.broadcast_to(advantages[..., :1], tokens.shape)
    advantages = advantages * (generator.random((SEEDS, PROMPTS, GROUP, 1)) < 0.7)
    surrogate = collect(rollout, advantages, rollout.mixed, old)
    policy.shared += drift * generator.standard_normal(policy.shared.shape)
    policy.private += drift * generator.standard_normal(policy.private.shape)
    return policy, rollout, advantages, old.probabilities, surrogate


def loss(
    shared: torch.Tensor, private: torch.Tensor, rollout: Rollout, advantages: np.ndarray, old: np.ndarray
) -> torch.Tensor:
    """Sum over seeds of the token-mean loss, one token at a time."""
    log_probs = torch.log_softmax(shared[:, :, None] + private, dim=0)
    total = torch.zeros((), dtype=torch.float64)
    for seed in range(SEEDS):
        kept = [p for p in range(PROMPTS) if 0 < rollout.rewards[seed, p].sum() < GROUP]
        for prompt in kept:
            for g, t in np.ndindex(GROUP, 3):
                node, token = rollout.nodes[seed, prompt, g, t], rollout.tokens[seed, prompt, g, t]
                ratio = torch.exp(
                    log_probs[token, seed, prompt, node] - np.log(old[token, seed, prompt, node])
                )
                a = float(advantages[seed, prompt, g, t])
                term = torch.minimum(ratio * a, ratio.clamp(1 - LOW, 1 + HIGH) * a)
                total = total - term / (len(kept) * GROUP * 3)
    return total


def dense(policy: Policy, surrogate: Surrogate) -> tuple[np.ndarray, np.ndarray]:
    shared, private = policy.shared.reshape(3, -1), policy.private.reshape(3, -1)
    gradient = loss_gradient(
        surrogate, shared[:, surrogate.shared_columns], private[:, surrogate.private_columns], LOW, HIGH
    )
    full_shared, full_private = np.zeros_like(shared), np.zeros_like(private)
    full_shared[:, surrogate.shared_columns] = gradient.shared
    full_private[:, surrogate.private_columns] = gradient.private
    return full_shared.reshape(policy.shared.shape), full_private.reshape(policy.private.shape)


@pytest.mark.parametrize("token_level", [False, True])
def test_gradient_equals_autograd(token_level: bool) -> None:
    policy, rollout, advantages, old, surrogate = make(token_level)
    tables = [torch.tensor(table, requires_grad=True) for table in (policy.shared, policy.private)]
    loss(*tables, rollout, advantages, old).backward()
    for mine, table in zip(dense(policy, surrogate), tables, strict=True):
        np.testing.assert_allclose(mine, table.grad.numpy(), atol=1e-14)


def test_gradient_equals_finite_differences() -> None:
    policy, rollout, advantages, old, surrogate = make()
    generator = np.random.default_rng(0)
    for index, table in enumerate(("shared", "private")):
        gradient = dense(policy, surrogate)[index]
        for _ in range(8):
            direction = generator.standard_normal(gradient.shape)
            ends = []
            for step in (1e-6, -1e-6):
                moved = {name: torch.from_numpy(getattr(policy, name)) for name in ("shared", "private")}
                moved[table] = moved[table] + step * torch.from_numpy(direction)
                ends.append(float(loss(moved["shared"], moved["private"], rollout, advantages, old)))
            assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(
                (gradient * direction).sum(), rel=1e-6, abs=1e-9
            )


def test_clip_silences_each_sign_on_its_own_side() -> None:
    policy, rollout, advantages, old, surrogate = make()
    shared, private = policy.shared.reshape(3, -1), policy.private.reshape(3, -1)
    gradient = loss_gradient(
        surrogate, shared[:, surrogate.shared_columns], private[:, surrogate.private_columns], LOW, HIGH
    )
    new = policy.evaluate().probabilities
    for seed in range(SEEDS):
        counts = {"high": 0, "low": 0, "all": 0}
        for prompt, g, t in np.ndindex(PROMPTS, GROUP, 3):
            if rollout.mixed[seed, prompt]:
                node, token = rollout.nodes[seed, prompt, g, t], rollout.tokens[seed, prompt, g, t]
                ratio = new[token, seed, prompt, node] / old[token, seed, prompt, node]
                a = advantages[seed, prompt, g, t]
                counts["high"] += a > 0 and ratio > 1 + HIGH
                counts["low"] += a < 0 and ratio < 1 - LOW
                counts["all"] += 1
        mine = surrogate.seed == seed
        high = (gradient.above * surrogate.positive_share)[:, mine].sum()
        low = (gradient.below * surrogate.negative_share)[:, mine].sum()
        assert counts["high"] > 0
        assert counts["low"] > 0
        assert high == pytest.approx(counts["high"] / counts["all"])
        assert low == pytest.approx(counts["low"] / counts["all"])


def test_norm_and_scale() -> None:
    policy, *_, surrogate = make(drift=0.0)
    norms = []
    for item in (surrogate, surrogate.scaled(np.array([2.0, 0.5]))):
        shared, private = dense(policy, item)
        norms.append(np.sqrt((shared**2).sum(axis=(0, 2)) + (private**2).sum(axis=(0, 2, 3))))
        gradient = loss_gradient(
            item,
            policy.shared.reshape(3, -1)[:, item.shared_columns],
            policy.private.reshape(3, -1)[:, item.private_columns],
            LOW,
            HIGH,
        )
        np.testing.assert_allclose(gradient.norm(item, SEEDS), norms[-1], rtol=1e-12)
    np.testing.assert_allclose(norms[1], norms[0] * [2.0, 0.5], rtol=1e-12)


def test_a_batch_without_advantages_has_no_columns_and_no_gradient() -> None:
    policy, rollout, advantages, _, _ = make()
    surrogate = collect(rollout, 0.0 * advantages, rollout.mixed, policy.evaluate())
    assert len(surrogate.private_columns) == 0
    gradient = loss_gradient(surrogate, np.empty((3, 0)), np.empty((3, 0)), LOW, HIGH)
    np.testing.assert_array_equal(gradient.norm(surrogate, SEEDS), [0.0, 0.0])
