"""Policy-gradient losses as pure per-token functions.

Every loss maps log-ratios and advantages to a tensor ``[B, T]`` to be minimised; `aggregate` then makes it a
number. Masks are ``[B, T]`` with 1 on the tokens that count. Gradients flow through the log-ratio only. What
lies outside a mask is never read: not even NaN or infinity there reaches a value or a gradient.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor

Advantages = Float[Tensor, "B 1"] | Float[Tensor, "B T"]
Level = Literal["token", "sequence"]
Aggregation = Literal["token_mean", "sequence_mean", "sequence_sum", "constant"]


class ClipFractions(NamedTuple):
    """Shares of tokens whose gradient the clipping removes, by side (both in [0, 1])."""

    low: Float[Tensor, ""]
    high: Float[Tensor, ""]


def importance_log_ratio(
    log_probs: Float[Tensor, "B T"],
    old_log_probs: Float[Tensor, "B T"],
    mask: Num[Tensor, "B T"],
    level: Level = "token",
) -> Float[Tensor, "B T"]:
    """Logarithm of the importance ratio of each token.

    ``"token"`` is log π_θ - log π_old, 0 outside the mask; ``"sequence"`` is its mean over the response's
    tokens, the length-normalised ratio of GSPO (Eq. 7, arXiv:2507.18071), repeated at every token.

    Raises:
        ValueError: unknown `level`.
    """
    log_ratio = _inside(log_probs - old_log_probs, mask)
    if level == "token":
        return log_ratio
    if level != "sequence":
        raise ValueError(f"unknown level '{level}'; choose 'token' or 'sequence'")
    mean = log_ratio.sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
    return mean[:, None].expand_as(log_ratio)


def clipped_surrogate(
    log_ratio: Float[Tensor, "B T"],
    advantages: Advantages,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.28,
    dual_clip: float | None = None,
) -> Float[Tensor, "B T"]:
    """Clipped surrogate -min(ρ A, clip(ρ, 1 - ε_low, 1 + ε_high) A) (Eq. 8, arXiv:2503.14476).

    `dual_clip` c > 1 bounds the loss of a negative advantage by c |A|, so that a response which the new
    policy has made much likelier cannot dominate the batch (arXiv:1912.09729). An infinite ε switches
    clipping off.

    Raises:
        ValueError: `dual_clip` is not above 1.
    """
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - epsilon_low, 1 + epsilon_high)
    objective = torch.min(ratio * advantages, clipped * advantages)
    if dual_clip is not None:
        if dual_clip <= 1:
            raise ValueError(f"dual_clip={dual_clip} must be above 1 (verl uses 3 to 10)")
        objective = torch.where(advantages < 0, torch.max(objective, dual_clip * advantages), objective)
    return -objective


def clipped_sides(
    log_ratio: Float[Tensor, "B T"],
    advantages: Advantages,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.28,
) -> tuple[Bool[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """Tokens whose gradient the clipping removes, at the lower bound (A < 0) and at the upper (A > 0)."""
    ratio = log_ratio.exp()
    low = (ratio < 1 - epsilon_low) & (advantages < 0)
    high = (ratio > 1 + epsilon_high) & (advantages > 0)
    return low, high


def clip_fractions(
    log_ratio: Float[Tensor, "B T"],
    advantages: Advantages,
    mask: Num[Tensor, "B T"],
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.28,
) -> ClipFractions:
    """Clipped tokens of each side as shares of all tokens, the quantities TRL logs as `clip_ratio/*_mean`."""
    low, high = clipped_sides(log_ratio, advantages, epsilon_low, epsilon_high)
    return ClipFractions(*(aggregate(side.to(log_ratio.dtype), mask, "token_mean") for side in (low, high)))


def token_covariance(
    log_probs: Float[Tensor, "B T"], advantages: Advantages, mask: Num[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """Each token's term of the covariance between log-probability and advantage, detached.

    (log π - mean log π)(A - mean A) with means over the batch's tokens (Section 4.2, arXiv:2505.22617); the
    mean of the terms is the covariance that drives the entropy down. -inf outside the mask.
    """
    log_probs, advantages = log_probs.detach(), advantages.detach().expand_as(log_probs)
    centred = [values - aggregate(values, mask, "token_mean") for values in (log_probs, advantages)]
    return (centred[0] * centred[1]).where(mask > 0, -torch.inf)


def clip_cov(
    log_ratio: Float[Tensor, "B T"],
    log_probs: Float[Tensor, "B T"],
    advantages: Advantages,
    mask: Num[Tensor, "B T"],
    generator: torch.Generator,
    epsilon_low: float = 1.0,
    epsilon_high: float = 1.0,
    dual_clip: float | None = None,
    clip_ratio: float = 2e-4,
    bounds: tuple[float, float] = (1.0, 5.0),
) -> Float[Tensor, "B T"]:
    """Clip-Cov: the clipped surrogate without a few random tokens of high covariance.

    Of the tokens that the ratio clipping leaves alone and whose covariance lies strictly between `bounds`,
    max(1, ⌊clip_ratio · tokens⌋) drawn with `generator` (on the CPU) contribute neither loss nor gradient;
    all of them if there are fewer (Section 4.2, arXiv:2505.22617). The defaults are those of verl's recipe,
    which also sets a dual clip of 10 that verl's Clip-Cov does not read; here `dual_clip` adds it.
    """
    log_ratio, advantages = _inside(log_ratio, mask), _inside(advantages.expand_as(log_ratio), mask)
    covariance = token_covariance(log_probs, advantages, mask)
    low, high = clipped_sides(log_ratio, advantages, epsilon_low, epsilon_high)
    eligible = (covariance > bounds[0]) & (covariance < bounds[1]) & ~(low | high)
    candidates = eligible.flatten().nonzero().squeeze(1)
    order = torch.randperm(candidates.numel(), generator=generator).to(candidates.device)
    dropped = candidates[order[: _quota(clip_ratio, mask)]]
    keep = torch.ones_like(log_ratio).flatten().index_fill(0, dropped, 0.0).view_as(log_ratio)
    return clipped_surrogate(log_ratio, advantages, epsilon_low, epsilon_high, dual_clip) * keep


def kl_cov(
    log_ratio: Float[Tensor, "B T"],
    log_probs: Float[Tensor, "B T"],
    advantages: Advantages,
    mask: Num[Tensor, "B T"],
    kl_ratio: float = 2e-3,
    coefficient: float = 1.0,
) -> Float[Tensor, "B T"]:
    """KL-Cov: an unclipped surrogate with a KL penalty on the tokens of highest covariance.

    The max(1, ⌊kl_ratio · tokens⌋) tokens of highest covariance carry coefficient · |log ρ| on top of -ρ A
    (Section 4.2, arXiv:2505.22617, with the penalty of verl's recipe). Ties are broken as `torch.topk` does.
    """
    log_ratio, advantages = _inside(log_ratio, mask), _inside(advantages.expand_as(log_ratio), mask)
    covariance = token_covariance(log_probs, advantages, mask)
    count = min(_quota(kl_ratio, mask), int((mask > 0).sum()))
    chosen = covariance.flatten().topk(count).indices
    penalised = torch.zeros_like(log_ratio).flatten().index_fill(0, chosen, 1.0).view_as(log_ratio)
    return -log_ratio.exp() * advantages + coefficient * penalised * log_ratio.abs()


def aggregate(
    loss: Float[Tensor, "B T"],
    mask: Num[Tensor, "B T"],
    mode: Aggregation = "token_mean",
    max_length: int | None = None,
    num_tokens: float | Tensor | None = None,
) -> Float[Tensor, ""]:
    """Reduce a per-token loss to a number.

    ============== ====================================================== ==================================
    mode           value                                                  source; a response's weight
    ============== ====================================================== ==================================
    token_mean     sum over tokens / number of tokens                     Eq. 8, 2503.14476; its length
    sequence_mean  mean over responses of the mean over their tokens      Eq. 3, 2402.03300; equal
    sequence_sum   mean over responses of the sum over their tokens       TRL's `luspo`; the likelihood's own
    constant       sum over tokens / (responses · max_length)             2503.20783; its length
    ============== ====================================================== ==================================

    Args:
        loss: Per-token values.
        mask: 1 on the tokens that count. Responses without tokens count as zero.
        mode: One row of the table.
        max_length: The constant length of ``"constant"``, in tokens.
        num_tokens: Denominator of ``"token_mean"`` if the batch is part of a larger one; else the tokens of
            `mask`.

    Raises:
        ValueError: unknown `mode`, or ``"constant"`` without `max_length`.
    """
    masked = _inside(loss, mask) * mask
    if mode == "token_mean":
        return masked.sum() / (mask.sum().clamp(min=1.0) if num_tokens is None else num_tokens)
    if mode == "sequence_mean":
        return (masked.sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)).mean()
    if mode == "sequence_sum":
        return masked.sum(dim=1).mean()
    if mode != "constant":
        raise ValueError(f"unknown mode '{mode}'; choose one of {', '.join(get_args(Aggregation))}")
    if max_length is None:
        raise ValueError("mode 'dr_grpo' divides by a constant: pass max_length, in tokens")
    return masked.sum() / (loss.shape[0] * max_length)


def negative_log_likelihood(
    log_probs: Float[Tensor, "B T"], mask: Num[Tensor, "B T"], mode: Aggregation = "token_mean"
) -> Float[Tensor, ""]:
    """-log π of the masked-in tokens in nats, reduced over a batch by `aggregate`."""
    return aggregate(-log_probs, mask, mode)


def _inside(values: Float[Tensor, "B T"], mask: Num[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """`values` on the tokens that count and 0 elsewhere; a product with the mask would keep a NaN."""
    return values.masked_fill(mask == 0, 0.0)


def _quota(fraction: float, mask: Num[Tensor, "B T"]) -> int:
    """Number of tokens that make up `fraction` of the masked-in ones, at least one (verl's rounding)."""
    return max(1, int(fraction * int((mask > 0).sum())))
