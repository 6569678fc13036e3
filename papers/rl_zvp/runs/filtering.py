"""Tier B's filtering baselines: dynamic sampling (DAPO) and GRESO, which throw zero-variance groups away.

A batch is filled round by round. A round draws distinct prompts in the order of a shuffled epoch, GRESO skips
some of them, the others are rolled out, and their mixed groups are kept until there are as many as the other
arms have prompts. Seeds run one after the other: each needs its own number of rounds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from common.rl.advantages import mean_advantages
from common.study.jobs import Job, Record
from common.tabular.objective import Rollout, collect
from common.tabular.optimizers import Adam
from common.tabular.policy import Snapshot
from common.tabular.simulator import measure, optimise
from common.tabular.start import Start, streams
from papers.rl_zvp.runs.tabular import Setting, draw_start, final_scores

EPOCHS = 40  # most passes over the prompts for one batch; then it is trained on as it is
REFILL_PARTS = 8  # GRESO refills at least an eighth of a batch, in its code 64 of 512 prompts

# GRESO's pre-rollout filter (App. C)
EASY, HARD = 0.98, 0.11  # mean reward of a visit that counts as all correct, as near zero
TARGET_EASY, TARGET_HARD = 1 / 12, 1 / 6  # wanted shares of easy and hard zero-variance prompts
STEP, LOWEST, HIGHEST, FLOOR = 0.01, 0.05, 0.95, 0.01
MARGIN = 1.25  # β: how many more prompts than expected to be needed are drawn in a refill


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
        taken, self._left = self._left[:count], self._left[count:]
        return np.array(taken, dtype=np.int64)


@dataclass(frozen=True)
class Round:
    """One group for each of some prompts; arrays over all P prompts, of which `drawn` were rolled out."""

    drawn: Int[np.ndarray, " K"]
    rollout: Rollout

    @property
    def means(self) -> Float[np.ndarray, " K"]:
        """Mean reward of each drawn prompt's group."""
        return self.rollout.rewards[0, self.drawn].mean(axis=-1)

    @property
    def mixed(self) -> Bool[np.ndarray, " K"]:
        """Which of the drawn prompts' groups hold both outcomes."""
        return self.rollout.mixed[0, self.drawn]


@dataclass(frozen=True)
class Batch:
    """Rounds, and for each the drawn groups that are trained on."""

    rounds: list[Round]
    kept: list[Bool[np.ndarray, " K"]]

    @property
    def means(self) -> Float[np.ndarray, " N"]:
        """Mean reward of every group that was rolled out."""
        return np.concatenate([item.means for item in self.rounds] or [np.zeros(0)])

    @property
    def size(self) -> int:
        """Groups that are trained on."""
        return int(sum(kept.sum() for kept in self.kept))

    @property
    def used(self) -> int:
        """Groups rolled out up to the last one that is trained on."""
        places = np.flatnonzero(np.concatenate(self.kept))
        return int(places[-1]) + 1 if len(places) else len(self.means)


def simulate(job: Job, workspace: Path) -> Record:  # noqa: ARG001 (seconds long: nothing to resume)
    """Entry point of the arms "ds" and "greso"; the config of the job is a `Setting`.

    Returns:
        Series over T + 1 policies: success, entropy (exact), pass_at_8, rollouts (sampled so far). Series
        over T batches: zero_variance (share of the groups rolled out), kept (groups trained on), used, and
        explore_easy, explore_hard of GRESO (NaN with "ds"). Scalars as `final_scores`.

    Raises:
        ValueError: another arm.
    """
    setting = Setting(**job.config)
    if setting.arm not in ("ds", "greso"):
        raise ValueError(f"unknown filter '{setting.arm}'; choose ds or greso")
    records = [_one_seed(setting, seed) for seed in job.seeds]
    return Record(
        {name: np.array([scalars[name] for scalars, _ in records]) for name in records[0][0]},
        {name: np.stack([series[name] for _, series in records]) for name in records[0][1]},
    )


