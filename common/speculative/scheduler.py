"""How large the trees of a cycle are, given how many rows still run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from common.speculative.tree import TreePolicy, TreeShape


class Scheduler(Protocol):
    """Chooses the trees of a cycle."""

    def __call__(self, active: int) -> TreeShape | None:
        """Trees for `active` running rows; None is a plain step of one token a row."""

    def policies(self, rows: int) -> Sequence[TreeShape]:
        """Every policy that up to `rows` running rows can meet."""


@dataclass(frozen=True)
class StaticScheduler:
    """The same trees whatever runs."""

    policy: TreeShape

    def __call__(self, active: int) -> TreeShape:
        """The policy."""
        return self.policy

    def policies(self, rows: int) -> list[TreeShape]:
        """The one policy."""
        return [self.policy]


@dataclass(frozen=True)
class ConcurrencyAwareScheduler:
    """Keeps the tokens of a verification pass at the hardware's knee.

    N = C_peak / B tokens a row, root included; K = min(N - 1, K_max) children; depth
    L = min(⌊log2(N / α)⌋, L_max), at least `l_min`. (arXiv:2509.21792, Sec. 4)

    Attributes:
        c_peak: Tokens of a forward from which on it is bound by computation.
        k_max: Most children of a node.
        l_max: Most levels.
        l_min: Fewest levels; the paper's rule has no floor (1), the official code 3.
        alpha: Smaller for better drafts, which deserve deeper trees.
        n_max: Most tokens of a row.
    """

    c_peak: int
    k_max: int = 8
    l_max: int = 5
    l_min: int = 1
    alpha: float = 0.75
    n_max: int = 160

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ValueError: names the field.
        """
        for name, value in vars(self).items():
            if value <= 0:
                raise ValueError(f"ConcurrencyAwareScheduler.{name} is {value}; expected a positive number")

    def __call__(self, active: int) -> TreePolicy | None:
        """The rule; None below two tokens a row."""
        tokens = min(self.c_peak // active, self.n_max)
        if tokens < 2:
            return None
        depth = max(min(int(math.log2(tokens / self.alpha)), self.l_max), self.l_min)
        return TreePolicy(depth, min(tokens - 1, self.k_max), tokens - 1)

    def policies(self, rows: int) -> list[TreePolicy]:
        """One policy per number of running rows, without repetition."""
        found = {self(active) for active in range(1, rows + 1)}
        return [policy for policy in found if policy is not None]
