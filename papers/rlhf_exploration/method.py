"""The algorithms as pairs (who calibrates the bonus, who is compared) and the optimistic loss in DPO form.

The reward is r = β log(π / π_ref) + const, with which the bonus is J*(r) - ⟨π_cal, r⟩ =
-β E_{a ~ π_cal} log(π(a) / π_ref(a)): optimism pushes the calibration policy's responses down. The
algorithms differ in `PROTOCOLS`, not in the loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from jaxtyping import Float

if TYPE_CHECKING:
    from torch import Tensor

Bonus = Literal["none", "fixed", "prev"]
Partner = Literal["self", "ref", "prev", "uniform", "extremes"]


@dataclass(frozen=True)
class Protocol:
    """One algorithm.

    Attributes:
        bonus: π_cal of the bonus: a fixed policy, the previous iterate π_{t-1}, or no bonus at all.
        partner: The second response: from π_t itself, π_ref, π_{t-1}, or uniform. "extremes" draws a batch of
            four from π_t and compares its best with its worst by the fitted reward.
    """

    bonus: Bonus
    partner: Partner


PROTOCOLS = {
    "proposed": Protocol("prev", "prev"),
    "xpo": Protocol("fixed", "ref"),
    "vpo": Protocol("fixed", "self"),
    "selm": Protocol("fixed", "extremes"),
    "ablation_a": Protocol("prev", "self"),
    "ablation_b": Protocol("fixed", "prev"),
    "uniform": Protocol("fixed", "uniform"),
    "passive": Protocol("none", "self"),
}


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
    import torch  # with the loss: bandits and reports read `PROTOCOLS` and never wait for torch
    from torch.nn.functional import logsigmoid

    if not len(chosen):
        raise ValueError("the loss needs at least one comparison")
    loss = -logsigmoid(beta * (chosen - rejected)).mean()
    if alpha == 0:
        return loss
    if not len(calibration):
        raise ValueError("the bonus needs responses of the calibration policy")
    mean = calibration.mean() if weights is None else torch.dot(weights, calibration)
    return loss + alpha * beta * mean / len(chosen)