def _one_seed(setting: Setting, seed: int) -> tuple[dict[str, float], dict[str, Float[np.ndarray, " T"]]]:
    start, training = draw_start(setting.world(), (seed,)), setting.training()
    tables = [table.reshape(setting.vocabulary, -1) for table in (start.policy.shared, start.policy.private)]
    optimizers = [Adam(table, setting.learning_rate) for table in tables]
    _, sampling, order = streams(seed)
    feed = Feed(setting.prompts, order, sampling)
    greso = GresoSampler(setting.prompts) if setting.arm == "greso" else None
    policies, batches, rollouts = [], [], 0
    for _ in range(setting.iterations):
        snapshot = start.policy.evaluate()
        policies.append(_measured(snapshot, start, rollouts))
        batch = fill(snapshot, start, feed, setting.group_size, greso)
        rollouts += len(batch.means) * setting.group_size
        if batch.size:
            optimise(collect(*training_batch(batch), snapshot), optimizers, training, 1)
        batches.append(_described(batch, greso))
        if greso is not None and feed.epoch > 1 and batch.rounds:
            greso.adapt(batch.means)
    snapshot = start.policy.evaluate()
    policies.append(_measured(snapshot, start, rollouts))
    series = {name: np.array([row[name] for row in rows]) for rows in (policies, batches) for name in rows[0]}
    return {name: float(value[0]) for name, value in final_scores(snapshot, start).items()}, series


def fill(
    snapshot: Snapshot, start: Start, feed: Feed, group_size: int, greso: GresoSampler | None = None
) -> Batch:
    """Roll out rounds until as many mixed groups are there as a batch has prompts, or `EPOCHS` are over.

    Dynamic sampling draws a whole batch of prompts each time. GRESO's refills are as large as the share of
    zero-variance groups asks for, and it observes every group that it rolls out.
    """
    rounds: list[Round] = []
    kept: list[Bool[np.ndarray, " K"]] = []
    missing, size, last = feed.prompts, feed.prompts, feed.epoch + EPOCHS
    while missing and feed.epoch <= last:
        prompts = feed.take(size)
        if greso is not None:
            prompts = prompts[~greso.skips(prompts, feed.order.random((2, len(prompts))))]
        if not len(prompts):
            continue
        item = Round(prompts, roll_out(snapshot, start, feed, group_size))
        chosen = item.mixed & (np.cumsum(item.mixed) <= missing)
        rounds.append(item)
        kept.append(chosen)
        missing -= int(chosen.sum())
        if greso is not None:
            greso.observe(prompts, item.means)
            mixed = np.concatenate([each.mixed for each in rounds])
            size = refill_size(
                missing, 1.0 - float(mixed.mean()), feed.prompts, max(1, feed.prompts // REFILL_PARTS)
            )
    return Batch(rounds, kept)


def roll_out(snapshot: Snapshot, start: Start, feed: Feed, group_size: int) -> Rollout:
    """One group for every prompt of one seed."""
    tree = snapshot.tree
    uniforms = feed.sampling.random((1, feed.prompts, group_size, tree.length))
    nodes, tokens = snapshot.sample(uniforms)
    entropies = snapshot.entropies[0, np.arange(feed.prompts)[:, None, None], nodes[0]][None]
    rewards = start.targets.reward(tree.code(nodes[..., -1], tokens[..., -1]))
    return Rollout(nodes, tokens, entropies, rewards, uniforms[..., 0])


def training_batch(
    batch: Batch,
) -> tuple[Rollout, Float[np.ndarray, "1 P H L"], Bool[np.ndarray, "1 P"]]:
    """The rounds side by side as wide groups, with GRPO's advantages on the kept groups and 0 elsewhere.

    The token count that divides is the wide groups'; the advantages are scaled so that it is the kept ones'.
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
    for index, (item, kept) in enumerate(zip(batch.rounds, batch.kept, strict=True)):
        rewards = torch.from_numpy(item.rollout.rewards[0, item.drawn[kept]].reshape(-1))
        found = mean_advantages(rewards, size, "population").numpy()
        advantages[item.drawn[kept], index] = found.reshape(-1, size)
    advantages *= prompts * len(parts) / batch.size
    per_token = np.broadcast_to(advantages.reshape(1, prompts, -1, 1), wide.tokens.shape)
    return wide, per_token, np.ones((1, prompts), dtype=bool)


def _measured(snapshot: Snapshot, start: Start, rollouts: int) -> dict[str, float]:
    values = {**measure(snapshot, start), **final_scores(snapshot, start)}
    names = ("success", "entropy", "pass_at_8")
    return {**{name: float(values[name][0]) for name in names}, "rollouts": float(rollouts)}


def _described(batch: Batch, greso: GresoSampler | None) -> dict[str, float]:
    mixed = (batch.means > 0.0) & (batch.means < 1.0)
    return {
        "zero_variance": 1.0 - float(mixed.mean()) if len(mixed) else np.nan,
        "kept": float(batch.size),
        "used": float(batch.used),
        "explore_easy": greso.explore_easy if greso is not None else np.nan,
        "explore_hard": greso.explore_hard if greso is not None else np.nan,
    }


class GresoSampler:
    """GRESO: per-prompt reward traces and the two exploration probabilities that decide who is rolled out.

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
