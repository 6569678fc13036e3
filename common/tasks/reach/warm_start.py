"""Base policies for reach: pocket Qwen3 models that walk at random and slip; one is committed.

Training can teach such a policy not to slip, also where it cannot look ahead.

``python -m common.tasks.reach.warm_start`` rebuilds the committed checkpoint ``reach-0``.
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
from transformers import PreTrainedTokenizerBase, Qwen3ForCausalLM

from common.models.pocket import POCKET_FOLDER, build_tokenizer, save_pocket
from common.models.recipe import IGNORED, ModelShape, build_model, cosine, fit, next_token_loss
from common.tasks.reach import AMBIGUOUS, BOS, DETERMINED, EDGES, EOS, NAME, PAD, VOCABULARY, items, stream
from common.tasks.reach.evaluation import accuracy

CHECKPOINTS = 1


@dataclass(frozen=True)
class BaseConfig:
    """Recipe of a base policy.

    Attributes:
        model: Shape of the model.
        slips: Rate at which a hop lands on a random node of its layer.
        steps: Optimizer steps, each on `batch` fresh walks.
        batch: Walks of a step.
        learning_rate: Peak of AdamW's cosine schedule.
        warmup: Steps of linear warm-up.
    """

    model: ModelShape = field(default_factory=lambda: ModelShape(hidden=64, layers=2, ffn=128))
    slips: float = 0.25
    steps: int = 900
    batch: int = 64
    learning_rate: float = 3e-3
    warmup: int = 50


def committed_base(seed: int) -> str:
    """Name of a seed's committed base policy."""
    return f"{NAME}-{seed % CHECKPOINTS}"


def batches(
    config: BaseConfig, tokenizer: PreTrainedTokenizerBase, seed: int
) -> Iterator[tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]]:
    """Endless batches of (ids, labels), padded on the right; labels hold the response only."""
    index, walks = tokenizer.get_vocab(), stream(seed, config.slips)
    while True:
        rows = []
        for item, response in islice(walks, config.batch):
            question = item.prompt.split()
            rows.append((len(question), [*question, *response.split(), EOS]))
        ids = torch.full((config.batch, max(len(words) for _, words in rows)), tokenizer.pad_token_id)
        labels = torch.full_like(ids, IGNORED)
        for row, (start, words) in enumerate(rows):
            ids[row, : len(words)] = torch.tensor([index[word] for word in words])
            labels[row, start : len(words)] = ids[row, start : len(words)]
        yield ids, labels


def train_base(
    config: BaseConfig, seed: int
) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerBase, list[float]]:
    """Train one base policy; returns it with its tokenizer and the loss of each step in nats."""
    tokenizer = build_tokenizer(VOCABULARY, PAD, BOS, EOS)
    model = build_model(config.model, tokenizer, seed).train()
    _link(model, tokenizer)
    data = batches(config, tokenizer, seed)
    losses = fit(
        model.parameters(),
        lambda _: next_token_loss(model, *next(data)),
        config.steps,
        config.learning_rate,
        cosine(config.warmup, config.steps, first=0),
    )
    return model.eval(), tokenizer, losses


@torch.no_grad()
def _link(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    """Let an edge begin as its end with the turned vector of its begin, and outputs as inputs.

    So that a small model need not learn 140 edges one by one.
    """
    vectors, index = model.get_input_embeddings().weight, tokenizer.get_vocab()
    for edge in EDGES:
        begin, end = (vectors[index[node]] for node in edge.split(">"))  # type: ignore[index]
        vectors[index[edge]] = end + begin.roll(len(begin) // 2)  # type: ignore[operator]
    model.get_output_embeddings().weight.copy_(vectors)


def build(config: BaseConfig, seed: int, folder: Path) -> dict[str, Any]:
    """Train one checkpoint, measure it on held-out graphs, save it, and return its card."""
    model, tokenizer, losses = train_base(config, seed)
    kinds = {"ambiguous": AMBIGUOUS, "determined": DETERMINED}
    rates = {
        name: accuracy(model, tokenizer, items(branches, "heldout", 400, 0), 4, 1.0, 0)
        for name, branches in kinds.items()
    }
    card = {
        "task": NAME,
        "recipe": asdict(config),
        "data_seed": seed,
        "parameters": model.num_parameters(),
        "final_loss_nats": round(sum(losses[-50:]) / 50, 4),
        "accuracy": {name: round(rate, 4) for name, rate in rates.items()},
    }
    save_pocket(model, tokenizer, folder, card)
    return card


def main() -> None:
    """Rebuild the committed checkpoint."""
    parser = argparse.ArgumentParser(prog="python -m common.tasks.reach.warm_start", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=POCKET_FOLDER, help=f"where the folders {NAME}-<seed> go")
    seeds = list(range(CHECKPOINTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=seeds, help="data seeds and initialisations")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for seed in arguments.seeds:
        print(build(BaseConfig(), seed, arguments.out / f"{NAME}-{seed}")["accuracy"], flush=True)


if __name__ == "__main__":
    main()
