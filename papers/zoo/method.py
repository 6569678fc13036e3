"""Dr. GRPO (arXiv:2503.20783): no division by the group's standard deviation, none by a response's length."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from common.rl.advantages import group_mean, split_groups
from common.rl.config import GroupConfig
from common.rl.rollout import Rollout
from common.rl.trainer import GroupTrainer


@dataclass
class DrGRPOConfig(GroupConfig):
    """`GroupConfig` with TRL's constant-length loss aggregation."""

    loss_type: str = "dr_grpo"


class DrGRPOTrainer(GroupTrainer):
    """`GroupTrainer` whose advantage is the reward minus the group's mean."""

    def advantages(self, rewards: Float[Tensor, " N"], rollout: Rollout) -> Float[Tensor, " B"]:
        """r - mean(r), 0 for a completion without reward."""
        groups = split_groups(rewards, rollout.num_generations)
        centred = groups - group_mean(rewards, rollout.num_generations)[:, None]
        return centred.nan_to_num(nan=0.0).reshape(-1)[rollout.local]
