"""Quantile Advantage Estimation: the group's K-quantile replaces the group mean (arXiv:2509.22611).

With 0/1 rewards the quantile is a gate on a prompt's success rate p. Hard prompts (p <= 1 - K) get baseline
0: only their correct responses move the policy. Easy prompts (p > 1 - K) get baseline 1: only their wrong
ones do. The equations come first, then the trainer: TRL's `GRPOTrainer` with that baseline.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from common.rl.advantages import (
    StdKind,
    group_mean,
    group_range,
    mean_advantages,
    merge_equal,
    mixed_groups,
    normalise,
    split_groups,
)
from common.rl.config import GroupConfig
from common.rl.rollout import Rollout, derived_generator
from common.rl.trainer import GroupTrainer

Interpolation = Literal["inverted_cdf", "linear"]
Mask = Literal["none", "pos", "neg", "random_gate", "inverted", "b0", "b1"]

TOLERANCE = 1e-9  # K * G is a rounded product: 0.56 * 25 gives 14.000000000000002, whose ceiling is 15


def check_quantile(k: float | None, interpolation: Interpolation = "inverted_cdf") -> float | None:
    """The quantile level to use; None stands for the mean baseline.

    Raises:
        ValueError: `k` is neither None nor inside (0, 1) (the official code's "off" value -1 is accepted with
            ``interpolation="linear"`` only), or `interpolation` is unknown.
    """
    if interpolation not in get_args(Interpolation):
        raise ValueError(
            f"unknown quantile interpolation '{interpolation}'; choose 'inverted_cdf' or 'linear'"
        )
    if k is None or 0 < k < 1:
        return k
    if k == -1 and interpolation == "linear":
        return None
    hint = f"write quantile_k={k / 100:g} for the {k:g} % quantile" if 1 < k < 100 else "the paper uses 0.4"
    raise ValueError(f"quantile_k={k:g} is outside (0, 1): {hint}; quantile_k=None is the mean baseline")


def quantile_baseline(
    rewards: Float[Tensor, " N"],
    num_generations: int,
    k: float | None = 0.4,
    interpolation: Interpolation = "inverted_cdf",
) -> Float[Tensor, " Q"]:
    """Baseline b_K = inf{x : F(x) >= K} of each group, F its empirical CDF (Eq. 3-4).

    ``"linear"`` interpolates between order statistics like the official code (`torch.quantile`): on 0/1
    rewards it is fractional for at most one count of wrong responses per (G, K). ``k=None``: the group mean.

    Raises:
        ValueError: groups of one response, an invalid `k`, rewards that are not whole groups.
    """
    k = check_quantile(k, interpolation)
    if k is None:
        return group_mean(rewards, num_generations)
    groups = split_groups(rewards, num_generations)
    if num_generations < 2:
        raise ValueError("a quantile baseline needs num_generations >= 2: one response is its own quantile")
    if interpolation == "linear":
        return torch.nanquantile(groups, k, dim=1)
    scored = (~groups.isnan()).sum(dim=1, keepdim=True)
    rank = torch.ceil(k * scored.double() - TOLERANCE).long().clamp(min=1)
    return groups.sort(dim=1).values.gather(1, rank - 1).squeeze(1)


def quantile_advantages(
    rewards: Float[Tensor, " N"],
    num_generations: int,
    k: float | None = 0.4,
    interpolation: Interpolation = "inverted_cdf",
    std: StdKind = "trl",
    mask: Mask = "none",
    generator: torch.Generator | None = None,
) -> Float[Tensor, " N"]:
    """Advantages A = (r - b_K) / (std + ε) (Eq. 3); groups of equal rewards get exact zeros.

    Args:
        rewards: Rewards in group order, NaN if unscored.
        num_generations: Group size G.
        k: Quantile level K in (0, 1); None is the mean baseline, equal to `mean_advantages`.
        interpolation: Definition of the quantile.
        std: Standard deviation and ε, see `common.rl.advantages`; the paper's algebra is ``"population"``.
        mask: ``"pos"`` masks positives on easy prompts only (POS-MASK, Eq. 7), ``"neg"`` negatives on hard
            prompts only (NEG-MASK, Eq. 8). Controls: ``"random_gate"`` permutes the gate over the mixed
            groups of the batch, ``"inverted"`` reverses it, ``"b0"`` and ``"b1"`` hold it at hard or at easy.
        generator: Source (on the CPU) of the permutation; required by ``"random_gate"``.

    Raises:
        ValueError: an unknown mask, a mask without a quantile, ``"random_gate"`` without a generator, or
            anything that `quantile_baseline` refuses.
    """
    if mask not in get_args(Mask):
        raise ValueError(f"advantage mask '{mask}' is unknown; choose one of {', '.join(get_args(Mask))}")
    k = check_quantile(k, interpolation)
    if k is None:
        if mask != "none":
            raise ValueError(f"advantage mask '{mask}' acts on the quantile's gate: set quantile_k, e.g. 0.4")
        return mean_advantages(rewards, num_generations, std)
    rewards = merge_equal(rewards, num_generations)
    baseline = quantile_baseline(rewards, num_generations, k, interpolation)[:, None]
    if mask != "none":
        baseline = _masked_baseline(rewards, num_generations, baseline, mask, generator)
    advantages = normalise(rewards, baseline, num_generations, std)
    return advantages.where(mixed_groups(rewards, num_generations).repeat_interleave(num_generations), 0.0)


def _masked_baseline(
    rewards: Float[Tensor, " N"],
    num_generations: int,
    baseline: Float[Tensor, "Q 1"],
    mask: Mask,
    generator: torch.Generator | None,
) -> Float[Tensor, "Q 1"] | Float[Tensor, "Q G"]:
    """Baseline that realises `mask`; a group's lowest and highest reward stand for the paper's 0 and 1."""
    groups = split_groups(rewards, num_generations)
    lowest, highest = (bound[:, None] for bound in group_range(rewards, num_generations))
    if mask == "pos":
        return baseline.where(groups > baseline, highest)
    if mask == "neg":
        return baseline.where(groups < baseline, lowest)
    if mask == "b0":
        return lowest
    if mask == "b1":
        return highest
    if mask == "inverted":
        return lowest + highest - baseline
    if generator is None:
        raise ValueError("mask 'random_gate' needs a torch.Generator: it permutes the gate's decisions")
    gate = (baseline - lowest) / (highest - lowest)  # 0 is hard, 1 is easy
    mixed = (lowest < highest).squeeze(1).nonzero().squeeze(1)
    order = torch.randperm(mixed.numel(), generator=generator).to(mixed.device)
    gate[mixed] = gate[mixed[order]]
    return lowest + gate * (highest - lowest)


def objective_weights(
    success_rate: Float[Tensor, "*S"], k: float | None = 0.4, mask: Literal["none", "pos", "neg"] = "none"
) -> tuple[Float[Tensor, "*S"], Float[Tensor, "*S"]]:
    """Weights of E_{π+} s+ and of -E_{π-} s- in the rewritten objective (Prop. 4.1, Eq. 5-8; Fig. 4b-c).

    Both are sqrt(p (1 - p)) for the mean baseline (``k=None``). For the quantile they are sqrt(p / (1 - p))
    on hard prompts only and sqrt((1 - p) / p) on easy prompts only; NEG-MASK extends the first to all
    prompts, POS-MASK the second. Zero at p = 0 and p = 1, where every advantage is zero.
    """
    p = success_rate
    if k is None:
        return (p * (1 - p)).sqrt(), (p * (1 - p)).sqrt()
    check_quantile(k)
    inside = (p > 0) & (p < 1)
    hard = p <= 1 - k + TOLERANCE
    odds = (p / (1 - p)).where(inside, 1.0)
    positive = odds.sqrt().where(inside & (hard | (mask == "neg")), 0.0)
    negative = odds.rsqrt().where(inside & (~hard | (mask == "pos")), 0.0)
    return positive, negative


def entropy_change(
    probs: Float[Tensor, "*S V"],
    rewards: Float[Tensor, "*S V"],
    baseline: float | Float[Tensor, "*S"],
    step_size: float = 1.0,
) -> Float[Tensor, "*S"]:
    """First-order entropy change -η Cov_{y~π}(log π, π (r - b)) of a softmax bandit, in nats (Prop. 4.2).

    The logits move by η π (r - b), *without* the centring of the true policy gradient, in which b cancels.
    `probs` has full support.
    """
    baseline = torch.as_tensor(baseline, dtype=probs.dtype, device=probs.device)[..., None]
    log_probs = torch.log(probs)
    centred = log_probs - (probs * log_probs).sum(dim=-1, keepdim=True)
    return -step_size * (probs * centred * probs * (rewards - baseline)).sum(dim=-1)


def entropy_safety_bound(
    probs: Float[Tensor, "*S V"], rewards: Float[Tensor, "*S V"], step_size: float = 1.0
) -> tuple[Float[Tensor, "*S"], Float[Tensor, "*S"]]:
    """Smallest and largest first-order entropy change over all baselines in [0, 1] (Prop. 4.2).

    They are reached at b = 0 (hard prompts, no explosion) and at b = 1 (easy prompts, no collapse).
    """
    return entropy_change(probs, rewards, 0.0, step_size), entropy_change(probs, rewards, 1.0, step_size)


@dataclass
class QAEConfig(GroupConfig):
    """Configuration of `QAETrainer`; the rest is `common.rl.config.GroupConfig` and `trl.GRPOConfig`.

    The paper trains with ``epsilon=0.2, epsilon_high=0.28`` (Clip-Higher), ``beta=0``, ``loss_type="dapo"``
    and 16 optimizer steps per rollout batch: with a single one, quantile and mean baseline have the same
    expected gradient.

    Attributes:
        quantile_k: Level K in (0, 1); prompts with a success rate up to 1 - K count as hard. None is the mean
            baseline.
        quantile_interpolation: ``"inverted_cdf"`` (Eq. 4), or ``"linear"`` as in the official code.
        advantage_mask: Ablations and controls, see `quantile_advantages`.
        advantage_std: Which standard deviation divides, see `common.rl.advantages`.
    """

    quantile_k: float | None = field(
        default=0.4,
        metadata={"help": "Quantile level K in (0, 1); None is the mean baseline (Section 6: 0.4)."},
    )
    quantile_interpolation: Interpolation = field(
        default="inverted_cdf", metadata={"help": "inverted_cdf (Eq. 4) or linear (official code)."}
    )
    advantage_mask: Mask = field(
        default="none", metadata={"help": "none, pos, neg, random_gate, inverted, b0 or b1 (Section 5.3)."}
    )
    advantage_std: StdKind = field(
        default="trl", metadata={"help": "Standard deviation: trl, population (Eq. 3) or unbiased (verl)."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        probe = torch.tensor([0.0, 1.0])
        quantile_advantages(
            probe,
            2,
            self.quantile_k,
            self.quantile_interpolation,
            self.advantage_std,
            self.advantage_mask,
            torch.Generator(),
        )


class QAETrainer(GroupTrainer, name="QAE", tags=("grpo", "qae")):
    """`GRPOTrainer` with Quantile Advantage Estimation; the only change is the baseline of the advantages.

    Logs `advantages/hard_groups`, the share of hard prompts (baseline at the lowest reward, before any mask)
    among the groups with different rewards; None where there is no such group.
    """

    args: QAEConfig

    def advantages(self, rewards: Float[Tensor, " N"], rollout: Rollout) -> Float[Tensor, " B"]:
        """Eq. 3 on the gathered rewards; a random gate depends on the seed and the step only.

        Groups of one response, which TRL allows in evaluation, have advantage 0 as there.
        """
        args = self.args
        if rollout.num_generations == 1:
            return torch.zeros_like(rewards[rollout.local])
        k = check_quantile(args.quantile_k, args.quantile_interpolation)
        if k is not None or args.advantage_std != "trl":
            rewards = rollout.merged(rewards)
        if k is not None:
            self.log_metric("advantages/hard_groups", self._hard_share(rewards, rollout.num_generations))
        advantages = quantile_advantages(
            rewards,
            rollout.num_generations,
            args.quantile_k,
            args.quantile_interpolation,
            args.advantage_std,
            args.advantage_mask,
            derived_generator(args.seed, rollout.step),
        )
        return advantages[rollout.local]

    def _hard_share(self, rewards: Float[Tensor, " N"], num_generations: int) -> float:
        args = self.args
        baseline = quantile_baseline(rewards, num_generations, args.quantile_k, args.quantile_interpolation)
        lowest, highest = group_range(rewards, num_generations)
        mixed = lowest < highest
        return (baseline[mixed] == lowest[mixed]).float().mean().item()
