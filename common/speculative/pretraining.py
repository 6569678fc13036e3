"""Drafts trained with token losses: the kinds of drafts that learn from a target's texts, and their losses.

EAGLE-3, with training-time test; EAGLE, teacher-forced; and two kinds that unroll EAGLE on its own features:
HASS-like, and GRIFFIN-like, which leaves out steps behind a token that the draft's step before would not have
proposed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from common.speculative.networks import DraftNetwork, Eagle3Network, EagleNetwork
from common.speculative.target import Target
from common.speculative.texts import read_texts
from common.speculative.unroll import TextUnroll, eagle3_loss, eagle_loss, unroll_text

Kind = Literal["eagle3", "eagle", "hass", "griffin"]
NETWORKS: Mapping[Kind, type[DraftNetwork]] = {
    "eagle3": Eagle3Network,
    "eagle": EagleNetwork,
    "hass": EagleNetwork,
    "griffin": EagleNetwork,
}
UNROLLED: Mapping[Kind, int] = {"eagle": 1, "hass": 3, "griffin": 3}
"""Steps on the draft's own features; those of EAGLE-3 are its user's choice."""
ALIGNED = 3  # GRIFFIN-like: a token counts as proposed if it is among the draft's top 3


def new_network(network: type[DraftNetwork], model: PreTrainedModel, seed: int) -> DraftNetwork:
    """Randomly initialised draft that shares the embeddings of `model`; leaves the global generator alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return network(model)


def token_loss(
    kind: Kind,
    network: DraftNetwork,
    target: Target,
    ids: Int[Tensor, "B T"],
    supervised: Bool[Tensor, "B T"],
    steps: int,
) -> Float[Tensor, ""]:
    """The loss of a kind of draft on texts.

    Args:
        kind: Kind of `network`.
        network: The draft.
        target: The model it drafts for, with its taps.
        ids: Texts, padded on the right.
        supervised: Places t whose prediction (of token t + 1) counts.
        steps: Steps of EAGLE-3's training-time test; the other kinds have theirs (`UNROLLED`).
    """
    text = read_texts(target, ids)
    count = UNROLLED.get(kind, steps)
    unrolled = unroll_text(network, ids, text.features, text.logits, supervised, count)
    if kind == "eagle3":
        return eagle3_loss(unrolled)
    if kind == "griffin":
        unrolled = unrolled._replace(mask=aligned(unrolled, ids))
    return eagle_loss(unrolled)


def aligned(text: TextUnroll, ids: Int[Tensor, "B T"]) -> Bool[Tensor, "B S J"]:
    """The mask without the steps whose token before is not among the top 3 of the step that predicts it.

    Step j reads token s + 1 + j, which step j - 1 predicted.
    """
    width, steps = text.mask.shape[1:]
    ahead = torch.arange(width)[:, None] + 1 + torch.arange(steps)
    read = ids[:, ahead.clamp(max=ids.shape[1] - 1)]
    top = text.unrolled.logits.topk(ALIGNED, dim=-1).indices[:, :, :-1]
    proposed = (top == read[:, :, 1:, None]).any(dim=-1)
    first = text.mask.new_ones(*text.mask.shape[:2], 1)
    return text.mask & torch.cat([first, proposed], dim=-1)
