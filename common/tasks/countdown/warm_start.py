"""Base policies for Countdown: pocket Qwen3 models that can reckon and solve a question now and then.

They stand for a pretrained language model: they combine the numbers of a question, reckon, say whether an
attempt reached the target, follow a hint, and turn steps into an expression. Targets are the values of random
steps, so that most attempts of what they imitate are blind. `base_policy` trains one on first use.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

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
from common.tasks.countdown import (
    BOS,
    DONE,
    EOS,
    HIGHEST_NUMBER,
    HIGHEST_TARGET,
    NO,
    OK,
    PAD,
    SIZE,
    VOCABULARY,
    Question,
    attempt,
    expression,
    failing,
    held_out,
    worded,
)


@dataclass(frozen=True)
class BaseConfig:
    """Recipe of a base policy.

    Attributes:
        model: Shape of the model.
        steps: Optimizer steps, each on `batch` fresh rows.
        batch: Rows per step.
        learning_rate: Peak of AdamW's cosine schedule.
        warmup: Steps of linear warm-up.
        hinted: Share of rows whose prompt shows the answer.
        answers: Share of rows whose prompt shows the trace; the answer alone is scored.
        solved: Share of rows that find the target without either; the rest are attempts that fail.
    """

    model: ModelShape = field(
        default_factory=lambda: ModelShape(hidden=64, layers=2, heads=4, ffn=128, context=64, tied=True)
    )
    steps: int = 800
    batch: int = 32
    learning_rate: float = 5e-3
    warmup: int = 50
    hinted: float = 0.25
    answers: float = 0.1
    solved: float = 0.55


def numbers(rng: np.random.Generator) -> tuple[int, ...]:
    """Random numbers of the training split."""
    while held_out(drawn := rng.integers(1, HIGHEST_NUMBER + 1, size=SIZE).tolist()):
        pass
    return tuple(drawn)


def row(config: BaseConfig, rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """A prompt and what follows it: blind attempts on the value of other blind steps, perhaps with these at
    the end, or the answer to such a trace.
    """
    shown, kind = numbers(rng), rng.random()
    while not 1 <= (steps := attempt(shown, rng))[-1][-1] <= HIGHEST_TARGET:
        pass
    question, answer = Question(shown, steps[-1][-1]), expression(steps)
    if kind > config.hinted + config.answers + config.solved:
        return question.text.split(), tried(question, 3, rng)
    hinted = kind > config.answers + config.solved
    before = tried(question, int(rng.integers(2 if hinted else 3)), rng)
    trace, end = [*before, *worded(shown, steps), OK, DONE], [*answer.split(), EOS]
    if kind < config.answers:
        return [*question.text.split(), *trace], end
    prompt = question.hinted(answer) if hinted else question.text
    return prompt.split(), [*trace, *end]


def tried(question: Question, count: int, rng: np.random.Generator) -> list[str]:
    """Tokens of blind attempts that fail."""
    tries = [worded(question.numbers, failing(question, rng)) for _ in range(count)]
    return [word for words in tries for word in (*words, NO)]


def batches(
    config: BaseConfig, tokenizer: PreTrainedTokenizerBase, seed: int
) -> Iterator[tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]]:
    """Endless batches of (ids, labels), padded on the right; labels hold what follows the prompt."""
    index = tokenizer.get_vocab()
    rng = np.random.default_rng((seed, 0xC0))
    while True:
        rows = [row(config, rng) for _ in range(config.batch)]
        width = max(len(prompt) + len(rest) for prompt, rest in rows)
        ids = torch.full((config.batch, width), tokenizer.pad_token_id)
        labels = torch.full_like(ids, IGNORED)
        for place, (prompt, rest) in enumerate(rows):
            length = len(prompt) + len(rest)
            ids[place, :length] = torch.tensor([index[word] for word in (*prompt, *rest)])
            labels[place, len(prompt) : length] = ids[place, len(prompt) : length]
        yield ids, labels


def base_policy(config: BaseConfig, seed: int) -> Path:
    """Folder of a base policy, trained on first use; the seed is of its data and its initialisation."""
    return cached(config, lambda: train_base(config, seed)[0], seed)


def train_base(config: BaseConfig, seed: int) -> tuple[Policy, list[float]]:
    """Train one base policy; returns it with the loss of every step in nats."""
    tokenizer = build_tokenizer(VOCABULARY, PAD, BOS, EOS)
    model = build_model(config.model, tokenizer, seed).train()
    data = batches(config, tokenizer, seed)
    losses = fit(
        model.parameters(),
        lambda _: next_token_loss(model, *next(data)),
        config.steps,
        config.learning_rate,
        cosine(config.warmup, config.steps, first=0),
    )
    return Policy(model.eval(), tokenizer), losses
