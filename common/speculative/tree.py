"""Draft trees as tensors: how they grow, and how many of their tokens a target accepts on average.

A tree hangs below the *root*, the last token that the target has chosen but not yet read. Staged index 0 is
the root, index v + 1 the node v.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Expand = Callable[
    [Int[Tensor, "B k"], Int[Tensor, "B k"], Bool[Tensor, "B k E"]],
    Float[Tensor, "B k V"],
]
"""(tokens of a level's frontier, index of each one's parent in the frontier before, the staged frontier nodes
that each one sees, itself included) to the draft's logits of their children."""


@dataclass(frozen=True)
class DraftTree:
    """B trees of N draft tokens; parents come before their children.

    Attributes:
        tokens: Token ids.
        parent: Node index of the parent, -1 for children of the root.
        log_q: The draft's conditional log-probability of each token, nats.
        ancestor: ``ancestor[b, i, j]``: staged j lies on the path from the root to staged i, ends included.
    """

    tokens: Int[Tensor, "B N"]
    parent: Int[Tensor, "B N"]
    log_q: Float[Tensor, "B N"]
    ancestor: Bool[Tensor, "B N+1 N+1"]

    @classmethod
    def of(
        cls, tokens: Int[Tensor, "B N"], parent: Int[Tensor, "B N"], log_q: Float[Tensor, "B N"], depth: int
    ) -> DraftTree:
        """Build the ancestor matrix of trees at most `depth` deep, squaring the parent matrix."""
        rows, nodes = parent.shape
        reach = torch.eye(nodes + 1, device=parent.device).repeat(rows, 1, 1)
        reach[:, 1:].scatter_(-1, parent[..., None] + 1, 1.0)
        steps = 1
        while steps < depth:
            reach = (reach @ reach).clamp_(max=1.0)
            steps *= 2
        return cls(tokens, parent, log_q, reach > 0)

    @classmethod
    def chain(cls, tokens: Int[Tensor, "B N"], log_q: Float[Tensor, "B N"]) -> DraftTree:
        """A tree without branches."""
        rows, nodes = tokens.shape
        parent = torch.arange(-1, nodes - 1, device=tokens.device).expand(rows, -1)
        ancestor = torch.ones(nodes + 1, nodes + 1, dtype=torch.bool, device=tokens.device).tril()
        return cls(tokens, parent, log_q, ancestor.expand(rows, -1, -1))

    @property
    def depth(self) -> Int[Tensor, "B N"]:
        """Level of each node, 1 for the children of the root."""
        return self.ancestor[:, 1:].sum(dim=-1) - 1

    @property
    def leaves(self) -> Bool[Tensor, "B N"]:
        """Nodes without children."""
        return self.ancestor[:, 1:, 1:].sum(dim=1) == 1

    @classmethod
    def cat(cls, parts: Sequence[DraftTree]) -> DraftTree:
        """Trees of equal size as one batch."""
        return cls(
            *(torch.cat(fields) for fields in zip(*(vars(part).values() for part in parts), strict=True))
        )

    def select_rows(self, rows: Int[Tensor, " n"]) -> DraftTree:
        """The chosen trees."""
        return DraftTree(self.tokens[rows], self.parent[rows], self.log_q[rows], self.ancestor[rows])


