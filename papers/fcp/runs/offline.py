"""The offline stage: critiqued responses of the base policy, and supervised training on them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed
from trl import SFTConfig

from common.judge.critic import Critic, Critique
from common.judge.pool import FeedbackPool
from common.models.recipe import IGNORED
from common.tasks.verbal_arith import Attributes, Item, items
from common.tasks.verbal_arith.evaluation import evaluate
from common.tasks.verbal_arith.words import LENGTH_WORDS
from papers.fcp.method import FCPOfflineTrainer

Settings = Mapping[str, Any]
MIX = {(True, True): 0.03, (True, False): 0.45, (False, True): 0.45, (False, False): 0.07}
"""Part B2: shares of (correct, concise) in a corpus where the two exclude each other."""


@dataclass(frozen=True)
class Pair:
    """A response of the base policy, critiqued: one row of the offline data."""

    item: Item
    response: str
    critique: Critique
    attributes: Attributes


def base_responses(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, critic: Critic, settings: Settings, seed: int
) -> list[list[Pair]]:
    """Critiqued responses of the base policy, a list per training question."""
    questions = items("train", settings["offline_prompts"], seed)
    samples = settings["offline_samples"]
    prompts = [item.question for item in questions]
    responses = evaluate(model, tokenizer, questions, prompts, 1.0, seed, samples)
    groups: list[list[Pair]] = [[] for _ in questions]
    for index, (text, attributes) in enumerate(zip(responses.texts, responses.attributes, strict=True)):
        item = questions[index // samples]
        pair = Pair(item, text, critic(item.question, text, ""), attributes)
        groups[index // samples].append(pair)
    return groups


def one_right_one_wrong(groups: Sequence[Sequence[Pair]]) -> list[Pair]:
    """The first right and the first wrong response of each mixed question; other questions are dropped."""
    pairs = []
    for group in groups:
        right = next((pair for pair in group if pair.attributes.correct), None)
        wrong = next((pair for pair in group if not pair.attributes.correct), None)
        if right and wrong:
            pairs += [right, wrong]
    return pairs


def exclusive(pairs: Sequence[Pair], rng: np.random.Generator) -> list[Pair]:
    """The largest sample of `pairs` in which (correct, concise) has the shares of `MIX`."""
    cells: dict[tuple[bool, bool], list[Pair]] = {cell: [] for cell in MIX}
    for pair in pairs:
        cells[pair.attributes.correct, pair.attributes.concise].append(pair)
    size = min(len(cells[cell]) / share for cell, share in MIX.items())
    sample = [
        cells[cell][index]
        for cell, share in MIX.items()
        for index in rng.permutation(len(cells[cell]))[: int(share * size)]
    ]
    return [sample[index] for index in rng.permutation(len(sample))]


def pools(pairs: Sequence[Pair]) -> tuple[FeedbackPool, FeedbackPool]:
    """Praise with and without words on length, from critiques that score nine or more."""
    critiques = [pair.critique for pair in pairs]
    return FeedbackPool(critiques), FeedbackPool(critiques, exclude=LENGTH_WORDS)


def train_offline(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Mapping[str, Sequence[str]],
    settings: Settings,
    seed: int,
    workspace: Path,
) -> None:
    """Train in place by `FCPOfflineTrainer` on columns prompt, completion and perhaps critique."""
    set_seed(seed)
    args = SFTConfig(
        output_dir=str(workspace),
        per_device_train_batch_size=settings["offline_batch"],
        num_train_epochs=settings["offline_epochs"],
        learning_rate=settings["offline_learning_rate"],
        lr_scheduler_type="cosine",
        warmup_steps=settings["offline_warmup"],
        completion_only_loss=True,
        max_length=None,
        seed=seed,
        **trainer_basics(),
    )
    data = Dataset.from_dict({name: list(values) for name, values in rows.items()})
    collator = PackedRows(tokenizer.pad_token_id)
    FCPOfflineTrainer(model, args, collator, data, processing_class=tokenizer).train()
    model.eval()


def device() -> str:
    """The device that the record's key names: a GPU is left alone by the profiles of a CPU."""
    return "cuda" if os.environ.get("REPRISE_DEVICE") == "cuda" else "cpu"


def trainer_basics() -> dict[str, Any]:
    """Arguments of every trainer: float32, no files, no progress."""
    return {
        "bf16": False,
        "use_cpu": device() == "cpu",
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "log_level": "error",
    }


def shared_rows(lengths: Sequence[int], rows: int) -> list[list[int]]:
    """Places of the sequences in each row: from the longest on, each goes where most room is left."""
    places: list[list[int]] = [[] for _ in range(rows)]
    widths = [0] * rows
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        row = widths.index(min(widths))
        places[row].append(place)
        widths[row] += lengths[place]
    return [row for row in places if row]


class PackedRows:
    """Data collator with the loss of a padded batch at about three quarters of its positions.

    Positions count from 0 in every sequence. Without an attention mask, `transformers` takes a position that
    does not follow the last one as the start of another sequence, and no sequence attends to another; padding
    counts as sequences of one token. The first token of a sequence must carry no loss.

    Args:
        pad_id: Fills the rows.
    """

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """``input_ids``, ``labels`` and ``position_ids``, shape ``[rows, T]`` each."""
        lengths = [len(example["input_ids"]) for example in examples]
        rows = shared_rows(lengths, -(-len(examples) // 2))
        columns = {
            "input_ids": (self.pad_id, [example["input_ids"] for example in examples]),
            "labels": (IGNORED, [example["labels"] for example in examples]),
            "position_ids": (0, [list(range(length)) for length in lengths]),
        }
        width = max(sum(lengths[place] for place in row) for row in rows)
        packed = {}
        for name, (filler, values) in columns.items():
            joined = [[value for place in row for value in values[place]] for row in rows]
            packed[name] = torch.tensor([row + [filler] * (width - len(row)) for row in joined])
        return packed
