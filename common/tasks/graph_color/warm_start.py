"""Base policies for graph colouring: a pocket Qwen3 model that colours greedily in any order, and slips.

Training can teach such a policy not to slip, and to look ahead. `base_policy` trains it on first use.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase, Qwen3ForCausalLM

from common.models.pocket import build_tokenizer
from common.models.recipe import (
    IGNORED,
    ModelShape,
    Policy,
    build_model,
    cached,
    cosine,
    fit,
    next_token_loss,
)
from common.tasks.graph_color import BOS, EOS, LINKED, PAD, VOCABULARY, stream, write


@dataclass(frozen=True)
class BaseConfig:
    """Recipe of a base policy.

    Attributes:
        model: Shape of the model.
        slips: Rate at which a vertex gets any colour.
        steps: Optimizer steps, each on `batch` fresh colourings.
        batch: Colourings of a step.
        learning_rate: Peak of AdamW's cosine schedule.
        warmup: Steps of linear warm-up.
        seed: Of graphs, colourings and initialisation.
    """

    model: ModelShape = field(default_factory=lambda: ModelShape(hidden=64, layers=2, ffn=128))
    slips: float = 0.2
    steps: int = 3000
    batch: int = 32
    learning_rate: float = 3e-3
    warmup: int = 50
    seed: int = 0


def base_policy(_seed: int) -> str:
    """Folder of the one base policy, whatever the seed."""
    config = BaseConfig()
    return str(cached(config, lambda: train_base(config)))


def train_base(config: BaseConfig) -> Policy:
    """Train one base policy."""
    tokenizer = build_tokenizer(VOCABULARY, PAD, BOS, EOS)
    model = build_model(config.model, tokenizer, config.seed).train()
    _link(model, tokenizer)
    data = batches(config, tokenizer)
    fit(
        model.parameters(),
        lambda _: next_token_loss(model, *next(data)),
        config.steps,
        config.learning_rate,
        cosine(config.warmup, config.steps, first=0),
    )
    return Policy(model.eval(), tokenizer)


def batches(
    config: BaseConfig, tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]]:
    """Endless batches of (ids, labels), padded on the right; labels hold the response only."""
    graphs, rng = stream("train", config.seed), np.random.default_rng(config.seed)
    while True:
        ids, labels = [], []
        for item in islice(graphs, config.batch):
            asked, told = item.prompt.split(), [*write(item, rng, config.slips).split(), EOS]
            ids.append(torch.tensor(tokenizer.convert_tokens_to_ids([*asked, *told])))
            labels.append(ids[-1].clone())
            labels[-1][: len(asked)] = IGNORED
        yield (
            pad_sequence(ids, batch_first=True, padding_value=float(tokenizer.pad_token_id)),
            pad_sequence(labels, batch_first=True, padding_value=IGNORED),
        )


@torch.no_grad()
def _link(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    """Let a vertex with its neighbours begin as the vertex and their turned sum, and outputs as inputs.

    So that a small model need not learn 80 words one by one.
    """
    vectors: Any = model.get_input_embeddings().weight
    index = tokenizer.get_vocab()
    for word, (vertex, *others) in LINKED.items():
        turned = [vectors[index[other]].roll(len(vectors[0]) // 2) for other in others]
        vectors[index[word]] = vectors[index[vertex]] + sum(turned)
    model.get_output_embeddings().weight.copy_(vectors)
