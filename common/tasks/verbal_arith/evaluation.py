"""Responses of a policy to given prompts, and what the parser finds in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.models.decoding import sample
from common.tasks.verbal_arith import MAX_RESPONSE, Attributes, Item, parse, score, share


@dataclass(frozen=True)
class Responses:
    """What P prompts × n samples of a policy gave, prompt after prompt.

    Attributes:
        items: The P items.
        texts: The P·n responses, without the end of sequence.
        attributes: What the parser finds in each.
        lengths: Tokens of each, end of sequence included.
    """

    items: Sequence[Item]
    texts: Sequence[str]
    attributes: Sequence[Attributes]
    lengths: np.ndarray

    def rate(self, name: str, terms: int | None = None) -> float:
        """Share of responses with an attribute, over all items or those with so many terms."""
        samples = len(self.texts) // len(self.items)
        attributes = [
            own
            for index, own in enumerate(self.attributes)
            if terms is None or len(self.items[index // samples].operands) == terms
        ]
        return share(attributes, name)

    @property
    def mean_score(self) -> float:
        """The environment's score over ten."""
        return float(np.mean([score(own) for own in self.attributes])) / 10

    def both(self, first: str, second: str) -> float:
        """Share of responses with two attributes."""
        return float(np.mean([getattr(a, first) and getattr(a, second) for a in self.attributes]))


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[Item],
    prompts: Sequence[str],
    temperature: float,
    seed: int,
    samples: int = 1,
) -> Responses:
    """Sample `samples` responses to every prompt; `prompts[i]` asks `items[i]`, perhaps under a condition."""
    encoded = tokenizer(list(prompts), return_tensors="pt", padding=True, padding_side="left").to(
        model.device
    )
    training = model.training
    completions = sample(
        model.eval(),
        encoded["input_ids"].repeat_interleave(samples, dim=0),
        encoded["attention_mask"].repeat_interleave(samples, dim=0),
        MAX_RESPONSE,
        temperature,
        eos_id=tokenizer.eos_token_id,
        pad_id=tokenizer.pad_token_id,
        generator=torch.Generator(model.device).manual_seed(seed),
    )
    model.train(training)
    texts = tokenizer.batch_decode(completions.ids, skip_special_tokens=True)
    attributes = [parse(items[index // samples].question, text) for index, text in enumerate(texts)]
    return Responses(items, texts, attributes, completions.mask.sum(dim=1).cpu().numpy())
