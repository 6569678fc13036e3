"""Small autoregressive policies with all their sequences in hand: exact expectations and gradients.

Axes: D policies, N prefixes, V tokens, Q sequences, L positions. Logits are ``[D, N, V]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from common.tabular.tree import PrefixTree

RATES = (0.002, 0.005, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.98, 0.995, 0.998)
"""Success rates at which facts are looked at."""
GROUP_SIZES = (8, 16)
"""Groups whose frequencies weight them."""
Logits = Float[np.ndarray, "D N V"]
NEWTON_STEPS = 400
LARGEST_STEP = 0.2  # of the logit of p in one step: the path follows the gradient of p


@dataclass(frozen=True)
class Enumeration:
    """All sequences of independent policies over one prefix tree."""

    tree: PrefixTree
    logits: Logits

    @cached_property
    def probabilities(self) -> Float[np.ndarray, "D N V"]:
        """π(y | prefix)."""
        powers = np.exp(self.logits - self.logits.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)

    @cached_property
    def sequences(self) -> Float[np.ndarray, "D Q"]:
        """π(o) of every sequence."""
        nodes, tokens = self.tree.path(np.arange(self.tree.sequences))
        return self.probabilities[:, nodes, tokens].prod(axis=-1)

    @cached_property
    def entropies(self) -> Float[np.ndarray, "D Q L"]:
        """H_t in nats along every sequence."""
        nodes, _ = self.tree.path(np.arange(self.tree.sequences))
        return -(self.probabilities * np.log(self.probabilities)).sum(axis=-1)[:, nodes]

    def expected_update(self, weights: Float[np.ndarray, "D Q L"]) -> Logits:
        """E_{o~π}[Σ_t w_t(o) ∇ log π(o_t | o_<t)] with respect to the logits; the weights are constants."""
        nodes, tokens = self.tree.path(np.arange(self.tree.sequences))
        mass = self.sequences[..., None] * weights
        chosen = np.zeros_like(self.logits)
        np.add.at(chosen, (slice(None), nodes, tokens), mass)  # type: ignore[arg-type]  # NumPy's stub: no slice
        return chosen - chosen.sum(axis=-1, keepdims=True) * self.probabilities

    def second_moment(self, weights: Float[np.ndarray, "D Q L"]) -> Float[np.ndarray, " D"]:
        """E_{o~π} of the squared norm of Σ_t w_t ∇ log π(o_t | o_<t); prefixes of a path are distinct."""
        nodes, tokens = self.tree.path(np.arange(self.tree.sequences))
        squares = (self.probabilities**2).sum(axis=-1)[:, nodes]
        norms = 1.0 - 2.0 * self.probabilities[:, nodes, tokens] + squares
        return (self.sequences * (weights**2 * norms).sum(axis=-1)).sum(axis=-1)

    def success(self, correct: Bool[np.ndarray, "D Q"]) -> Float[np.ndarray, " D"]:
        """p, the probability of a correct sequence."""
        return (self.sequences * correct).sum(axis=-1)

    def success_gradient(self, correct: Bool[np.ndarray, "D Q"]) -> Logits:
        """∇p."""
        return self.expected_update(np.broadcast_to(correct[..., None], self.entropies.shape).astype(float))


def draw(
    tree: PrefixTree, policies: int, rng: np.random.Generator
) -> tuple[Enumeration, Bool[np.ndarray, "D Q"]]:
    """Standard normal logits, and correct sets of uniformly drawn size, neither empty nor complete."""
    logits = rng.standard_normal((policies, tree.nodes, tree.vocabulary))
    ranks = rng.permuted(np.tile(np.arange(tree.sequences), (policies, 1)), axis=1)
    return Enumeration(tree, logits), ranks < rng.integers(1, tree.sequences, size=(policies, 1))


def moved(policy: Enumeration, correct: Bool[np.ndarray, "D Q"], success: float) -> Enumeration:
    """The policies after gradient steps on p, forwards or backwards, until p is `success`.

    Raises:
        ArithmeticError: a policy does not get there.
    """
    wanted = np.log(success) - np.log1p(-success)
    for _ in range(NEWTON_STEPS):
        p = policy.success(correct)
        gap = wanted - (np.log(p) - np.log1p(-p))
        if np.abs(gap).max() < 1e-9:
            return policy
        gradient = policy.success_gradient(correct) / (p * (1.0 - p))[:, None, None]
        square = (gradient**2).sum(axis=(1, 2))
        step = np.clip(gap, -LARGEST_STEP, LARGEST_STEP) / square
        policy = Enumeration(policy.tree, policy.logits + step[:, None, None] * gradient)
    raise ArithmeticError(f"a policy did not reach p = {success}; the largest gap in logits is {gap.max()}")
