"""Evaluation of a policy on OpChain: correct counts by prompt, lengths, token entropies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.models.decoding import sample
from common.models.options import all_ends
from common.statistics import pass_at_k
from common.tasks.opchain import LEVELS, MAX_COMPLETION, Item, reward


@dataclass(frozen=True)
class Evaluation:
    """What P prompts × n samples of a policy gave; rows of the token arrays are prompts × samples, in order.

    Attributes:
        items: The P prompts.
        correct: Number of correct samples per prompt.
        samples: n, samples per prompt.
        ids: Token ids of the completions, padded on the right.
        mask: True on tokens, the end-of-sequence token included.
        entropies: Entropy in nats of the distribution that each token was drawn from, 0 on padding.
    """

    items: tuple[Item, ...]
    correct: Int[np.ndarray, " P"]
    samples: int
    ids: Int[np.ndarray, "R T"]
    mask: Bool[np.ndarray, "R T"]
    entropies: Float[np.ndarray, "R T"]

    @property
    def lengths(self) -> Int[np.ndarray, "P n"]:
        """Response length in tokens."""
        return self.mask.sum(axis=1).reshape(len(self.items), self.samples)

    def pass_at(self, k: int) -> dict[str, float]:
        """Unbiased pass@k, averaged over the prompts of each level present and over all (`"all"`)."""
        rates = pass_at_k(self.samples, self.correct, k)
        levels = np.array([item.level for item in self.items])
        by_level: dict[str, float] = {
            level: float(rates[levels == level].mean()) for level in LEVELS if level in levels
        }
        return {**by_level, "all": float(rates.mean())}


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[Item],
    samples: int,
    temperature: float,
    seed: int,
    max_new_tokens: int = MAX_COMPLETION,
    top_p: float = 1.0,
) -> Evaluation:
    """Sample `samples` completions of every item and score them with the task's verifier.

    The mode of the model (training or evaluation) is the caller's. 200 prompts × 32 samples take about two
    seconds on one core at pocket size.

    Raises:
        ValueError: no items, fewer than one sample, or as `decoding.sample`.
    """
    if not items or samples < 1:
        raise ValueError(f"need at least one item and one sample; got {len(items)} and {samples}")
    encoded = tokenizer(
        [item.prompt for item in items], return_tensors="pt", padding=True, padding_side="left"
    )
    completions = sample(
        model,
        encoded["input_ids"].repeat_interleave(samples, dim=0).to(model.device),
        encoded["attention_mask"].repeat_interleave(samples, dim=0).to(model.device),
        max_new_tokens,
        temperature,
        eos_id=all_ends(model, tokenizer.eos_token_id),
        pad_id=tokenizer.pad_token_id,
        generator=torch.Generator(model.device).manual_seed(seed),
        entropies=True,
        top_p=top_p,
    )
    ids, mask = completions.ids.cpu().numpy(), completions.mask.bool().cpu().numpy()
    words = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    lengths = mask.sum(axis=1)
    rewards = [
        reward([words[token] for token in row[:length]], items[index // samples])
        for index, (row, length) in enumerate(zip(ids.tolist(), lengths, strict=True))
    ]
    correct = np.reshape(rewards, (len(items), samples)).sum(axis=1)
    assert completions.entropies is not None
    return Evaluation(tuple(items), correct, samples, ids, mask, completions.entropies.cpu().numpy())


def high_entropy_positions(
    entropies: Float[np.ndarray, "R T"], mask: Bool[np.ndarray, "R T"], share: float = 0.2
) -> Bool[np.ndarray, "R T"]:
    """The `share` of a batch's tokens with the highest entropy (rounded to nearest; ties: earlier first).

    Raises:
        ValueError: share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1]; got {share}")
    places = np.flatnonzero(mask)
    order = np.argsort(-entropies.ravel()[places], kind="stable")
    highest = np.zeros(mask.size, dtype=bool)
    highest[places[order[: round(share * places.size)]]] = True
    return highest.reshape(mask.shape)
