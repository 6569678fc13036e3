"""How often a policy finds the goal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.models.decoding import sample
from common.models.stepwise import Decoded
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


def first_hops(decoded: Decoded, graphs: Sequence[Item]) -> dict[str, float]:
    """How often the first thought is the hop to the goal, ``first_hop``, or can be it, ``covered``.

    Args:
        decoded: Responses, whose hook logs ``candidates``; ids are places in the vocabulary.
        graphs: What they answer.
    """
    hop = torch.tensor([VOCABULARY.index(item.path[0]) for item in graphs], device=decoded.ids.device)
    return {
        "first_hop": float((decoded.ids[:, 0] == hop).float().mean()),
        "covered": float((decoded.log["candidates"][:, 0] == hop[:, None]).any(dim=1).float().mean()),
    }
