"""Pairs and a pocket policy for tests of preference training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset

from common.models.recipe import ModelShape, build_model
from common.rl.testing import NEUTRAL, pocket_tokenizer

OF_GROUPS = ("num_generations", "steps_per_generation", "max_completion_length")
PLAIN: dict[str, Any] = {name: value for name, value in NEUTRAL.items() if name not in OF_GROUPS}


def pocket_policy(seed: int = 0):
    return build_model(ModelShape(hidden=16, layers=1, heads=2, ffn=32), pocket_tokenizer(), seed=seed)


def pocket_pairs(count: int = 12, **columns: list[Any]) -> Dataset:
    """Prompts of one to three words; the chosen response is the longer one."""
    rows = {
        "prompt": [
            " ".join(["<bos>", *[f"w{(7 * row + at) % 29}" for at in range(1 + row % 3)]])
            for row in range(count)
        ],
        "chosen": [f" w{row % 29} w{(row + 5) % 29} w3" for row in range(count)],
        "rejected": [f" w{(3 * row + 1) % 29}" for row in range(count)],
    }
    return Dataset.from_dict(rows | columns)


def preference_trainer(kind, config, folder: Path, data: Dataset | None = None, **fields: Any):
    """A DPO trainer of a fresh pocket policy; equal arguments give equal runs."""
    return kind(
        pocket_policy(),
        pocket_policy(),
        args=config(**{**PLAIN, "output_dir": str(folder), **fields}),
        train_dataset=pocket_pairs() if data is None else data,
        processing_class=pocket_tokenizer(),
    )
