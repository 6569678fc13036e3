"""Negative log-likelihood of responses, reduced in the three ways that papers use."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float, Num
from torch import Tensor

from common.rl import losses

Likelihood = Literal["token-mean", "seq-mean-token-sum", "seq-mean-token-mean"]
_AGGREGATION: dict[str, losses.Aggregation] = {
    "token-mean": "dapo",
    "seq-mean-token-sum": "seq_mean_token_sum",
    "seq-mean-token-mean": "grpo",
}


def check_likelihood(mode: str) -> None:
    """Refuse an unknown aggregation.

    Raises:
        ValueError: naming the choices.
    """
    if mode not in _AGGREGATION:
        raise ValueError(f"unknown aggregation '{mode}'; choose one of {', '.join(_AGGREGATION)}")


def negative_log_likelihood(
    log_probs: Float[Tensor, "B T"], mask: Num[Tensor, "B T"], mode: Likelihood = "token-mean"
) -> Float[Tensor, ""]:
    """-log π of the masked-in tokens in nats, reduced over a batch.

    =================== ===================================================== ===========================
    mode                value                                                 weight of a response
    =================== ===================================================== ===========================
    token-mean          sum over tokens / number of tokens                    grows with its length
    seq-mean-token-sum  mean over responses of the sum over their tokens      1 per response: the
                                                                              likelihood itself
    seq-mean-token-mean mean over responses of the mean over their tokens     1, a token's falls with length
    =================== ===================================================== ===========================

    Responses without tokens count as zero. A padded token adds nothing, whatever its log-probability.

    Raises:
        ValueError: unknown `mode`.
    """
    check_likelihood(mode)
    return losses.aggregate(-log_probs.masked_fill(mask == 0, 0.0), mask, _AGGREGATION[mode])
