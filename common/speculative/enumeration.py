"""Small targets and draft trees, enumerated: every path, every outcome of both verifiers.

A target is a full tree of conditional distributions over V tokens, D levels deep. Node 0 is the root (the
empty continuation); node v has the children V·v + 1 … V·v + V, one per token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

Block = tuple[int, ...]
"""Tokens that one cycle emits: the accepted ones and the target's own."""


@dataclass(frozen=True)
class Target:
    """A target over a prefix tree.

    Attributes:
        conditional: ``conditional[v, a]``: probability of token a after node v; one row more level than the
            tree has draft levels, so that the token after a full path has a distribution.
        depth: D, levels of draft tokens.
    """

    conditional: Float[np.ndarray, "M V"]
    depth: int

    @property
    def tokens(self) -> int:
        """V."""
        return self.conditional.shape[1]

    @property
    def nodes(self) -> int:
        """Nodes of the tree without the root."""
        return sum(self.tokens**level for level in range(1, self.depth + 1))

    @cached_property
    def parent(self) -> Int[np.ndarray, " N"]:
        """Parent of each node but the root, in node numbers."""
        return (np.arange(1, self.nodes + 1) - 1) // self.tokens

    @cached_property
    def path(self) -> Float[np.ndarray, " N+1"]:
        """Probability of the path to each node; 1 at the root."""
        path = np.ones(self.nodes + 1)
        for node in range(1, self.nodes + 1):
            above, token = divmod(node - 1, self.tokens)
            path[node] = path[above] * self.conditional[above, token]
        return path

    @cached_property
    def length(self) -> Float[np.ndarray, " N+1"]:
        """Expected accepted length of the branch that ends in each node, 0 at the root."""
        length = np.zeros(self.nodes + 1)
        for node in range(1, self.nodes + 1):
            length[node] = length[(node - 1) // self.tokens] + self.path[node]
        return length


Tree = Bool[np.ndarray, " N+1"]
"""Which nodes of a target a draft tree holds, the root among them."""


def random_target(
    rng: np.random.Generator, tokens: int = 3, depth: int = 3, concentration: float = 0.5
) -> Target:
    """Conditional distributions drawn from a symmetric Dirichlet."""
    rows = sum(tokens**level for level in range(depth + 1))
    return Target(rng.dirichlet(np.full(tokens, concentration), size=rows), depth)


def random_tree(rng: np.random.Generator, target: Target, size: int = 8) -> Tree:
    """An ancestor-closed set of `size` nodes and the root, grown by one uniformly drawn child at a time."""
    tree = np.zeros(target.nodes + 1, dtype=bool)
    tree[0] = True
    while tree.sum() <= size:
        available = np.flatnonzero(~tree[1:] & tree[target.parent]) + 1
        tree[available[rng.integers(len(available))]] = True
    return tree


def leaves(target: Target, tree: Tree) -> Tree:
    """Chosen nodes without tree children, the root never."""
    inner = np.zeros_like(tree)
    inner[target.parent[tree[1:]]] = True
    return tree & ~inner & (np.arange(len(tree)) > 0)


def children(target: Target, tree: Tree, node: int) -> list[int]:
    """Chosen children of a node."""
    if node > (target.nodes - 1) // target.tokens:
        return []
    first = target.tokens * node + 1
    return [child for child in range(first, first + target.tokens) if tree[child]]


def node_sum(target: Target, tree: Tree) -> float:
    """Closed form of the expected number of accepted draft tokens: Σ_v Π T(u)."""
    return float(target.path[1:][tree[1:]].sum())


def matching_outcomes(target: Target, tree: Tree, node: int = 0) -> Iterator[tuple[Block, float]]:
    """Every block that token matching emits below a node, with its probability.

    The target draws a token at the node; a draw among the node's tree children is accepted.
    """
    below = {(child - 1) % target.tokens: child for child in children(target, tree, node)}
    for token, chance in enumerate(target.conditional[node]):
        if token not in below:
            yield (token,), float(chance)
            continue
        for block, rest in matching_outcomes(target, tree, below[token]):
            yield (token, *block), float(chance) * rest


def rejection_outcomes(target: Target, tree: Tree, node: int = 0) -> Iterator[tuple[Block, float]]:
    """Every block that recursive rejection emits below a node, with its probability.

    Children are tried in order; each is accepted with its probability under the residual, or removed from it.
    """
    residual, reached = target.conditional[node].copy(), 1.0
    for child in children(target, tree, node):
        token = (child - 1) % target.tokens
        accept = residual[token] / residual.sum()
        for block, rest in rejection_outcomes(target, tree, child):
            yield (token, *block), reached * float(accept) * rest
        reached *= 1 - float(accept)
        residual[token] = 0.0
        if residual.sum() == 0:
            return
    for token, chance in enumerate(residual / residual.sum()):
        if chance > 0:
            yield (token,), reached * float(chance)


def accepted_length(outcomes: Iterable[tuple[Block, float]]) -> float:
    """Expected accepted draft tokens: those of a block without the target's own."""
    return sum(chance * (len(block) - 1) for block, chance in outcomes)


def block_probability(target: Target, block: Block) -> float:
    """The target's own probability of a block of tokens."""
    node, probability = 0, 1.0
    for token in block:
        probability *= float(target.conditional[node, token])
        node = target.tokens * node + token + 1
    return probability
