"""Many trees of the same texts scored by the target in one forward.

A row is a text followed by the trees that hang below some of its tokens; a node sees the text up to its root
and its own ancestors.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from common.speculative.target import Target
from common.speculative.tree import DraftTree


class TreeScores(NamedTuple):
    """The target's view of B × P trees of N nodes, in rows of P.

    Attributes:
        log_p: Conditional log-probability of each node at temperature 1, nats.
        greedy: The node is the target's argmax after its parent.
    """

    log_p: Float[Tensor, "BP N"]
    greedy: Bool[Tensor, "BP N"]

    def greedy_length(self, tree: DraftTree) -> Int[Tensor, " BP"]:
        """Draft tokens that greedy decoding accepts."""
        broken = tree.ancestor[:, 1:, 1:] & ~self.greedy[:, None]
        return (~broken.any(dim=-1)).sum(dim=1)


@torch.no_grad()
def score_packed_trees(
    target: Target, texts: Int[Tensor, "B T"], roots: Int[Tensor, "B P"], trees: DraftTree
) -> TreeScores:
    """Score trees in one forward of T + P·N tokens a row.

    Args:
        target: The model.
        texts: Texts, padded on the right.
        roots: Places of the trees' roots in the texts.
        trees: B × P trees, those of a text in consecutive rows.

    Raises:
        ValueError: the number of trees is not B × P, or a node lies behind the target's table of positions.
    """
    rows, length = texts.shape
    count, nodes = roots.shape[1], trees.tokens.shape[1]
    if len(trees.tokens) != rows * count:
        raise ValueError(f"{len(trees.tokens)} trees for {rows} texts with {count} roots each")
    tokens = torch.cat([texts, trees.tokens.view(rows, -1)], dim=1)
    places = torch.arange(length, device=texts.device).expand(rows, -1)
    below = roots[..., None] + trees.depth.view(rows, count, nodes)
    visible = _visible(roots, trees, rows, length)
    mask = torch.zeros(visible.shape, dtype=target.dtype, device=texts.device)
    mask.masked_fill_(~visible, torch.finfo(target.dtype).min)
    positions = torch.cat([places, below.flatten(1)], dim=1)
    try:
        logits = target.read(tokens, positions, mask[:, None]).logits
    except IndexError as error:  # rotary positions go on behind the context, learned ones do not
        raise ValueError(
            f"trees reach position {int(positions.max())} of a target with a context of {target.context} "
            "learned positions; cut the texts by the depth of the trees"
        ) from error
    parent = trees.parent.view(rows, count, nodes)
    first = length + nodes * torch.arange(count, device=texts.device)[:, None]
    above = torch.where(parent < 0, roots[..., None], first + parent).flatten(1)
    before = logits.gather(1, above[..., None].expand(-1, -1, logits.shape[-1]))
    chosen = trees.tokens.view(rows, -1, 1)
    log_p = torch.log_softmax(before.float(), dim=-1).gather(-1, chosen)
    greedy = before.argmax(dim=-1, keepdim=True) == chosen
    return TreeScores(log_p.view(-1, nodes), greedy.view(-1, nodes))


def _visible(roots: Int[Tensor, "B P"], trees: DraftTree, rows: int, length: int) -> Bool[Tensor, "B L L"]:
    """Who sees whom among a text's tokens and its trees' nodes."""
    count, nodes = roots.shape[1], trees.tokens.shape[1]
    total = length + count * nodes
    visible = torch.zeros(rows, total, total, dtype=torch.bool, device=roots.device)
    places = torch.arange(length, device=roots.device)
    visible[:, :length, :length] = places[:, None] >= places
    context = places <= roots[..., None]
    visible[:, length:, :length] = context.repeat_interleave(nodes, dim=1)
    ancestors = trees.ancestor[:, 1:, 1:].view(rows, count, nodes, nodes)
    for index in range(count):
        start = length + index * nodes
        visible[:, start : start + nodes, start : start + nodes] = ancestors[:, index]
    return visible
