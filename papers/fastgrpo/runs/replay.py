"""Replay: the same prompts decoded by every arm, with the policy and the drafts as training has left them.

Legitimate because all arms sample from the same distribution; cheap because no arm has to be trained.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from common.speculative.drafts import FeatureDraft
from common.speculative.generate import Generation, SpeculativeGenerator
from common.speculative.networks import DraftNetwork
from common.speculative.profile import forward_seconds
from common.speculative.scheduler import ConcurrencyAwareScheduler, Scheduler, StaticScheduler
from common.speculative.target import Target
from common.speculative.tree import TreePolicy
from common.speculative.verify import SamplingParams
from common.tasks.ladder.warm_start import LONGEST, tokenizer
from papers.fastgrpo.runs.drafts import Kind, target_for
from papers.fastgrpo.systems import early_termination_speedup, interpolate

PUBLISHED: tuple[Kind, ...] = ("eagle2", "hass", "eagle3")
STATIC = (4, 8, 16)
"""Tokens of a row in the verification passes of the static schedules."""


@dataclass(frozen=True)
class Arm:
    """One way to decode.

    Attributes:
        draft: Name of the draft, empty for plain decoding.
        scheduler: Its trees.
        early_termination: Drop finished rows.
        kind: Kind of the draft, which decides the features that it reads.
    """

    draft: str = ""
    scheduler: Scheduler | None = None
    early_termination: bool = True
    kind: Kind = "two_head"


def tree_of(tokens: int) -> TreePolicy:
    """The tree that the paper's rule gives `tokens` tokens a row."""
    policy = ConcurrencyAwareScheduler(tokens)(1)
    assert policy is not None, "the rule gives no tree to a single token"
    return policy


def arms(c_peak: int) -> dict[str, Arm]:
    """Baselines, published drafts on static trees, the method, its ablations and its controls."""
    rule = ConcurrencyAwareScheduler(c_peak)
    tree = StaticScheduler(tree_of(16))
    return {
        "vanilla": Arm(early_termination=False),
        "et": Arm(),
        **{kind: Arm(kind, tree, kind=kind) for kind in PUBLISHED},
        **{f"static_{tokens}": Arm("online", StaticScheduler(tree_of(tokens))) for tokens in STATIC},
        "frozen": Arm("frozen", rule),
        "fast": Arm("online", rule),
        "floor": Arm("online", ConcurrencyAwareScheduler(c_peak, l_min=3)),
        "random": Arm("random", rule),
        "peak_high": Arm("online", ConcurrencyAwareScheduler(8 * c_peak)),
        "peak_low": Arm("online", ConcurrencyAwareScheduler(max(1, c_peak // 8))),
    }


def engine(arm: Arm, model: PreTrainedModel, drafts: Mapping[str, DraftNetwork]) -> SpeculativeGenerator:
    """The generator of an arm."""
    if not arm.draft:
        return SpeculativeGenerator(Target(model), early_termination=arm.early_termination)
    draft = FeatureDraft(drafts[arm.draft])
    return SpeculativeGenerator(
        target_for(model, arm.kind), draft, arm.scheduler, early_termination=arm.early_termination
    )


def replay(
    chosen: Mapping[str, Arm],
    model: PreTrainedModel,
    drafts: Mapping[str, DraftNetwork],
    rounds: Sequence[Sequence[Tensor]],
    samples: int,
    seed: int,
    longest: int = LONGEST,
) -> dict[str, float]:
    """Time and acceptance of every arm on the same prompts.

    In every round all arms decode its prompts, in turn, starting with another one, so that neither a slow
    moment of the machine nor one round's longest response falls on one arm.

    Returns:
        Sums over rounds: ``<arm>/seconds``, ``<arm>/tokens``, ``<arm>/cycles``; ``<arm>/tau``; the speed-up
        from early termination that its response lengths predict, ``et/predicted``.
    """
    params = SamplingParams(longest, eos_ids=(tokenizer().eos_token_id,))
    model.eval()
    decoders = {name: engine(arm, model, drafts) for name, arm in chosen.items()}
    for decoder in decoders.values():
        decoder.generate(rounds[0][:1], SamplingParams(4), generator=torch.Generator().manual_seed(0))
    found: dict[str, float] = {}
    predictions = []
    for number, prompts in enumerate(rounds):
        first = (seed + number * len(decoders) // len(rounds)) % len(decoders)
        names = [*decoders][first:] + [*decoders][:first]
        for index, name in enumerate(names):
            draws = torch.Generator().manual_seed(1_000_003 * seed + 1_009 * number + index)
            clock = time.perf_counter()
            generation = decoders[name].generate(prompts, params, samples, generator=draws)
            seconds = time.perf_counter() - clock
            stats = generation.stats
            active = sum(stats.active)
            values = {"seconds": seconds, "tokens": stats.tokens, "cycles": stats.cycles, "active": active}
            for key, value in values.items():
                found[f"{name}/{key}"] = found.get(f"{name}/{key}", 0.0) + value
            if name == "et":
                predictions.append(predicted_speedup(generation, model, len(prompts[0])))
    for name in decoders:
        found[f"{name}/tau"] = found[f"{name}/tokens"] / found.pop(f"{name}/active")
    return found | {"et/predicted": float(np.mean(predictions))}


def predicted_speedup(generation: Generation, model: PreTrainedModel, context: int) -> float:
    """Speed-up of early termination from these lengths and one-token passes timed now."""
    lengths = np.array([len(row) for row in generation.tokens])
    sizes = sorted({1, 2, 4, 8, 16, 32, len(lengths)} & set(range(1, len(lengths) + 1)))
    target = Target(model)
    table = {size: one_token_seconds(target, size, context + int(lengths.mean()) // 2) for size in sizes}
    return early_termination_speedup(lengths, interpolate(table))


@torch.inference_mode()
def one_token_seconds(target: Target, rows: int, context: int, repeats: int = 5) -> float:
    """Median seconds of a pass of one token a row."""
    return float(np.median(forward_seconds(target, rows, 1, context, repeats)))
