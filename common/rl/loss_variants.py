"""Clip-Cov, KL-Cov, or no policy loss on TRL's batches: the per-token loss, and how it becomes a number."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Num
from torch import Tensor

from common.rl.config import GroupConfig
from common.rl.losses import Advantages, Aggregation, aggregate, clip_cov, clip_fractions, kl_cov
from common.rl.rollout import Batch, derived_generator, loss_mask
from common.rl.scoring import Scoring

AGGREGATION: dict[str, Aggregation] = {
    "dapo": "token_mean",
    "bnpo": "token_mean",
    "grpo": "sequence_mean",
    "dr_grpo": "constant",
}
"""TRL's `loss_type` to `common.rl.losses.aggregate`."""


def per_token_loss(
    config: GroupConfig,
    log_ratio: Float[Tensor, "B T"],
    log_probs: Float[Tensor, "B T"],
    advantages: Advantages,
    mask: Num[Tensor, "B T"],
    generator: torch.Generator,
) -> Float[Tensor, "B T"]:
    """The loss of `config.loss_variant` at each token.

    Covariances are taken within the tensors passed, that is within one micro-batch of one process.
    """
    if config.loss_variant == "kl_cov":
        return kl_cov(
            log_ratio, log_probs, advantages, mask, config.kl_cov_ratio, coefficient=config.kl_cov_coefficient
        )
    return clip_cov(
        log_ratio,
        log_probs,
        advantages,
        mask,
        generator,
        epsilon_low=config.epsilon,
        epsilon_high=config.epsilon if config.epsilon_high is None else config.epsilon_high,
        dual_clip=config.dual_clip,
        clip_ratio=config.clip_cov_ratio,
        bounds=(config.clip_cov_low, config.clip_cov_high),
    )


def reduce_loss(
    loss: Float[Tensor, "B T"],
    mask: Num[Tensor, "B T"],
    loss_type: str,
    *,
    accumulation: float,
    window_tokens: Float[Tensor, ""],
    max_length: int,
) -> Float[Tensor, ""]:
    """Aggregate as TRL does for `loss_type`, scaled for gradient accumulation.

    Args:
        loss: Per-token loss.
        mask: 1 on the tokens that count.
        loss_type: TRL's name of the aggregation.
        accumulation: Micro-batches per optimizer step.
        window_tokens: Denominator of ``"dapo"``: tokens of one optimizer step per process.
        max_length: Longest completion, the constant of ``"dr_grpo"``.
    """
    mode = AGGREGATION[loss_type]
    if loss_type == "dapo":
        return aggregate(loss, mask, mode, num_tokens=window_tokens)
    return aggregate(loss, mask, mode, max_length=max_length) / accumulation


class LossVariants(Scoring):
    """The policy loss of `GroupConfig.loss_variant` where it is not TRL's own."""

    max_completion_length: int

    def variant_loss(self, model: Any, inputs: Batch) -> Float[Tensor, ""]:
        """Clip-Cov or KL-Cov with TRL's aggregation, auxiliary loss and metrics; or these last two alone."""
        args, mask = self.args, loss_mask(inputs)
        log_probs, entropies, aux_loss = self.score(model, inputs)
        if args.loss_variant == "none":
            self._log_token_means(mask, entropy=(entropies.detach() * mask).sum())
            return self.add_aux_loss(log_probs.new_zeros(()), aux_loss)
        advantages = inputs["advantages"]
        advantages = advantages[:, None] if advantages.ndim == 1 else advantages
        log_ratio = log_probs - inputs.get("old_per_token_logps", log_probs.detach())
        generator = derived_generator(args.seed, self._step, self.accelerator.process_index)
        loss = per_token_loss(args, log_ratio, log_probs, advantages, mask, generator)
        training = self.model.training
        share = self.loss_parts * args.num_iterations / args.passes_per_rollout if training else 1.0
        self._log_update(entropies.detach(), log_ratio.detach(), advantages, mask)
        reduced = reduce_loss(
            loss * inputs.get("importance_sampling_ratio", 1.0),
            mask,
            args.loss_type,
            accumulation=self.loss_parts,
            window_tokens=inputs["num_items_in_batch"].clamp(min=1.0)
            / self.accelerator.num_processes
            * share,
            max_length=self.max_completion_length,
        )
        return self.add_aux_loss(reduced, aux_loss)

    def _log_update(self, entropies: Tensor, log_ratio: Tensor, advantages: Tensor, mask: Tensor) -> None:
        """Entropy and clip fractions under TRL's names, as means over the tokens of all processes."""
        tokens = mask.sum()
        sides = clip_fractions(log_ratio, advantages, mask, self.epsilon_low, self.epsilon_high)
        clipped = {"clip_ratio/low_mean": sides.low * tokens, "clip_ratio/high_mean": sides.high * tokens}
        self._log_token_means(mask, entropy=(entropies * mask).sum(), **clipped)

    def _log_token_means(self, mask: Tensor, **sums: Tensor) -> None:
        """Sums over this process's tokens as means over those of all."""
        *totals, count = self.accelerator.reduce(
            torch.stack([*sums.values(), mask.sum().float()]), reduction="sum"
        )
        for name, total in zip(sums, totals, strict=True):
            self.log_metric(name, (total / count.clamp(min=1.0)).item())
