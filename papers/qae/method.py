"""Quantile Advantage Estimation as a trainer: TRL's `GRPOTrainer` with another baseline (arXiv:2509.22611).

The equations stand in `papers.qae.quantile` and are re-exported here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from common.rl.advantages import StdKind, group_range
from common.rl.config import GroupConfig
from common.rl.rollout import Rollout, derived_generator
from common.rl.trainer import GroupTrainer
from papers.qae.quantile import (
    Interpolation,
    Mask,
    check_quantile,
    entropy_change,
    entropy_safety_bound,
    objective_weights,
    quantile_advantages,
    quantile_baseline,
)

__all__ = [
    "QAEConfig",
    "QAETrainer",
    "check_quantile",
    "entropy_change",
    "entropy_safety_bound",
    "objective_weights",
    "quantile_advantages",
    "quantile_baseline",
]


@dataclass
class QAEConfig(GroupConfig):
    """Configuration of `QAETrainer`; the rest is `common.rl.config.GroupConfig` and `trl.GRPOConfig`.

    The paper trains with ``epsilon=0.2, epsilon_high=0.28`` (Clip-Higher), ``beta=0``, ``loss_type="dapo"``
    and 16 optimizer steps per rollout batch: with a single one, quantile and mean baseline have the same
    expected gradient.

    Attributes:
        quantile_k: Level K in (0, 1); prompts with a success rate up to 1 - K count as hard. None is the mean
            baseline.
        quantile_interpolation: ``"inverted_cdf"`` (Eq. 4), or ``"linear"`` as in the official code.
        advantage_mask: Ablations and controls, see `quantile_advantages`.
        advantage_std: Which standard deviation divides, see `common.rl.advantages`.
    """

    quantile_k: float | None = field(
        default=0.4,
        metadata={"help": "Quantile level K in (0, 1); None is the mean baseline (Section 6: 0.4)."},
    )
    quantile_interpolation: Interpolation = field(
        default="inverted_cdf", metadata={"help": "inverted_cdf (Eq. 4) or linear (official code)."}
    )
    advantage_mask: Mask = field(
        default="none", metadata={"help": "none, pos, neg, random_gate, inverted, b0 or b1 (Section 5.3)."}
    )
    advantage_std: StdKind = field(
        default="trl", metadata={"help": "Standard deviation: trl, population (Eq. 3) or unbiased (verl)."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        probe = torch.tensor([0.0, 1.0])
        quantile_advantages(
            probe,
            2,
            self.quantile_k,
            self.quantile_interpolation,
            self.advantage_std,
            self.advantage_mask,
            torch.Generator(),
        )


class QAETrainer(GroupTrainer, name="QAE", tags=("grpo", "qae")):
    """`GRPOTrainer` with Quantile Advantage Estimation; the only change is the baseline of the advantages.

    Logs `advantages/hard_groups`, the share of hard prompts (baseline at the lowest reward, before any mask)
    among the groups with different rewards; None where there is no such group.
    """

    args: QAEConfig

    def advantages(self, rewards: Float[Tensor, " N"], rollout: Rollout) -> Float[Tensor, " B"]:
        """Eq. 3 on the gathered rewards; a random gate depends on the seed and the step only.

        Groups of one response, which TRL allows in evaluation, have advantage 0 as there.
        """
        args = self.args
        if rollout.num_generations == 1:
            return torch.zeros_like(rewards[rollout.local])
        k = check_quantile(args.quantile_k, args.quantile_interpolation)
        if k is not None or args.advantage_std != "trl":
            rewards = rollout.merged(rewards)
        if k is not None:
            self.log_metric("advantages/hard_groups", self._hard_share(rewards, rollout.num_generations))
        advantages = quantile_advantages(
            rewards,
            rollout.num_generations,
            args.quantile_k,
            args.quantile_interpolation,
            args.advantage_std,
            args.advantage_mask,
            derived_generator(args.seed, rollout.step),
        )
        return advantages[rollout.local]

    def _hard_share(self, rewards: Float[Tensor, " N"], num_generations: int) -> float:
        args = self.args
        baseline = quantile_baseline(rewards, num_generations, args.quantile_k, args.quantile_interpolation)
        lowest, highest = group_range(rewards, num_generations)
        mixed = lowest < highest
        return (baseline[mixed] == lowest[mixed]).float().mean().item()
