"""A draft of SmolLM2: greedy answers of the target, and EAGLE-3 with few tokens trained on them.

Both are recipes, made on first use and kept. The layer starts as a copy of the target's last one, reading the
deepest tap: a few hundred steps are all that two cores allow, and from random weights they go into learning
what a layer is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from common.models.decoding import sample
from common.models.pretrained import load_smollm2
from common.models.recipe import cached, fit
from common.speculative.checkpoint import Checkpoint
from common.speculative.prompts import STYLES, Split, prompts
from common.speculative.reduced import ReducedEagle3Network, frequent_tokens, unroll_reduced
from common.speculative.target import Target
from common.speculative.texts import read_texts
from common.speculative.unroll import eagle3_loss

LONGEST = 256  # tokens of a prompt; longer ones are left out
READ = 16  # texts of a forward of the target
Row = dict[str, Tensor]
"""A text: `ids`, and `supervised`, the places whose next token the target chose."""


_loaded = cache(load_smollm2)


@cache
def smollm2(dtype: torch.dtype = torch.bfloat16) -> Target:
    """SmolLM2, frozen, with the taps of EAGLE-3."""
    model: Any = _loaded(dtype)[0].requires_grad_(False)
    return Target(model, ReducedEagle3Network.taps(model.config.num_hidden_layers))


def tokenizer() -> Any:
    """SmolLM2's."""
    return _loaded(torch.bfloat16)[1]


def encoded(style: str, split: Split, count: int, seed: int = 0) -> list[Int[Tensor, " p"]]:
    """Up to `count` prompts of at most `LONGEST` tokens, as a user's turn of a chat."""
    found: list[Tensor] = []
    for text in prompts(style, split, 10**6, seed):
        if len(found) == count:
            break
        chat = [{"role": "user", "content": text}]
        ids = tokenizer().apply_chat_template(
            chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )["input_ids"][0]
        if len(ids) <= LONGEST:
            found.append(ids)
    return found


