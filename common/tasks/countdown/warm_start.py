"""Base policies for Countdown: pocket Qwen3 models that can reckon and have solved nothing yet.

They stand for a pretrained language model: they combine the numbers of a question, reckon, say whether an
attempt failed, and turn an expression into steps and back. ``python -m common.tasks.countdown.warm_start``
rebuilds the committed checkpoints ``countdown-<seed>``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase, Qwen3ForCausalLM

from common.models.pocket import POCKET_FOLDER, build_tokenizer, save_pocket
from common.models.recipe import IGNORED, ModelShape, build_model, cosine, fit, next_token_loss
from common.tasks.countdown import (
    BOS,
    DONE,
    EOS,
    HIGHEST_NUMBER,
    HIGHEST_TARGET,
    NO,
    PAD,
    VOCABULARY,
    Question,
    attempt,
    expression,
    failing,
    held_out,
    read,
    worded,
)
from common.tasks.countdown.evaluation import Solver

NAME = "countdown"


@dataclass(frozen=True)
class BaseConfig:
    """Recipe of a base policy.

    Attributes:
        model: Shape of the model.
        steps: Optimizer steps, each on `batch` fresh rows.
        batch: Rows per step.
        learning_rate: Peak of AdamW's cosine schedule.
        warmup: Steps of linear warm-up.
        expressions: Share of rows that turn an expression into steps, and of those that do the reverse.
    """

    model: ModelShape = field(
        default_factory=lambda: ModelShape(hidden=96, layers=2, heads=4, ffn=192, context=128, tied=True)
    )
    steps: int = 800
    batch: int = 32
    learning_rate: float = 5e-3
    warmup: int = 50
    expressions: float = 0.15


def numbers(rng: np.random.Generator) -> tuple[int, ...]:
    """Three or four random numbers of the training split."""
    while held_out(drawn := rng.integers(1, HIGHEST_NUMBER + 1, size=rng.integers(3, 5)).tolist()):
        pass
    return tuple(drawn)


def row(config: BaseConfig, rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """A prompt and what follows it: failing attempts, or an expression and its steps."""
    question = Question(numbers(rng), int(rng.integers(1, HIGHEST_TARGET + 1)))
    kind = rng.random()
    if kind > 2 * config.expressions:
        tries = [failing(question, rng) for _ in range(3)]
        return question.text.split(), [word for steps in tries for word in (*worded(steps), NO)]
    steps = attempt(question.numbers, rng)
    answer = expression(steps).split()
    if kind < config.expressions:
        return [BOS, "<hint>", *answer, "</hint>", "<think>"], worded(steps)
    return [BOS, "<think>", *worded(steps), DONE], [*answer, EOS]


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


def train_base(
    config: BaseConfig, seed: int
) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerBase, list[float]]:
    """Train one base policy; returns it with its tokenizer and the loss of every step in nats."""
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
    return model.eval(), tokenizer, losses


def wrong_steps(solver: Solver, seed: int, count: int = 200) -> float:
    """Share of the steps in sampled attempts on random questions whose value is wrong."""
    rng = np.random.default_rng((seed, 0xC1))
    questions = [Question(numbers(rng), int(rng.integers(1, HIGHEST_TARGET + 1))) for _ in range(count)]
    traces = solver.traces([question.text for question in questions], 1, 1.0, seed)
    readings = [read(question, trace) for question, trace in zip(questions, traces, strict=True)]
    steps = sum(own.attempts * (len(q.numbers) - 1) for q, own in zip(questions, readings, strict=True))
    return sum(own.slips for own in readings) / steps


def build(config: BaseConfig, seed: int, folder: Path) -> dict[str, Any]:
    """Train one checkpoint, measure its reckoning, save it, and return its card."""
    model, tokenizer, losses = train_base(config, seed)
    card = {
        "task": NAME,
        "recipe": asdict(config),
        "data_seed": seed,
        "parameters": model.num_parameters(),
        "final_loss_nats": round(float(np.mean(losses[-50:])), 4),
        "wrong_steps": round(wrong_steps(Solver(model, tokenizer), seed), 4),
    }
    save_pocket(model, tokenizer, folder, card)
    return card


def main() -> None:
    """Rebuild the committed checkpoints."""
    parser = argparse.ArgumentParser(prog=f"python -m {__spec__.name}", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=POCKET_FOLDER, help=f"where the folders {NAME}-<seed> go")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="data and initialisation")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for seed in arguments.seeds:
        card = build(BaseConfig(), seed, arguments.out / f"{NAME}-{seed}")
        print({name: card[name] for name in ("parameters", "final_loss_nats", "wrong_steps")}, flush=True)


if __name__ == "__main__":
    main()