@dataclass(frozen=True)
class TreePolicy:
    """Shape of the trees (EAGLE-2).

    Attributes:
        depth: Levels of draft tokens.
        top_k: Children that a node proposes, and nodes of a level that propose.
        budget: Draft tokens kept in the end, the root not counted.
    """

    depth: int
    top_k: int
    budget: int

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ValueError: names the field.
        """
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"TreePolicy.{name} is {value}; expected at least 1")

    @property
    def nodes(self) -> int:
        """Draft tokens of a tree: the budget, or all candidates where they are fewer."""
        return min(self.budget, self.top_k + (self.depth - 1) * self.top_k**2)

    @property
    def slots(self) -> int:
        """Nodes that the draft runs on: the frontiers of all levels but the last."""
        return (self.depth - 1) * self.top_k

    def grow(self, first: Float[Tensor, "B V"], expand: Expand) -> DraftTree:
        """Grow trees as EAGLE-2 does.

        The frontier of a level is its `top_k` nodes of largest cumulative log-probability; each proposes its
        `top_k` likeliest children, all of which stay candidates. Of all candidates the best `budget` are
        kept, ties to the earlier one, so that a kept node's parent is kept.

        Args:
            first: The draft's logits after the root.
            expand: Runs the draft on a frontier.
        """
        k = min(self.top_k, first.shape[-1])
        log_q, tokens = torch.log_softmax(first.float(), dim=-1).topk(k)
        rows, device = len(tokens), tokens.device
        eye = torch.eye(k, dtype=torch.bool, device=device).expand(rows, -1, -1)
        found = [(tokens, torch.full_like(tokens, -1), log_q, log_q)]
        score, parents, names, visible = log_q, torch.zeros_like(tokens), torch.arange(k, device=device), eye
        names = names.expand(rows, -1)  # candidate index of each frontier node
        candidates = k
        for level in range(2, self.depth + 1):
            log_q, children = torch.log_softmax(expand(tokens, parents, visible).float(), dim=-1).topk(k)
            total = (score[..., None] + log_q).flatten(1)
            found.append((children.flatten(1), names.repeat_interleave(k, dim=1), log_q.flatten(1), total))
            if level < self.depth:
                score, best = total.topk(k)
                tokens, parents, names = children.flatten(1).gather(1, best), best // k, candidates + best
                seen = visible.gather(1, parents[..., None].expand(-1, -1, visible.shape[-1]))
                visible = torch.cat([seen, eye], dim=-1)
            candidates += k * k
        return self._best(*(torch.cat(part, dim=1) for part in zip(*found, strict=True)))

    def _best(
        self,
        tokens: Int[Tensor, "B C"],
        parent: Int[Tensor, "B C"],
        log_q: Float[Tensor, "B C"],
        score: Float[Tensor, "B C"],
    ) -> DraftTree:
        kept = score.sort(dim=1, descending=True, stable=True).indices[:, : self.budget].sort(dim=1).values
        above = parent.gather(1, kept)
        place = torch.searchsorted(kept, above.contiguous())
        return DraftTree.of(
            tokens.gather(1, kept), place.masked_fill_(above < 0, -1), log_q.gather(1, kept), self.depth
        )


@dataclass(frozen=True)
class StaticTree:
    """The same topology in every cycle, whatever the draft is sure of (EAGLE, Medusa).

    Attributes:
        ranks: A node is the path to it: the ranks, from 0, of its tokens among the likeliest children of
            their parents.
    """

    ranks: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        """Check the topology.

        Raises:
            ValueError: names a node that is empty, repeated, of negative rank, or without parent.
        """
        for node in self.ranks:
            if not node or min(node) < 0 or self.ranks.count(node) > 1:
                raise ValueError(f"StaticTree: node {node}; expected distinct paths of ranks from 0 on")
            if node[:-1] and node[:-1] not in self.ranks:
                raise ValueError(f"StaticTree: node {node} has no parent {node[:-1]}")

    @property
    def depth(self) -> int:
        """Levels of draft tokens."""
        return max(map(len, self.ranks))

    @property
    def nodes(self) -> int:
        """Draft tokens of a tree."""
        return len(self.ranks)

    @property
    def slots(self) -> int:
        """Nodes with children, which the draft runs on."""
        return len({node[:-1] for node in self.ranks if node[:-1]})

    def grow(self, first: Float[Tensor, "B V"], expand: Expand) -> DraftTree:
        """Take the children of the given ranks, level by level; arguments as `TreePolicy.grow`.

        Raises:
            ValueError: a rank that the vocabulary does not have.
        """
        widest = 1 + max(max(node) for node in self.ranks)
        if widest > first.shape[-1]:
            raise ValueError(f"StaticTree: rank {widest - 1} in a vocabulary of {first.shape[-1]} tokens")
        device, rows = first.device, len(first)
        frontier: list[tuple[int, ...]] = [()]  # nodes that the draft has run on, in this level
        staged: list[tuple[int, ...]] = []  # and in all levels
        placed: dict[tuple[int, ...], int] = {}
        parts: list[tuple[Tensor, Tensor]] = []
        logits = first[:, None]
        for level in range(1, self.depth + 1):
            if level > 1:
                inner = [node for node in placed if len(node) == level - 1 and self._has_children(node)]
                staged += inner
                above = torch.tensor([frontier.index(node[:-1]) for node in inner], device=device)
                seen = torch.tensor(
                    [[node[: len(other)] == other for other in staged] for node in inner], device=device
                )
                chosen = torch.tensor([placed[node] for node in inner], device=device)
                tokens = torch.cat([part for part, _ in parts], dim=1)[:, chosen]
                logits = expand(tokens, above.expand(rows, -1), seen.expand(rows, -1, -1))
                frontier = inner
            log_q, children = torch.log_softmax(logits.float(), dim=-1).topk(widest)
            nodes = sorted(node for node in self.ranks if len(node) == level)
            where = torch.tensor(
                [frontier.index(node[:-1]) * widest + node[-1] for node in nodes], device=device
            )
            parts.append((children.flatten(1)[:, where], log_q.flatten(1)[:, where]))
            placed |= {node: len(placed) + index for index, node in enumerate(nodes)}
        tokens, log_q = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
        parent = torch.tensor([placed.get(node[:-1], -1) for node in placed], device=device)
        return DraftTree.of(tokens, parent.expand(rows, -1), log_q, self.depth)

    def _has_children(self, node: tuple[int, ...]) -> bool:
        return any(other[:-1] == node for other in self.ranks)


EAGLE_TREE = StaticTree(
    (
        *((rank,) for rank in range(4)),
        *((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0)),
        *((0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 0), (0, 1, 1), (0, 2, 0), (0, 2, 1), (1, 0, 0)),
        *((0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 0, 2)),
        *((0, 0, 0, 0, 0), (0, 0, 0, 0, 1)),
    )
)
"""EAGLE's tree of 25 draft tokens and five levels (official code)."""


