"""What a pass costs by `clock.clock_of`, and C_peak read from it: the tokens at which a pass becomes slower,
not those at which throughput stops to rise (`profile.measure_c_peak`), where a pass has long become slower.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch

from common.speculative.clock import clock_of
from common.speculative.target import Target


@torch.no_grad()
def pass_seconds(target: Target, rows: int, tokens: int, context: int, repeats: int) -> list[float]:
    """Seconds of each of `repeats` passes of `tokens` tokens a row behind `context`; a first is not timed."""
    device, now = target.device, clock_of(target.device)
    lengths = torch.full((rows,), context, device=device)
    cache = target.new_cache(torch.zeros_like(lengths), context + tokens)
    steps = torch.arange(max(context, tokens), device=device)

    def read(count: int) -> float:
        texts = steps[:count].expand(rows, -1)
        visible = (steps[:count, None] >= steps[:count]).expand(rows, -1, -1)
        begin = now()
        cache.stage(count)
        mask = cache.mask(visible, target.dtype)
        target.read(texts % target.vocabulary, texts + cache.lengths[:, None], mask, cache)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return now() - begin

    read(context)
    cache.commit(steps[:context].expand(rows, -1), lengths)
    return [read(tokens) for _ in range(repeats + 1)][1:]


def timed_passes(
    target: Target,
    rows: Iterable[int],
    tokens: Sequence[int],
    context: int,
    repeats: int,
    largest: float = np.inf,
) -> pd.DataFrame:
    """Median seconds of every pass of at most `largest` tokens; columns ``rows, tokens, seconds``.

    Passes are timed in turn, `repeats` times round, so that a slow moment does not fall on one of them.
    """
    cells = [(count, n) for count in rows for n in tokens if count * n <= largest]
    rounds = [[pass_seconds(target, *cell, context, 1)[0] for cell in cells] for _ in range(repeats)]
    table = pd.DataFrame(cells, columns=["rows", "tokens"])
    return table.assign(seconds=np.median(rounds, axis=0))


def latency_knee(curve: pd.DataFrame, slower: float = 1.2) -> int:
    """The largest number of rows whose pass takes at most `slower` times that of the first, by lines between
    the measured `rows` with their `seconds`.

    Raises:
        ValueError: the last pass is no slower than that, so that the knee lies beyond the sweep.
    """
    sizes, times = curve["rows"].to_numpy(float), curve["seconds"].to_numpy(float) / curve["seconds"].iloc[0]
    last = int(np.flatnonzero(times <= slower)[-1])
    if last == len(sizes) - 1:
        raise ValueError(
            f"a pass of {sizes[-1]:g} rows takes {times[-1]:.2f} times one of {sizes[0]:g}: the knee, at "
            f"{slower}, lies beyond the sweep; time more rows"
        )
    share = (slower - times[last]) / (times[last + 1] - times[last])
    return int(sizes[last] + share * (sizes[last + 1] - sizes[last]))


def measure_latency_knee(
    target: Target,
    batch_sizes: Sequence[int] = (1, *range(4, 129, 4), *range(160, 1025, 32)),
    context: int = 64,
    repeats: int = 15,
    slower: float = 1.2,
) -> tuple[int, pd.DataFrame]:
    """The `latency_knee` of single-token passes over batch sizes; ends at twice the time of the first.

    Returns:
        C_peak, and the curve with columns ``rows, seconds``.

    Raises:
        ValueError: the knee lies beyond the sweep.
    """
    found: list[tuple[int, float]] = []
    for rows in batch_sizes:
        found.append((rows, float(np.median(pass_seconds(target, rows, 1, context, repeats)))))
        if found[-1][1] > 2 * found[0][1]:
            break
    curve = pd.DataFrame(found, columns=["rows", "seconds"])
    return latency_knee(curve, slower), curve
