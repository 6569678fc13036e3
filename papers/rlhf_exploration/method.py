"""The algorithms as pairs, the rates that are claimed for them, and the optimistic loss in DPO form.

All maximise likelihood plus α times a bonus, J*(r) - ⟨π_cal, r⟩, and differ in who calibrates it and who is
compared. With the reward r = β log(π / π_ref) + const the bonus is -β E_{a ~ π_cal} log(π(a) / π_ref(a)):
optimism pushes the calibration policy's responses down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float

from common.preference.bradley_terry import information

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


def rate(beta: float) -> float:
    """Exponent (β + 1) / (β + 2) of T in the bound on the proposal's regret (abstract)."""
    return (beta + 1) / (beta + 2)


def waiting_time(beta: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Rounds until two responses of CE1's first optimistic policy differ, 1 + cosh(1/β) (own derivation)."""
    return 1 + np.cosh(1 / beta)


def worth_of_a_direct_comparison(gap: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Information about r(1) - r(2) on CE2, compared directly over through arm 0 (own derivation).

    2 σ'(1) (1/σ'(G) + 1/σ'(G-1)) with rewards (G, G - 1, 0): two margins have to be learnt, both saturated.
    """
    return 2 * information(np.array(1.0)) * (1 / information(gap) + 1 / information(gap - 1))


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
    import torch  # here, because bandits and the report read this module and need no torch
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
