"""Warm starts for ToolCall-Mini: supervised training on traces that go wrong at known rates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import torch
from jaxtyping import Int
from torch import Tensor
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
from common.tasks import toolcall
from common.tasks.toolcall import BOS, EOS, PAD, VOCABULARY, Noise


@dataclass(frozen=True)
class WarmStart:
    """Recipe of a warm start.

    Attributes:
        model: Shape of the model.
        noise: Rates at which the traces go wrong.
        steps: Optimizer steps, each on `batch` fresh traces.
        batch: Sequences per step.
        learning_rate: Peak of AdamW's learning rate, after `warmup` steps, then a cosine to 0.
        warmup: Steps of linear warm-up.
    """

    model: ModelShape = field(default_factory=lambda: ModelShape(context=192))
    noise: Noise = field(default_factory=Noise)
    steps: int = 1600
    batch: int = 32
    learning_rate: float = 3e-3
    warmup: int = 50


SKETCH = WarmStart(steps=10, batch=8, warmup=2)


def batches(
    config: WarmStart, tokenizer: PreTrainedTokenizerBase, seed: int
) -> Iterator[tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]]:
    """Endless batches of (ids, labels), padded on the right; labels hold the response only."""
    index = tokenizer.get_vocab()
    steps = toolcall.stream(seed)
    while True:
        rows = []
        for item, rng in islice(steps, config.batch):
            prompt = item.prompt.split()
            rows.append((len(prompt), [*prompt, *toolcall.trace(item, rng, config.noise)]))
        width = max(len(tokens) for _, tokens in rows)
        ids = torch.full((config.batch, width), tokenizer.pad_token_id)
        labels = torch.full_like(ids, IGNORED)
        for row, (start, tokens) in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor([index[token] for token in tokens])
            labels[row, start : len(tokens)] = ids[row, start : len(tokens)]
        yield ids, labels


def warm_start(config: WarmStart, seed: int) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerBase, list[float]]:
    """Train one policy; `seed` fixes initialisation and data.

    Returns:
        The model in evaluation mode, its tokenizer, and the loss of each step in nats.
    """
    tokenizer = build_tokenizer(VOCABULARY, PAD, BOS, EOS)
    model = build_model(config.model, tokenizer, seed).train()
    data = batches(config, tokenizer, seed)
    losses = fit(
        model.parameters(),
        lambda _: next_token_loss(model, *next(data)),
        config.steps,
        config.learning_rate,
        cosine(config.warmup, config.steps),
        torch.optim.AdamW,
    )
    return model.eval(), tokenizer, losses


def warm_started(recipe: WarmStart, seed: int) -> str:
    """Folder of a seed's warm start, trained on first use; three take turns."""
    return str(cached(recipe, lambda: Policy(*warm_start(recipe, seed % 3)[:2]), seed % 3))


def pocket(seed: int) -> str:
    """Folder of a seed's warm start."""
    return warm_started(WarmStart(), seed)


def sketch(seed: int) -> str:
    """Folder of one that has seen a few traces: for trials of the machinery, it calls nothing rightly."""
    return warm_started(SKETCH, seed)