@dataclass(frozen=True)
class Texts:
    """Prompts and answers, one text behind the other.

    Attributes:
        ids: Tokens of all texts.
        sizes: Tokens of each text.
        prompts: Tokens of each prompt.
    """

    ids: Int[Tensor, " n"]
    sizes: Int[Tensor, " N"]
    prompts: Int[Tensor, " N"]

    def save_pretrained(self, folder: Path) -> None:
        """Write one file."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(vars(self), folder / "texts.safetensors")

    def rows(self) -> list[Row]:
        """A text a row, its last token left out: nothing follows it."""
        every = zip(self.ids.split(self.sizes.tolist()), self.prompts.tolist(), strict=True)
        return [
            {"ids": ids[:-1], "supervised": torch.arange(len(ids) - 1) >= start - 1} for ids, start in every
        ]

    @property
    def written(self) -> Int[Tensor, " t"]:
        """Tokens of all answers."""
        every = zip(self.ids.split(self.sizes.tolist()), self.prompts.tolist(), strict=True)
        return torch.cat([ids[start:] for ids, start in every])


@dataclass(frozen=True)
class TextRecipe:
    """Greedy answers of SmolLM2 in bfloat16.

    Attributes:
        split: Of the prompts.
        code, arithmetic, chat: Prompts of each style, at most.
        tokens: Longest answer.
        batch: Rows that are written at once.
        seed: Of the choice of prompts.
    """

    split: Split = "train"
    code: int = 132
    arithmetic: int = 200
    chat: int = 209
    tokens: int = 112
    batch: int = 96
    seed: int = 0

    def write(self) -> Texts:
        """Let the target answer, prompts of similar length together."""
        every = [
            row for style in STYLES for row in encoded(style, self.split, getattr(self, style), self.seed)
        ]
        every.sort(key=len)
        texts = [
            torch.cat([prompt, answer])
            for start in range(0, len(every), self.batch)
            for some in [every[start : start + self.batch]]
            for prompt, answer in zip(some, self._answers(some), strict=True)
        ]
        sizes = [torch.tensor([len(row) for row in rows]) for rows in (texts, every)]
        return Texts(torch.cat(texts), *sizes)

    def _answers(self, some: Sequence[Int[Tensor, " p"]]) -> list[Int[Tensor, " t"]]:
        pad, end = tokenizer().pad_token_id, tokenizer().eos_token_id
        ids, mask = (
            torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=fill, padding_side="left")
            for rows, fill in ((list(some), pad), ([torch.ones_like(row) for row in some], 0))
        )
        done = sample(smollm2().model, ids, mask, self.tokens, 0.0, end, pad)
        return [row[kept.bool()] for row, kept in zip(done.ids, done.mask, strict=True)]


@cache
def texts(recipe: TextRecipe) -> Texts:
    """The texts of a recipe, written on first use."""
    return Texts(**load_file(cached(recipe, recipe.write) / "texts.safetensors"))


@dataclass(frozen=True)
class RealDraftRecipe:
    """Everything that decides the weights of a draft of SmolLM2.

    Attributes:
        texts: What it learns from.
        kept: Tokens of its vocabulary.
        steps: AdamW steps on a cosine schedule.
        batch: Texts of a step.
        learning_rate: Peak.
        unroll: Steps of training-time test.
        seed: Of weights and order.
    """

    texts: TextRecipe = field(default_factory=TextRecipe)
    kept: int = 4096
    steps: int = 400
    batch: int = 12
    learning_rate: float = 1e-3
    unroll: int = 3
    seed: int = 0

    def empty(self) -> ReducedEagle3Network:
        """The draft before training, in float32."""
        target = smollm2()
        kept = frequent_tokens(texts(self.texts).written, target.vocabulary, self.kept)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return start(ReducedEagle3Network(target.model, kept).float(), target)

    def train(self) -> Checkpoint:
        """Soft cross-entropy to the target, unrolled as decoding unrolls."""
        network, order = self.empty(), np.random.default_rng(self.seed)
        rows = read(smollm2(), texts(self.texts).rows(), network.kept)
        epochs = self.steps * self.batch // len(rows) + 1
        places = np.concatenate([order.permutation(len(rows)) for _ in range(epochs)])

        def loss(step: int) -> Tensor:
            some = [rows[i] for i in places[step * self.batch : (step + 1) * self.batch]]
            return token_loss(network, some, self.unroll)

        return Checkpoint(network, {"loss": fit(network.parameters(), loss, self.steps, self.learning_rate)})


def trained(recipe: RealDraftRecipe) -> Checkpoint:
    """The draft of a recipe, trained on first use."""
    return Checkpoint.of(recipe, recipe.empty(), recipe.train)


@torch.no_grad()
def start(network: ReducedEagle3Network, target: Target) -> ReducedEagle3Network:
    """Copy the target's last layer; embedding and shallow taps come in at a tenth of their random weights."""
    last: Any = target.layers[-1]
    attention, mlp, width = last.self_attn, last.mlp, network.hidden
    both = torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight])
    network.attention.qkv.weight[:, width:].copy_(both)
    network.attention.qkv.weight[:, :width].mul_(0.1)
    network.attention.out.weight.copy_(attention.o_proj.weight)
    network.mlp.up.weight.copy_(torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]))
    network.mlp.down.weight.copy_(mlp.down_proj.weight)
    network.hidden_norm.weight.copy_(last.input_layernorm.weight)
    network.mlp_norm.weight.copy_(last.post_attention_layernorm.weight)
    network.out_norm.weight.copy_(target.model.get_decoder().norm.weight)
    network.fc.weight.mul_(0.1)
    network.fc.weight[:, -width:] += torch.eye(width)
    return network


def read(target: Target, rows: Sequence[Row], kept: Int[Tensor, " k"]) -> list[Row]:
    """Rows with the target's `states` (the draft's taps, then what the head reads), and `supervised` cut to
    places whose likeliest token is kept.

    A state takes a seventh of the room of its logits of a few thousand tokens.
    """
    whole = Target(target.model, (*target.taps, len(target.layers)))
    found: list[Row] = []
    by_length = sorted(rows, key=lambda row: len(row["ids"]))
    for place in range(0, len(by_length), READ):
        some = by_length[place : place + READ]
        text = read_texts(whole, pad([row["ids"] for row in some]))
        for row, states, logits in zip(some, text.features, text.logits, strict=True):
            size = len(row["ids"])
            supervised = row["supervised"] & within(logits[:size], kept)
            found.append(row | {"states": states[:size].clone(), "supervised": supervised})
    return found


def within(logits: Float[Tensor, "*B V"], kept: Int[Tensor, " k"]) -> Bool[Tensor, "*B"]:
    """The likeliest token is a kept one."""
    return torch.isin(logits.argmax(dim=-1), kept)


def pad(rows: Sequence[Tensor]) -> Tensor:
    """Rows of a batch, padded on the right."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)


def token_loss(network: ReducedEagle3Network, rows: Sequence[Row], steps: int) -> Float[Tensor, ""]:
    """The loss of rows that were `read`, products in bfloat16."""
    ids, states, supervised = (pad([row[name] for row in rows]) for name in ("ids", "states", "supervised"))
    features, last = states.split([network.feature_size, network.hidden], dim=-1)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network.kept_logits(last)
        unrolled = unroll_reduced(network, ids, features.float(), logits, supervised, steps)
    return eagle3_loss(unrolled)
