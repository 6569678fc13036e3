"""Language models of delayed_hazard: pocket Qwen3 models that have read what the language writes.

``python -m common.tasks.delayed_hazard.warm_start`` rebuilds the committed checkpoints
``delayed-hazard-<seed>``, and ``delayed-hazard-closed-0``, which has read the language without an exit.
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
from transformers import PreTrainedTokenizerFast

from common.models.pocket import POCKET_FOLDER, build_tokenizer, save_pocket
from common.models.recipe import IGNORED, ModelShape, Policy, build_model, cosine, fit, next_token_loss
from common.models.stepwise import Draw, decode
from common.tasks.delayed_hazard import BOS, EOS, NAME, PAD, PROMPTS, VOCABULARY, World

MODULE = "common.tasks.delayed_hazard.warm_start"
PROMPT_TOKENS = 6
CHECKPOINTS = 3
CLOSED = f"{NAME}-closed-0"
MEASURED = 300  # prompts of a card


@dataclass(frozen=True)
class Reader:
    """Recipe of a language model.

    Attributes:
        world: What it reads.
        model: Its shape.
        steps: Optimizer steps, each on `batch` fresh responses drawn from the language.
        batch: Sequences per step.
        learning_rate: Peak of AdamW's cosine schedule.
        warmup: Steps of linear warm-up.
    """

    world: World = field(default_factory=World)
    model: ModelShape = field(default_factory=lambda: ModelShape(hidden=64, layers=4, ffn=128, context=48))
    steps: int = 1400
    batch: int = 64
    learning_rate: float = 4e-3
    warmup: int = 40


def tokenizer() -> PreTrainedTokenizerFast:
    """Splits on spaces."""
    return build_tokenizer(VOCABULARY, PAD, BOS, EOS)


def batches(reader: Reader, seed: int) -> Iterator[tuple[Int[Tensor, "B L"], Int[Tensor, "B L"]]]:
    """Endless batches of (ids, labels), padded on the right; labels hold the response only."""
    index = {word: place for place, word in enumerate(VOCABULARY)}
    rng = np.random.default_rng([seed, 0xDE1A])
    given = reader.world.prompts(PROMPTS, rng)
    while True:
        some = [given[place] for place in rng.integers(PROMPTS, size=reader.batch)]
        texts, _ = reader.world.write(some, rng)
        ids = torch.full((reader.batch, PROMPT_TOKENS + reader.world.horizon), index[PAD])
        labels = torch.full_like(ids, IGNORED)
        for row, (prompt, text) in enumerate(zip(some, texts, strict=True)):
            words = [*prompt.text.split(), *text]
            ids[row, : len(words)] = torch.tensor([index[word] for word in words])
            labels[row, PROMPT_TOKENS : len(words)] = ids[row, PROMPT_TOKENS : len(words)]
        yield ids, labels


def train(reader: Reader, seed: int) -> tuple[Policy, float]:
    """The model of a recipe, and the mean loss of its last 50 steps in nats."""
    words, data = tokenizer(), batches(reader, seed)
    model = build_model(reader.model, words, seed).train()
    losses = fit(
        model.parameters(),
        lambda _: next_token_loss(model, *next(data)),
        reader.steps,
        reader.learning_rate,
        cosine(reader.warmup, reader.steps, first=0),
        torch.optim.AdamW,
    )
    return Policy(model.eval(), words), sum(losses[-50:]) / len(losses[-50:])


def measure(policy: Policy, world: World) -> dict[str, float]:
    """How well a model writes, greedily: legal tokens and responses, unsafe ones, and the language's own."""
    given = world.prompts(MEASURED, np.random.default_rng(0xCA4D))
    rows = policy.tokenizer([prompt.text for prompt in given], return_tensors="pt")
    ends = policy.tokenizer.eos_token_id, policy.tokenizer.pad_token_id
    found = decode(policy.model, rows.input_ids, rows.attention_mask, world.horizon, Draw(0.0), *ends)
    texts: list[list[str]] = [
        [str(policy.tokenizer.decode([token])) for token in ids[own].tolist()]
        for ids, own in zip(found.ids, found.mask.bool(), strict=True)
    ]
    legal = world.follow(given, texts)[1]
    return {
        "legal_tokens": float(legal.mean()),
        "legal_responses": float(legal.all(axis=1).mean()),
        "unsafe": float((world.onset(texts) >= 0).mean()),
        "unsafe_of_the_language": float((world.onset(world.write(given)[0]) >= 0).mean()),
    }


def build(reader: Reader, seed: int, folder: Path) -> dict[str, Any]:
    """Train one checkpoint, measure it, save it, and return its card."""
    policy, loss = train(reader, seed)
    card = {
        "task": NAME,
        "recipe": asdict(reader),
        "data_seed": seed,
        "parameters": policy.model.num_parameters(),
        "final_loss_nats": round(loss, 4),
        "greedy": {name: round(value, 4) for name, value in measure(policy, reader.world).items()},
    }
    save_pocket(policy.model, policy.tokenizer, folder, card)
    return card


def main() -> None:
    """Rebuild the committed checkpoints."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=POCKET_FOLDER, help="where the folders go")
    parser.add_argument("--only", nargs="+", default=[], help="names of checkpoints; all by default")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recipes = {f"{NAME}-{seed}": (Reader(), seed) for seed in range(CHECKPOINTS)}
    recipes[CLOSED] = (Reader(World(escape=0.0)), 0)
    for name in arguments.only or recipes:
        print(name, build(*recipes[name], arguments.out / name)["greedy"], flush=True)


if __name__ == "__main__":
    main()
