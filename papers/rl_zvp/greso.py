"""GRESO's pre-rollout filter, a baseline of the paper (App. C): skip prompts that kept being all right or
all wrong.
"""

from __future__ import annotations

from math import ceil

import numpy as np
from jaxtyping import Bool, Float, Int

EASY, HARD = 0.98, 0.11  # mean reward of a visit that counts as all correct, as near zero
TARGET_EASY, TARGET_HARD = 1 / 12, 1 / 6  # wanted shares of easy and hard zero-variance prompts
STEP, LOWEST, HIGHEST, FLOOR = 0.01, 0.05, 0.95, 0.01
MARGIN = 1.25  # β: how many more prompts than expected to be needed are drawn in a refill


class GresoSampler:
    """Per-prompt reward traces and the two exploration probabilities that decide who is rolled out.

    Attributes:
        explore_easy: p_easy; a prompt with n last visits all correct is kept with max(p_easy^n, 0.01).
        explore_hard: p_hard, the same for near-zero visits.
        easy_runs: Number of consecutive most recent all-correct visits of each prompt.
        hard_runs: The same for near-zero visits.
    """

    def __init__(self, prompts: int, explore_easy: float = 0.5, explore_hard: float = 0.5) -> None:
        self.explore_easy, self.explore_hard = explore_easy, explore_hard
        self.easy_runs = np.zeros(prompts, dtype=np.int64)
        self.hard_runs = np.zeros(prompts, dtype=np.int64)

    def skip_probabilities(
        self, prompts: Int[np.ndarray, " K"]
    ) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
        """Probabilities that the easy and the hard test skip each prompt."""
        return (
            skip_probability(self.easy_runs[prompts], self.explore_easy),
            skip_probability(self.hard_runs[prompts], self.explore_hard),
        )

    def skips(
        self, prompts: Int[np.ndarray, " K"], uniforms: Float[np.ndarray, "2 K"]
    ) -> Bool[np.ndarray, " K"]:
        """Which prompts are skipped: the easy test first, then the hard one on those it let pass."""
        easy, hard = self.skip_probabilities(prompts)
        return (uniforms[0] < easy) | (uniforms[1] < hard)

    def observe(self, prompts: Int[np.ndarray, " K"], means: Float[np.ndarray, " K"]) -> None:
        """Append the mean rewards of a round to the traces; no prompt twice."""
        self.easy_runs[prompts] = np.where(means >= EASY, self.easy_runs[prompts] + 1, 0)
        self.hard_runs[prompts] = np.where(means <= HARD, self.hard_runs[prompts] + 1, 0)

    def adapt(self, means: Float[np.ndarray, " K"]) -> None:
        """Move both probabilities by 0.01 towards the target shares, after a batch of the second epoch or
        later.
        """
        self.explore_easy = _adapted(self.explore_easy, float((means >= 1.0).mean()) >= TARGET_EASY)
        self.explore_hard = _adapted(self.explore_hard, float((means <= 0.0).mean()) >= TARGET_HARD)


def skip_probability(runs: Int[np.ndarray, " K"], explore: float) -> Float[np.ndarray, " K"]:
    """1 - max(p^n, 0.01) for n consecutive zero-variance visits; 0 without any."""
    return 1.0 - np.maximum(explore ** runs.astype(np.float64), FLOOR)


def refill_size(missing: int, zero_variance: float, largest: int, smallest: int) -> int:
    """Prompts to draw for `missing` mixed groups at a zero-variance share, with a quarter in reserve."""
    if zero_variance >= 1.0:
        return largest
    return int(np.clip(ceil(missing / (1.0 - zero_variance) * MARGIN), smallest, largest))


def _adapted(explore: float, too_many: bool) -> float:
    return float(np.clip(explore + (-STEP if too_many else STEP), LOWEST, HIGHEST))
