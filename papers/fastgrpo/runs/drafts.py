"""Drafts trained before reinforcement learning, kept by recipe: the paper's, EAGLE-2's, HASS-like, EAGLE-3's.

All learn from the same supervised traces with the same number of steps and the same learning rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from common.models.recipe import IGNORED, fit
from common.speculative.checkpoint import Checkpoint
from common.speculative.networks import DraftNetwork, Eagle3Network, EagleNetwork
from common.speculative.target import Target
from common.speculative.texts import read_texts
from common.speculative.unroll import eagle3_loss, eagle_loss, unroll_text
from common.tasks.ladder import LadderConfig, TraceLaw
from common.tasks.ladder.warm_start import (
    DATA_SEED,
    PolicyRecipe,
    Texts,
    batches,
    load,
    policy_folder,
)
from papers.fastgrpo.method import TwoHeadEagleNetwork, draft_loss

Kind = Literal["two_head", "eagle2", "hass", "eagle3"]
NETWORKS: Mapping[Kind, type[DraftNetwork]] = {
    "two_head": TwoHeadEagleNetwork,
    "eagle2": EagleNetwork,
    "hass": EagleNetwork,
    "eagle3": Eagle3Network,
}
UNROLLED = {"eagle2": 1, "hass": 3, "eagle3": 3}
"""Steps on the draft's own features; HASS trains on three of them."""


@dataclass(frozen=True)
class DraftRecipe:
    """Everything that decides a draft's weights.

    Attributes:
        policy: The model to draft for.
        kind: Network and loss.
        law: Traces that it learns from; the default is the policy's own mix.
        steps: AdamW steps on a cosine schedule.
        batch: Traces of a step.
        learning_rate: Peak.
        seed: Of the initial weights and of the traces.
    """

    policy: PolicyRecipe = field(default_factory=PolicyRecipe)
    kind: Kind = "two_head"
    law: TraceLaw = field(default_factory=lambda: TraceLaw(terse=0.4))
    steps: int = 400
    batch: int = 16
    learning_rate: float = 5e-3
    seed: int = 7


def target_for(model: PreTrainedModel, kind: Kind) -> Target:
    """The policy with the taps of a kind of draft."""
    return Target(model, NETWORKS[kind].taps(model.config.num_hidden_layers))


def new_network(kind: Kind, model: PreTrainedModel, seed: int) -> DraftNetwork:
    """Randomly initialised draft that shares the embeddings of `model`; leaves the global generator alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[kind](model)


def token_loss(kind: Kind, network: DraftNetwork, target: Target, batch: Texts) -> Float[Tensor, ""]:
    """The loss of a kind on responses: the paper's, or its own kind's as in common."""
    reading = read_texts(target, batch.ids)
    supervised = torch.zeros_like(batch.ids, dtype=torch.bool)
    supervised[:, :-1] = batch.labels[:, 1:] != IGNORED
    if kind == "two_head":
        return draft_loss(network, batch.ids, reading.features, supervised).mean()
    unrolled = unroll_text(network, batch.ids, reading.features, reading.logits, supervised, UNROLLED[kind])
    return eagle3_loss(unrolled) if kind == "eagle3" else eagle_loss(unrolled)


def train(recipe: DraftRecipe) -> DraftNetwork:
    """Pre-training on supervised traces, every one seen once; the target stays as it is."""
    model = load(policy_folder(recipe.policy)).requires_grad_(False)
    network, target = new_network(recipe.kind, model, recipe.seed), target_for(model, recipe.kind)
    data = batches(recipe.law, LadderConfig(seed=DATA_SEED + 1000 + recipe.seed), recipe.batch)
    fit(
        network.parameters(),
        lambda _: token_loss(recipe.kind, network, target, next(data)),
        recipe.steps,
        recipe.learning_rate,
    )
    return network


def pretrained(recipe: DraftRecipe, model: PreTrainedModel) -> DraftNetwork:
    """The draft of a recipe, on the embeddings of `model` as they are now; trained on first use."""
    empty = new_network(recipe.kind, model, recipe.seed)
    return Checkpoint.of(recipe, empty, lambda: Checkpoint(train(recipe))).network


def roots(prompts: Sequence[int], lengths: Sequence[int], count: int) -> Iterator[list[int]]:
    """`count` places, evenly spread over each response, whose next tokens a tree proposes.

    Args:
        prompts: Tokens of each prompt; its last one is the first root.
        lengths: Tokens of each response.
        count: Places in each; a short response has some of them twice.
    """
    for prompt, length in zip(prompts, lengths, strict=True):
        yield [prompt - 1 + index * max(0, length - 1) // max(1, count - 1) for index in range(count)]
