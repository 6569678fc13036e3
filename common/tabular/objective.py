"""The clipped policy-gradient surrogate on a batch of tabular rollouts, with its analytic gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from common.tabular.policy import Snapshot, sum_tokens


@dataclass(frozen=True)
class Rollout:
    """Groups of sampled responses; what an advantage rule may look at.

    Attributes:
        nodes: Prefixes visited, shape ``[S, P, G, L]``.
        tokens: Tokens chosen there, shape ``[S, P, G, L]``.
        entropies: Entropy in nats of the distribution that each token was drawn from, same shape.
        rewards: 0 or 1, shape ``[S, P, G]``.
        noise: Uniform numbers of the seed's own noise stream, shape ``[S, P, G]``, for randomised rules.
    """

    nodes: Int[np.ndarray, "S P G L"]
    tokens: Int[np.ndarray, "S P G L"]
    entropies: Float[np.ndarray, "S P G L"]
    rewards: Float[np.ndarray, "S P G"]
    noise: Float[np.ndarray, "S P G"]

    @property
    def mixed(self) -> Bool[np.ndarray, "S P"]:
        """Groups with a correct and a wrong response."""
        return self.rewards.min(axis=-1) < self.rewards.max(axis=-1)


@dataclass(frozen=True)
class Surrogate:
    """Sufficient statistics of J = (1/Z) Σ min(ρ A, clip(ρ, 1-ε_low, 1+ε_high) A) over a batch's tokens.

    Tokens that share prompt, prefix and choice share the ratio ρ, so their advantages enter only as two sums.
    A column is a visited (seed, prefix, prompt); columns are sorted in this order, so that the prompts which
    share a prefix are neighbours.

    Attributes:
        private_columns: Each column's place in the private table flattened to ``[V, S P N]``, shape ``[R]``.
        shared_columns: Place of each distinct (seed, prefix) in the shared table flattened to ``[V, S N]``,
            shape ``[K]``.
        owner: The distinct (seed, prefix) that each column belongs to, shape ``[R]``.
        starts: The first column of each distinct (seed, prefix), shape ``[K]``.
        seed: The seed of each column, shape ``[R]``.
        old: π_old at the columns; 1 for choices that carry no advantage, shape ``[V, R]``.
        positive: Sum over tokens of max(A, 0)/Z, shape ``[V, R]``.
        negative: Sum over tokens of min(A, 0)/Z, shape ``[V, R]``.
        positive_share: Share of the batch's Z tokens with that choice and A > 0, shape ``[V, R]``.
        negative_share: The same for A < 0.
    """

    private_columns: Int[np.ndarray, " R"]
    shared_columns: Int[np.ndarray, " K"]
    owner: Int[np.ndarray, " R"]
    starts: Int[np.ndarray, " K"]
    seed: Int[np.ndarray, " R"]
    old: Float[np.ndarray, "V R"]
    positive: Float[np.ndarray, "V R"]
    negative: Float[np.ndarray, "V R"]
    positive_share: Float[np.ndarray, "V R"]
    negative_share: Float[np.ndarray, "V R"]

    def scaled(self, factor: Float[np.ndarray, " S"]) -> Surrogate:
        """All advantages of a seed multiplied by its positive factor."""
        columns = factor[self.seed]
        return replace(self, positive=self.positive * columns, negative=self.negative * columns)


@dataclass(frozen=True)
class Gradient:
    """Gradient of the *loss* -J at the visited columns, and the choices whose ratio left the trust region."""

    shared: Float[np.ndarray, "V K"]
    private: Float[np.ndarray, "V R"]
    above: Bool[np.ndarray, "V R"]
    below: Bool[np.ndarray, "V R"]

    def norm(self, surrogate: Surrogate, seeds: int) -> Float[np.ndarray, " S"]:
        """Euclidean norm over all logits of each seed."""
        squares = np.bincount(surrogate.seed, sum_tokens(self.private**2), minlength=seeds)
        owners = surrogate.seed[surrogate.starts]
        return np.sqrt(squares + np.bincount(owners, sum_tokens(self.shared**2), minlength=seeds))


def collect(
    rollout: Rollout,
    advantages: Float[np.ndarray, "S P G L"],
    counted: Bool[np.ndarray, "S P"],
    snapshot: Snapshot,
) -> Surrogate:
    """Sum the advantages of a batch by (seed, prefix, prompt, choice).

    Args:
        rollout: The batch.
        advantages: Per token.
        counted: Groups of the batch; the tokens of the others enter neither the sum nor the token count Z.
        snapshot: π_old.
    """
    vocabulary, _, prompts, nodes = snapshot.probabilities.shape
    group_tokens = rollout.tokens[0, 0].size
    z = np.maximum(counted.sum(axis=-1) * group_tokens, 1)[:, None, None, None]
    active = counted[..., None, None] & (advantages != 0.0)
    seed, prompt, *_ = np.nonzero(active)
    key = (seed * nodes + rollout.nodes[active]) * prompts + prompt
    columns, inverse = np.unique(key, return_inverse=True)
    prefix = columns // prompts
    starts = np.flatnonzero(np.diff(prefix, prepend=-1))
    cell = rollout.tokens[active] * len(columns) + inverse
    weight = (advantages / z)[active]
    token_share = np.broadcast_to(1.0 / z, advantages.shape)[active]

    def total(values: Float[np.ndarray, " T"]) -> Float[np.ndarray, "V R"]:
        sums = np.bincount(cell, values, minlength=vocabulary * len(columns))
        return sums.reshape(vocabulary, -1).astype(np.float64, copy=False)  # integers if there are no tokens

    private_columns = (prefix // nodes * prompts + columns % prompts) * nodes + prefix % nodes
    positive_share, negative_share = total(token_share * (weight > 0)), total(token_share * (weight < 0))
    old = np.where(
        positive_share + negative_share > 0,
        snapshot.probabilities.reshape(vocabulary, -1)[:, private_columns],
        1.0,
    )
    return Surrogate(
        private_columns=private_columns,
        shared_columns=prefix[starts],
        owner=np.searchsorted(starts, np.arange(len(columns)), side="right") - 1,
        starts=starts,
        seed=prefix // nodes,
        old=old,
        positive=total(np.maximum(weight, 0.0)),
        negative=total(np.minimum(weight, 0.0)),
        positive_share=positive_share,
        negative_share=negative_share,
    )


def loss_gradient(
    surrogate: Surrogate,
    shared: Float[np.ndarray, "V K"],
    private: Float[np.ndarray, "V R"],
    epsilon_low: float,
    epsilon_high: float,
) -> Gradient:
    """Gradient of -J at the logits of the visited columns.

    A token with A > 0 counts while ρ <= 1+ε_high, one with A < 0 while ρ >= 1-ε_low. With w_y the sum of
    ρ A / Z over the tokens that count and chose y, the gradient of a column's logits is π Σ_y w_y - w.
    """
    probabilities = shared[:, surrogate.owner]
    probabilities += private
    probabilities -= probabilities.max(axis=0, initial=-np.inf)
    np.exp(probabilities, out=probabilities)
    probabilities /= sum_tokens(probabilities)
    ratio = probabilities / surrogate.old
    above, below = ratio > 1.0 + epsilon_high, ratio < 1.0 - epsilon_low
    weight = surrogate.positive * ~above
    weight += surrogate.negative * ~below
    weight *= ratio
    probabilities *= sum_tokens(weight)
    probabilities -= weight
    pooled = np.add.reduceat(probabilities, surrogate.starts, axis=1) if len(surrogate.starts) else shared
    return Gradient(pooled, probabilities, above, below)
