"""Base policies for VerbalArith: pocket Qwen3 models that imitate careless authors.

``python -m common.tasks.verbal_arith.warm_start`` rebuilds the committed checkpoints ``verbal-arith-<seed>``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase, Qwen3ForCausalLM

from common.models.pocket import POCKET_FOLDER, build_tokenizer, save_pocket
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
from common.tasks.verbal_arith import BOS, EOS, NAME, PAD, TERMS, items
from common.tasks.verbal_arith.careless import Authors
from common.tasks.verbal_arith.evaluation import evaluate
from common.tasks.verbal_arith.words import VOCABULARY, WORDS

MODULE = "common.tasks.verbal_arith.warm_start"


@dataclass(frozen=True)
class BaseConfig:
    """Recipe of a base policy.

    Attributes:
        model: Shape of the model.
        source: What it imitates.
        steps: Optimizer steps, each on `batch` fresh responses.
        batch: Sequences per step.
        learning_rate: Peak of AdamW's cosine schedule.
        warmup: Steps of linear warm-up.
    """

    model: ModelShape = field(default_factory=lambda: ModelShape(hidden=64, layers=3, ffn=256))
    source: Authors = field(default_factory=Authors)
    steps: int = 1200
    batch: int = 64
    learning_rate: float = 3e-3
    warmup: int = 50


SCRATCH = BaseConfig(ModelShape(hidden=256, layers=6, heads=8, ffn=1024), steps=4000, learning_rate=1e-3)
"""Base policy of the `gpu` profile: about 7 M parameters, trained on first use."""


def batches(
    config: BaseConfig, tokenizer: PreTrainedTokenizerBase, seed: int
) -> Iterator[tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]]:
    """Endless batches of (ids, labels), padded on the right; labels hold the response only.

    Every other question follows one to five words drawn at random: like a language model, the policy has seen
    text before a question, but none that says anything about the response.
    """
    index = tokenizer.get_vocab()
    pairs = config.source.stream(seed)
    rng = np.random.default_rng((seed, 1))
    while True:
        rows = []
        for item, response in islice(pairs, config.batch):
            before = rng.choice(WORDS, size=rng.integers(1, 6)).tolist() if rng.random() < 0.5 else []
            question = [*before, *item.question.split()]
            rows.append((len(question), [*question, *response.split(), EOS]))
        ids = torch.full((config.batch, max(len(words) for _, words in rows)), tokenizer.pad_token_id)
        labels = torch.full_like(ids, IGNORED)
        for row, (start, words) in enumerate(rows):
            ids[row, : len(words)] = torch.tensor([index[word] for word in words])
            labels[row, start : len(words)] = ids[row, start : len(words)]
        yield ids, labels


def train_base(
    config: BaseConfig, seed: int, device: str = "cpu"
) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerBase, float]:
    """Train one base policy; returns it with its tokenizer and the mean loss of the last 50 steps in nats."""
    tokenizer = build_tokenizer(VOCABULARY, PAD, BOS, EOS)
    model = build_model(config.model, tokenizer, seed).train().to(device)
    data = batches(config, tokenizer, seed)
    losses = fit(
        model.parameters(),
        lambda _: next_token_loss(model, *(part.to(device) for part in next(data))),
        config.steps,
        config.learning_rate,
        cosine(config.warmup, config.steps, first=0),
        torch.optim.AdamW,
    )
    return model.eval(), tokenizer, sum(losses[-50:]) / len(losses[-50:])


def build(config: BaseConfig, seed: int, folder: Path) -> dict[str, Any]:
    """Train one checkpoint, measure it on the held-out questions, save it, and return its card."""
    model, tokenizer, loss = train_base(config, seed)
    heldout = items("heldout", 200, 0)
    rates = {}
    for temperature in (1.0, 0.0):
        sampled = evaluate(model, tokenizer, heldout, [item.question for item in heldout], temperature, 0, 4)
        by_terms = {f"terms={terms}": sampled.rate("correct", terms) for terms in TERMS}
        rates[f"temperature={temperature:g}"] = {**by_terms, "all": sampled.rate("correct")}
    card = {
        "task": NAME,
        "recipe": asdict(config),
        "data_seed": seed,
        "parameters": model.num_parameters(),
        "final_loss_nats": round(loss, 4),
        "accuracy": {name: {k: round(v, 4) for k, v in rate.items()} for name, rate in rates.items()},
    }
    save_pocket(model, tokenizer, folder, card)
    return card


def cached_base(config: BaseConfig, seed: int, device: str) -> Path:
    """Folder of a base policy too large to commit, trained on first use."""
    return cached(config, lambda: Policy(*train_base(config, seed, device)[:2]), seed)


def main() -> None:
    """Rebuild the committed checkpoints."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=POCKET_FOLDER, help=f"where the folders {NAME}-<seed> go")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="data seeds and initialisations"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for seed in arguments.seeds:
        print(build(BaseConfig(), seed, arguments.out / f"{NAME}-{seed}")["accuracy"], flush=True)


if __name__ == "__main__":
    main()
