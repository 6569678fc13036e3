"""A critic and what it is for: generalised advantages over a policy's own tokens, or over turns."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor, nn


def gae(
    rewards: Float[Tensor, "B T"],
    values: Float[Tensor, "B T"],
    mask: Num[Tensor, "B T"],
    discount: float = 1.0,
    trace: float = 1.0,
    bootstrap: Float[Tensor, " B"] | None = None,
) -> Float[Tensor, "B T"]:
    """Generalised advantages, A_t = Σ_l (γλ)^l δ_{t+l} with δ_t = r_t + γ V_{t+1} - V_t (arXiv:1506.02438).

    The steps of a row are its masked columns in their order, so that an observation between two of the
    policy's tokens is no step and discounts nothing. Columns are tokens, or turns.

    Args:
        rewards: Reward of each step; read where the mask is 1.
        values: Value before each step; read where the mask is 1.
        mask: 1 on steps.
        discount: γ.
        trace: λ; with γ = λ = 1 the advantage is the return to come minus the value.
        bootstrap: Value behind a row's last step, where the episode was cut off; 0 where it ended.

    Returns:
        Advantages, 0 off the mask; ``advantages + values`` on it are the critic's targets.
    """
    own = mask.bool()
    rewards, values = rewards.where(own, 0.0), values.where(own, 0.0)
    next_value = values.new_zeros(len(values)) if bootstrap is None else bootstrap
    next_advantage = torch.zeros_like(next_value)
    advantages = torch.zeros_like(values)
    for step in reversed(range(values.shape[1])):
        surprise = rewards[:, step] + discount * next_value - values[:, step]
        advantage = surprise + discount * trace * next_advantage
        next_advantage = advantage.where(own[:, step], next_advantage)
        next_value = values[:, step].where(own[:, step], next_value)
        advantages[:, step] = advantage.where(own[:, step], 0.0)
    return advantages


def on_last_tokens(
    turn_rewards: Float[Tensor, "B K"], turns: Int[Tensor, "B T"], mask: Num[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """The reward of each turn on the policy's last token in it, 0 elsewhere; NaN rewards count as 0.

    A single terminal reward is the case that only a row's last turn has one.
    """
    last = last_of_turns(turns, mask)
    rewards = turn_rewards.nan_to_num().gather(1, turns.clamp(0, turn_rewards.shape[1] - 1))
    return rewards.where(last, 0.0)


def last_of_turns(turns: Int[Tensor, "B T"], mask: Num[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """The policy's last token in each turn."""
    own = mask.bool()
    places = torch.arange(own.shape[1], device=own.device)
    ends = places.new_full((len(own), int(turns.max().clamp(min=0)) + 1), -1)
    ends.scatter_reduce_(1, turns.clamp(min=0), places.expand_as(own).where(own, -1), "amax")
    return own & (ends.gather(1, turns.clamp(min=0)) == places)


def value_loss(
    values: Float[Tensor, "B T"],
    targets: Float[Tensor, "B T"],
    mask: Num[Tensor, "B T"],
    old_values: Float[Tensor, "B T"] | None = None,
    clip: float = 0.2,
) -> Float[Tensor, ""]:
    """Half the mean squared error over the masked tokens; with `old_values` the larger one of it and that of
    values that moved by at most `clip` (PPO's clipped critic loss). 0 if nothing is masked in.
    """
    error = (values - targets).square()
    if old_values is not None:
        near = old_values + (values - old_values).clamp(-clip, clip)
        error = torch.maximum(error, (near - targets).square())
    own = mask.bool()
    return 0.5 * error.where(own, 0.0).sum() / own.sum().clamp(min=1)


class ValueHead(nn.Module):
    """A linear value of hidden states, 0 at first.

    Args:
        hidden: Their width.
        detach: Leave the trunk alone: its states are read without gradient.
    """

    def __init__(self, hidden: int, detach: bool = False) -> None:
        super().__init__()
        self.detach = detach
        self.linear = nn.Linear(hidden, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, states: Float[Tensor, "B L D"], completion: int) -> Float[Tensor, "B T"]:
        """Values before each of the last `completion` tokens: those of the states one place earlier, which
        have not seen the token.
        """
        states = states[:, -completion - 1 : -1]
        value: Tensor = self.linear(states.detach() if self.detach else states)
        return value[..., 0]
