"""The arithmetic of decoding speed: roofline, early termination, and the best schedule under given costs.

All functions are pure; `profile` and the studies measure what they need. (Sec. 3 and 4, arXiv:2509.21792)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, Int

from common.speculative.tree import TreePolicy


def intensity(tokens: float, inner: int, outer: int, element_bytes: float) -> float:
    """Operations per byte moved of a product of `tokens` rows with `inner` x `outer` weights.

    I = 2 n d d' / (s (d d' + n d + n d')): two operations per weight and token; weights, inputs and outputs
    are moved once. 2 n / s is its limit for n far below d and d'.
    """
    moved = inner * outer + tokens * (inner + outer)
    return 2 * tokens * inner * outer / (element_bytes * moved)


def running_rows(lengths: Int[np.ndarray, " B"]) -> Int[np.ndarray, " L"]:
    """B_l, rows that still run at token l = 1 … L_max of a batch with these response lengths."""
    steps = np.arange(1, int(lengths.max()) + 1)
    return (lengths[:, None] >= steps).sum(axis=0)


def early_termination_speedup(lengths: Int[np.ndarray, " B"], seconds: Callable[[int], float]) -> float:
    """Speed-up from dropping finished rows alone: L_max t(B) / Σ_l t(B_l).

    Args:
        lengths: Tokens of each response.
        seconds: Time of a one-token pass by number of rows.
    """
    rows = running_rows(lengths)
    return len(rows) * seconds(len(lengths)) / sum(seconds(int(count)) for count in rows)


def interpolate(table: Mapping[int, float]) -> Callable[[float], float]:
    """Straight lines between measured sizes, and beyond the last one on along its last line."""
    sizes = np.array(sorted(table), dtype=float)
    values = np.array([table[int(size)] for size in sizes])

    def at(size: float) -> float:
        if size <= sizes[-1]:
            return float(np.interp(size, sizes, values))
        slope = (values[-1] - values[-2]) / (sizes[-1] - sizes[-2])
        return float(values[-1] + slope * (size - sizes[-1]))

    return at


def surface(table: Mapping[tuple[int, int], float]) -> Callable[[int, int], float]:
    """`interpolate` in both sizes of a table: along the second, then along the first."""
    lines = {
        size: interpolate({second: value for (first, second), value in table.items() if first == size})
        for size in {first for first, _ in table}
    }
    return cache(lambda first, second: interpolate({size: at(second) for size, at in lines.items()})(first))


@dataclass(frozen=True)
class Costs:
    """What a decoding cycle costs and yields.

    Attributes:
        verify: Seconds of a target pass by rows and tokens a row.
        propose: Seconds of the draft by rows, top-k and depth.
        accepted: Expected accepted draft tokens of a row by top-k, depth and draft tokens kept.
        rest: Seconds of everything else in a cycle by rows and tokens a row: the verdict, its commit, and
            what the draft reads of it.
    """

    verify: Callable[[int, int], float]
    propose: Callable[[int, int, int], float]
    accepted: Callable[[int, int, int], float]
    rest: Callable[[int, int], float] = lambda rows, tokens: 0.0

    def cycle(self, rows: int, policy: TreePolicy | None) -> float:
        """Seconds of a cycle; without a policy, of a plain step."""
        tokens = policy.nodes + 1 if policy else 1
        drafting = self.propose(rows, policy.top_k, policy.depth) if policy else 0.0
        return self.verify(rows, tokens) + drafting + self.rest(rows, tokens)

    def throughput(self, rows: int, policy: TreePolicy | None) -> float:
        """Tokens per second of `rows` running rows; without a policy, of plain steps."""
        accepted = self.accepted(policy.top_k, policy.depth, policy.nodes) if policy else 0.0
        return rows * (1.0 + accepted) / self.cycle(rows, policy)


def candidates(
    budgets: Iterable[int], top_ks: Sequence[int], depths: Sequence[int]
) -> list[TreePolicy | None]:
    """Every (N, K, L) of a grid that keeps at least K draft tokens, and plain decoding."""
    shapes = itertools.product(budgets, top_ks, depths)
    return [None, *(TreePolicy(depth, k, n) for n, k, depth in shapes if n >= max(k, depth))]


def oracle_schedule(
    rows: Sequence[int], costs: Costs, grid: Sequence[TreePolicy | None]
) -> dict[int, TreePolicy | None]:
    """The policy of largest throughput for each number of rows, by brute force over `grid`."""
    return {count: max(grid, key=lambda policy: costs.throughput(count, policy)) for count in rows}


def regret(
    rows: Sequence[int],
    costs: Costs,
    grid: Sequence[TreePolicy | None],
    schedule: Callable[[int], TreePolicy | None],
) -> Float[np.ndarray, " R"]:
    """1 - throughput of a schedule over the oracle's, for each number of rows."""
    best = oracle_schedule(rows, costs, grid).items()
    pairs = [
        (costs.throughput(count, schedule(count)), costs.throughput(count, tree)) for count, tree in best
    ]
    return np.array([1.0 - ours / most for ours, most in pairs])
