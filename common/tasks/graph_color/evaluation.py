"""How often a policy colours a graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.models.decoding import sample
from common.tasks.graph_color import MAX_RESPONSE, VOCABULARY, Item, score


def accuracy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    graphs: Sequence[Item],
    samples: int,
    temperature: float,
    seed: int,
) -> float:
    """Share of colourings over `samples` responses to each graph."""
    graphs = [item for item in graphs for _ in range(samples)]
    encoded = tokenizer([item.prompt for item in graphs], return_tensors="pt", padding=True).to(model.device)
    completions = sample(
        model,
        encoded["input_ids"],
        encoded["attention_mask"],
        MAX_RESPONSE,
        temperature,
        eos_id=tokenizer.eos_token_id,
        pad_id=tokenizer.pad_token_id,
        generator=torch.Generator(model.device).manual_seed(seed),
    )
    rows = zip(graphs, completions.ids.tolist(), completions.mask.sum(dim=1).tolist(), strict=True)
    return float(
        np.mean(
            [score([VOCABULARY[token] for token in ids[:length]], item) == 1 for item, ids, length in rows]
        )
    )
