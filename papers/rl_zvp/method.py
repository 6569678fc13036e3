"""RL-ZVP: learning from prompts whose responses are all right or all wrong (arXiv:2509.21880).

A group whose rewards are all equal has no GRPO advantage. RL-ZVP gives the tokens of an all-correct group
α H_t and those of an all-wrong group -α (max_k H_k - H_t) (Eq. 5 and 6). All other groups stay GRPO's. The
equations come first, then the trainer: TRL's `GRPOTrainer` with those advantages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor

from common.rl.advantages import StdKind, group_range, mean_advantages
from common.rl.config import GroupConfig
from common.rl.rollout import Batch, Rollout, derived_generator, loss_mask
from common.rl.trainer import GroupTrainer

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


@dataclass(frozen=True)
class Variant:
    """What an arm does with zero-variance groups: arguments of `rl_zvp_advantages`."""

    shape: Shape = "entropy"
    use_positive: bool = True
    use_negative: bool = True
    sign_flip: bool = False


VARIANTS: dict[str, Variant] = {
    "grpo": Variant(use_positive=False, use_negative=False),
    "zvp": Variant(),
    "no_negative": Variant(use_negative=False),
    "no_positive": Variant(use_positive=False),
    "unit": Variant(shape="unit"),
    "alpha": Variant(shape="alpha"),
    "const": Variant(shape="const"),
    "shuffle": Variant(shape="shuffle"),
    "sym": Variant(shape="sym"),
    "constant_max": Variant(shape="constant_max"),
    "flip": Variant(sign_flip=True),
}
"""Arms of the study: GRPO, RL-ZVP, ablations and controls."""


@dataclass
class RLZVPConfig(GroupConfig):
    """Configuration of `RLZVPTrainer`; the rest is `common.rl.config.GroupConfig` and `trl.GRPOConfig`.

    The paper trains with ``epsilon=0.2, epsilon_high=0.28``, ``beta=0``, ``loss_type="dapo"`` (token mean),
    16 optimizer steps per rollout batch and rewards that are the verifier's alone.

    Attributes:
        zvp_alpha: α, the scale of the advantages of zero-variance prompts.
        zvp_use_positive: Learn from prompts that were always solved.
        zvp_use_negative: Learn from prompts that were never solved. With both off this is GRPO.
        zvp_shape: How the advantage is spread over tokens, see `token_weights`.
        zvp_sign_flip: Control: the opposite sign.
        zvp_entropy_from: Policy whose entropy counts: ``"old"`` sampled the batch (one pass), ``"current"``
            is the one being updated (Algorithm 1). They are the same with one optimizer step per batch.
    """

    zvp_alpha: float = field(default=0.1, metadata={"help": "Scale of zero-variance advantages (Table 3)."})
    zvp_use_positive: bool = field(default=True, metadata={"help": "Learn from always solved prompts."})
    zvp_use_negative: bool = field(default=True, metadata={"help": "Learn from never solved prompts."})
    zvp_shape: Shape = field(default="entropy", metadata={"help": f"One of {', '.join(SHAPES)}."})
    zvp_sign_flip: bool = field(default=False, metadata={"help": "Control: opposite sign."})
    zvp_entropy_from: Literal["old", "current"] = field(
        default="old", metadata={"help": "Policy whose entropy counts: old or current (Algorithm 1)."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.zvp_alpha < 0:
            raise ValueError(f"zvp_alpha={self.zvp_alpha} must not be negative; see zvp_sign_flip")
        choices = {"zvp_shape": SHAPES, "zvp_entropy_from": ("old", "current")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r}; choose one of {', '.join(allowed)}")
        if self.uses_zero_variance and self.dynamic_sampling_rounds:
            raise ValueError(
                "dynamic sampling throws away the zero-variance groups that RL-ZVP learns from; set "
                "dynamic_sampling_rounds=0, or zvp_use_positive=False and zvp_use_negative=False"
            )
        if self.zvp_entropy_from == "current" and (self.row_skipping or self.loss_variant != "clip"):
            raise ValueError(
                "zvp_entropy_from='current' sets advantages inside the loss: it needs row_skipping=False and "
                "loss_variant='clip'"
            )

    @property
    def uses_zero_variance(self) -> bool:
        """False if this is plain GRPO."""
        return self.zvp_use_positive or self.zvp_use_negative


class RLZVPTrainer(GroupTrainer, name="RL-ZVP", tags=("grpo", "rl-zvp")):
    """`GRPOTrainer` with RL-ZVP; the only change is the advantage of groups whose rewards are all equal.

    Logs the shares of prompts that were always and never solved (`zvp/positive`, `zvp/negative`) and the
    mean |A| over tokens of zero-variance and of mixed groups (`zvp/size`, `zvp/size_mixed`; 0 where there is
    no such group).
    """

    args: RLZVPConfig

    def advantages(
        self, rewards: Float[Tensor, " N"], rollout: Rollout
    ) -> Float[Tensor, " B"] | Float[Tensor, "B T"]:
        """Eq. 5 and 6 on the gathered rewards; a shuffle depends on seed, step and process only."""
        args = self.args
        merged = rollout.merged(rewards)
        signs = zero_variance_signs(merged, rollout.num_generations)
        self.log_metric("zvp/positive", (signs > 0).float().mean().item())
        self.log_metric("zvp/negative", (signs < 0).float().mean().item())
        if not args.uses_zero_variance:
            return super().advantages(rewards, rollout)
        advantages = rl_zvp_advantages(
            merged,
            rollout.entropies,
            rollout.mask,
            rollout.num_generations,
            args.zvp_alpha,
            local=rollout.local,
            shape=args.zvp_shape,
            use_positive=args.zvp_use_positive,
            use_negative=args.zvp_use_negative,
            sign_flip=args.zvp_sign_flip,
            generator=derived_generator(args.seed, rollout.step, rollout.local.start),
        )
        self._log_sizes(advantages, self._signs(rollout), rollout.mask)
        return advantages

    def loss_inputs(self, rollout: Rollout) -> dict[str, Tensor]:
        """The signs of the rows whose advantages each update sets anew."""
        follows = self.args.zvp_entropy_from == "current" and self.args.uses_zero_variance
        return {"zvp_signs": self._signs(rollout)} if follows else {}

    def update_advantages(self, entropies: Float[Tensor, "B T"], batch: Batch) -> Float[Tensor, "B T"] | None:
        """With ``zvp_entropy_from="current"`` Eq. 5 on the entropies of the policy that is updated."""
        if "zvp_signs" not in batch:
            return None
        args, signs = self.args, batch["zvp_signs"]
        generator = derived_generator(args.seed, self.passes_done, self.accelerator.process_index)
        weights = token_weights(entropies, loss_mask(batch), signs, args.zvp_alpha, args.zvp_shape, generator)
        direction = -signs if args.zvp_sign_flip else signs
        shaped = direction[:, None] * weights.to(batch["advantages"].dtype)
        return torch.where(signs[:, None] != 0, shaped, batch["advantages"])

    def _signs(self, rollout: Rollout) -> Float[Tensor, " B"]:
        """Of the halves in use, for the rows of this process."""
        merged = rollout.merged(rollout.rewards)
        use = self.args.zvp_use_positive, self.args.zvp_use_negative
        return used_signs(merged, rollout.num_generations, *use)[rollout.local]

    def _log_sizes(self, advantages: Float[Tensor, "B T"], signs: Float[Tensor, " B"], mask: Tensor) -> None:
        zero_variance = (signs != 0)[:, None] & mask.bool()
        for name, part in {"size": zero_variance, "size_mixed": mask.bool() & ~zero_variance}.items():
            sums = self.sum_over_processes(torch.stack([(advantages.abs() * part).sum(), part.sum()]))
            self.log_metric(f"zvp/{name}", (sums[0] / sums[1].clamp(min=1)).item())
