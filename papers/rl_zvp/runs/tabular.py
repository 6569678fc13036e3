"""Tier B: a tabular policy trained with GRPO, RL-ZVP, its ablations and controls, many seeds at once.

The advantages come from `papers.rl_zvp.method.rl_zvp_advantages`, the function that the trainer uses,
with the population standard deviation of the paper's Eq. 2. Every response counts in the token mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from common.study.jobs import Job, Record
from common.tabular.objective import Rollout
from common.tabular.policy import Policy, Snapshot, Targets, pass_at
from common.tabular.simulator import AdvantageRule, Training
from common.tabular.simulator import simulate as run
from common.tabular.start import Start, World, streams
from papers.rl_zvp.method import VARIANTS, rl_zvp_advantages

RATES = {
    "hard": (0.003, 0.01, 0.03, 0.1),
    "easy": (0.3, 0.6, 0.9, 0.97),
    "unsolvable": (0.3, 0.6, 0.9, 0.97, 0.0),
}
COMMON, PRIVATE = 0.6, 0.4  # weights of the score that all prompts share and of a prompt's own
KEPT = ("entropy", "success", "share_positive", "share_negative", "entropy_positive", "entropy_negative")


@dataclass(frozen=True)
class Setting:
    """The config of a tier B job.

    Attributes:
        mix: Rates of the correct sets, a key of `RATES`; "unsolvable" is the easy mix plus a fifth of prompts
            without a correct sequence.
        arm: A key of `VARIANTS`, or "ds" and "greso" in `papers.rl_zvp.runs.filtering`.
        alpha: α.
        prompts: Prompts P of a seed, all of them in every batch.
        group_size: Responses per prompt and batch, G.
        iterations: Batches T.
        inner_steps: Gradient steps μ on one batch.
        learning_rate: Adam's.
        epsilon_low: Lower clip range.
        epsilon_high: Upper clip range.
        vocabulary: Tokens V.
        length: Tokens of a response, L.
        sigma_shared: Standard deviation of the logits shared by all prompts.
        sigma_private: Standard deviation of a prompt's own logits.

    Raises:
        ValueError: an unknown mix.
    """

    mix: str
    arm: str
    alpha: float
    prompts: int
    group_size: int
    iterations: int
    inner_steps: int
    learning_rate: float
    epsilon_low: float
    epsilon_high: float
    vocabulary: int
    length: int
    sigma_shared: float
    sigma_private: float

    def __post_init__(self) -> None:
        if self.mix not in RATES:
            raise ValueError(f"unknown mix '{self.mix}'; choose one of {', '.join(RATES)}")

    def world(self) -> World:
        """What the seeds' policies and correct sets are drawn from."""
        return World(**self._shared_with(World), rates=RATES[self.mix])

    def training(self) -> Training:
        """How they are trained; all groups count in the token mean."""
        return Training(**self._shared_with(Training), optimizer="adam", drop_zero_variance=False)

    def _shared_with(self, kind: type) -> dict[str, Any]:
        names = {item.name for item in fields(kind)}
        return {name: value for name, value in asdict(self).items() if name in names}


def simulate(job: Job, workspace: Path) -> Record:  # noqa: ARG001 (seconds long: nothing to resume)
    """Entry point of the arms that train on every prompt; the config of the job is a `Setting`.

    Returns:
        Series over T + 1 policies, exact: entropy, success. Series over T batches: zero_variance,
        positive_prompts, negative_prompts (shares of the prompts), share_positive, share_negative (shares of
        tokens by the sign of A), entropy_positive, entropy_negative. Scalars: see `final_scores`, and
        predicted_zero_variance, the share that the starting policy's success rates imply, and rollouts.
    """
    setting = Setting(**job.config)
    start = draw_start(setting.world(), job.seeds)
    predicted = predicted_share(start.policy.evaluate().success(start.targets), setting.group_size)
    history = run(start, setting.training(), advantage_rule(setting.arm, setting.alpha), job.seeds)
    series = {name: values for name, values in {**history.exact, **history.sampled}.items() if name in KEPT}
    series["positive_prompts"] = (history.counts == setting.group_size).mean(axis=-1)
    series["negative_prompts"] = (history.counts == 0).mean(axis=-1)
    series["zero_variance"] = series["positive_prompts"] + series["negative_prompts"]
    scalars = final_scores(start.policy.evaluate(), start) | {"predicted_zero_variance": predicted}
    scalars["rollouts"] = np.full(
        len(job.seeds), float(setting.iterations * setting.prompts * setting.group_size)
    )
    return Record(scalars, series)


def draw_start(world: World, seeds: Sequence[int]) -> Start:
    """Normal logits; a prompt's correct set holds the sequences of highest score.

    A sequence's score is 0.6 times a standard normal number common to all prompts of the seed plus 0.4 times
    the prompt's own, and round(rate V^L) of them are correct. The rates of `world` take turns over the
    prompts; a rate of 0 makes an unsolvable prompt.
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
        raise ValueError(f"unknown arm '{arm}'; choose one of {', '.join(VARIANTS)}")
    return partial(_advantages, arm=arm, alpha=alpha)


def _advantages(rollout: Rollout, arm: str, alpha: float) -> Float[np.ndarray, "S P G L"]:
    advantages = np.empty(rollout.tokens.shape)
    group_size, length = rollout.tokens.shape[2:]
    for seed, rewards in enumerate(rollout.rewards):
        noise = int(rollout.noise[seed, 0, 0] * 2**53)  # the whole mantissa of a uniform number
        entropies = torch.from_numpy(rollout.entropies[seed].reshape(-1, length))
        found = rl_zvp_advantages(
            torch.from_numpy(rewards.reshape(-1)),
            entropies,
            torch.ones_like(entropies),
            group_size,
            alpha,
            std="population",
            generator=torch.Generator().manual_seed(noise),
            **asdict(VARIANTS[arm]),
        )
        advantages[seed] = found.reshape(rollout.tokens.shape[1:])
    return advantages
