"""A target that is a table: prefix trees of few tokens and levels, where every acceptance length is exact.

From each context hangs a prefix tree of V tokens and D levels, with a distribution at every prefix;
a draft is another such table, whose trees are grown as decoding grows them. All contexts are handled at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class World:
    """Contexts of V tokens and D levels, and the shape of the draft's trees.

    Attributes:
        conditional: The target, shape (B, M, V): prefix v has the children V·v + 1 … V·v + V.
        depth: D.
        top_k: Children that a node proposes, and nodes of a frontier.
        budget: Nodes kept.
    """

    conditional: Float[np.ndarray, "B M V"]
    depth: int
    top_k: int
    budget: int

    @property
    def tokens(self) -> int:
        """V."""
        return self.conditional.shape[2]

    @cached_property
    def parent(self) -> Int[np.ndarray, " N"]:
        """Parent of each node but the root."""
        return np.arange(self.tokens * self.conditional.shape[1]) // self.tokens

    @cached_property
    def path(self) -> Float[np.ndarray, "B N+1"]:
        """The target's probability of the path to each node."""
        return self.along(self.conditional, np.multiply, 1.0)

    @cached_property
    def length(self) -> Float[np.ndarray, "B N+1"]:
        """L of the branch to each node."""
        steps = self.path[:, 1:].reshape(self.conditional.shape)
        return self.along(steps, np.add, 0.0)

    @cached_property
    def choice(self) -> Int[np.ndarray, "B M"]:
        """The child of each prefix that the target likes best."""
        first = self.tokens * np.arange(self.conditional.shape[1]) + 1
        return first + self.conditional.argmax(axis=-1)

    def along(self, steps: Float[np.ndarray, "B M V"], join: Callable, start: float) -> np.ndarray:
        """Accumulate a value per edge from the root to every node, level by level."""
        flat = steps.reshape(len(steps), -1)
        total = np.full((len(steps), flat.shape[1] + 1), start)
        first = 1
        for level in range(1, self.depth + 1):
            nodes = np.arange(first, first + self.tokens**level)
            total[:, nodes] = join(total[:, self.parent[nodes - 1]], flat[:, nodes - 1])
            first += len(nodes)
        return total

    def repeated(self, times: int, each: int = 1) -> World:
        """All contexts so many times in turn, and every one so many times in a row."""
        rows = np.tile(np.repeat(self.conditional, each, axis=0), (times, 1, 1))
        return World(rows, self.depth, self.top_k, self.budget)

    @classmethod
    def joined(cls, worlds: Sequence[World]) -> World:
        """The contexts of several worlds of one shape."""
        first = worlds[0]
        rows = np.concatenate([world.conditional for world in worlds])
        return cls(rows, first.depth, first.top_k, first.budget)


def random_world(rng: np.random.Generator, contexts: int, tokens: int, depth: int) -> World:
    """Conditional distributions from a Dirichlet(0.5); two children a node, six nodes kept."""
    rows = sum(tokens**level for level in range(depth))
    return World(rng.dirichlet(np.full(tokens, 0.5), size=(contexts, rows)), depth, top_k=2, budget=6)


def trees(world: World, log_q: Float[np.ndarray, "B M V"]) -> Bool[np.ndarray, "B N+1"]:
    """The draft's trees, grown as decoding grows them; with the root."""
    score, rows = world.along(log_q, np.add, 0.0), np.arange(len(log_q))[:, None]
    best = log_q.argsort(axis=-1)[..., ::-1][..., : world.top_k] + 1
    frontier, candidates = np.zeros((len(log_q), 1), dtype=int), []
    for _ in range(world.depth):
        children = (world.tokens * frontier[..., None] + best[rows, frontier]).reshape(len(log_q), -1)
        candidates.append(children)
        order = np.argsort(-score[rows, children], axis=1, kind="stable")
        frontier = children[rows, order[:, : world.top_k]]
    nodes = np.concatenate(candidates, axis=1)
    kept = np.argsort(-score[rows, nodes], axis=1, kind="stable")[:, : world.budget]
    inside = np.zeros(score.shape, dtype=bool)
    inside[rows, nodes[rows, kept]] = inside[:, 0] = True
    return inside


def greedy_paths(
    world: World, inside: Bool[np.ndarray, "B N+1"]
) -> tuple[Int[np.ndarray, "B D"], Int[np.ndarray, " B"]]:
    """Nodes of the greedily verified path of each tree, padded, and its length."""
    rows = np.arange(len(inside))
    nodes, lengths = np.ones((len(inside), world.depth), dtype=int), np.zeros(len(inside), dtype=int)
    node, accepted = np.zeros(len(inside), dtype=int), np.ones(len(inside), dtype=bool)
    for level in range(world.depth):
        following = world.choice[rows, np.minimum(node, world.choice.shape[1] - 1)]
        accepted &= inside[rows, following]
        nodes[accepted, level], lengths[accepted] = following[accepted], level + 1
        node = np.where(accepted, following, node)
    return nodes, lengths
