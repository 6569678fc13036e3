"""Policies small enough to enumerate: exact expectations of updates in sequences' weights.

Axes: D policies, N prefixes, V tokens, Q sequences, L positions; logits are ``[D, N, V]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from common.tabular.tree import PrefixTree

Logits = Float[np.ndarray, "D N V"]


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
        # ∇ log π(y | prefix) is 1 at y minus π: the mass of each choice, less the prefix's mass times π.
        # `add.at` and not `+=`, because sequences share prefixes, and repeated indices have to add up.
        choices = np.zeros_like(self.logits)
        np.add.at(choices, (slice(None), nodes, tokens), mass)  # type: ignore[arg-type]  # NumPy's stub: no slice
        return choices - choices.sum(axis=-1, keepdims=True) * self.probabilities

    def second_moment(self, weights: Float[np.ndarray, "D Q L"]) -> Float[np.ndarray, " D"]:
        """E_{o~π} of the squared norm of Σ_t w_t ∇ log π(o_t | o_<t).

        The prefixes of a path are distinct, so that the gradients of its tokens are orthogonal; the norm of
        one is |1_y - π|² = 1 - 2 π(y) + |π|².
        """
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
