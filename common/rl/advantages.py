"""Advantages of grouped rollouts as pure functions on rewards in group order.

A batch holds Q prompts with G = `num_generations` responses each; rewards come as one vector of N = Q G
numbers, the responses of a prompt next to each other. NaN marks a response that no reward function could
score: it is left out of its group's statistics and gets advantage 0, as in TRL.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

StdKind = Literal["trl", "population", "unbiased"]

STD_EPSILON: dict[str, float] = {"trl": 1e-4, "population": 0.0, "unbiased": 1e-6}
"""What `normalise` adds to the standard deviation: TRL 1.x, the algebra of the papers, verl."""

ROUNDING = 8
"""Rewards of a group are equal if they differ by at most this many machine epsilons of their summands' size.

A sum of F weighted rewards is off by up to (F + 2) / 2 epsilons of Σ|w r|: each reward and each weight is
rounded once, each product and each addition once more. Two such sums of one number differ by up to F + 2
epsilons: 8 covers six reward functions at their worst and, as errors partly cancel, far more in practice. In
float32 that is one millionth of the reward.
"""


def split_groups(rewards: Float[Tensor, " N"], num_generations: int) -> Float[Tensor, "Q G"]:
    """View the rewards as one row per group.

    Raises:
        ValueError: `rewards` is not a floating-point vector, or does not consist of whole groups.
    """
    if rewards.ndim != 1 or not rewards.is_floating_point():
        raise ValueError(
            f"rewards must be a floating-point vector, one number per response; "
            f"got shape {tuple(rewards.shape)} and dtype {rewards.dtype}"
        )
    if num_generations < 1 or rewards.numel() % num_generations:
        raise ValueError(
            f"{rewards.numel()} rewards are not a whole number of groups of "
            f"num_generations={num_generations}; pass the rewards of all responses of every prompt"
        )
    return rewards.reshape(-1, num_generations)


def merge_equal(
    rewards: Float[Tensor, " N"], num_generations: int, sizes: Float[Tensor, " N"] | None = None
) -> Float[Tensor, " N"]:
    """The rewards with those of a group that differ by rounding only made equal, and 0 where only rounding
    differs from it.

    The one rule behind every question whether rewards are equal. Rewards further apart keep their bits.

    Args:
        rewards: Rewards in group order, NaN if unscored.
        num_generations: Group size G.
        sizes: Sum of the absolute summands of each reward, which bounds its rounding error where summands
            cancel; |reward| by default.
    """
    groups = split_groups(rewards, num_generations)
    sizes = groups.abs() if sizes is None else split_groups(sizes, num_generations)
    largest = sizes.where(sizes.isfinite(), 0.0).amax(dim=1, keepdim=True)
    slack = ROUNDING * torch.finfo(rewards.dtype).eps * largest
    ordered, order = groups.where((groups.abs() > slack) | groups.isnan(), 0.0).sort(dim=1)
    steps = torch.arange(1, num_generations, device=rewards.device)
    first = steps.where(ordered.diff(dim=1) > slack, 0).cummax(dim=1).values
    merged = ordered.gather(1, functional.pad(first, (1, 0)))
    return torch.empty_like(groups).scatter(1, order, merged).where(~groups.isnan(), groups).reshape(-1)


def group_range(
    rewards: Float[Tensor, " N"], num_generations: int
) -> tuple[Float[Tensor, " Q"], Float[Tensor, " Q"]]:
    """Lowest and highest scored reward of each group after `merge_equal` (+inf and -inf if it has none)."""
    groups = split_groups(merge_equal(rewards, num_generations), num_generations)
    missing = groups.isnan()
    lowest = groups.masked_fill(missing, torch.inf).amin(dim=1)
    highest = groups.masked_fill(missing, -torch.inf).amax(dim=1)
    return lowest, highest


def mixed_groups(rewards: Float[Tensor, " N"], num_generations: int) -> Bool[Tensor, " Q"]:
    """True for the groups that hold two rewards that differ by more than rounding: the others carry no
    learning signal.
    """
    lowest, highest = group_range(rewards, num_generations)
    return lowest < highest


def group_mean(rewards: Float[Tensor, " N"], num_generations: int) -> Float[Tensor, " Q"]:
    """Mean reward of each group, the baseline of GRPO (Section 4.1.2, arXiv:2402.03300)."""
    return torch.nanmean(split_groups(rewards, num_generations), dim=1)


def group_std(
    rewards: Float[Tensor, " N"], num_generations: int, kind: StdKind = "trl"
) -> Float[Tensor, " Q"]:
    """Standard deviation of each group.

    ``"population"`` divides the squared deviations by the number n of scored rewards, ``"unbiased"`` and
    ``"trl"`` by n - 1; ``"trl"`` is TRL's `nanstd` bit for bit in float32. With n = 1 the last two are NaN,
    except that TRL gives groups of size one a standard deviation of 0.

    Raises:
        ValueError: unknown `kind`, or rewards that are not whole groups.
    """
    _check_kind(kind)
    groups = split_groups(rewards, num_generations)
    if kind == "trl" and num_generations == 1:
        return torch.zeros_like(groups[:, 0])
    deviations = groups - torch.nanmean(groups, dim=1, keepdim=True)
    variance = torch.nanmean(deviations**2, dim=1)
    if kind != "population":
        count = (~groups.isnan()).sum(dim=1).to(groups.dtype)
        bessel = count / (count - 1)
        variance = variance * bessel.where(count > 1, torch.nan)
    return variance.sqrt()


def normalise(
    rewards: Float[Tensor, " N"],
    baseline: Float[Tensor, " Q"] | Float[Tensor, "Q 1"] | Float[Tensor, "Q G"],
    num_generations: int,
    std: StdKind = "trl",
) -> Float[Tensor, " N"]:
    """Advantages (r - b) / (std + epsilon) with epsilon = `STD_EPSILON[std]`, 0 for unscored responses.

    A group whose rewards are equal up to rounding gets exact zeros, except with ``std="trl"``: there the
    quotient stands as TRL computes it, a rounding error over 1e-4 if `baseline` is the group mean.

    Args:
        rewards: Rewards in group order.
        baseline: One baseline per group, or one per response.
        num_generations: Group size G.
        std: Which standard deviation divides.
    """
    groups = split_groups(rewards, num_generations)
    centred = groups - (baseline[:, None] if baseline.ndim == 1 else baseline)
    scale = group_std(rewards, num_generations, std)[:, None] + STD_EPSILON[std]
    advantages = torch.nan_to_num(centred / scale, nan=0.0)
    if std != "trl":
        advantages = advantages.where(mixed_groups(rewards, num_generations)[:, None], 0.0)
    return advantages.reshape(-1)


def mean_advantages(
    rewards: Float[Tensor, " N"], num_generations: int, std: StdKind = "trl"
) -> Float[Tensor, " N"]:
    """Group-relative advantages with the mean baseline (Section 4.1.2, arXiv:2402.03300).

    With ``std="trl"`` these are bit for bit those of `trl.GRPOTrainer(scale_rewards="group")` in float32.
    """
    return normalise(rewards, group_mean(rewards, num_generations), num_generations, std)


def _check_kind(kind: str) -> None:
    if kind not in STD_EPSILON:
        raise ValueError(f"unknown standard deviation '{kind}'; choose one of {', '.join(STD_EPSILON)}")
