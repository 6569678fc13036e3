"""The training loop: sample groups, turn rewards into advantages, take clipped steps, measure exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from common.tabular.objective import Gradient, Rollout, Surrogate, collect, loss_gradient
from common.tabular.optimizers import SGD, Adam
from common.tabular.policy import Policy, Snapshot, pass_at, sum_tokens
from common.tabular.start import Start, streams

AdvantageRule = Callable[[Rollout], Float[np.ndarray, "S P G *L"]]
"""Pure function of a batch: one advantage per response ``[S, P, G]`` or per token ``[S, P, G, L]``.

A rule must treat the seeds separately: the values of a seed may depend on nothing but its own rows.
"""


@dataclass(frozen=True)
class Training:
    """How a policy is trained.

    Attributes:
        group_size: Responses G sampled for each prompt and iteration.
        iterations: Batches T; every batch holds all prompts once.
        inner_steps: Gradient steps μ on one batch.
        optimizer: Adam has PyTorch's defaults; both act on shared and private logits.
        learning_rate: Of either optimizer.
        epsilon_low: Lower clip range ε_low.
        epsilon_high: Upper clip range ε_high.
        drop_zero_variance: Leave groups of equal rewards out of the sum and of the token count Z.
    """

    group_size: int
    iterations: int
    inner_steps: int
    optimizer: Literal["adam", "sgd"]
    learning_rate: float
    epsilon_low: float = 0.2
    epsilon_high: float = 0.2
    drop_zero_variance: bool = True


@dataclass(frozen=True)
class History:
    """What a run left behind.

    Attributes:
        exact: Exact quantities before each iteration and after the last, each ``[S, T + 1]``: `entropy`
            (`Snapshot.token_entropy`), `success` (mean over prompts) and `pass_at_16`.
        sampled: Quantities of the batch of each iteration, see `describe` and `optimise`; each ``[S, T]``.
        counts: Correct responses of every group, shape ``[S, T, P]``.
    """

    exact: dict[str, Float[np.ndarray, "S T1"]]
    sampled: dict[str, Float[np.ndarray, "S T"]]
    counts: Int[np.ndarray, "S T P"]


def simulate(
    start: Start,
    training: Training,
    rule: AdvantageRule,
    seeds: Sequence[int],
    norm_rule: AdvantageRule | None = None,
) -> History:
    """Train the policies of `start` in place; row i of the history depends on seed i and its start only.

    Args:
        start: Policies and correct sets; a row per seed.
        training: Batch, objective and optimizer.
        rule: The advantages.
        seeds: Seeds of the sampling and noise streams.
        norm_rule: If given, the advantages of each seed and batch are scaled so that the first gradient on
            the batch has the norm that this rule's would have.
    """
    policy = start.policy
    generators = [streams(seed)[1:] for seed in seeds]
    vocabulary = policy.tree.vocabulary
    make = Adam if training.optimizer == "adam" else SGD
    optimizers = [
        make(table.reshape(vocabulary, -1), training.learning_rate)
        for table in (policy.shared, policy.private)
    ]
    exact, sampled, counts = [], [], []
    for _ in range(training.iterations):
        snapshot = policy.evaluate()
        exact.append(measure(snapshot, start))
        shape = (snapshot.entropies.shape[1], training.group_size, policy.tree.length)
        uniforms = np.stack([sampling.random(shape) for sampling, _ in generators])
        noise = np.stack([generator.random(shape[:2]) for _, generator in generators])
        rollout = roll_out(snapshot, start, uniforms, noise)
        counted = rollout.mixed if training.drop_zero_variance else np.ones_like(rollout.mixed)
        advantages = _per_token(rule, rollout)
        surrogate = collect(rollout, advantages, counted, snapshot)
        if norm_rule is not None:
            reference = collect(rollout, _per_token(norm_rule, rollout), counted, snapshot)
            surrogate = _match_norm(surrogate, reference, policy, training)
        losses = optimise(surrogate, optimizers, training, len(seeds))
        sampled.append(describe(rollout, advantages, counted) | losses)
        counts.append(rollout.rewards.sum(axis=-1).astype(np.int64))
    exact.append(measure(policy.evaluate(), start))
    return History(_stack(exact), _stack(sampled), np.stack(counts, axis=1))


def measure(snapshot: Snapshot, start: Start) -> dict[str, Float[np.ndarray, " S"]]:
    """The exact quantities of a policy."""
    success = snapshot.success(start.targets)
    return {
        "entropy": snapshot.token_entropy(),
        "success": success.mean(axis=-1),
        "pass_at_16": pass_at(success, 16),
    }


def describe(
    rollout: Rollout, advantages: Float[np.ndarray, "S P G L"], counted: Bool[np.ndarray, "S P"]
) -> dict[str, Float[np.ndarray, " S"]]:
    """Shares and mean token entropies by the sign of the advantage, over the tokens of counted groups.

    An empty class has entropy NaN; a batch without counted groups has share NaN. `mixed_groups` is the share
    of the prompts whose group holds both outcomes. With one advantage a response the shares are shares of
    responses, because all responses are equally long.
    """
    seeds = len(advantages)
    inside = np.broadcast_to(counted[..., None, None], advantages.shape)
    classes = {"positive": advantages > 0.0, "zero": advantages == 0.0, "negative": advantages < 0.0}
    values = {"mixed_groups": rollout.mixed.mean(axis=-1)}
    with np.errstate(invalid="ignore"):
        for name, members in classes.items():
            chosen = (members & inside).reshape(seeds, -1)
            total = np.where(chosen, rollout.entropies.reshape(seeds, -1), 0.0).sum(axis=-1)
            values[f"share_{name}"] = chosen.sum(axis=-1) / inside.reshape(seeds, -1).sum(axis=-1)
            values[f"entropy_{name}"] = total / chosen.sum(axis=-1)
    return values


def optimise(
    surrogate: Surrogate, optimizers: Sequence[Adam | SGD], training: Training, seeds: int
) -> dict[str, Float[np.ndarray, " S"]]:
    """Take the inner steps on one batch.

    Returns the means over the inner steps of the gradient norm (`grad_norm`) and of the shares of the batch's
    tokens that the clip silences: `clip_high` (A > 0, ρ > 1+ε_high) and `clip_low` (A < 0, ρ < 1-ε_low).
    """
    shared, private = optimizers
    shared.begin(surrogate.shared_columns)
    private.begin(surrogate.private_columns)
    norm = np.zeros(seeds)
    above, below = np.zeros((2, *surrogate.old.shape))
    for _ in range(training.inner_steps):
        gradient = _gradient(surrogate, shared.values, private.values, training)
        shared.step(gradient.shared)
        private.step(gradient.private)
        norm += gradient.norm(surrogate, seeds)
        above += gradient.above
        below += gradient.below
    shared.end()
    private.end()
    high = sum_tokens(above * surrogate.positive_share)
    low = sum_tokens(below * surrogate.negative_share)
    sums = {
        "grad_norm": norm,
        "clip_high": np.bincount(surrogate.seed, high, minlength=seeds),
        "clip_low": np.bincount(surrogate.seed, low, minlength=seeds),
    }
    return {name: value / training.inner_steps for name, value in sums.items()}


def roll_out(
    snapshot: Snapshot,
    start: Start,
    uniforms: Float[np.ndarray, "S P G L"],
    noise: Float[np.ndarray, "S P G"],
) -> Rollout:
    """One group for every prompt, sampled with these uniform numbers; `noise` is for the advantage rule."""
    nodes, tokens = snapshot.sample(uniforms)
    visited = nodes.reshape(*nodes.shape[:2], -1)
    entropies = np.take_along_axis(snapshot.entropies, visited, axis=2).reshape(nodes.shape)
    rewards = start.targets.reward(snapshot.tree.code(nodes[..., -1], tokens[..., -1]))
    return Rollout(nodes, tokens, entropies, rewards, noise)


def _per_token(rule: AdvantageRule, rollout: Rollout) -> Float[np.ndarray, "S P G L"]:
    advantages = rule(rollout)
    if advantages.ndim == rollout.tokens.ndim - 1:
        advantages = advantages[..., None]
    return np.broadcast_to(advantages, rollout.tokens.shape)


def _gradient(
    surrogate: Surrogate,
    shared: Float[np.ndarray, "V K"],
    private: Float[np.ndarray, "V R"],
    training: Training,
) -> Gradient:
    return loss_gradient(surrogate, shared, private, training.epsilon_low, training.epsilon_high)


def _match_norm(surrogate: Surrogate, reference: Surrogate, policy: Policy, training: Training) -> Surrogate:
    vocabulary, seeds = policy.shared.shape[:2]
    shared, private = policy.shared.reshape(vocabulary, -1), policy.private.reshape(vocabulary, -1)
    own, wanted = (
        _gradient(item, shared[:, item.shared_columns], private[:, item.private_columns], training).norm(
            item, seeds
        )
        for item in (surrogate, reference)
    )
    return surrogate.scaled(np.divide(wanted, own, out=np.ones(seeds), where=own > 0.0))


def _stack(rows: Sequence[dict[str, Float[np.ndarray, " S"]]]) -> dict[str, Float[np.ndarray, "S T"]]:
    return {name: np.stack([row[name] for row in rows], axis=1) for name in rows[0]}
