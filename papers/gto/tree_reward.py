"""The draft tree reward, its groups and its loss: the equations of Group Tree Optimization as pure functions.

Notation: the trees T_i of B prefixes have N nodes each; L_i is the expected accepted length of a branch,
the sum of the probabilities of its prefixes under the target (arXiv:2509.22134, Eq. 3).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from common.speculative.packed import TreeScores
from common.speculative.tree import DraftTree, path_log_probs

Mode = Literal["lse", "max", "average", "node_sum"]
MODES: tuple[Mode, ...] = ("lse", "max", "average", "node_sum")
Scope = Literal["group", "batch"]
AcceptedPath = Literal["greedy", "max_expected"]
EQUAL = 1e-8  # rewards of a group whose standard deviation is smaller are equal


def branch_lengths(tree: DraftTree, log_p: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
    """L of the branch that ends in each node: Σ_j P_j along its path (Eq. 3)."""
    probability = path_log_probs(tree, log_p).exp()
    return (tree.ancestor[:, 1:, 1:].to(probability.dtype) @ probability[..., None])[..., 0]


def draft_tree_reward(
    tree: DraftTree, log_p: Float[Tensor, "B N"], mode: Mode = "lse", eta: float = 1.0
) -> Float[Tensor, " B"]:
    """r of each tree: log Σ exp(η L_i) / η over its leaves (Eq. 5), or an ablation of it.

    `node_sum` is not in the paper: the sum of the path probabilities of all nodes, which is exactly the
    expected number of accepted draft tokens at temperature 1.

    Args:
        tree: Trees.
        log_p: The target's conditional log-probability of each node, nats.
        mode: How branches become one number.
        eta: Sharpness η of the log-sum-exp.

    Raises:
        ValueError: unknown mode, or η ≤ 0.
    """
    if mode == "node_sum":
        return path_log_probs(tree, log_p).exp().sum(dim=1)
    return aggregate(branch_lengths(tree, log_p), tree.leaves, mode, eta)


def aggregate(
    lengths: Float[Tensor, "B N"], leaves: Bool[Tensor, "B N"], mode: Mode = "lse", eta: float = 1.0
) -> Float[Tensor, " B"]:
    """Log-sum-exp (Eq. 5), maximum or mean of L over the leaves.

    Raises:
        ValueError: unknown mode, or η ≤ 0.
    """
    if eta <= 0:
        raise ValueError(f"eta is {eta}; expected a positive number (log-sum-exp diverges at 0)")
    if mode == "average":
        return (lengths * leaves).sum(dim=1) / leaves.sum(dim=1)
    outside = lengths.masked_fill(~leaves, -torch.inf)
    if mode == "max":
        return outside.amax(dim=1)
    if mode == "lse":
        return torch.logsumexp(eta * outside, dim=1) / eta
    raise ValueError(f"mode '{mode}' does not aggregate branches; choose lse, max or average")


class Groups(NamedTuple):
    """K groups of m adjacent supervised places in each of B texts.

    Attributes:
        places: Places; where a text is too short, repetitions of its first supervised one.
        mask: Which of them count.
    """

    places: Int[Tensor, "B K m"]
    mask: Bool[Tensor, "B K m"]


def sample_groups(
    supervised: Bool[Tensor, "B T"], groups: int, size: int, generator: torch.Generator
) -> Groups:
    """K non-overlapping runs of m adjacent places, uniformly among all ways to lay them (Sec. 3.2).

    Adjacent means next to each other among the supervised places. A text with fewer than K·m of them has as
    many whole groups as fit; one with fewer than m has one shorter group.

    Raises:
        ValueError: fewer than one group or place, or a text without supervised places.
    """
    if groups < 1 or size < 1:
        raise ValueError(f"groups is {groups} and size is {size}; expected at least 1 each")
    places = torch.zeros(len(supervised), groups, size, dtype=torch.long)
    mask = torch.zeros(places.shape, dtype=torch.bool)
    for row, flags in enumerate(supervised.cpu()):
        where = flags.nonzero()[:, 0]
        if not len(where):
            raise ValueError(f"text {row} has no supervised place to group")
        count, width = min(groups, max(1, len(where) // size)), min(size, len(where))
        # A group counts as one item among the places outside groups: choosing `count` of these items and
        # giving each its width back reaches every layout equally often, which drawing starts would not.
        free = len(where) - count * width
        picks = torch.randperm(free + count, generator=generator)[:count].sort().values
        starts = picks + torch.arange(count) * (width - 1)
        places[row] = where[0]
        places[row, :count, :width] = where[starts[:, None] + torch.arange(width)]
        mask[row, :count, :width] = True
    return Groups(places.to(supervised.device), mask.to(supervised.device))


def group_advantages(
    rewards: Float[Tensor, "B K m"], mask: Bool[Tensor, "B K m"], delta: float = 1e-6, scope: Scope = "group"
) -> Float[Tensor, "B K m"]:
    """A_i = (R_i - mean) / (std + δ) within each group (Eq. 10); 0 where the rewards are equal.

    The standard deviation is the population's, so a group of one has advantage 0. `scope` "batch" takes mean
    and deviation over all groups together (an option of ours, for groups of one).

    Raises:
        ValueError: unknown scope.
    """
    if scope not in ("group", "batch"):
        raise ValueError(f"scope is '{scope}'; expected group or batch")
    over = (-1,) if scope == "group" else (0, 1, 2)
    count = mask.sum(dim=over, keepdim=True).clamp(min=1)
    centred = (rewards - (rewards * mask).sum(dim=over, keepdim=True) / count) * mask
    std = ((centred**2).sum(dim=over, keepdim=True) / count).sqrt()
    return torch.where(std < EQUAL, torch.zeros_like(centred), centred / (std + delta))


class Path(NamedTuple):
    """The longest accepted path Ŝ of each tree.

    Attributes:
        tokens: Its tokens, from the first level on; meaningless beyond `length`.
        length: l, 0 where nothing is accepted.
    """

    tokens: Int[Tensor, "B J"]
    length: Int[Tensor, " B"]


def longest_accepted_path(
    tree: DraftTree, scores: TreeScores, depth: int, by: AcceptedPath = "greedy"
) -> Path:
    """Ŝ_i: the path that greedy verification accepts, or the branch of largest L (`max_expected`).

    Args:
        tree: Trees.
        scores: The target's view of them.
        depth: J, levels of the trees.
        by: Reading of "longest accepted under the target".

    Raises:
        ValueError: unknown reading.
    """
    within = tree.ancestor[:, 1:, 1:]
    if by == "greedy":
        on_path = ~(within & ~scores.greedy[:, None]).any(dim=-1)
    elif by == "max_expected":
        best = branch_lengths(tree, scores.log_p).masked_fill(~tree.leaves, -torch.inf).argmax(dim=1)
        on_path = within[torch.arange(len(best), device=best.device), best]
    else:
        raise ValueError(f"accepted path by '{by}'; expected greedy or max_expected")
    # Parents come before children, so a stable sort of the flags leaves the path's nodes in its own order.
    order = on_path.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices
    tokens = tree.tokens.gather(1, order)[:, :depth]
    return Path(tokens, on_path.sum(dim=1))


def path_ratio(
    log_m: Float[Tensor, "B J"], log_reference: Float[Tensor, "B J"], length: Int[Tensor, " B"]
) -> Float[Tensor, " B"]:
    """s_i = exp((log M(Ŝ_i) - log M_0(Ŝ_i)) / max(l_i, 1)); exactly 1 without gradient for an empty path."""
    inside = torch.arange(log_m.shape[1], device=log_m.device) < length[:, None]
    difference = torch.where(inside, log_m - log_reference, torch.zeros_like(log_m)).sum(dim=1)
    return (difference / length.clamp(min=1)).exp()


def gto_loss(
    ratio: Float[Tensor, "B K m"],
    advantages: Float[Tensor, "B K m"],
    mask: Bool[Tensor, "B K m"],
    epsilon: float = 0.2,
) -> Float[Tensor, ""]:
    """Clipped surrogate: -(1/m) Σ min(s A, clip(s, 1-ε, 1+ε) A), mean over groups (Eq. 11)."""
    clipped = ratio.clamp(1 - epsilon, 1 + epsilon)
    surrogate = torch.minimum(ratio * advantages, clipped * advantages) * mask
    sizes = mask.sum(dim=-1)
    return -(surrogate.sum(dim=-1) / sizes.clamp(min=1)).sum() / (sizes > 0).sum().clamp(min=1)
