"""The policy: a sixteen-layer decoder taught ladder's two dialects with corrupted digits, kept by recipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from tokenizers import Regex, Tokenizer, decoders
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from common.models.recipe import IGNORED, ModelShape, build_model, cached, fit, next_token_loss
from common.tasks import ladder
from common.tasks.ladder import LadderConfig, TraceLaw

DATA_SEED = 3_000_000  # of the supervised traces, far from every training seed
POOL = 32  # batches whose traces are sorted by length together
LONGEST = 160
"""Most new tokens of a response; a right verbose one of 16 terms has about 150."""


@dataclass(frozen=True)
class PolicyRecipe:
    """Everything that decides the warm start's weights.

    Attributes:
        shape: Shape of the decoder.
        law: Dialects and corruption of the traces.
        steps: AdamW steps on a cosine schedule.
        batch: Traces of a step.
        learning_rate: Peak.
        easy_share: Part of the training on short sums, which come first.
        easy_p: Their geometric parameter.
        seed: Of the initial weights and of the traces.
    """

    shape: ModelShape = field(
        default_factory=lambda: ModelShape(layers=16, kv_heads=2, ffn=192, context=256, tied=True)
    )
    law: TraceLaw = field(default_factory=lambda: TraceLaw(terse=0.4))
    steps: int = 1600
    batch: int = 16
    learning_rate: float = 3e-3
    easy_share: float = 0.6
    easy_p: float = 0.4
    seed: int = 0


class Texts(NamedTuple):
    """Prompts with responses, padded on the right.

    Attributes:
        ids: Token ids.
        labels: The same on the response, `IGNORED` elsewhere.
    """

    ids: Int[Tensor, "B T"]
    labels: Int[Tensor, "B T"]


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """One token a character; the id of a token is its place in the task's vocabulary."""
    words = Tokenizer(WordLevel({token: index for index, token in enumerate(ladder.VOCABULARY)}))
    words.pre_tokenizer = Split(Regex("."), "isolated")
    words.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token=ladder.PAD,
        bos_token=ladder.BOS,
        eos_token=ladder.EOS,
        padding_side="left",
    )


def encode(text: str) -> Int[Tensor, " T"]:
    """Token ids of a prompt or response."""
    return torch.tensor(tokenizer()(text)["input_ids"])


def decode(ids: Sequence[int] | Int[Tensor, " T"]) -> str:
    """Inverse of `encode`."""
    return "".join(ladder.VOCABULARY[int(token)] for token in ids)


def batches(law: TraceLaw, sums: LadderConfig, size: int) -> Iterator[Texts]:
    """Endless batches of fresh traces, each of similar length, in random order."""
    order = np.random.default_rng(sums.seed)
    traces = (
        (encode(item.prompt), encode(ladder.trace(item, rng, law))) for item, rng in ladder.stream(sums)
    )
    while True:
        pool = sorted(islice(traces, POOL * size), key=lambda pair: len(pair[0]) + len(pair[1]))
        for index in order.permutation(POOL):
            yield texts(pool[index * size : (index + 1) * size])


def texts(pairs: Sequence[tuple[Tensor, Tensor]]) -> Texts:
    """Prompts and responses as one batch."""
    ids = [torch.cat(pair) for pair in pairs]
    labels = [torch.cat([torch.full_like(prompt, IGNORED), answer]) for prompt, answer in pairs]
    pad = torch.nn.utils.rnn.pad_sequence
    return Texts(
        pad(ids, batch_first=True, padding_value=tokenizer().pad_token_id),
        pad(labels, batch_first=True, padding_value=IGNORED),
    )


def train(recipe: PolicyRecipe) -> Qwen3ForCausalLM:
    """Supervised training on the responses; every trace is seen once."""
    model = build_model(recipe.shape, tokenizer(), recipe.seed)
    sums = LadderConfig(seed=DATA_SEED + 2 * recipe.seed)
    easy = batches(recipe.law, replace(sums, seed=sums.seed + 1, p=recipe.easy_p), recipe.batch)
    every = batches(recipe.law, sums, recipe.batch)

    def loss(step: int) -> Tensor:
        data = easy if step < recipe.easy_share * recipe.steps else every
        return next_token_loss(model, *next(data))

    fit(model.parameters(), loss, recipe.steps, recipe.learning_rate)
    return model


def policy_folder(recipe: PolicyRecipe) -> Path:
    """Folder of the warm start; trained on first use."""
    return cached(recipe, lambda: train(recipe))


def load(folder: Path) -> Qwen3ForCausalLM:
    """A saved policy in evaluation mode."""
    return Qwen3ForCausalLM.from_pretrained(folder, use_safetensors=True, local_files_only=True).eval()
