"""A pocket planner from oracle demonstrations: it looks facts up, calls tools and knows a little of plans.

Copying a label's numbers from a tool's answer is a circuit that a small transformer finds late in whole
itineraries, where six of thirty tokens need it. The first steps therefore show the same calls and answers and
ask for many labels instead of an itinerary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from common.agents.episodes import Codec, Rules
from common.models.pocket import build_tokenizer
from common.models.recipe import IGNORED, ModelShape, Policy, build_model, cached, fit, next_token_loss
from common.tasks.travel import ANSWER, BOS, CALL, END, PAD, VOCABULARY, Query, told
from common.tasks.travel.worlds import Asked, Day, oracle, queries

IDS = {word: place for place, word in enumerate(VOCABULARY)}
CONTEXT = 144
CODEC = Codec(
    observation=lambda text: encode(text.split()),
    action=lambda ids: " ".join(VOCABULARY[token] for token in ids),
    head=lambda _: [IDS[BOS]],
)
RULES = Rules(
    ends=(IDS[CALL], IDS[END]), turns=8, turn_tokens=18, context=CONTEXT, observation=16, seconds=60.0
)
LOOKUPS = 10  # labels that are asked for in place of an itinerary
WARM_STARTS = 3
Part = tuple[list[str], bool]
"""Words, and whether they are learned."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights beside the seed.

    Attributes:
        asked: Queries.
        shape: Of the decoder.
        demonstrations: Different ones.
        lookups: Steps that ask for labels.
        sft_steps: Steps on itineraries, after these.
        sft_batch: Demonstrations of a step.
        sft_rate: Peak learning rate of both.
    """

    asked: Asked = field(default_factory=Asked)
    shape: ModelShape = field(default_factory=lambda: ModelShape(96, 3, 4, 192, CONTEXT))
    demonstrations: int = 6000
    lookups: int = 150
    sft_steps: int = 450
    sft_batch: int = 32
    sft_rate: float = 3e-3


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word."""
    return build_tokenizer(VOCABULARY, PAD, BOS, END)


def encode(words: Sequence[str]) -> list[int]:
    """Token ids of words."""
    return [IDS[word] for word in words]


def demonstration(query: Query, day: Day, dice: np.random.Generator) -> list[Part]:
    """The four calls with their answers, and one of the right itineraries."""
    plan = oracle(query, day, dice)
    assert plan is not None
    return [*_calls(query, day), (plan.words, True)]


def _calls(query: Query, day: Day) -> Iterator[Part]:
    yield [BOS, *query.words], False
    for call in query.calls:
        yield [*call, CALL], True
        yield list(told(day.answer(query, call))), False


def lookups(query: Query, day: Day, dice: np.random.Generator) -> list[Part]:
    """The same calls and answers, then labels, each with its numbers, which alone are learned of these."""
    known = [
        [label, *told({label: numbers})][1:]
        for call in query.calls[:3]
        for label, numbers in day.answer(query, call).items()
    ]
    asked = [known[place] for place in dice.integers(len(known), size=LOOKUPS)]
    pairs = [part for label, *numbers in asked for part in (([label], False), (numbers, True))]
    return [*_calls(query, day), ([ANSWER], False), *pairs]


def padded(examples: Sequence[list[Part]]) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """Token ids, padded on the right, and labels: the same where they are learned, `IGNORED` elsewhere."""
    ids = [torch.tensor(encode([word for words, _ in example for word in words])) for example in examples]
    own = [torch.tensor([own for words, own in example for _ in words]) for example in examples]
    pad = torch.nn.utils.rnn.pad_sequence
    table = pad(ids, batch_first=True, padding_value=IDS[PAD])
    return table, table.where(pad(own, batch_first=True), IGNORED)


def train(recipe: Recipe, seed: int) -> Policy:
    """Supervised training on what the planner itself writes."""
    model = build_model(recipe.shape, tokenizer(), seed)
    asked = queries(recipe.asked, "warm", recipe.demonstrations, seed)
    timetable = recipe.asked.timetable("warm")
    dice = np.random.default_rng([seed, 0x72A])

    def loss(step: int) -> Tensor:
        show = lookups if step < recipe.lookups else demonstration
        chosen = [asked[place] for place in dice.integers(len(asked), size=recipe.sft_batch)]
        examples = [show(query, Day(query.world, timetable), dice) for query in chosen]
        return next_token_loss(model, *padded(examples))

    model.train()
    fit(model.parameters(), loss, recipe.lookups + recipe.sft_steps, recipe.sft_rate)
    return Policy(model.eval(), tokenizer())


def trained(recipe: Recipe, seed: int) -> Path:
    """Folder of a recipe's model, trained on first use; seeds take turns."""
    number = seed % WARM_STARTS
    return cached(recipe, lambda: train(recipe, number), number)
