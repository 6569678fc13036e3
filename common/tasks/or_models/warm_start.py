"""Supervised training of the task's models: policies on noisy solutions, verifiers on noisy verdicts.

A corpus is what a pipeline without an oracle has: solutions of which some carry an error, and of these, if it
is verified, only the lucky ones, whose optimum is right. Verifiers learn from solutions of scenarios that the
policy does not see, with some labels turned round. All models are larger than what is committed, so each is
trained on first use and kept (`common.models.recipe.cached`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from common.models.pocket import build_tokenizer
from common.models.recipe import (
    IGNORED,
    ModelShape,
    Policy,
    build_model,
    cached,
    cosine,
    fit,
    next_token_loss,
)
from common.tasks.or_models import (
    BOS,
    END,
    EOS,
    MAX_COMPLETION,
    MAX_PROMPT,
    PAD,
    REASONS,
    VOCABULARY,
    Item,
    OrModelsConfig,
    stream,
)
from common.tasks.or_models.corruption import KINDS, Dial, corrupt
from common.tasks.or_models.critiques import critique
from common.tasks.or_models.formulation import formulations
from common.tasks.or_models.verification import reward, step_reasons

MAX_CRITIQUE = 25  # tokens: three a step, a reason for each, and the end
CONTEXT = MAX_PROMPT + MAX_COMPLETION + MAX_CRITIQUE
INDEX = {token: place for place, token in enumerate(VOCABULARY)}
Kind = Literal["policy", "whole", "prefix"]
"""What a model learns: solutions; critiques of whole solutions; a verdict at the end of each step, from what
stands before it."""


@dataclass(frozen=True)
class Corpus:
    """Which solutions to learn from.

    Attributes:
        size: Number of solutions.
        rate: Share with an error, before verification.
        dial: Kinds of errors.
        verified: Those with a wrong outcome are left out; then the share of errors is lower.
        scenarios: Words of the problems.
        label_noise: Of verifiers: share of the steps whose verdict is turned round.
    """

    size: int = 2500
    rate: float = 0.6
    dial: Dial = "usual"
    verified: bool = True
    scenarios: tuple[int, ...] = (0, 1)
    label_noise: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """Recipe of a model.

    Attributes:
        kind: What it learns.
        model: Its shape.
        corpus: From what.
        steps: Optimizer steps, each on `batch` examples; the corpus is passed through in random order.
        batch: Examples per step.
        learning_rate: Peak, reached after `warmup` steps, then a cosine to 0.
        warmup: Steps of linear warm-up.
    """

    kind: Kind = "policy"
    model: ModelShape = field(
        default_factory=lambda: ModelShape(hidden=96, layers=3, heads=4, ffn=192, context=CONTEXT)
    )
    corpus: Corpus = field(default_factory=Corpus)
    steps: int = 600
    batch: int = 32
    learning_rate: float = 2e-3
    warmup: int = 50


VERIFIED = Corpus(size=800, rate=0.5, verified=False, scenarios=(2, 3), label_noise=0.25)
"""What verifiers learn from."""
POLICY, WHOLE, PREFIX = Recipe(), Recipe("whole", corpus=VERIFIED), Recipe("prefix", corpus=VERIFIED)


class Example(NamedTuple):
    """Tokens of an example, and the token to predict before each place, `IGNORED` where none is."""

    ids: list[int]
    labels: list[int]


def encode(text: str) -> list[int]:
    """Places of the tokens in the vocabulary."""
    return [INDEX[token] for token in text.split()]


def completion(prompt: str, text: str) -> Example:
    """An example of writing `text` behind `prompt`."""
    before, after = encode(prompt), encode(text)
    return Example(before + after, [IGNORED] * len(before) + after)


def verdicts(prompt: str, solution: str, correct: Sequence[bool]) -> Example:
    """An example of judging each step behind its last token; the end stands there for nothing else."""
    ids = encode(f"{prompt} {solution}")
    labels, said = [IGNORED] * len(ids), iter(correct)
    for place in np.flatnonzero(np.array(ids) == INDEX[END]):
        labels[place + 1] = INDEX["CORRECT" if next(said) else "INCORRECT"]
    return Example(ids, labels)


def solutions(corpus: Corpus, seed: int) -> Iterator[tuple[Item, str, np.random.Generator]]:
    """The problems and solutions of a corpus, each with the generator that drew it."""
    found = 0
    for item, rng in stream(OrModelsConfig(seed=seed, scenarios=corpus.scenarios)):
        truths = formulations(item)
        text = truths[rng.integers(len(truths))].text
        wrong = corrupt(item, rng, KINDS[corpus.dial][item.family]) if rng.random() < corpus.rate else None
        text = wrong.formulation.text if wrong else text
        if wrong and corpus.verified and not reward(text.split(), item):
            continue
        yield item, text, rng
        found += 1
        if found == corpus.size:
            return


def example(kind: Kind, item: Item, text: str, label_noise: float, rng: np.random.Generator) -> Example:
    """What a model of a kind learns from a solution."""
    if kind == "policy":
        return completion(item.prompt, text)
    reasons = noisy(step_reasons(text.split(), item), label_noise, rng)
    if kind == "prefix":
        return verdicts(item.prompt, text, [reason is None for reason in reasons])
    return completion(f"{item.prompt} {text}", critique(reasons))


def noisy(reasons: Sequence[str | None], share: float, rng: np.random.Generator) -> tuple[str | None, ...]:
    """Verdicts of which a share is turned round; a right step gets the reason that its place suggests."""
    usual = [reason for reason in REASONS if reason != "unit"]
    turned = rng.random(len(reasons)) < share
    return tuple(
        (usual[place] if reason is None else None) if turned[place] else reason
        for place, reason in enumerate(reasons)
    )


def batches(
    examples: Sequence[Example], batch: int, seed: int
) -> Iterator[tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]]:
    """Endless batches of (ids, labels), padded on the right, in a new order each time round.

    Raises:
        ValueError: fewer examples than a batch.
    """
    if len(examples) < batch:
        raise ValueError(f"{len(examples)} examples are fewer than a batch of {batch}")
    rng = np.random.default_rng((seed, 1))
    while True:
        order = rng.permutation(len(examples))
        for start in range(0, len(examples) - batch + 1, batch):
            yield collate([examples[place] for place in order[start : start + batch]])


def collate(rows: Sequence[Example]) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """Examples as (ids, labels), padded on the right."""
    width = max(len(row.ids) for row in rows)
    ids = torch.tensor([row.ids + [INDEX[PAD]] * (width - len(row.ids)) for row in rows])
    labels = torch.tensor([row.labels + [IGNORED] * (width - len(row.labels)) for row in rows])
    return ids, labels


def train(policy: Policy, examples: Sequence[Example], recipe: Recipe, seed: int) -> list[float]:
    """Train a model in place; returns the loss of each step in nats."""
    data = batches(examples, recipe.batch, seed)
    losses = fit(
        policy.model.train().parameters(),
        lambda _: next_token_loss(policy.model, *next(data)),
        recipe.steps,
        recipe.learning_rate,
        cosine(recipe.warmup, recipe.steps),
    )
    policy.model.eval()
    return losses


def warm_start(recipe: Recipe, seed: int) -> Policy:
    """Train one model from nothing; `seed` fixes initialisation and data."""
    tokenizer = build_tokenizer(VOCABULARY, PAD, BOS, EOS)
    policy = Policy(build_model(recipe.model, tokenizer, seed), tokenizer)
    noise = recipe.corpus.label_noise
    examples = [
        example(recipe.kind, item, text, noise, rng) for item, text, rng in solutions(recipe.corpus, seed)
    ]
    train(policy, examples, recipe, seed)
    return policy


def trained(recipe: Recipe, seed: int) -> Path:
    """Folder of a recipe's model, trained on first use; three seeds take turns."""
    return cached(recipe, lambda: warm_start(recipe, seed % 3), seed % 3)
