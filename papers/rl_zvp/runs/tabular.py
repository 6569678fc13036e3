"""Tier B: a tabular policy trained with GRPO, RL-ZVP, ablations, controls and filters, many seeds at once.

The advantages come from `papers.rl_zvp.method.rl_zvp_advantages`, the function that the trainer uses, with
the population standard deviation of the paper's Eq. 2. Every response counts in the token mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from common.rl.advantages import mean_advantages
from common.study.errors import unknown
from common.study.jobs import Job, Record
from common.tabular.filtering import Batch, Feed, GresoSampler, fill, side_by_side
from common.tabular.objective import Rollout, collect
from common.tabular.optimizers import Adam
from common.tabular.policy import Policy, Snapshot, Targets, pass_at
from common.tabular.simulator import AdvantageRule, Training, measure, optimise
from common.tabular.simulator import simulate as run
from common.tabular.start import Start, World, streams
from papers.rl_zvp.method import VARIANTS, rl_zvp_advantages

RATES = {
    "hard": (0.003, 0.01, 0.03, 0.1),
    "easy": (0.3, 0.6, 0.9, 0.97),
    "unsolvable": (0.3, 0.6, 0.9, 0.97, 0.0),
}
"""Rates of the correct sets by mix; "unsolvable" is the easy one plus a fifth of prompts without any."""
COMMON, PRIVATE = 0.6, 0.4  # weights of the score that all prompts share and of a prompt's own
SERIES = ("entropy", "success", "share_positive", "share_negative", "entropy_positive", "entropy_negative")


def simulate(job: Job, _workspace: Path) -> Record:
    """Entry point of the arms that train on every prompt.

    Config: fields of `World` and `Training`; `mix`, a key of `RATES`; `arm`, a key of `VARIANTS`; `alpha`.

    Returns:
        Series over T + 1 policies, exact: entropy, success. Series over T batches: zero_variance,
        positive_prompts, negative_prompts (shares of the prompts), share_positive, share_negative (shares of
        tokens by the sign of A), entropy_positive, entropy_negative. Scalars: see `final_scores`, and
        predicted_zero_variance, the share that the starting policy's success rates imply, and rollouts.

    Raises:
        StudyError: an unknown mix or arm.
    """
    start, training = read_start(job), read_training(job)
    prompts, size = start.targets.correct.shape[1], training.group_size
    predicted = predicted_share(start.policy.evaluate().success(start.targets), size)
    history = run(start, training, advantage_rule(job.config["arm"], job.config["alpha"]), job.seeds)
    series = {name: {**history.exact, **history.sampled}[name] for name in SERIES}
    series["positive_prompts"] = (history.counts == size).mean(axis=-1)
    series["negative_prompts"] = (history.counts == 0).mean(axis=-1)
    series["zero_variance"] = series["positive_prompts"] + series["negative_prompts"]
    scalars = final_scores(start.policy.evaluate(), start) | {"predicted_zero_variance": predicted}
    scalars["rollouts"] = np.full(len(job.seeds), float(training.iterations * prompts * size))
    return Record(scalars, series)


def simulate_filter(job: Job, _workspace: Path) -> Record:
    """Entry point of the filters; the config is that of `simulate` with `arm` "ds" or "greso".

    Returns:
        Series over T + 1 policies: success, entropy (exact), pass_at_8, rollouts (sampled so far). Series
        over T batches: zero_variance (share of the groups rolled out), kept (groups trained on), used, and
        explore_easy, explore_hard of GRESO (NaN with "ds"). Scalars as `final_scores`.

    Raises:
        StudyError: an unknown mix or arm.
    """
    if job.config["arm"] not in ("ds", "greso"):
        raise unknown("filter", job.config["arm"], ("ds", "greso"))
    records = [_one_seed(job, seed) for seed in job.seeds]
    return Record(
        {name: np.array([record.scalars[name][0] for record in records]) for name in records[0].scalars},
        {name: np.concatenate([record.series[name] for record in records]) for name in records[0].series},
    )


def _one_seed(job: Job, seed: int) -> Record:
    start, training = read_start(replace(job, seeds=(seed,))), read_training(job)
    tables = [table.reshape(len(table), -1) for table in (start.policy.shared, start.policy.private)]
    optimizers = [Adam(table, training.learning_rate) for table in tables]
    _, sampling, order = streams(seed)
    feed = Feed(start.targets.correct.shape[1], order, sampling)
    greso = GresoSampler(feed.prompts) if job.config["arm"] == "greso" else None
    policies, batches, rollouts = [], [], 0
    for _ in range(training.iterations):
        snapshot = start.policy.evaluate()
        policies.append(_of_policy(snapshot, start, rollouts))
        batch = fill(snapshot, start, feed, training.group_size, greso)
        rollouts += len(batch.means) * training.group_size
        if batch.size:
            optimise(collect(*side_by_side(batch, grpo), snapshot), optimizers, training, 1)
        batches.append(_of_batch(batch, greso))
        if greso is not None and feed.epoch > 1 and batch.rounds:
            greso.adapt(batch.means)
    snapshot = start.policy.evaluate()
    policies.append(_of_policy(snapshot, start, rollouts))
    series = {name: [row[name] for row in rows] for rows in (policies, batches) for name in rows[0]}
    return Record.of_one_seed(
        {name: value[0] for name, value in final_scores(snapshot, start).items()}, series
    )


def _of_policy(snapshot: Snapshot, start: Start, rollouts: int) -> dict[str, float]:
    values = {**measure(snapshot, start), **final_scores(snapshot, start)}
    exact = {name: float(values[name][0]) for name in ("success", "entropy", "pass_at_8")}
    return exact | {"rollouts": float(rollouts)}


def _of_batch(batch: Batch, greso: GresoSampler | None) -> dict[str, float]:
    return {
        "zero_variance": batch.zero_variance,
        "kept": float(batch.size),
        "used": float(batch.used),
        "explore_easy": greso.explore_easy if greso is not None else np.nan,
        "explore_hard": greso.explore_hard if greso is not None else np.nan,
    }


def read_start(job: Job) -> Start:
    """The policies and correct sets of the job's seeds."""
    if job.config["mix"] not in RATES:
        raise unknown("mix", job.config["mix"], RATES)
    return draw_start(job.read(World, rates=RATES[job.config["mix"]]), job.seeds)


