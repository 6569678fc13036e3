"""What a forward costs and what decoding costs: the latency table, the number of tokens at which computation
is the bound, engines timed in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from common.speculative.generate import SpeculativeGenerator
from common.speculative.target import Target
from common.speculative.verify import SamplingParams


def _synchronise(target: Target) -> None:
    if target.device.type == "cuda":
        torch.cuda.synchronize()


@torch.no_grad()
def forward_seconds(
    target: Target, rows: int, tokens: int, context: int, repeats: int, warmups: int = 2
) -> list[float]:
    """Seconds of each of `repeats` forwards of `tokens` staged tokens a row behind `context` committed."""
    lengths = torch.full((rows,), context, device=target.device)
    cache = target.new_cache(torch.zeros_like(lengths), context + tokens)
    steps = torch.arange(max(context, tokens), device=target.device)
    ids = steps.expand(rows, -1) % target.vocabulary
    for count in (context, tokens):
        places = steps[:count].expand(rows, -1) + cache.lengths[:, None]
        visible = (steps[:count, None] >= steps[:count]).expand(rows, -1, -1)
        seconds = []
        for _ in range(1 if count == context and not cache.start else warmups + repeats):
            _synchronise(target)
            clock = time.perf_counter()
            cache.stage(count)
            target.read(ids[:, :count], places, cache.mask(visible, target.dtype), cache)
            _synchronise(target)
            seconds.append(time.perf_counter() - clock)
        if not cache.start:
            cache.commit(steps[:context].expand(rows, -1), lengths)
    return seconds[warmups:]


def latency_table(
    target: Target,
    batch_sizes: Sequence[int],
    token_counts: Sequence[int],
    context: int = 64,
    repeats: int = 7,
) -> pd.DataFrame:
    """Median seconds of a forward by rows and tokens a row; columns ``rows, tokens, seconds``.

    Cells are measured in turn, `repeats` times round, so that a slow moment of the machine does not fall on
    one.
    """
    cells = [(rows, tokens) for rows in batch_sizes for tokens in token_counts]
    found: dict[tuple[int, int], list[float]] = {cell: [] for cell in cells}
    for _ in range(repeats):
        for rows, tokens in cells:
            found[rows, tokens] += forward_seconds(target, rows, tokens, context, repeats=1, warmups=1)
    return pd.DataFrame(
        [(*cell, float(np.median(seconds))) for cell, seconds in found.items()],
        columns=["rows", "tokens", "seconds"],
    )


def knee(curve: pd.DataFrame, share: float = 0.95) -> int:
    """The smallest `rows` whose `throughput` reaches `share` of the best."""
    return int(curve.loc[curve["throughput"] >= share * curve["throughput"].max(), "rows"].min())


def measure_c_peak(
    target: Target,
    batch_sizes: Sequence[int] = (1, *range(8, 257, 8)),
    context: int = 64,
    repeats: int = 30,
    warmups: int = 10,
    share: float = 0.95,
) -> tuple[int, pd.DataFrame]:
    """C_peak: the `knee` of single-token forwards over batch sizes (arXiv:2509.21792, App. B).

    Returns:
        C_peak, and the curve with columns ``rows, seconds, throughput`` (tokens per second).
    """
    seconds = [
        float(np.median(forward_seconds(target, rows, 1, context, repeats, warmups))) for rows in batch_sizes
    ]
    curve = pd.DataFrame({"rows": list(batch_sizes), "seconds": seconds})
    curve["throughput"] = curve["rows"] / curve["seconds"]
    return knee(curve, share), curve


class Timing(NamedTuple):
    """What completions took."""

    seconds: float
    tokens: float
    cycles: float


def timed_in_turn(
    engines: Mapping[str, SpeculativeGenerator],
    prompts: Sequence[Int[Tensor, " T"]],
    params: SamplingParams,
    seeds: Sequence[int],
    repeats: int,
) -> dict[str, Timing]:
    """Every prompt through every engine in turn, so that a slow moment of the machine does not fall on one.

    Args:
        engines: Name to engine.
        prompts: Prompts, decoded one at a time.
        params: How to sample.
        seeds: Of each prompt's draws, the same for every engine.
        repeats: Rounds over all prompts.

    Returns:
        Per engine the sum over prompts of each prompt's median over the rounds.
    """
    rounds: dict[str, list[list[Timing]]] = {name: [] for name in engines}
    for _ in range(repeats):
        for name in engines:
            rounds[name].append([])
        for prompt, seed in zip(prompts, seeds, strict=True):
            for name, engine in engines.items():
                rounds[name][-1].append(timed(engine, prompt, params, seed))
    return {name: total(timings) for name, timings in rounds.items()}


def timed(
    engine: SpeculativeGenerator, prompt: Int[Tensor, " T"], params: SamplingParams, seed: int
) -> Timing:
    """One completion."""
    draws = torch.Generator().manual_seed(seed)
    clock = time.perf_counter()
    stats = engine.generate([prompt], params, generator=draws).stats
    return Timing(time.perf_counter() - clock, stats.tokens, stats.cycles)


def total(rounds: Sequence[Sequence[Timing]]) -> Timing:
    """Sum over prompts of each prompt's median over rounds."""
    return Timing(*np.median(np.array(rounds), axis=0).sum(axis=0).tolist())


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median seconds of a call, the first one left out."""
    work()
    seconds = []
    for _ in range(repeats):
        clock = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - clock)
    return float(np.median(seconds))
