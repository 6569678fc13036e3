"""A pocket policy on ToolCall-Mini, one arm with one seed (C7, C8, C10, C11)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from common.rl.advantages import group_mean
from common.rl.harness import LOGGED, shared_arguments, train_arm
from common.rl.rollout import Rollout
from common.rl.run import Run
from common.study.errors import unknown
from common.study.jobs import Job, Record
from common.tasks.toolcall.training import ToolCalls
from papers.rest.method import RELEASED_STEPS, ResTConfig, ResTTrainer, Weighting, scheduled_reward

SCHEDULED = "papers.rest.runs.training:ScheduledCalls"
FIXED = "papers.rest.runs.training:FixedCalls"
EPSILON, DUAL_CLIP = 0.2, 3.0  # verl's defaults, which the released run has


@dataclass(frozen=True)
class Arm:
    """What an arm is trained with.

    Attributes:
        weighting: Token weights.
        task: The reward with its schedule, or as it is at the first step.
        kl: Weight of the KL term.
        centred: Dr.GRPO: advantages without the group's standard deviation, a constant denominator.
    """

    weighting: Weighting
    task: str = SCHEDULED
    kl: float = 0.0
    centred: bool = False


ARMS: dict[str, Arm] = {
    "grpo": Arm(Weighting("uniform")),
    "code": Arm(Weighting("code")),
    "permuted": Arm(Weighting("code", permuted=True)),
    "paper": Arm(Weighting("paper")),
    "no_thought": Arm(Weighting("code", thought=False)),
    "no_curriculum": Arm(Weighting("code", curriculum=False)),
    "no_schedule": Arm(Weighting("code"), task=FIXED),
    "kl": Arm(Weighting("code"), kl=0.003),
    "strong_kl": Arm(Weighting("code"), kl=0.03),
    "plain": Arm(Weighting("uniform"), task=FIXED, kl=0.001),
    "dr_grpo": Arm(Weighting("uniform"), task=FIXED, centred=True),
}
"""GRPO has the reward schedule and no KL term, as ResT has, so that the two differ in the weights alone;
"plain" is GRPO as it is usually run."""

REST_LOGGED: Mapping[str, str] = {
    **LOGGED,
    "calls/right": "right",
    "calls/formed": "formed",
    "rest/spread": "spread",
}


class ScheduledCalls(ToolCalls):
    """ToolCall-Mini with the released reward, whose schedule runs over the training.

    Logs the shares of right and of well-formed responses of a batch.
    """

    moves: ClassVar[bool] = True

    @property
    def reward(self) -> Callable[..., list[float]]:
        """See `papers.rest.method.scheduled_reward`."""

        def scheduled(
            completion_ids: list[list[int]],
            index: list[int],
            trainer_state: Any,
            log_metric: Callable[[str, float], None],
            **_: Any,
        ) -> list[float]:
            share = trainer_state.global_step / max(1, trainer_state.max_steps)
            marks = self.marks(completion_ids, index)
            log_metric("calls/right", float(np.mean([each.right for each in marks])))
            log_metric("calls/formed", float(np.mean([each.formed for each in marks])))
            step = RELEASED_STEPS * share if self.moves else 0.0
            return [scheduled_reward(each, step) for each in marks]

        return scheduled


class FixedCalls(ScheduledCalls):
    """The same reward as it is at the first step, throughout."""

    moves: ClassVar[bool] = False


class CentredTrainer(ResTTrainer):
    """Dr.GRPO's advantages: rewards minus their group's mean."""

    def advantages(self, rewards: Float[Tensor, " N"], rollout: Rollout) -> Float[Tensor, " B"]:
        """r - mean, of this process's rows."""
        baseline = group_mean(rewards, rollout.num_generations).repeat_interleave(rollout.num_generations)
        return torch.nan_to_num(rewards - baseline, nan=0.0)[rollout.local]


def train(job: Job, workspace: Path) -> Record:
    """Entry point; see `common.rl.harness.train_arm` for the record, and `REST_LOGGED` for its series."""
    (seed,) = job.seeds
    if job.config["arm"] not in ARMS:
        raise unknown("arm", job.config["arm"], ARMS)
    arm = ARMS[job.config["arm"]]
    run = Run.read({**job.config, "task": arm.task, "kl_coefficient": arm.kl})
    kind = CentredTrainer if arm.centred else ResTTrainer
    return train_arm(run, seed, workspace, kind, arguments(run, arm, seed, workspace), REST_LOGGED)


def arguments(run: Run, arm: Arm, seed: int, workspace: Path) -> ResTConfig:
    """The arm as a configuration; rows without advantage are skipped where no KL term needs them."""
    return ResTConfig(
        **shared_arguments(run, seed, workspace),
        **{f"rest_{name}": value for name, value in asdict(arm.weighting).items()},
        rest_separator=" ",
        epsilon=EPSILON,
        epsilon_high=EPSILON,
        dual_clip=DUAL_CLIP,
        loss_type="dr_grpo" if arm.centred else "bnpo",
        row_skipping=not arm.kl,
    )
