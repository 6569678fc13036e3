"""The optimistic preference loss in DPO form: the reward is r = β log(π / π_ref) + const.

With that reward the bonus is J*(r) - ⟨π_cal, r⟩ = -β E_{a ~ π_cal} log(π(a) / π_ref(a)): optimism pushes the
calibration policy's responses down. The algorithms differ in who calibrates and who is compared
(`papers.rlhf_exploration.protocols`), not in this function.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid


def optimistic_dpo_loss(
    chosen: Float[Tensor, " N"],
    rejected: Float[Tensor, " N"],
    calibration: Float[Tensor, " M"],
    beta: float,
    alpha: float,
    weights: Float[Tensor, " M"] | None = None,
) -> Float[Tensor, ""]:
    """-mean log σ(β(h_w - h_l)) + (α / N) β E_{π_cal} h, with log-ratios h = log π - log π_ref.

    N times this loss is the negative of log-likelihood plus α times the bonus, so α means the same as in the
    reward form. With α = 0 it is the DPO loss.

    Args:
        chosen: Log-ratios of the preferred responses, nats.
        rejected: Log-ratios of the others.
        calibration: Log-ratios of responses of the calibration policy.
        beta: Weight of the KL term.
        alpha: Weight of the bonus beside the summed log-likelihood.
        weights: Probabilities of the calibration responses where they are enumerated, not sampled; they sum
            to one. By default every response counts the same.

    Raises:
        ValueError: no comparison, or no calibration response although α is not 0.
    """
    if not len(chosen):
        raise ValueError("the loss needs at least one comparison")
    loss = -logsigmoid(beta * (chosen - rejected)).mean()
    if alpha == 0:
        return loss
    if not len(calibration):
        raise ValueError("the bonus needs responses of the calibration policy")
    mean = calibration.mean() if weights is None else torch.dot(weights, calibration)
    return loss + alpha * beta * mean / len(chosen)
