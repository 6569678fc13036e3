"""Losses of pairs and sequences, and the log-probabilities that they rest on, as functions of tensors."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional


def sequence_logprob(
    logits: Float[Tensor, "B T V"], ids: Int[Tensor, "B T"], spans: Bool[Tensor, "*S B T"]
) -> Float[Tensor, "*S B"]:
    """Σ_{t in span} log π(ids_t | ids_<t) in nats, 0 for an empty span.

    Args:
        logits: Of the model on `ids`; those at t - 1 score token t.
        ids: Prompt and response.
        spans: Which tokens count; leading axes are several spans of the same sequences, a trace and an answer
            for one.

    Raises:
        ValueError: a span holds the first token, which nothing scores.
    """
    if bool(spans[..., 0].any()):
        raise ValueError("a span holds the first token of a sequence, which has no probability")
    tokens = torch.log_softmax(logits[:, :-1], dim=-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    return tokens.where(spans[..., 1:], 0.0).sum(dim=-1)


def span_masks(lengths: Int[Tensor, "B S"], width: int) -> Bool[Tensor, "S B T"]:
    """Masks of consecutive spans: prompt, trace, answer, …, then padding.

    Args:
        lengths: Tokens of each span of each sequence.
        width: Of the padded batch.

    Raises:
        ValueError: a sequence is longer than the batch is wide.
    """
    ends = lengths.cumsum(dim=1)
    if int(ends.max()) > width:
        raise ValueError(f"the spans of a sequence hold {int(ends.max())} tokens, the batch {width}")
    places = torch.arange(width, device=lengths.device)
    inside = (places >= (ends - lengths)[..., None]) & (places < ends[..., None])
    return inside.transpose(0, 1)


def dpo_margin(
    chosen: Float[Tensor, " B"],
    rejected: Float[Tensor, " B"],
    reference_chosen: Float[Tensor, " B"] | None = None,
    reference_rejected: Float[Tensor, " B"] | None = None,
) -> Float[Tensor, " B"]:
    """m = log π(y_w) - log π(y_l), minus the same of the reference if there is one; nats.

    Args:
        chosen: Log-probability of the preferred response under the policy.
        rejected: Of the other one.
        reference_chosen: Under the reference; without both it is reference-free.
        reference_rejected: Under the reference.
    """
    if reference_chosen is None or reference_rejected is None:
        return chosen - rejected
    return (chosen - reference_chosen) - (rejected - reference_rejected)


def weighted_dpo_loss(
    margin: Float[Tensor, " B"], weights: Float[Tensor, " B"], beta: float
) -> Float[Tensor, ""]:
    """-mean w log σ(β m), Eq. 1 of arXiv:2509.22558 with the margin of `dpo_margin`; w = 1 is DPO.

    Its gradient is -mean w β σ(-β m) ∇m: a weight scales the step of its pair, and moves the optimum only
    where pairs disagree. The mean is over pairs, not over weights.
    """
    return (-functional.logsigmoid(beta * margin) * weights).mean()


def weighted_nll(
    log_probs: Float[Tensor, "B T"], weights: Float[Tensor, " B"], normaliser: Tensor | float
) -> Float[Tensor, ""]:
    """-Σ_i w_i Σ_t log π(t) / normaliser.

    With weights ρ̃ normalised within a question this is weighted SFT; with a constant normaliser no response
    counts less per token because others in its batch are long (Dr. SFT, arXiv:2509.22637).

    Args:
        log_probs: Per token, 0 where a token does not count.
        weights: Of the sequences.
        normaliser: Number of tokens for their mean, or a constant.
    """
    return (-log_probs * weights[:, None]).sum() / normaliser
