"""Phase I: drafts trained with their own token losses, kept on disk by recipe.

EAGLE-3, with training-time test; EAGLE, teacher-forced; and two kinds that unroll EAGLE on its own features:
HASS-like, and GRIFFIN-like, which leaves out steps behind a token that the draft's step before would not have
proposed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from common.models.recipe import fit
from common.speculative.checkpoint import Checkpoint
from common.speculative.networks import DraftNetwork, Eagle3Network, EagleNetwork
from common.speculative.target import Target
from common.speculative.texts import read_texts
from common.speculative.tree import StaticTree
from common.speculative.unroll import TextUnroll, eagle3_loss, eagle_loss, unroll_text
from common.tasks.tridomain import items
from papers.gto.target import TargetRecipe, Texts, corpus, load, texts

EAGLE_TREE = StaticTree(
    (
        *((rank,) for rank in range(4)),
        *((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0)),
        *((0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 0), (0, 1, 1), (0, 2, 0), (0, 2, 1), (1, 0, 0)),
        *((0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 0, 2)),
        *((0, 0, 0, 0, 0), (0, 0, 0, 0, 1)),
    )
)
"""EAGLE's static tree of 25 draft tokens and five levels (official code)."""
Kind = Literal["eagle3", "eagle", "hass", "griffin"]
KINDS: tuple[Kind, ...] = ("eagle3", "eagle", "hass", "griffin")
DATA_SEED = 3_000_000
ALIGNED = 3  # GRIFFIN-like: a token counts as proposed if it is among the draft's top 3
UNROLLED = {"eagle": 1, "hass": 3, "griffin": 3}


@dataclass(frozen=True)
class DraftRecipe:
    """Everything that decides a draft's weights.

    Attributes:
        target: The model to draft for.
        kind: Network and loss.
        steps: AdamW steps on a cosine schedule.
        batch: Conversations of a step.
        learning_rate: Peak.
        unroll: Steps of training-time test of EAGLE-3; the other kinds have theirs (`UNROLLED`).
        data: Conversations of the training set, the same for every seed.
        seed: Of the initial weights and of the order of the data.
    """

    target: TargetRecipe = field(default_factory=TargetRecipe)
    kind: Kind = "eagle3"
    steps: int = 200
    batch: int = 16
    learning_rate: float = 3e-3
    unroll: int = 5
    data: int = 3000
    seed: int = 0


def network_of(kind: Kind) -> type[DraftNetwork]:
    """EAGLE-3's network, or EAGLE's for the other kinds."""
    return Eagle3Network if kind == "eagle3" else EagleNetwork


@cache
def target_for(recipe: TargetRecipe, kind: Kind) -> Target:
    """The frozen target with the taps of a kind of draft."""
    return Target(load(recipe), network_of(kind).taps(recipe.layers))


def new_network(recipe: DraftRecipe) -> DraftNetwork:
    """Randomly initialised draft of a recipe; leaves the global generator alone."""
    target = target_for(recipe.target, recipe.kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return network_of(recipe.kind)(target.model)


def training_texts(size: int) -> list[Texts]:
    """The training set, one conversation each."""
    return [texts([item]) for item in items(corpus(DATA_SEED, size))]


def stacked(rows: list[Texts]) -> Texts:
    """Conversations as one batch."""
    pad = torch.nn.utils.rnn.pad_sequence
    return Texts(*(pad([getattr(row, name)[0] for row in rows], batch_first=True) for name in Texts._fields))


def token_loss(
    kind: Kind, network: DraftNetwork, target: Target, batch: Texts, steps: int
) -> Float[Tensor, ""]:
    """The Phase I loss of a kind on a batch; `steps` unrolls EAGLE-3."""
    reading = read_texts(target, batch.ids)
    count = UNROLLED.get(kind, steps)
    unrolled = unroll_text(network, batch.ids, reading.features, reading.logits, batch.supervised, count)
    if kind == "eagle3":
        return eagle3_loss(unrolled)
    if kind == "griffin":
        unrolled = unrolled._replace(mask=aligned(unrolled, batch.ids))
    return eagle_loss(unrolled)


def aligned(text: TextUnroll, ids: Tensor) -> Tensor:
    """The mask without the steps whose token before is not among the top 3 of the step that predicts it.

    Step j reads token s + 1 + j, which step j - 1 predicted.
    """
    width, steps = text.mask.shape[1:]
    ahead = torch.arange(width)[:, None] + 1 + torch.arange(steps)
    read = ids[:, ahead.clamp(max=ids.shape[1] - 1)]
    proposed = (text.unrolled.logits.topk(ALIGNED, dim=-1).indices[:, :, :-1] == read[:, :, 1:, None]).any(
        dim=-1
    )
    first = text.mask.new_ones(*text.mask.shape[:2], 1)
    return text.mask & torch.cat([first, proposed], dim=-1)


def train(recipe: DraftRecipe) -> DraftNetwork:
    """Phase I."""
    target, network = target_for(recipe.target, recipe.kind), new_network(recipe)
    data, order = training_texts(recipe.data), np.random.default_rng(recipe.seed)
    places = np.concatenate(
        [order.permutation(recipe.data) for _ in range(recipe.steps * recipe.batch // recipe.data + 1)]
    )

    def loss(step: int) -> Tensor:
        chosen = places[step * recipe.batch : (step + 1) * recipe.batch]
        return token_loss(recipe.kind, network, target, stacked([data[i] for i in chosen]), recipe.unroll)

    fit(network.parameters(), loss, recipe.steps, recipe.learning_rate)
    return network


def trained(recipe: DraftRecipe) -> DraftNetwork:
    """The draft of a recipe, trained on first use."""
    return Checkpoint.of(recipe, new_network(recipe), lambda: Checkpoint(train(recipe))).network
