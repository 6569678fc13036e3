"""Held-out conversations of the three domains: what a model has learnt of them, and prefixes for trees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from common.speculative.generate import SpeculativeGenerator
from common.speculative.target import Target
from common.speculative.verify import SamplingParams
from common.tasks.tridomain import DOMAINS, Domain, Item, items
from common.tasks.tridomain.warm_start import corpus, encode, texts, tokenizer

HELDOUT_SEED, POSITION_SEED = 2_000_000, 5
BATCH = 12  # conversations of `Prefixes`


def heldout(conversations: int) -> tuple[Item, ...]:
    """So many held-out conversations of every domain."""
    return items(corpus(HELDOUT_SEED, len(DOMAINS) * conversations, "heldout"))


@torch.no_grad()
def learnt(model: PreTrainedModel, conversations: int) -> dict[str, float]:
    """Accuracy of the next answer token, its entropy (nats), and the share of sums that are worked out right.

    Returns:
        ``accuracy/<domain>``, ``entropy/<domain>`` and ``verified/math`` (greedy).
    """
    values: dict[str, float] = {}
    for domain in DOMAINS:
        own = [item for item in heldout(conversations) if item.domain == domain]
        batch = texts(own)
        logits = model(input_ids=batch.ids).logits[:, :-1]
        answered = batch.supervised[:, :-1]
        right = (logits.argmax(dim=-1) == batch.ids[:, 1:])[answered]
        log_p = torch.log_softmax(logits, dim=-1)[answered]
        values[f"accuracy/{domain}"] = float(right.float().mean())
        values[f"entropy/{domain}"] = float(-(log_p.exp() * log_p).sum(dim=-1).mean())
        if domain == "math":
            values["verified/math"] = solved(model, own)
    return values


def solved(model: PreTrainedModel, problems: list[Item]) -> float:
    """Share of problems whose greedy answer is right."""
    words = tokenizer()
    params = SamplingParams(64, temperature=0.0, eos_ids=(words.eos_token_id,))
    engine = SpeculativeGenerator(Target(model))
    rows = engine.generate([encode(item.prompt) for item in problems], params).tokens
    answers = [tuple(words.convert_ids_to_tokens(row.tolist())) for row in rows]
    return float(np.mean([item.correct(answer) for item, answer in zip(problems, answers, strict=True)]))


class Prefixes(NamedTuple):
    """Held-out prefixes in a batch of conversations.

    Attributes:
        ids: Conversations, padded on the right.
        roots: P places in each, whose next token belongs to an answer.
        domains: Domain of each of the B·P prefixes.
    """

    ids: Int[Tensor, "B T"]
    roots: Int[Tensor, "B P"]
    domains: list[Domain]

    def rows(self) -> list[Prefixes]:
        """Each conversation as a batch of its own."""
        count = self.roots.shape[1]
        return [
            Prefixes(self.ids[[row]], self.roots[[row]], self.domains[row * count : (row + 1) * count])
            for row in range(len(self.ids))
        ]


@cache
def heldout_prefixes(conversations: int, positions: int) -> list[Prefixes]:
    """`positions` places, drawn once, in each of so many held-out conversations of every domain."""
    ordered = sorted(heldout(conversations), key=lambda item: (DOMAINS.index(item.domain), len(item.tokens)))
    rng = np.random.default_rng(POSITION_SEED)
    prefixes = []
    for start in range(0, len(ordered), BATCH):
        part = ordered[start : start + BATCH]
        batch = texts(part)
        places = [np.sort(rng.choice(flags.nonzero()[:, 0].numpy(), positions)) for flags in batch.supervised]
        domains = [item.domain for item in part for _ in range(positions)]
        prefixes.append(Prefixes(batch.ids, torch.from_numpy(np.stack(places)), domains))
    return prefixes


def domain_means(
    parts: Iterable[tuple[list[Domain], Mapping[str, Float[Tensor, " n"]]]],
) -> dict[str, float]:
    """Mean over the prefixes of each domain as ``<name>/<domain>``, and of the domains as ``<name>/all``."""
    names, values = zip(*parts, strict=True)
    domains = np.array([domain for part in names for domain in part])
    means: dict[str, float] = {}
    for name in values[0]:
        whole = torch.cat([part[name] for part in values]).double()
        each = {domain: float(whole[torch.from_numpy(domains == domain)].mean()) for domain in DOMAINS}
        means |= {f"{name}/{domain}": mean for domain, mean in each.items()}
        means[f"{name}/all"] = float(np.mean(list(each.values())))
    return means
