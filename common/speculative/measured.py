"""The parts of `costs.Costs`, measured on a target and a draft beside `latency`: drafting, what is
accepted, the phases of a generation; and what early termination has to gain.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from common.speculative.clock import clock_of
from common.speculative.costs import early_termination_speedup, interpolate, surface
from common.speculative.drafts import FeatureDraft
from common.speculative.generate import Generation, SpeculativeGenerator, Stats
from common.speculative.latency import pass_seconds
from common.speculative.networks import DraftNetwork
from common.speculative.target import Target
from common.speculative.texts import Probe
from common.speculative.tree import TreePolicy, path_log_probs
from common.speculative.verify import SamplingParams


@torch.inference_mode()
def draft_seconds(
    target: Target,
    network: DraftNetwork,
    shapes: Iterable[tuple[int, int, int]],
    context: int,
    repeats: int,
) -> Callable[[int, int, int], float]:
    """Seconds in which a draft proposes, by rows, top-k and depth: lines between medians.

    Args:
        target: What is drafted for.
        network: The draft.
        shapes: Rows, top-k and depth that are timed; every combination of each's values.
        context: Tokens that the draft has read.
        repeats: Timings of each.
    """
    medians = {}
    for rows, top_k, depth in shapes:
        ids = torch.arange(context, device=target.device).expand(rows, -1) % target.vocabulary
        policy = TreePolicy(depth, top_k, min(64, top_k + (depth - 1) * top_k**2))
        draft = FeatureDraft(network)
        draft.begin(ids[:, 0], context + draft.slots(policy))
        features = torch.randn(rows, context - 1, network.feature_size).to(target.device, target.dtype)
        draft.extend(features, ids[:, 1:], torch.full((rows,), context - 1, device=target.device))
        seconds, now = [], clock_of(target.device)
        for _ in range(repeats + 1):
            begin = now()
            draft.propose(policy)
            seconds.append(now() - begin)
        medians[rows, top_k, depth] = float(np.median(seconds[1:]))
    levels = {
        depth: surface({(rows, k): value for (rows, k, level), value in medians.items() if level == depth})
        for depth in {depth for _, _, depth in medians}
    }
    return cache(
        lambda rows, top_k, depth: interpolate({d: level(rows, top_k) for d, level in levels.items()})(depth)
    )


@torch.inference_mode()
def accepted_tokens(
    probe: Probe,
    target: Target,
    network: DraftNetwork,
    top_ks: Sequence[int],
    depths: Sequence[int],
    kept: Sequence[int],
) -> Callable[[int, int, int], float]:
    """Expected accepted draft tokens by top-k, depth and tokens kept.

    The trees are grown to their full size once; a smaller one consists of its nodes of largest cumulative
    draft probability, so its expectation is a sum over those.
    """
    accepted = {}
    for top_k, depth in itertools.product(top_ks, depths):
        trees, scores = probe.trees(network, target, TreePolicy(depth, top_k, max(kept)))
        reached = path_log_probs(trees, scores.log_p).exp()
        order = path_log_probs(trees, trees.log_q).argsort(dim=1, descending=True, stable=True)
        sums = reached.gather(1, order).cumsum(dim=1).mean(dim=0)
        sizes = [size for size in kept if size <= len(sums)]
        # Beyond the last node that a tree can have nothing more is accepted: np.interp stays constant there.
        accepted[top_k, depth] = partial(
            np.interp, xp=[0, *sizes], fp=[0.0, *(float(sums[n - 1]) for n in sizes)]
        )
    return cache(
        lambda top_k, depth, n: interpolate({k: float(accepted[k, depth](n)) for k in top_ks})(top_k)
    )


def timed_phases(
    engine: SpeculativeGenerator, prompts: Sequence[Int[Tensor, " T"]], tokens: int, seed: int
) -> tuple[Stats, dict[str, float]]:
    """A generation of `tokens` tokens a prompt, and its seconds by phase, prefill left out.

    What the first generation allocates is not timed. The phases divide the whole as their elapsed times do.
    """
    draws, now = torch.Generator().manual_seed(seed), clock_of(engine.target.device)
    engine.generate(prompts, SamplingParams(4), generator=draws)
    begin = now()
    stats = engine.generate(prompts, SamplingParams(tokens), generator=draws).stats
    scale = (now() - begin) / sum(stats.seconds.values())
    return stats, {name: scale * value for name, value in stats.seconds.items() if name != "prefill"}


@torch.inference_mode()
def termination_speedup(generation: Generation, model: PreTrainedModel, context: int) -> float:
    """Speed-up of early termination from these lengths and medians of one-token passes timed now."""
    lengths = np.array([len(row) for row in generation.tokens])
    sizes = sorted({size for size in (1, 2, 4, 8, 16, 32) if size <= len(lengths)} | {len(lengths)})
    target, context = Target(model), context + int(lengths.mean()) // 2
    table = {size: float(np.median(pass_seconds(target, size, 1, context, 5))) for size in sizes}
    return early_termination_speedup(lengths, interpolate(table))
