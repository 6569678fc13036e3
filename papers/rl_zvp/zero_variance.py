"""The advantages of RL-ZVP (Eq. 5 and 6, arXiv:2509.21880) as pure functions on rewards and token entropies.

A group whose rewards are all equal has no GRPO advantage. RL-ZVP gives the tokens of an all-correct group
α H_t and those of an all-wrong group -α (max_k H_k - H_t). All other groups stay GRPO's.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor

from common.rl.advantages import StdKind, group_range, mean_advantages

Shape = Literal["entropy", "const", "shuffle", "unit", "alpha", "sym", "constant_max"]
SHAPES: tuple[str, ...] = get_args(Shape)


def zero_variance_signs(rewards: Float[Tensor, " N"], num_generations: int) -> Float[Tensor, " N"]:
    """+1 for the responses of a group whose rewards are all one number above 0, -1 if that number is at
    most 0.

    0 where the group is mixed or the response was not scored (NaN). Rewards are equal if only rounding
    separates them (`common.rl.advantages.merge_equal`): a standard deviation that is only small does not
    count.
    """
    lowest, highest = group_range(rewards, num_generations)
    signs = torch.where(lowest > 0, 1.0, -1.0).to(rewards.dtype).where(lowest == highest, 0.0)
    return signs.repeat_interleave(num_generations).masked_fill(rewards.isnan(), 0.0)


def token_weights(
    entropies: Float[Tensor, "B T"],
    mask: Num[Tensor, "B T"],
    signs: Float[Tensor, " B"],
    alpha: float,
    shape: Shape = "entropy",
    generator: torch.Generator | None = None,
) -> Float[Tensor, "B T"]:
    """Size of the advantage at each token of a zero-variance group, 0 on padding.

    ``"entropy"`` is Eq. 5: α H_t, and α (max_k H_k - H_t) on negative prompts, with the maximum over the
    response's own tokens. The others are ablations and controls: ``"unit"`` is 1 (the paper's "w/o entropy
    scaling"), ``"alpha"`` is α, ``"sym"`` is α H_t on negative prompts too, ``"const"`` and ``"shuffle"``
    have Eq. 5's mean over each response but no token shape (the mean itself; the same values at permuted
    positions), and ``"constant_max"`` replaces max_k H_k by its mean over the batch's negative responses.

    Args:
        entropies: Entropy in nats of the sampling policy at each token; its gradient is cut.
        mask: 1 on the tokens of the response.
        signs: From `zero_variance_signs`.
        alpha: α.
        shape: See above.
        generator: For ``"shuffle"``, on the CPU.

    Raises:
        ValueError: unknown `shape`.
    """
    if shape not in SHAPES:
        raise ValueError(f"unknown shape '{shape}'; choose one of {', '.join(SHAPES)}")
    own = mask.bool()
    if shape in ("unit", "alpha"):
        return own.to(entropies.dtype) * (alpha if shape == "alpha" else 1.0)
    entropies = entropies.detach().masked_fill(~own, 0.0)
    top = entropies.amax(dim=1, keepdim=True)
    if shape == "constant_max":
        top = top[signs < 0].mean()
    flipped = (signs[:, None] < 0) & (shape != "sym")
    weights = torch.where(flipped, top - entropies, entropies).masked_fill(~own, 0.0)
    if shape == "const":
        weights = own * (weights.sum(dim=1, keepdim=True) / own.sum(dim=1, keepdim=True).clamp(min=1))
    if shape == "shuffle":
        weights = _shuffled(weights, own, generator)
    return alpha * weights


def rl_zvp_advantages(
    rewards: Float[Tensor, " N"],
    entropies: Float[Tensor, "B T"],
    mask: Num[Tensor, "B T"],
    num_generations: int,
    alpha: float = 0.1,
    *,
    local: slice = slice(None),
    shape: Shape = "entropy",
    use_positive: bool = True,
    use_negative: bool = True,
    sign_flip: bool = False,
    std: StdKind = "trl",
    generator: torch.Generator | None = None,
) -> Float[Tensor, "B T"]:
    """Advantage of each token: Eq. 5 in zero-variance groups, GRPO's in all others (Eq. 6, Remark 3).

    Args:
        rewards: Rewards in group order; 0/1 or -1/1 without any shaping, which would leave no group of equal
            rewards.
        entropies: Token entropies (nats) of the rows ``rewards[local]``.
        mask: 1 on their tokens.
        num_generations: Group size G.
        alpha: α, the only scale.
        local: Rows of `rewards` that `entropies` belongs to.
        shape: See `token_weights`.
        use_positive: Treat all-correct groups.
        use_negative: Treat all-wrong groups.
        sign_flip: Control: punish all-correct groups and reward all-wrong ones.
        std: Standard deviation of GRPO's advantages.
        generator: For ``shape="shuffle"``.
    """
    grpo = mean_advantages(rewards, num_generations, std)[local]
    signs = used_signs(rewards, num_generations, use_positive, use_negative)[local]
    weights = token_weights(entropies, mask, signs, alpha, shape, generator).to(grpo.dtype)
    direction = -signs if sign_flip else signs
    return torch.where(signs[:, None] != 0, direction[:, None] * weights, grpo[:, None])


def used_signs(
    rewards: Float[Tensor, " N"], num_generations: int, use_positive: bool, use_negative: bool
) -> Float[Tensor, " N"]:
    """`zero_variance_signs` of the halves in use, 0 for the other groups."""
    signs = zero_variance_signs(rewards, num_generations)
    return signs.clamp(min=0.0 if not use_negative else -1.0, max=0.0 if not use_positive else 1.0)


def _shuffled(
    values: Float[Tensor, "B T"], own: Bool[Tensor, "B T"], generator: torch.Generator | None
) -> Float[Tensor, "B T"]:
    """Each row's values at its own tokens, in random order."""
    keys = torch.rand(values.shape, generator=generator).to(values.device)
    source = keys.masked_fill(~own, 2.0).argsort(dim=1)
    places = (~own).to(torch.int8).argsort(dim=1, stable=True)
    return torch.empty_like(values).scatter(1, places, values.gather(1, source)).masked_fill(~own, 0.0)
