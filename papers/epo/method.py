"""EPO: entropy-regularised policy optimisation of agents over many turns (arXiv:2509.22576).

An agent is rewarded at the end of many turns that share their parameters. EPO adds an entropy bonus averaged
over trajectories (Eq. 2), a penalty on tokens whose entropy leaves a corridor around its own history (Eq. 3
and 4), and a schedule for that penalty (Eq. 5). The official code differs in each; its variants are options.
Everything here is a function of entropies in nats that keeps their gradient: the gradient is the method.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

Penalty = Literal["hinge", "indicator"]
Schedule = Literal["paper", "constant", "code"]
Average = Literal["trajectories", "tokens"]
PENALTIES: tuple[str, ...] = get_args(Penalty)
SCHEDULES: tuple[str, ...] = get_args(Schedule)


@dataclass(frozen=True)
class Corridor:
    """The entropies that the smoothing leaves alone, in units of a reference, and what leaving costs.

    Attributes:
        low: κ_l; 0 switches the lower end off, for no entropy is negative.
        high: κ_r.
        alpha: α, weight of the penalty beside the bonus; 0 is EPO-Base.
        penalty: ``"hinge"`` is Eq. 3; ``"indicator"`` is the official code's constant outside the corridor.
    """

    low: float = 0.0
    high: float = 2.0
    alpha: float = 0.05
    penalty: Penalty = "hinge"

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise ValueError(f"the corridor [{self.low}, {self.high}] needs 0 <= low < high")
        if self.penalty not in PENALTIES:
            raise ValueError(f"unknown penalty '{self.penalty}'; choose one of {', '.join(PENALTIES)}")


def entropy(logits: Float[Tensor, "*rows V"]) -> Float[Tensor, "*rows"]:
    """Entropy in nats of softmax policies, with gradient."""
    log_probs = logits.log_softmax(dim=-1)
    return -(log_probs.exp() * log_probs).sum(dim=-1)


def smoothing_penalty(
    entropies: Float[Tensor, "*shape"], reference: Float[Tensor, "*#shape"], corridor: Corridor
) -> Float[Tensor, "*shape"]:
    """P = [κ_l H̄ - H]_+ + [H - κ_r H̄]_+ (Eq. 3), without α.

    The indicator is 1 outside the open corridor and carries no gradient, so that it changes the reported loss
    and nothing else; with κ_l = 0 a token of entropy 0 counts as outside.

    Args:
        entropies: H in nats.
        reference: H̄, a constant; broadcast.
        corridor: κ_l and κ_r.
    """
    low, high = (bound * reference.detach() for bound in (corridor.low, corridor.high))
    if corridor.penalty == "indicator":
        inside = (low < entropies) & (entropies < high)
        return (~inside).to(entropies.dtype)
    return (low - entropies).clamp(min=0.0) + (entropies - high).clamp(min=0.0)


def beta_schedule(step: int, total: int, schedule: Schedule = "paper", gamma: float = 3.0) -> float:
    """β_k, the weight of the penalty at RL step k of K.

    ``"paper"`` is 1 + exp(-γ k / ⌊K/2⌋) (Eq. 5): 2 at first, 1 + e^-γ half way. ``"constant"`` is 1 (EPO W/O
    DW). ``"code"`` is the official code's, which falls from 1 to 0.83 in the first half and from 0.8 to 0.04
    in the second.

    Raises:
        ValueError: unknown schedule, or a step outside 0..K.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"unknown schedule '{schedule}'; choose one of {', '.join(SCHEDULES)}")
    if not 0 <= step <= total:
        raise ValueError(f"step {step} is outside 0..{total}")
    middle = max(1, total // 2)
    if schedule == "constant":
        return 1.0
    if schedule == "paper":
        return 1.0 + math.exp(-gamma * step / middle)
    if step < middle:
        return 1.0 - 0.2 * (1.0 - math.exp(-2.0 * step / middle))
    return 0.8 * math.exp(-3.0 * (step - middle) / max(1, total - middle))


def average(
    values: Float[Tensor, "B T"],
    turns: Int[Tensor, "B T"],
    mask: Num[Tensor, "B T"],
    over: Average = "trajectories",
) -> Float[Tensor, ""]:
    """Mean over trajectories of the mean over turns of the mean over a turn's tokens (Eq. 2).

    A turn without own tokens, and a trajectory without such turns, count nowhere. ``"tokens"`` is the mean
    over all tokens, as the official code aggregates. 0 if there are none.

    Args:
        values: One number per token; read where the mask is 1.
        turns: Turn of each token.
        mask: 1 on the policy's own tokens.
        over: See above.
    """
    own = mask.bool()
    values = values.where(own, 0.0)
    if over == "tokens":
        return values.sum() / own.sum().clamp(min=1)
    sums, counts = by_turn(values, turns, own)
    means = (sums / counts.clamp(min=1)).sum(dim=1) / (counts > 0).sum(dim=1).clamp(min=1)
    return means.sum() / own.any(dim=1).sum().clamp(min=1)


def by_turn(
    values: Float[Tensor, "B T"], turns: Int[Tensor, "B T"], mask: Num[Tensor, "B T"]
) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B K"]]:
    """Sum of the masked values and number of masked tokens in each turn of each row."""
    own, places = mask.bool(), turns.clamp(min=0)
    empty = values.new_zeros(len(values), int(places.max()) + 1 if places.numel() else 1)
    sums = empty.scatter_add(1, places, values.where(own, 0.0))
    return sums, empty.scatter_add(1, places, own.to(values.dtype))


def epo_loss(
    entropies: Float[Tensor, "B T"],
    reference: Float[Tensor, "B T"] | None,
    turns: Int[Tensor, "B T"],
    mask: Num[Tensor, "B T"],
    coefficient: float,
    corridor: Corridor,
    beta: float,
    weights: Float[Tensor, "B T"] | None = None,
    over: Average = "trajectories",
) -> Float[Tensor, ""]:
    """-λ (L_H - β_k L_smooth), what EPO adds to the policy loss (Eq. 6).

    Args:
        entropies: Token entropies in nats, with gradient.
        reference: H̄ for each token; None before there is a history, when nothing is smoothed.
        turns: Turn of each token.
        mask: 1 on the policy's own tokens.
        coefficient: λ.
        corridor: κ_l, κ_r and α.
        beta: β_k.
        weights: Of the bonus at each token, for EPO-Decay; 1 by default.
        over: See `average`.
    """
    bonus = average(entropies if weights is None else entropies * weights, turns, mask, over)
    if reference is None or not corridor.alpha:
        return -coefficient * bonus
    penalty = average(smoothing_penalty(entropies, reference, corridor), turns, mask, over)
    return -coefficient * (bonus - beta * corridor.alpha * penalty)


def net_entropy_coefficient(
    entropies: Float[Tensor, "*shape"],
    reference: Float[Tensor, "*#shape"],
    coefficient: float,
    corridor: Corridor,
    beta: float,
) -> Float[Tensor, "*shape"]:
    """∂L_EPO/∂H of a token in the closed form, before averaging.

    -λ (1 - αβ) above the corridor, -λ inside, -λ (1 + αβ) below. It stays negative while αβ < 1, which the
    paper assumes (A.4): smoothing only attenuates the bonus, and no entropy is pushed down. -λ throughout for
    the indicator.
    """
    if corridor.penalty == "indicator":
        return torch.full_like(entropies, -coefficient)
    above = (entropies > corridor.high * reference).to(entropies.dtype)
    below = (entropies < corridor.low * reference).to(entropies.dtype)
    return -coefficient * (1.0 - corridor.alpha * beta * (above - below))


def accumulated_deviation(turns: int, drift: float, ceiling: float = math.inf) -> float:
    """Σ_t min(t δ, c) over turns 1..T: the entropy deviation that Prop. 6.2 lets grow without limit.

    Without a ceiling it is (T + 1) / 2 times that of a deviation of δ in every turn; entropy lies in
    [0, log |V|], and with that ceiling the sum is at most T log |V|.
    """
    return sum(min(turn * drift, ceiling) for turn in range(1, turns + 1))


def decay_weights(turns: Int[Tensor, "*shape"], horizon: int) -> Float[Tensor, "*shape"]:
    """EPO-Decay by turn: a bonus that falls from 1.5 in the first turn to 0.5 in the last.

    The paper gives no formula, and describes a second reading, a bonus that falls over training:
    ``decay_weights`` of the RL step.
    """
    return 1.5 - turns.clamp(0, horizon - 1).to(torch.get_default_dtype()) / max(1, horizon - 1)


def entropy_advantages(
    advantages: Float[Tensor, "*shape"],
    entropies: Float[Tensor, "*shape"],
    alpha: float = 0.4,
    kappa: float = 2.0,
) -> Float[Tensor, "*shape"]:
    """The baseline EA, A + min(α H, |A| / κ), H without gradient (arXiv:2506.14758)."""
    return advantages + torch.minimum(alpha * entropies.detach(), advantages.abs() / kappa)
