"""The trainer: TRL's DPO with the paper's optimism, calibrated on the previous policy.

With r = β log(π / π_ref) the bonus J*(r) - ⟨π_(t-1), r⟩ is -β E_{b ~ π_(t-1)} log(π(b) / π_ref(b)): the loss
gains β E log π(b), which pushes the responses of the previous policy down. The partner is the previous policy
as well, so every pair holds one such response. `common.preference.online` makes the pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from trl import DPOConfig

from common.preference.dpo import PairTrainer
from common.rl.citation import Named


@dataclass
class ExplorationDPOConfig(DPOConfig):
    """TRL's configuration and the weight of the bonus.

    Attributes:
        optimism: α over the number N of comparisons of a round: TRL's loss is a mean over pairs, the paper's
            likelihood a sum. 0 is DPO. The default is ours; the paper reports no experiment.
        remove_unused_columns: Off, so that the column with the source of each response reaches the loss.
    """

    optimism: float = field(default=0.01, metadata={"help": "Weight of the bonus beside the mean DPO loss."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Keep the source of each response."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.optimism < 0:
            raise ValueError(f"optimism is {self.optimism}; a bonus is not negative")
        kind = ",".join(self.loss_type), self.f_divergence_type, self.ld_alpha
        if self.optimism and kind != ("sigmoid", "reverse_kl", None):
            raise ValueError(
                f"the bonus belongs to the sigmoid loss with a reverse KL and no ld_alpha, found {kind}; "
                "change these or set optimism=0"
            )


class ExplorationDPOTrainer(Named, PairTrainer, name="Exploration DPO", tags=("dpo", "rlhf-exploration")):
    """`DPOTrainer` whose loss gains optimism · β · mean log π(b) over the responses b of the previous policy.

    The data set has TRL's columns and `previous_chosen`: whether that policy wrote the chosen response (else
    it wrote the rejected one). The constant log π_ref(b) is left out of the logged loss.
    """

    args: ExplorationDPOConfig
    extra_columns = ("previous_chosen",)

    def has_extra_loss(self) -> bool:
        """Without optimism it is DPO."""
        return self.args.optimism > 0

    def extra_loss(
        self, chosen: Float[Tensor, " B"], rejected: Float[Tensor, " B"], columns: Mapping[str, Tensor]
    ) -> Float[Tensor, ""]:
        """The bonus, calibrated on the previous policy."""
        previous = torch.where(columns["previous_chosen"], chosen, rejected)
        return self.args.optimism * self.beta * previous.mean()
