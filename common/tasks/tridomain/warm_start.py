"""The target that learns the three domains: sixteen layers, 64 wide, trained from scratch, kept by recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from common.models.pocket import build_tokenizer
from common.models.recipe import IGNORED, ModelShape, build_model, cached, fit, next_token_loss
from common.tasks import tridomain
from common.tasks.tridomain import Domain, Item, Split, TriDomainConfig

SLOT_VALUES, LARGEST, OPERATIONS = 4, 10, (2, 3)  # what a target of this size can learn in minutes
TAUGHT: tuple[Domain, ...] = ("chat", "math", "code", "math")  # arithmetic takes the most practice
TRAINING_SEED = 1_000_000
POOL = 64  # batches whose sequences are sorted by length together


@dataclass(frozen=True)
class TargetRecipe:
    """Everything that decides the target's weights.

    Attributes:
        layers: Decoder layers.
        hidden: Width.
        ffn: Width of the gated feed-forward layer.
        steps: AdamW steps on a cosine schedule.
        batch: Conversations of a step.
        learning_rate: Peak.
        seed: Of the initial weights and of the training conversations.
    """

    layers: int = 16
    hidden: int = 64
    ffn: int = 192
    steps: int = 2000
    batch: int = 16
    learning_rate: float = 4e-3
    seed: int = 0

    def shape(self) -> ModelShape:
        """Shape of the decoder; four heads."""
        return ModelShape(self.hidden, self.layers, kv_heads=2, ffn=self.ffn, context=512, tied=True)


class Texts(NamedTuple):
    """Conversations as rows padded on the right.

    Attributes:
        ids: Token ids.
        supervised: Places t whose next token t + 1 belongs to an answer.
    """

    ids: Int[Tensor, "B T"]
    supervised: Bool[Tensor, "B T"]


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Word-level tokenizer of `common.tasks.tridomain`."""
    return build_tokenizer(tridomain.VOCABULARY, tridomain.PAD, tridomain.BOS, tridomain.EOS)


def encode(words: Sequence[str]) -> Int[Tensor, " T"]:
    """Token ids of words."""
    return torch.tensor(tokenizer().convert_tokens_to_ids(list(words)))


def corpus(seed: int, size: int, split: Split = "train") -> TriDomainConfig:
    """The three domains at the difficulty of this study."""
    return TriDomainConfig(
        seed=seed,
        size=size,
        split=split,
        slot_values=SLOT_VALUES,
        largest=LARGEST,
        operations=OPERATIONS,
    )


def texts(items: Sequence[Item]) -> Texts:
    """A batch of conversations."""
    width = max(len(item.tokens) for item in items)
    ids = torch.full((len(items), width), tokenizer().pad_token_id)
    supervised = torch.zeros(len(items), width, dtype=torch.bool)
    for row, item in enumerate(items):
        words = encode(item.tokens)
        ids[row, : len(words)] = words
        supervised[row, : len(words) - 1] = torch.tensor(item.answered[1:])
    return Texts(ids, supervised)


def train(recipe: TargetRecipe) -> Qwen3ForCausalLM:
    """Next-token training on the answers of fresh conversations, every one seen once."""
    model = build_model(recipe.shape(), tokenizer(), recipe.seed)
    drawn = replace(corpus(TRAINING_SEED + recipe.seed, 1), domains=TAUGHT)
    order = np.random.default_rng(recipe.seed)
    batches: list[Texts] = []

    def loss(step: int) -> Tensor:
        if step % POOL == 0:
            first, count = step * recipe.batch, POOL * recipe.batch
            pool = [tridomain.item(drawn, index) for index in range(first, first + count)]
            batches[:] = shuffled_batches(pool, recipe.batch, order)
        batch = batches[step % POOL]
        labels = torch.full_like(batch.ids, IGNORED)
        labels[:, 1:] = batch.ids[:, 1:].masked_fill(~batch.supervised[:, :-1], IGNORED)
        return next_token_loss(model, batch.ids, labels)

    fit(model.parameters(), loss, recipe.steps, recipe.learning_rate)
    return model


def shuffled_batches(items: Sequence[Item], size: int, rng: np.random.Generator) -> list[Texts]:
    """All items in batches of similar length, in random order."""
    place = sorted(range(len(items)), key=lambda index: len(items[index].tokens))
    batches = [place[start : start + size] for start in range(0, len(place), size)]
    return [texts([items[index] for index in batches[number]]) for number in rng.permutation(len(batches))]


def load(recipe: TargetRecipe) -> Qwen3ForCausalLM:
    """The trained target in evaluation mode, without gradients; trained on first use."""
    place = cached(recipe, lambda: train(recipe))
    model = Qwen3ForCausalLM.from_pretrained(place, use_safetensors=True, local_files_only=True)
    return model.requires_grad_(False).eval()
