"""Evaluation of a policy on ToolCall-Mini: right steps and dialogues, and entropies of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.models.decoding import sample
from common.models.options import all_ends
from common.tasks.toolcall import LONGEST, Asked, Call, Mark, scored


@dataclass(frozen=True)
class Answers:
    """One response to each of B steps.

    Attributes:
        items: The steps.
        ids: Token ids, padded on the right.
        mask: True on tokens, the end included.
        entropies: Of the distribution of each token in nats, 0 on padding.
        marks: What each response is worth.
    """

    items: tuple[Asked, ...]
    ids: Int[np.ndarray, "B T"]
    mask: Bool[np.ndarray, "B T"]
    entropies: Float[np.ndarray, "B T"]
    marks: tuple[Mark, ...]

    @property
    def right(self) -> Bool[np.ndarray, " B"]:
        """Whether each response has the right calls, or words where no call is right."""
        return np.array([each.right for each in self.marks])

    @property
    def formed(self) -> Bool[np.ndarray, " B"]:
        """Whether each response has the form that is asked for."""
        return np.array([each.formed for each in self.marks])


def pieces(
    tokenizer: PreTrainedTokenizerBase, ids: Int[np.ndarray, "B T"], mask: np.ndarray
) -> list[list[str]]:
    """The tokens of each response, padding left out; a token's id is its place in the vocabulary."""
    vocabulary = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return [
        [vocabulary[token] for token in row[own]] for row, own in zip(ids, mask.astype(bool), strict=True)
    ]


def answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[Asked],
    temperature: float,
    seed: int,
    max_new_tokens: int = LONGEST,
) -> Answers:
    """One response to every step; temperature 0 is greedy. The mode of the model is the caller's."""
    encoded = tokenizer(
        [item.prompt for item in items], return_tensors="pt", padding=True, padding_side="left"
    )
    completions = sample(
        model,
        encoded["input_ids"].to(model.device),
        encoded["attention_mask"].to(model.device),
        max_new_tokens,
        temperature,
        eos_id=all_ends(model, tokenizer.eos_token_id),
        pad_id=tokenizer.pad_token_id,
        generator=torch.Generator(model.device).manual_seed(seed),
        entropies=True,
    )
    ids, mask = completions.ids.cpu().numpy(), completions.mask.bool().cpu().numpy()
    assert completions.entropies is not None
    marks = tuple(map(scored, pieces(tokenizer, ids, mask), items))
    return Answers(tuple(items), ids, mask, completions.entropies.cpu().numpy(), marks)


def solved(answers: Answers, dialogues: Sequence[Sequence[Asked]]) -> Bool[np.ndarray, " D"]:
    """Whether every step of each dialogue is right, for answers to their steps in order."""
    ends = np.cumsum([len(steps) for steps in dialogues])
    return np.array([part.all() for part in np.split(answers.right, ends[:-1])])


@dataclass(frozen=True)
class Forced:
    """Responses of a model, read by it token by token.

    Attributes:
        model: The model.
        prompts: Ids and mask, padded on the left.
        ids: Ids of the responses, padded on the right.
        mask: True on their tokens.
    """

    model: PreTrainedModel
    prompts: tuple[Int[torch.Tensor, "B P"], Int[torch.Tensor, "B P"]]
    ids: Int[torch.Tensor, "B T"]
    mask: Bool[torch.Tensor, "B T"]

    @classmethod
    def of(cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answers: Answers) -> Forced:
        """Answers that the model, or another one, has given."""
        texts = [item.prompt for item in answers.items]
        encoded = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
        prompts = encoded["input_ids"], encoded["attention_mask"]
        return cls(model, prompts, torch.from_numpy(answers.ids), torch.from_numpy(answers.mask))

    def logits(self, rows: slice = slice(None)) -> Float[torch.Tensor, "b T V"]:
        """Logits of the responses' tokens."""
        prompts, seen = (each[rows] for each in self.prompts)
        ids = torch.cat([prompts, self.ids[rows]], dim=1)
        attention = torch.cat([seen, self.mask[rows].to(seen.dtype)], dim=1)
        places = (attention.cumsum(dim=1) - 1).clamp(min=0)
        given = self.model(input_ids=ids, attention_mask=attention, position_ids=places, use_cache=False)
        found: torch.Tensor = given.logits[:, prompts.shape[1] - 1 : -1]
        return found


@dataclass(frozen=True)
class Started:
    """A step whose response has begun."""

    item: Asked
    start: tuple[str, ...]

    @property
    def prompt(self) -> str:
        """The step's prompt and the beginning of the response."""
        return " ".join([self.item.prompt, *self.start])

    @property
    def truth(self) -> list[Call]:
        """The step's."""
        return self.item.truth


def continued(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, steps: Sequence[Started]
) -> Bool[np.ndarray, " B"]:
    """Whether each response is right where what has begun is continued greedily."""
    given = answer(model, tokenizer, steps, temperature=0.0, seed=0)
    written = pieces(tokenizer, given.ids, given.mask)
    marks = [scored([*step.start, *rest], step.item) for step, rest in zip(steps, written, strict=True)]
    return np.array([each.right for each in marks])