class TreeShape(Protocol):
    """How trees are grown: `TreePolicy` or `StaticTree`."""

    @property
    def depth(self) -> int:
        """Levels of draft tokens."""

    @property
    def nodes(self) -> int:
        """Draft tokens of a tree."""

    @property
    def slots(self) -> int:
        """Nodes that the draft runs on."""

    def grow(self, first: Float[Tensor, "B V"], expand: Expand) -> DraftTree:
        """Trees below the roots."""


def path_log_probs(tree: DraftTree, log_p: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
    """Sum of the conditional log-probabilities from the root to each node, nats."""
    return (tree.ancestor[:, 1:, 1:].to(log_p.dtype) @ log_p.clamp(min=-1e4)[..., None])[..., 0]


def expected_accept_length(tree: DraftTree, log_p: Float[Tensor, "B N"]) -> Float[Tensor, " B"]:
    """Expected number of accepted draft tokens when the target samples: the sum over nodes of the probability
    of their path.

    Exact for token matching and for recursive rejection. The extra token of the cycle is not counted.

    Args:
        tree: Trees whose siblings are distinct.
        log_p: The target's conditional log-probability of each node, nats.
    """
    return path_log_probs(tree, log_p).exp().sum(dim=1)


def shared_prefix(tree: DraftTree, chain: Int[Tensor, "B J"]) -> Int[Tensor, " B"]:
    """How many tokens of a chain, from its start, are a path of the tree."""
    rows = torch.arange(len(chain))
    here, length = torch.full_like(rows, -1), torch.zeros_like(rows)
    running = torch.ones_like(rows, dtype=torch.bool)
    for step in range(chain.shape[1]):
        match: Bool[Tensor, "B N"] = (tree.parent == here[:, None]) & (tree.tokens == chain[:, step, None])
        running = running & match.any(dim=1)
        # Siblings are distinct tokens, so at most one node matches and `argmax` finds it.
        here = torch.where(running, match.to(torch.uint8).argmax(dim=1), here)
        length = length + running
    return length
