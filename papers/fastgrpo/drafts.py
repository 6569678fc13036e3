"""Drafts trained before reinforcement learning, kept by recipe: the paper's, EAGLE-2's, HASS-like, EAGLE-3's.

All learn from the same supervised traces with the same number of steps and the same learning rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from common.models.tiny import IGNORED, cached, fit
from common.speculative.drafts import FeatureDraft
from common.speculative.networks import DraftNetwork, Eagle3Network, EagleNetwork
from common.speculative.packed import score_packed_trees
from common.speculative.target import Reading, Target
from common.speculative.tree import TreePolicy, expected_accept_length
from common.speculative.unroll import eagle3_loss, eagle_loss, unroll_text
from common.tasks.ladder import LadderConfig, TraceLaw
from papers.fastgrpo.method import TwoHeadEagleNetwork, draft_loss
from papers.fastgrpo.policy import (
    DATA_SEED,
    PolicyRecipe,
    Texts,
    batches,
    load,
    models_folder,
    policy_folder,
)

Kind = Literal["two_head", "eagle2", "hass", "eagle3"]
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
    steps: int = 200
    batch: int = 16
    learning_rate: float = 2e-3
    seed: int = 7


def taps(kind: Kind, layers: int) -> tuple[int, ...]:
    """What a draft reads: inputs of layers 2, L/2 and L - 3 (EAGLE-3), or the final normed state."""
    return (min(2, layers - 1), layers // 2, max(layers - 3, 0)) if kind == "eagle3" else (layers,)


def target_for(model: PreTrainedModel, kind: Kind) -> Target:
    """The policy with the taps of a kind of draft."""
    return Target(model, taps(kind, model.config.num_hidden_layers))


def new_network(kind: Kind, model: PreTrainedModel, seed: int) -> DraftNetwork:
    """Randomly initialised draft that shares the embeddings of `model`; leaves the global generator alone."""
    networks = {
        "two_head": TwoHeadEagleNetwork,
        "eagle2": EagleNetwork,
        "hass": EagleNetwork,
        "eagle3": Eagle3Network,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return networks[kind](model)


@torch.no_grad()
def read(target: Target, ids: Tensor) -> Reading:
    """The target's view of whole texts, padded on the right."""
    rows, width = ids.shape
    steps = torch.arange(width, device=ids.device)
    mask = torch.zeros(width, width, dtype=target.dtype, device=ids.device)
    mask.masked_fill_(steps[:, None] < steps, torch.finfo(target.dtype).min)
    return target.read(ids, steps.expand(rows, -1), mask.expand(rows, 1, -1, -1))


def token_loss(kind: Kind, network: DraftNetwork, target: Target, batch: Texts) -> Float[Tensor, ""]:
    """The loss of a kind on responses: the paper's, or its own kind's as in common."""
    reading = read(target, batch.ids)
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


@dataclass(frozen=True)
class _Weights:
    """A trained draft that can write itself, as `cached` asks of a model."""

    network: DraftNetwork

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.network.state_dict(), folder / "draft.safetensors")


def pretrained(recipe: DraftRecipe, model: PreTrainedModel) -> DraftNetwork:
    """The draft of a recipe, on the embeddings of `model` as they are now; trained on first use."""
    place = cached(recipe, models_folder(), lambda: _Weights(train(recipe)))
    network = new_network(recipe.kind, model, recipe.seed)
    network.load_state_dict(load_file(place / "draft.safetensors"))
    return network


def roots(prompts: Sequence[int], lengths: Sequence[int], count: int) -> Iterator[list[int]]:
    """`count` places, evenly spread over each response, whose next tokens a tree proposes.

    Args:
        prompts: Tokens of each prompt; its last one is the first root.
        lengths: Tokens of each response.
        count: Places in each; a short response has some of them twice.
    """
    for prompt, length in zip(prompts, lengths, strict=True):
        yield [prompt - 1 + index * max(0, length - 1) // max(1, count - 1) for index in range(count)]


@torch.no_grad()
def acceptance(
    network: DraftNetwork,
    target: Target,
    ids: Tensor,
    features: Tensor,
    places: Tensor,
    policy: TreePolicy,
) -> Float[Tensor, " BP"]:
    """Expected acceptance length, the target's own token counted, of the trees below chosen places of texts.

    Exact at temperature 1: a sum over nodes, no draw.

    Args:
        network: The draft.
        target: The model that has computed the features.
        ids: Texts, padded on the right, shape (B, T).
        features: Of all tokens but the last, shape (B, T - 1, F).
        places: Roots, shape (B, P); at least 1.
        policy: Shape of the trees.
    """
    draft = FeatureDraft(network)
    rows, width = ids.shape
    draft.begin(ids[:, 0], width + draft.slots(policy))
    draft.extend(features, ids[:, 1:], torch.full((rows,), width - 1))
    each = torch.arange(rows).repeat_interleave(places.shape[1])
    trees = draft.at(each, places.flatten() - 1).propose(policy)
    scores = score_packed_trees(target, ids, places, trees)
    return 1.0 + expected_accept_length(trees, scores.log_p)
