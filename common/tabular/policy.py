"""Tabular policies: exact entropy and success by dynamic programming over prefixes, and sampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from common.tabular.tree import PrefixTree


@dataclass
class Policy:
    """Logits z[prompt, prefix] = shared[prefix] + private[prompt, prefix] of independent seeds.

    Attributes:
        tree: The prefixes.
        shared: Logits common to all prompts of a seed, shape ``[V, S, N]``.
        private: Logits of one prompt, shape ``[V, S, P, N]``.
    """

    tree: PrefixTree
    shared: Float[np.ndarray, "V S N"]
    private: Float[np.ndarray, "V S P N"]

    def evaluate(self) -> Snapshot:
        """Next-token distributions and their entropies at every prefix."""
        probabilities = np.empty_like(self.private)
        entropies = np.empty(self.private.shape[1:])
        for seed in range(self.private.shape[1]):  # one seed's table fits the cache, all of them do not
            logits = self.shared[:, seed, None] + self.private[:, seed]
            probabilities[:, seed], entropies[seed] = token_softmax(logits)
        return Snapshot(self.tree, probabilities, entropies)


@dataclass(frozen=True)
class Snapshot:
    """A policy at one moment.

    Attributes:
        probabilities: π(y | prompt, prefix), shape ``[V, S, P, N]``.
        entropies: Entropy of that distribution in nats, shape ``[S, P, N]``.
    """

    tree: PrefixTree
    probabilities: Float[np.ndarray, "V S P N"]
    entropies: Float[np.ndarray, "S P N"]

    def token_entropy(self) -> Float[np.ndarray, " S"]:
        """Expected next-token entropy in nats, averaged over the positions of sampled sequences and prompts.

        With reach(x) the probability that a sequence passes the prefix x, a prompt contributes
        (1/L) Σ_x reach(x) H(π(.|x)), which by the chain rule is the entropy of the whole sequence over L.
        """
        seeds, prompts, _ = self.entropies.shape
        reach = np.ones((seeds, prompts, 1))
        total = np.zeros((seeds, prompts))
        for depth in range(self.tree.length):
            level = self.tree.level(depth)
            total += (reach * self.entropies[..., level]).sum(axis=-1)
            if depth + 1 < self.tree.length:
                choices = np.moveaxis(self.probabilities[..., level], 0, -1)
                reach = (reach[..., None] * choices).reshape(seeds, prompts, -1)
        return total.mean(axis=-1) / self.tree.length

    def success(self, targets: Targets) -> Float[np.ndarray, "S P"]:
        """Probability that a sampled sequence is correct, per prompt."""
        flat = self.probabilities.reshape(-1)
        mass = np.ones(len(targets.group))
        for index in targets.factors:
            mass *= flat[index]
        seeds, prompts, _ = self.entropies.shape
        return np.bincount(targets.group, mass, minlength=seeds * prompts).reshape(seeds, prompts)

    def sample(
        self, uniforms: Float[np.ndarray, "S P G L"]
    ) -> tuple[Int[np.ndarray, "S P G L"], Int[np.ndarray, "S P G L"]]:
        """Prefixes visited and tokens chosen, by inverting the cumulative distribution at `uniforms`."""
        seeds, prompts, nodes = self.entropies.shape
        table = self.probabilities.reshape(self.tree.vocabulary, -1)
        base = nodes * np.arange(seeds * prompts).reshape(seeds, prompts, 1)
        visited = np.zeros(uniforms.shape, dtype=np.int64)
        tokens = np.zeros(uniforms.shape, dtype=np.int64)
        for depth in range(self.tree.length):
            if depth:
                visited[..., depth] = (
                    self.tree.vocabulary * visited[..., depth - 1] + 1 + tokens[..., depth - 1]
                )
            tokens[..., depth] = _invert(table, base + visited[..., depth], uniforms[..., depth])
        return visited, tokens


@dataclass(frozen=True)
class Targets:
    """The correct sequences of every prompt.

    Attributes:
        correct: Which sequences are correct, shape ``[S, P, V^L]``.
        group: Flat (seed, prompt) index of each correct sequence, shape ``[C]``.
        factors: For each position the flat index, into ``[V, S, P, N]``, of the token that it takes.
    """

    correct: Bool[np.ndarray, "S P Q"]
    group: Int[np.ndarray, " C"]
    factors: tuple[Int[np.ndarray, " C"], ...]

    @classmethod
    def index(cls, tree: PrefixTree, correct: Bool[np.ndarray, "S P Q"]) -> Targets:
        """Precompute where the probabilities of the correct sequences stand."""
        seeds, prompts, _ = correct.shape
        group, sequence = np.nonzero(correct.reshape(seeds * prompts, -1))
        nodes, tokens = tree.path(sequence)
        flat = (tokens * (seeds * prompts) + group[:, None]) * tree.nodes + nodes
        return cls(correct, group, tuple(np.ascontiguousarray(flat.T)))

    def reward(self, sequences: Int[np.ndarray, "S P G"]) -> Float[np.ndarray, "S P G"]:
        """1 for a correct sequence, else 0."""
        return np.take_along_axis(self.correct, sequences, axis=-1).astype(np.float64)


def sum_tokens(values: Float[np.ndarray, "V ..."]) -> Float[np.ndarray, " ..."]:
    """Sum over the leading axis, strictly in order: numpy's own order depends on the other axes' sizes."""
    total = values[0].copy()
    for value in values[1:]:
        total += value
    return total


def token_softmax(
    logits: Float[np.ndarray, "V ..."],
) -> tuple[Float[np.ndarray, "V ..."], Float[np.ndarray, " ..."]]:
    """Softmax over the leading axis and the entropy of the result in nats. Overwrites `logits`."""
    logits -= logits.max(axis=0)
    probabilities = np.exp(logits)
    total = sum_tokens(probabilities)
    probabilities /= total
    logits *= probabilities
    return probabilities, np.log(total) - sum_tokens(logits)


def pass_at(success: Float[np.ndarray, "S P"], attempts: int) -> Float[np.ndarray, " S"]:
    """Exact pass@k: mean over prompts of 1 - (1 - p)^k."""
    return (1.0 - (1.0 - success) ** attempts).mean(axis=-1)


def _invert(
    table: Float[np.ndarray, "V C"], columns: Int[np.ndarray, "S P G"], uniforms: Float[np.ndarray, "S P G"]
) -> Int[np.ndarray, "S P G"]:
    cumulative = np.zeros(uniforms.shape)
    token = np.zeros(uniforms.shape, dtype=np.int64)
    for row in table[:-1]:
        cumulative += row[columns]
        token += cumulative <= uniforms
    return token
