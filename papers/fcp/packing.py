"""Batches with little padding: the sequences of a batch stand side by side in half as many rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from common.models.recipe import IGNORED


def shared_rows(lengths: Sequence[int], rows: int) -> list[list[int]]:
    """Places of the sequences in each row: from the longest on, each goes where most room is left."""
    found: list[list[int]] = [[] for _ in range(rows)]
    filled = [0] * rows
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        row = filled.index(min(filled))
        found[row].append(place)
        filled[row] += lengths[place]
    return [row for row in found if row]


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
