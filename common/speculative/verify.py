"""Lossless acceptance: which path of a draft tree the target keeps, and the token it adds.

Every rule draws each emitted token from the target's own processed distribution, whatever the draft proposed,
as long as the tree was built without looking at the draws and siblings are distinct.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import TopPLogitsWarper

from common.speculative.tree import DraftTree


@dataclass(frozen=True)
class SamplingParams:
    """How a completion is sampled.

    Attributes:
        max_new_tokens: Longest completion; one that reaches it may have no end of sequence.
        temperature: Zero is greedy.
        top_p: Probability of the nucleus; 1 keeps the whole distribution.
        eos_ids: Tokens that end a completion.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    eos_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ValueError: names the field and what would be right.
        """
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}; expected at least 1")
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature is {self.temperature}; expected 0 (greedy) or a positive number")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; expected 0 < top_p ≤ 1")


class Verdict(NamedTuple):
    """What the target kept of B trees.

    Attributes:
        path: Staged indices of root and accepted nodes, from the root on; meaningless beyond `accepted`.
        accepted: Accepted draft tokens.
        next_token: The target's own token after the last accepted one.
    """

    path: Int[Tensor, "B A"]
    accepted: Int[Tensor, " B"]
    next_token: Int[Tensor, " B"]


Verifier = Callable[
    [Float[Tensor, "B N+1 V"], DraftTree, SamplingParams, torch.Generator | None],
    Verdict,
]
"""(target logits at root and nodes, trees, sampling parameters, source of randomness) to verdicts."""


def widen(logits: Float[Tensor, "*B V"]) -> Float[Tensor, "*B V"]:
    """At least float32: a softmax in bfloat16 rounds, a race of exponentials draws rare tokens more often."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def refuse_nan(values: Float[Tensor, "*B V"]) -> None:
    """NaN, from which every choice is token 0.

    Raises:
        ValueError: there is one.
    """
    if bool(values.isnan().any()):
        raise ValueError("the model gives NaN logits, or none that is finite; look at its weights and dtype")


def probabilities(logits: Float[Tensor, "*B V"], params: SamplingParams) -> Float[Tensor, "*B V"]:
    """The processed distribution, at least in float32: temperature, then the nucleus.

    Raises:
        ValueError: temperature 0, which has no distribution, or logits without one.
    """
    if params.temperature == 0:
        raise ValueError("greedy decoding (temperature 0) has no distribution to sample from")
    scaled = widen(logits) / params.temperature
    if params.top_p < 1:
        flat = scaled.reshape(-1, scaled.shape[-1])
        scaled = TopPLogitsWarper(params.top_p)(None, flat).reshape(scaled.shape)
    law = torch.softmax(scaled, dim=-1)
    refuse_nan(law)
    return law


def draw(weights: Float[Tensor, "*B V"], generator: torch.Generator | None = None) -> Int[Tensor, "*B"]:
    """One index per row, with probabilities proportional to `weights`, by an exponential race."""
    return (weights / torch.empty_like(weights).exponential_(generator=generator)).argmax(dim=-1)


def coin(chance: Float[Tensor, " B"], generator: torch.Generator | None = None) -> Bool[Tensor, " B"]:
    """True with the given probabilities."""
    uniform = torch.rand(chance.shape, generator=generator, device=chance.device, dtype=chance.dtype)
    return uniform < chance


def verify_greedy(
    logits: Float[Tensor, "B N+1 V"],
    tree: DraftTree,
    params: SamplingParams,
    generator: torch.Generator | None = None,
) -> Verdict:
    """Accept a node iff it is the target's argmax after its parent."""
    refuse_nan(logits)
    return _follow(logits.argmax(dim=-1), tree)


def verify_token_matching(
    logits: Float[Tensor, "B N+1 V"],
    tree: DraftTree,
    params: SamplingParams,
    generator: torch.Generator | None = None,
) -> Verdict:
    """Draw one token of the target at every node and walk down while the draw is among the children.

    Greedy at temperature 0.
    """
    if params.temperature == 0:
        return verify_greedy(logits, tree, params)
    return _follow(draw(probabilities(logits, params), generator), tree)


def _follow(choice: Int[Tensor, "B N+1"], tree: DraftTree) -> Verdict:
    """The path along which each node is the choice at its parent, and the choice at its end."""
    match = choice.gather(1, tree.parent + 1) == tree.tokens
    broken = torch.cat([torch.zeros_like(match[:, :1]), ~match], dim=1)
    kept = ~(tree.ancestor & broken[:, None]).any(dim=-1)
    path = kept.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices
    accepted = kept.sum(dim=1) - 1
    longest = int(accepted.max()) + 1
    end = path.gather(1, accepted[:, None])
    return Verdict(path[:, :longest], accepted, choice.gather(1, end)[:, 0])


def verify_recursive_rejection(
    logits: Float[Tensor, "B N+1 V"],
    tree: DraftTree,
    params: SamplingParams,
    generator: torch.Generator | None = None,
) -> Verdict:
    """EAGLE's rule with a deterministic proposal: try the children in draft order.

    A child is accepted with its probability under the residual distribution; a rejected one is removed from
    it. When none is left the token is drawn from the residual. Greedy at temperature 0.
    """
    if params.temperature == 0:
        return verify_greedy(logits, tree, params)
    target = probabilities(logits, params)
    rows, nodes = tree.tokens.shape
    every = torch.arange(rows, device=logits.device)
    depth = tree.depth
    levels = int(depth.max()) if nodes else 0
    path = torch.zeros(rows, levels + 1, dtype=torch.long, device=logits.device)
    accepted, here = torch.zeros_like(path[:, 0]), torch.zeros_like(path[:, 0])
    residual, running = target[:, 0].clone(), torch.ones_like(here, dtype=torch.bool)
    for level in range(1, levels + 1):
        moved = torch.zeros_like(running)
        start = here.clone()
        for node in (depth == level).any(dim=0).nonzero()[:, 0].tolist():
            tried = running & ~moved & (tree.parent[:, node] + 1 == start)
            if not bool(tried.any()):
                continue
            token = tree.tokens[:, node]
            chance = residual[every, token] / residual.sum(dim=-1).clamp(min=torch.finfo(residual.dtype).tiny)
            yes = tried & coin(chance, generator)
            no = tried & ~yes
            residual[every[no], token[no]] = 0.0
            residual = torch.where(yes[:, None], target[:, node + 1], residual)
            here = torch.where(yes, node + 1, here)
            moved |= yes
        accepted += moved
        path[:, level] = here
        running &= moved
    return Verdict(path, accepted, draw(residual, generator))
