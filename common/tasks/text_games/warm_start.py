"""A pocket policy that knows the coin game's words and a little of searching, from noisy gold paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from common.agents.episodes import Codec, Rules
from common.models.pocket import build_tokenizer
from common.models.recipe import IGNORED, ModelShape, Policy, build_model, cached, fit, next_token_loss
from common.tasks.text_games.coin import (
    BOS,
    EOS,
    LONGEST,
    PAD,
    VOCABULARY,
    Demonstration,
    demonstrate,
    game,
    reading,
    worlds,
)

CONTEXT = 512
IDS = {word: place for place, word in enumerate(VOCABULARY)}
CODEC = Codec(
    observation=lambda text: encode(reading(text)),
    action=lambda ids: " ".join(VOCABULARY[token] for token in ids if token != IDS[EOS]),
    head=lambda _: [IDS[BOS]],
)
RULES = Rules(ends=(IDS[EOS],), turns=LONGEST, turn_tokens=6, context=CONTEXT, observation=16, seconds=600.0)
"""A simulator that shares busy cores may take long to answer, but never fails to."""


@dataclass(frozen=True)
class CoinRecipe:
    """Everything that decides the warm start's weights.

    Attributes:
        shape: Of the decoder.
        demonstrations: Worlds of the training split, the first ones, that are demonstrated.
        noise: Probability of a detour before an action of the gold path.
        steps: AdamW steps.
        batch: Demonstrations of a step.
        learning_rate: Peak.
        seed: Of weights, detours and order.
    """

    shape: ModelShape = field(default_factory=lambda: ModelShape(context=CONTEXT))
    demonstrations: int = 200
    noise: float = 0.3
    steps: int = 100
    batch: int = 16
    learning_rate: float = 3e-3
    seed: int = 0


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word."""
    return build_tokenizer(VOCABULARY, PAD, BOS, EOS)


def encode(words: Sequence[str]) -> list[int]:
    """Token ids of words."""
    return [IDS[word] for word in words]


def written(demonstration: Demonstration) -> tuple[list[int], list[int]]:
    """Token ids of an episode as the policy reads it, and 1 on those that are its own."""
    ids, own = [IDS[BOS]], [0]
    for words, action in zip(demonstration.readings, demonstration.actions, strict=True):
        told, said = encode(words), [*encode(action.split()), IDS[EOS]]
        ids += [*told, *said]
        own += [0] * len(told) + [1] * len(said)
    return ids[:CONTEXT], own[:CONTEXT]


def padded(demonstrations: Sequence[Demonstration]) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """Token ids, padded on the right, and labels: the same on own tokens, `IGNORED` elsewhere."""
    pairs = [[torch.tensor(part) for part in written(each)] for each in demonstrations]
    pad = torch.nn.utils.rnn.pad_sequence
    ids = pad([ids for ids, _ in pairs], batch_first=True, padding_value=IDS[PAD])
    own = pad([own for _, own in pairs], batch_first=True, padding_value=0)
    return ids, ids.where(own.bool(), IGNORED)


def demonstrations(split: str, count: int, noise: float, seed: int) -> list[Demonstration]:
    """Of the first worlds of a split."""
    player = game()
    return [demonstrate(player, world, noise, seed) for world in worlds(split, count)]


def train(recipe: CoinRecipe) -> Policy:
    """Supervised training on the actions of demonstrations."""
    model = build_model(recipe.shape, tokenizer(), recipe.seed)
    shown = demonstrations("train", recipe.demonstrations, recipe.noise, recipe.seed)
    dice = torch.Generator().manual_seed(recipe.seed)

    def loss(_: int) -> Tensor:
        chosen = torch.randint(len(shown), (recipe.batch,), generator=dice)
        return next_token_loss(model, *padded([shown[index] for index in chosen]))

    model.train()
    fit(model.parameters(), loss, recipe.steps, recipe.learning_rate)
    return Policy(model.eval(), tokenizer())


def warm_start(recipe: CoinRecipe) -> Path:
    """Folder of the trained policy, made on first use."""
    return cached(recipe, lambda: train(recipe))
