"""Warm starts for OpChain: supervised training on corrupted traces gives policies of known pass rate.

``python -m common.tasks.opchain.warm_start`` rebuilds the committed checkpoints: same recipe, three
data seeds and initialisations. One thread, about two minutes each.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Qwen3ForCausalLM

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
from common.tasks import opchain
from common.tasks.opchain import BOS, EOS, PAD, VOCABULARY, Corruption
from common.tasks.opchain.evaluation import evaluate


@dataclass(frozen=True)
class WarmstartConfig:
    """Recipe of a warm start.

    Attributes:
        model: Shape of the model.
        noise: Corruption rates of the traces.
        mix: Shares of the levels E, M, H, X among the traces.
        steps: Optimizer steps, each on `batch` fresh traces.
        batch: Sequences per step.
        learning_rate: Peak of the AdamW learning rate, reached after `warmup` steps, then a cosine to 0.
        warmup: Steps of linear warm-up.
    """

    model: ModelShape = field(default_factory=ModelShape)
    noise: Corruption = field(default_factory=Corruption)
    mix: tuple[float, float, float, float] = (0.20, 0.30, 0.35, 0.15)
    steps: int = 1500
    batch: int = 64
    learning_rate: float = 2e-3
    warmup: int = 50


SCRATCH = WarmstartConfig(ModelShape(hidden=512, layers=8, heads=8, ffn=2048), learning_rate=5e-4)
"""Warm start of the `gpu` profile: about 34 M parameters, trained on first use."""


def batches(
    config: WarmstartConfig, tokenizer: PreTrainedTokenizerBase, seed: int
) -> Iterator[tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]]:
    """Endless batches of (ids, labels), padded on the right; labels hold the completion only."""
    index = tokenizer.get_vocab()
    chains = opchain.stream(seed, config.mix)
    while True:
        rows = []
        for item, rng in islice(chains, config.batch):
            prompt = item.prompt.split()
            rows.append((len(prompt), [*prompt, *opchain.trace(item, rng, config.noise)]))
        width = max(len(tokens) for _, tokens in rows)
        ids = torch.full((config.batch, width), tokenizer.pad_token_id)
        labels = torch.full_like(ids, IGNORED)
        for row, (start, tokens) in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor([index[token] for token in tokens])
            labels[row, start : len(tokens)] = ids[row, start : len(tokens)]
        yield ids, labels


def warm_start(
    config: WarmstartConfig, seed: int, progress: str = ""
) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerBase, list[float]]:
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
        progress=progress,
    )
    return model.eval(), tokenizer, losses


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, noise: Corruption, samples: int = 64
) -> dict[str, Any]:
    """Pass rates by level on the held-out prompts at temperature 1, beside the exact ones of the traces."""
    items = opchain.items(opchain.HELDOUT)
    measured = evaluate(model, tokenizer, items, samples=samples, temperature=1.0, seed=0)
    expected = {
        level: sum(opchain.pass_probability(item, noise) for item in group) / len(group)
        for level in opchain.LEVELS
        if (group := [item for item in items if item.level == level])
    }
    return {
        "prompts": "held-out, 200",
        "samples_per_prompt": samples,
        "temperature": 1.0,
        "policy": {level: round(rate, 4) for level, rate in measured.pass_at(1).items()},
        "traces_exact": {level: round(rate, 4) for level, rate in expected.items()},
        "mean_length": round(float(measured.lengths.mean()), 2),
        "mean_token_entropy_nats": round(float(measured.entropies[measured.mask].mean()), 4),
    }


def build(config: WarmstartConfig, seed: int, folder: Path) -> dict[str, Any]:
    """Train one checkpoint, measure it, save it under `folder`, and return its card."""
    model, tokenizer, losses = warm_start(config, seed, progress=folder.name)
    card = {
        "task": "opchain",
        "recipe": asdict(config),
        "data_seed": seed,
        "parameters": model.num_parameters(),
        "final_loss_nats": round(sum(losses[-50:]) / len(losses[-50:]), 4),
        "pass_rates": measure(model, tokenizer, config.noise),
    }
    save_pocket(model, tokenizer, folder, card)
    return card


def committed_warm_start(seed: int) -> str:
    """Name of the committed checkpoint of a seed; three take turns."""
    return f"opchain-{seed % 3}"


def large_warm_start(seed: int) -> str:
    """Folder of a seed's `SCRATCH`, trained on first use; three take turns."""
    return str(cached(SCRATCH, lambda: Policy(*warm_start(SCRATCH, seed % 3)[:2]), seed % 3))


def main() -> None:
    """Rebuild the committed checkpoints."""
    parser = argparse.ArgumentParser(
        prog="python -m common.tasks.opchain.warm_start", description=main.__doc__
    )
    parser.add_argument("--out", type=Path, default=POCKET_FOLDER, help="where the folders opchain-<seed> go")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="data seeds and initialisations"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for seed in arguments.seeds:
        card = build(WarmstartConfig(), seed, arguments.out / f"opchain-{seed}")
        print(f"opchain-{seed}", card["pass_rates"]["policy"], flush=True)


if __name__ == "__main__":
    main()
