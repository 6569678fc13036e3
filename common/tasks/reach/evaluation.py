"""How often a policy finds the goal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.models.decoding import sample
from common.tasks.reach import MAX_RESPONSE, VOCABULARY, Item, reward


def accuracy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    graphs: Sequence[Item],
    samples: int,
    temperature: float,
    seed: int,
) -> float:
    """Share of right answers over `samples` responses to each graph."""
    encoded = tokenizer([item.prompt for item in graphs], return_tensors="pt", padding=True)
    encoded = encoded.to(model.device)
    completions = sample(
        model,
        encoded["input_ids"].repeat_interleave(samples, dim=0),
        encoded["attention_mask"].repeat_interleave(samples, dim=0),
        MAX_RESPONSE,
        temperature,
        eos_id=tokenizer.eos_token_id,
        pad_id=tokenizer.pad_token_id,
        generator=torch.Generator(model.device).manual_seed(seed),
    )
    rows = zip(completions.ids.tolist(), completions.mask.sum(dim=1).tolist(), strict=True)
    return float(
        np.mean(
            [
                reward([VOCABULARY[token] for token in ids[:length]], graphs[row // samples])
                for row, (ids, length) in enumerate(rows)
            ]
        )
    )
