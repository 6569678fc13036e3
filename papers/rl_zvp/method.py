"""RL-ZVP as a trainer: TRL's `GRPOTrainer` that also learns from zero-variance prompts (arXiv:2509.21880).

The equations stand in `papers.rl_zvp.zero_variance` and are re-exported here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from common.rl.config import GroupConfig
from common.rl.rollout import Batch, Rollout, derived_generator, loss_mask
from common.rl.trainer import GroupTrainer
from papers.rl_zvp.zero_variance import (
    SHAPES,
    Shape,
    rl_zvp_advantages,
    token_weights,
    used_signs,
    zero_variance_signs,
)

__all__ = ["RLZVPConfig", "RLZVPTrainer", "rl_zvp_advantages", "token_weights", "zero_variance_signs"]


@dataclass
class RLZVPConfig(GroupConfig):
    """Configuration of `RLZVPTrainer`; the rest is `common.rl.config.GroupConfig` and `trl.GRPOConfig`.

    The paper trains with ``epsilon=0.2, epsilon_high=0.28``, ``beta=0``, ``loss_type="dapo"`` (token mean),
    16 optimizer steps per rollout batch and rewards that are the verifier's alone.

    Attributes:
        zvp_alpha: α, the scale of the advantages of zero-variance prompts.
        zvp_use_positive: Learn from prompts that were always solved.
        zvp_use_negative: Learn from prompts that were never solved. With both off this is GRPO.
        zvp_shape: How the advantage is spread over tokens, see `token_weights`.
        zvp_sign_flip: Control: the opposite sign.
        zvp_entropy_from: Policy whose entropy counts: ``"old"`` sampled the batch (one pass), ``"current"``
            is the one being updated (Algorithm 1). They are the same with one optimizer step per batch.
    """

    zvp_alpha: float = field(default=0.1, metadata={"help": "Scale of zero-variance advantages (Table 3)."})
    zvp_use_positive: bool = field(default=True, metadata={"help": "Learn from always solved prompts."})
    zvp_use_negative: bool = field(default=True, metadata={"help": "Learn from never solved prompts."})
    zvp_shape: Shape = field(default="entropy", metadata={"help": f"One of {', '.join(SHAPES)}."})
    zvp_sign_flip: bool = field(default=False, metadata={"help": "Control: opposite sign."})
    zvp_entropy_from: Literal["old", "current"] = field(
        default="old", metadata={"help": "Policy whose entropy counts: old or current (Algorithm 1)."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.zvp_alpha < 0:
            raise ValueError(f"zvp_alpha={self.zvp_alpha} must not be negative; see zvp_sign_flip")
        choices = {"zvp_shape": SHAPES, "zvp_entropy_from": ("old", "current")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r}; choose one of {', '.join(allowed)}")
        if self.uses_zero_variance and self.dynamic_sampling_rounds:
            raise ValueError(
                "dynamic sampling throws away the zero-variance groups that RL-ZVP learns from; set "
                "dynamic_sampling_rounds=0, or zvp_use_positive=False and zvp_use_negative=False"
            )
        if self.zvp_entropy_from == "current" and (self.row_skipping or self.loss_variant != "clip"):
            raise ValueError(
                "zvp_entropy_from='current' sets advantages inside the loss: it needs row_skipping=False and "
                "loss_variant='clip'"
            )

    @property
    def uses_zero_variance(self) -> bool:
        """False if this is plain GRPO."""
        return self.zvp_use_positive or self.zvp_use_negative


class RLZVPTrainer(GroupTrainer, name="RL-ZVP", tags=("grpo", "rl-zvp")):
    """`GRPOTrainer` with RL-ZVP; the only change is the advantage of groups whose rewards are all equal.

    Logs the shares of prompts that were always and never solved (`zvp/positive`, `zvp/negative`) and the
    mean |A| over tokens of zero-variance and of mixed groups (`zvp/size`, `zvp/size_mixed`; 0 where there is
    no such group).
    """

    args: RLZVPConfig

    def advantages(
        self, rewards: Float[Tensor, " N"], rollout: Rollout
    ) -> Float[Tensor, " B"] | Float[Tensor, "B T"]:
        """Eq. 5 and 6 on the gathered rewards; a shuffle depends on seed, step and process only."""
        args = self.args
        merged = rollout.merged(rewards)
        signs = zero_variance_signs(merged, rollout.num_generations)
        self.log_metric("zvp/positive", (signs > 0).float().mean().item())
        self.log_metric("zvp/negative", (signs < 0).float().mean().item())
        if not args.uses_zero_variance:
            return super().advantages(rewards, rollout)
        advantages = rl_zvp_advantages(
            merged,
            rollout.entropies,
            rollout.mask,
            rollout.num_generations,
            args.zvp_alpha,
            local=rollout.local,
            shape=args.zvp_shape,
            use_positive=args.zvp_use_positive,
            use_negative=args.zvp_use_negative,
            sign_flip=args.zvp_sign_flip,
            generator=derived_generator(args.seed, rollout.step, rollout.local.start),
        )
        self._log_sizes(advantages, self._signs(rollout), rollout.mask)
        return advantages

    def loss_inputs(self, rollout: Rollout) -> dict[str, Tensor]:
        """The signs of the rows whose advantages each update sets anew."""
        follows = self.args.zvp_entropy_from == "current" and self.args.uses_zero_variance
        return {"zvp_signs": self._signs(rollout)} if follows else {}

    def update_advantages(self, entropies: Float[Tensor, "B T"], batch: Batch) -> Float[Tensor, "B T"] | None:
        """With ``zvp_entropy_from="current"`` Eq. 5 on the entropies of the policy that is updated."""
        if "zvp_signs" not in batch:
            return None
        args, signs = self.args, batch["zvp_signs"]
        generator = derived_generator(args.seed, self.passes_done, self.accelerator.process_index)
        weights = token_weights(entropies, loss_mask(batch), signs, args.zvp_alpha, args.zvp_shape, generator)
        direction = -signs if args.zvp_sign_flip else signs
        shaped = direction[:, None] * weights.to(batch["advantages"].dtype)
        return torch.where(signs[:, None] != 0, shaped, batch["advantages"])

    def _signs(self, rollout: Rollout) -> Float[Tensor, " B"]:
        """Of the halves in use, for the rows of this process."""
        merged = rollout.merged(rollout.rewards)
        use = self.args.zvp_use_positive, self.args.zvp_use_negative
        return used_signs(merged, rollout.num_generations, *use)[rollout.local]

    def _log_sizes(self, advantages: Float[Tensor, "B T"], signs: Float[Tensor, " B"], mask: Tensor) -> None:
        zero_variance = (signs != 0)[:, None] & mask.bool()
        for name, part in {"size": zero_variance, "size_mixed": mask.bool() & ~zero_variance}.items():
            sums = self.sum_over_processes(torch.stack([(advantages.abs() * part).sum(), part.sum()]))
            self.log_metric(f"zvp/{name}", (sums[0] / sums[1].clamp(min=1)).item())
