"""What a policy answers on ladder, and what its responses earn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from transformers import Qwen3ForCausalLM

from common.speculative.generate import SpeculativeGenerator
from common.speculative.target import Target
from common.speculative.verify import SamplingParams
from common.tasks import ladder
from common.tasks.ladder import Item
from common.tasks.ladder.warm_start import LONGEST, decode, encode, tokenizer


class Answers(NamedTuple):
    """What a policy answered, one number per prompt, by number of terms.

    Attributes:
        correct: Whether the answer is right.
        verbose: Whether the response is in the verbose dialect.
        length: Tokens.
    """

    correct: Bool[np.ndarray, " N"]
    verbose: Bool[np.ndarray, " N"]
    length: Int[np.ndarray, " N"]


def answer(model: Qwen3ForCausalLM, items: Sequence[Item], rows: int = 64) -> Answers:
    """Greedy answers to sums, decoded without a draft."""
    engine = SpeculativeGenerator(Target(model))
    params = SamplingParams(LONGEST, temperature=0.0, eos_ids=(tokenizer().eos_token_id,))
    ordered = sorted(items, key=lambda item: len(item.terms))  # rows of a batch end at about the same time
    pairs = []
    for start in range(0, len(ordered), rows):
        part = ordered[start : start + rows]
        tokens = engine.generate([encode(item.prompt) for item in part], params).tokens
        pairs += [(item, decode(row)) for item, row in zip(part, tokens, strict=True)]
    return Answers(
        np.array([ladder.correct(text, item) for item, text in pairs]),
        np.array([ladder.dialect(text) == "verbose" for _, text in pairs]),
        np.array([len(encode(text)) for _, text in pairs]),
    )


def heldout(model: Qwen3ForCausalLM, count: int) -> dict[str, float]:
    """Greedy accuracy, share of verbose responses and mean length on held-out sums."""
    answers = answer(model, ladder.items(ladder.HELDOUT)[:count])
    return {
        "heldout/accuracy": float(answers.correct.mean()),
        "heldout/verbose": float(answers.verbose.mean()),
        "heldout/length": float(answers.length.mean()),
    }


def reward_of(items: Sequence[Item]) -> Callable[..., list[float]]:
    """The task's reward as TRL calls it; token ids are places in the vocabulary.

    Args:
        items: Sums of the training prompts, by the column ``index`` of the dataset.
    """

    def reward(completion_ids: list[list[int]], index: list[int], **_: Any) -> list[float]:
        return [
            ladder.reward(decode(ids), items[place]) for ids, place in zip(completion_ids, index, strict=True)
        ]

    return reward
