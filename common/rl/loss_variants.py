"""Clip-Cov and KL-Cov on TRL's batches: which per-token loss, and how it becomes a number."""

from __future__ import annotations

import torch
from jaxtyping import Float, Num
from torch import Tensor

from common.rl.config import GroupConfig
from common.rl.losses import Advantages, Aggregation, aggregate, clip_cov, kl_cov

AGGREGATION: dict[str, Aggregation] = {"dapo": "dapo", "bnpo": "dapo", "grpo": "grpo", "dr_grpo": "dr_grpo"}
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
