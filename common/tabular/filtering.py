"""Filters that throw zero-variance groups away: dynamic sampling (DAPO) and GRESO's pre-rollout filter.

A batch is filled round by round. A round draws distinct prompts in the order of a shuffled epoch, GRESO skips
some of them, the others are rolled out, and their mixed groups are trained on until there are as many as a
batch has prompts. Every seed needs its own number of rounds, so all of this is about one seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil

import numpy as np
from jaxtyping import Bool, Float, Int

from common.tabular.objective import Rollout
from common.tabular.policy import Snapshot
from common.tabular.simulator import roll_out
from common.tabular.start import Start

EPOCHS = 40  # most passes over the prompts for one batch; then it is trained on as it is

# GRESO as App. C of arXiv:2509.21880 describes it
EASY, HARD = 0.98, 0.11  # mean reward of a visit that counts as all correct, as near zero
TARGET_EASY, TARGET_HARD = 1 / 12, 1 / 6  # wanted shares of easy and hard zero-variance prompts
STEP, LOWEST, HIGHEST, FLOOR = 0.01, 0.05, 0.95, 0.01
MARGIN = 1.25  # β: how many more prompts than expected to be needed are drawn in a refill
REFILL_PARTS = 8  # a refill is at least an eighth of a batch, in GRESO's code 64 of 512 prompts


@dataclass
class Feed:
    """Prompts of one seed in shuffled epochs, and the random numbers of its rollouts and skips."""

    prompts: int
    order: np.random.Generator
    sampling: np.random.Generator
    epoch: int = 0
    _left: list[int] = field(default_factory=list)

    def take(self, count: int) -> Int[np.ndarray, " K"]:
        """The next `count` prompts of the epoch, fewer at its end: never a prompt twice."""
        if not self._left:
            self._left = self.order.permutation(self.prompts).tolist()
            self.epoch += 1
        head, self._left = self._left[:count], self._left[count:]
        return np.array(head, dtype=np.int64)


@dataclass(frozen=True)
class Round:
    """One group for each of K prompts.

    Attributes:
        prompts: Those that were rolled out.
        rollout: Arrays over all P prompts of the seed; only the rows of `prompts` count.
        trained: Which of their groups are trained on.
    """

    prompts: Int[np.ndarray, " K"]
    rollout: Rollout
    trained: Bool[np.ndarray, " K"]

    @property
    def means(self) -> Float[np.ndarray, " K"]:
        """Mean reward of each group."""
        return self.rollout.rewards[0, self.prompts].mean(axis=-1)


@dataclass(frozen=True)
class Batch:
    """The rounds that filled a batch."""

    rounds: list[Round]

    @property
    def means(self) -> Float[np.ndarray, " N"]:
        """Mean reward of every group that was rolled out."""
        return np.concatenate([item.means for item in self.rounds] or [np.zeros(0)])

    @property
    def zero_variance(self) -> float:
        """Share of the groups rolled out; NaN if there are none."""
        mixed = (self.means > 0.0) & (self.means < 1.0)
        return 1.0 - float(mixed.mean()) if len(mixed) else np.nan

    @property
    def size(self) -> int:
        """Groups that are trained on."""
        return int(sum(item.trained.sum() for item in self.rounds))

    @property
    def used(self) -> int:
        """Groups rolled out up to the last one that is trained on."""
        places = np.flatnonzero(np.concatenate([item.trained for item in self.rounds] or [np.zeros(0)]))
        return int(places[-1]) + 1 if len(places) else len(self.means)


def fill(
    snapshot: Snapshot, start: Start, feed: Feed, group_size: int, greso: GresoSampler | None = None
) -> Batch:
    """Roll out rounds until as many mixed groups are there as a batch has prompts, or `EPOCHS` are over.

    Dynamic sampling draws a whole batch of prompts each time. GRESO's refills are as large as the share of
    zero-variance groups asks for, and it observes every group that it rolls out.
    """
    batch = Batch([])
    missing, size, last = feed.prompts, feed.prompts, feed.epoch + EPOCHS
    smallest = max(1, feed.prompts // REFILL_PARTS)
    while missing and feed.epoch <= last:
        prompts = feed.take(size)
        if greso is not None:
            prompts = prompts[~greso.skips(prompts, feed.order.random((2, len(prompts))))]
        if not len(prompts):
            continue
        uniforms = feed.sampling.random((1, feed.prompts, group_size, snapshot.tree.length))
        rollout = roll_out(snapshot, start, uniforms, noise=uniforms[..., 0])
        mixed = rollout.mixed[0, prompts]
        item = Round(prompts, rollout, mixed & (np.cumsum(mixed) <= missing))
        batch.rounds.append(item)
        missing -= int(item.trained.sum())
        if greso is not None:
            greso.observe(prompts, item.means)
            size = refill_size(missing, batch.zero_variance, feed.prompts, smallest)
    return batch


def side_by_side(
    batch: Batch, rule: Callable[[Float[np.ndarray, "K G"]], Float[np.ndarray, "K G"]]
) -> tuple[Rollout, Float[np.ndarray, "1 P H L"], Bool[np.ndarray, "1 P"]]:
    """The rounds as wide groups of one rollout, with the rule's advantages where they are trained on, else 0.

    The surrogate divides by the tokens of all groups that it is given, here H = rounds · G responses for each
    of P prompts; the advantages are scaled so that the divisor is the number of tokens trained on.
    """
    parts = [item.rollout for item in batch.rounds]
    wide = Rollout(
        *(
            np.concatenate([getattr(part, name) for part in parts], axis=2)
            for name in ("nodes", "tokens", "entropies", "rewards", "noise")
        )
    )
    prompts, size = parts[0].rewards.shape[1:]
    advantages = np.zeros((prompts, len(parts), size))
    for index, item in enumerate(batch.rounds):
        trained = item.prompts[item.trained]
        advantages[trained, index] = rule(item.rollout.rewards[0, trained])
    advantages *= prompts * len(parts) / batch.size
    per_token = np.broadcast_to(advantages.reshape(1, prompts, -1, 1), wide.tokens.shape)
    return wide, per_token, np.ones((1, prompts), dtype=bool)


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