def read_training(job: Job) -> Training:
    """How they are trained; all groups count in the token mean."""
    return job.read(Training, optimizer="adam", drop_zero_variance=False)


def draw_start(world: World, seeds: Sequence[int]) -> Start:
    """Policies whose prompts resemble each other: what is right for one is often right for another.

    Logits are normal. A prompt's correct set holds the round(rate V^L) sequences of highest score, and the
    rates of `world` take turns over the prompts; a rate of 0 makes an unsolvable prompt. A score is 0.6 times
    a standard normal number common to all prompts of the seed plus 0.4 times the prompt's own.
    """
    tree = world.tree
    shared = np.empty((world.vocabulary, len(seeds), tree.nodes))
    private = np.empty((world.vocabulary, len(seeds), world.prompts, tree.nodes))
    correct = np.zeros((len(seeds), world.prompts, tree.sequences), dtype=bool)
    sizes = [round(rate * tree.sequences) for rate in np.resize(world.rates, world.prompts)]
    for row, seed in enumerate(seeds):
        generator = streams(seed)[0]
        shared[:, row] = world.sigma_shared * generator.standard_normal((world.vocabulary, tree.nodes))
        common = generator.standard_normal(tree.sequences)
        for prompt, size in enumerate(sizes):
            table = generator.standard_normal((world.vocabulary, tree.nodes))
            private[:, row, prompt] = world.sigma_private * table
            scores = COMMON * common + PRIVATE * generator.standard_normal(tree.sequences)
            correct[row, prompt, np.argsort(-scores, kind="stable")[:size]] = True
    return Start(Policy(tree, shared, private), Targets.index(tree, correct))


def predicted_share(success: Float[np.ndarray, "S P"], group_size: int) -> Float[np.ndarray, " S"]:
    """Expected share of zero-variance groups, the mean of p^G + (1-p)^G over prompts."""
    return (success**group_size + (1.0 - success) ** group_size).mean(axis=-1)


def final_scores(snapshot: Snapshot, start: Start) -> dict[str, Float[np.ndarray, " S"]]:
    """Exact pass@8 over all prompts, and success over the prompts that can be solved (`solvable`)."""
    success = snapshot.success(start.targets)
    solvable = start.targets.correct.any(axis=-1)
    return {
        "pass_at_8": pass_at(success, 8),
        "solvable": (success * solvable).sum(axis=-1) / solvable.sum(axis=-1),
    }


def advantage_rule(arm: str, alpha: float) -> AdvantageRule:
    """The rule of an arm; it visits the seeds one by one, so their number cannot change a rounding."""
    if arm not in VARIANTS:
        raise unknown("arm", arm, VARIANTS)
    return partial(_advantages, arm=arm, alpha=alpha)


def _advantages(rollout: Rollout, arm: str, alpha: float) -> Float[np.ndarray, "S P G L"]:
    advantages = np.empty(rollout.tokens.shape)
    group_size, length = rollout.tokens.shape[2:]
    for seed, rewards in enumerate(rollout.rewards):
        # Random positions are drawn from the batch's own noise, so that they are the same in every company of
        # seeds: a uniform number times 2^53 is its whole mantissa, an integer.
        noise = int(rollout.noise[seed, 0, 0] * 2**53)
        entropies = torch.from_numpy(rollout.entropies[seed].reshape(-1, length))
        values = rl_zvp_advantages(
            torch.from_numpy(rewards.reshape(-1)),
            entropies,
            torch.ones_like(entropies),
            group_size,
            alpha,
            std="population",
            generator=torch.Generator().manual_seed(noise),
            **asdict(VARIANTS[arm]),
        )
        advantages[seed] = values.reshape(rollout.tokens.shape[1:])
    return advantages


def grpo(rewards: Float[np.ndarray, "K G"]) -> Float[np.ndarray, "K G"]:
    """GRPO's advantages, which the filters train with."""
    values = mean_advantages(torch.from_numpy(rewards.reshape(-1)), rewards.shape[-1], "population")
    return values.numpy().reshape(rewards.shape)
