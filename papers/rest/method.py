"""ResT: token weights by region for policies that call tools (arXiv:2509.21826).

GRPO gives every token of a response the same advantage, though a call stands or falls with few of them. ResT
weighs tokens by the region that they stand in (tags, thought, tool name, arguments). The paper derives
weights that fall with entropy and anneals them; the released code uses fixed weights with a linear schedule
and no entropy at all. Both are here, with the rewards that move from form to correctness.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor

from common.agents.call_regions import REGIONS, Region, call_regions
from common.agents.regions import pieces, region_means
from common.rl.config import GroupConfig
from common.rl.rollout import Batch, Rollout, derived_generator, loss_mask
from common.rl.trainer import GroupTrainer
from common.tasks.toolcall.calls import Mark

Form = Literal["code", "paper", "proportional", "uniform"]
FORMS: tuple[str, ...] = get_args(Form)
LOWEST, HIGHEST = 0.001, 8.0
"""The code clamps positive weights to this range before it normalises them."""
RELEASED_STEPS = 115.0
"""RL steps of the released run (4,000 prompts, 15 epochs, batches of 512), over which schedules are read."""


@dataclass(frozen=True)
class Weighting:
    """Which weights tokens get.

    Attributes:
        form: ``"code"`` (fixed by region), ``"paper"`` (falls with the region's entropy), ``"proportional"``
            (a control, rises with it) or ``"uniform"`` (GRPO).
        curriculum: Weights move with the training.
        thought: The thought has weight; 0 without (an ablation).
        permuted: A control: each response's weights go to random tokens of it.
        every_call: Regions of every call of a response; the code sees the first one.
        whole: Responses without any region are trained on with weight 1; the code leaves them out.
    """

    form: Form = "paper"
    curriculum: bool = True
    thought: bool = True
    permuted: bool = False
    every_call: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"unknown form '{self.form}'; choose one of {', '.join(FORMS)}")


# Theory: Lemma 2 and Theorems 1 and 2


def score_size(probabilities: Float[Tensor, "*rows V"]) -> Float[Tensor, "*rows"]:
    """E||s||² = 1 - Σ p² for the score s = e_o - p in logit space (Lemma 2)."""
    return 1.0 - probabilities.square().sum(dim=-1)


def entropy_bound(entropies: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
    """1 - e^-H, which bounds `score_size` (Lemma 2); the entropy form of β for a Jacobian of size one."""
    return -torch.expm1(-entropies)


def variance_bound(
    beta: Float[Tensor, "*rows T"], weights: Float[Tensor, "*rows T"], second_moment: Float[Tensor, "*rows"]
) -> Float[Tensor, "*rows"]:
    """E[A²] Σ_t β_t w_t² (Theorem 1)."""
    return second_moment * (beta * weights.square()).sum(dim=-1)


def optimal_weights(beta: Float[Tensor, "*rows T"]) -> Float[Tensor, "*rows T"]:
    """w_t = T β_t⁻¹ / Σ_u β_u⁻¹, which minimises `variance_bound` under Σ w = T (Theorem 2)."""
    inverse = 1.0 / beta
    return beta.shape[-1] * inverse / inverse.sum(dim=-1, keepdim=True)


# Weights


def code_levels(step: float, curriculum: bool = True) -> dict[Region, float]:
    """Weight of each region at RL step `step` in the released code; without curriculum that of step 0."""
    moved = 0.002 * step if curriculum else 0.0
    return {"tags": 1.0, "think": min(1.0, 0.6 + moved), "name": 1.2, "arguments": min(1.2, 0.6 + moved)}


def paper_levels(
    entropies: Mapping[Region, float], progress: float, curriculum: bool = True, slope: float = 0.4
) -> dict[Region, float]:
    """Weight of each region, 1 / (1 - e^-H) with its mean entropy H, annealed with the progress ν in [0, 1].

    The weights are divided by their mean over regions, so that the shift means the same for sure and unsure
    policies. Tags fall by `slope` ν and are at least `LOWEST`; thought and arguments rise by it and are at
    most `HIGHEST`; the name stays. The paper gives the form and no constants: the slope is about the code's.
    A region that no response has (H is NaN) weighs nothing.
    """
    moved = slope * progress if curriculum else 0.0
    shift = {"tags": -moved, "think": moved, "name": 0.0, "arguments": moved}
    inverse = {name: 1 / max(-math.expm1(-h), LOWEST) for name, h in entropies.items() if not math.isnan(h)}
    mean = sum(inverse.values()) / max(1, len(inverse))
    return {
        name: min(max(inverse[name] / mean + shift[name], LOWEST), HIGHEST) if name in inverse else 0.0
        for name in REGIONS
    }


def levels(
    weighting: Weighting, step: float, entropies: Mapping[Region, float] | None = None
) -> dict[Region, float]:
    """Weight of each region before normalisation.

    Args:
        weighting: Which weights.
        step: RL step, of `RELEASED_STEPS`.
        entropies: Mean entropy of each region; the code's form does not read it.

    Raises:
        ValueError: a form that needs entropies, without them.
    """
    if weighting.form == "code":
        found = code_levels(step, weighting.curriculum)
    elif weighting.form == "uniform":
        found = dict.fromkeys(REGIONS, 1.0)
    elif entropies is None:
        raise ValueError(f"the form '{weighting.form}' needs the entropy of each region")
    elif weighting.form == "paper":
        found = paper_levels(entropies, step / RELEASED_STEPS, weighting.curriculum)
    else:
        found = {name: max(-math.expm1(-entropies[name]), LOWEST) for name in REGIONS}
    return found if weighting.thought else {**found, "think": 0.0}


def token_weights(
    masks: Mapping[str, Bool[Tensor, "B T"]],
    mask: Num[Tensor, "B T"],
    weighting: Weighting,
    step: float = 0.0,
    entropies: Float[Tensor, "B T"] | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "B T"]:
    """w_t, in the mean 1 over the tokens of a response that have weight, 0 elsewhere.

    The heaviest region counts where they overlap. In the code's form a token of no region (the punctuation of
    JSON, words to the user) weighs nothing; in the others it counts with the tags, for Σ w = T is over all
    tokens.

    Args:
        masks: See `common.agents.call_regions.call_regions`.
        mask: 1 on the policy's own tokens.
        weighting: Which weights.
        step: RL step, of `RELEASED_STEPS`.
        entropies: Of tokens in nats, for the forms that fall or rise with them.
        generator: Of the permutation.
    """
    own = mask.bool()
    masks = dict(masks)
    if weighting.form != "code":
        masks["tags"] = own & ~(masks["think"] | masks["name"] | masks["arguments"])
    means = None if entropies is None else region_entropies(entropies, masks, own)
    weights = torch.zeros(own.shape, device=own.device)
    for name, level in levels(weighting, step, means).items():
        level = min(max(level, LOWEST), HIGHEST) if level else 0.0
        weights = torch.maximum(weights, level * masks[name].to(weights.dtype))
    weights = weights.where(own, 0.0)
    if weighting.whole:
        weights = weights.where((weights > 0).any(dim=1, keepdim=True), own.to(weights.dtype))
    positive = weights > 0
    mean = weights.sum(dim=1) / positive.sum(dim=1).clamp(min=1)
    weights = weights / mean.clamp(min=LOWEST)[:, None]
    return shuffled(weights, own, generator) if weighting.permuted else weights


def region_entropies(
    entropies: Float[Tensor, "B T"], masks: Mapping[str, Bool[Tensor, "B T"]], mask: Bool[Tensor, "B T"]
) -> dict[Region, float]:
    """Mean entropy of each region over a batch, NaN for one that no response has."""
    return {name: float(entropies[mask & masks[name]].mean()) for name in REGIONS}


def shuffled(
    weights: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], generator: torch.Generator | None
) -> Float[Tensor, "B T"]:
    """Each row's weights on its own tokens in random order: the same histogram, other tokens."""
    keys = torch.rand(weights.shape, generator=generator).to(weights.device).where(mask, 2.0)
    order = keys.argsort(dim=1)
    # Masked-in tokens come first in `order`, so that the k-th of them in random order gets the k-th weight.
    places = (~mask).to(torch.int8).argsort(dim=1, stable=True)
    return torch.zeros_like(weights).scatter(1, order, weights.gather(1, places))


# Rewards


def format_range(step: float) -> tuple[float, float]:
    """Ends of the reward of the form at RL step `step`, in the code: (-2, 2) at first, then (-1, 1)."""
    return min(-1.0, -2.0 + step / 75), max(1.0, 2.0 - step / 150)


def correctness_range(step: float) -> tuple[float, float]:
    """Ends of the reward of the calls at RL step `step`, in the code: (-2, 2) at first, then (-3, 3)."""
    return max(-3.0, -2.0 - step / 150), min(3.0, 2.0 + step / 150)


def scheduled_reward(mark: Mark, step: float) -> float:
    """Form and correctness of a response at RL step `step` (the code's ``SCHEDULEREWARD=1``).

    Correctness is 0 where no call is asked for, lowest where calls cannot be read, highest where they are the
    right ones, and between them in proportion to `common.tasks.toolcall.calls.agreement`.
    """
    worst, best = format_range(step)
    form = best if mark.formed else worst
    if not mark.calls:
        return form
    lowest, highest = correctness_range(step)
    return form + lowest + (highest - lowest) * (1.0 if mark.right else mark.agreement)


# In the trainer


@dataclass
class ResTConfig(GroupConfig):
    """Configuration of `ResTTrainer`; the rest is `common.rl.config.GroupConfig` and `trl.GRPOConfig`.

    Attributes:
        rest_form, rest_curriculum, rest_thought, rest_permuted, rest_every_call, rest_whole: See `Weighting`;
            the form ``"uniform"`` is GRPO.
        rest_separator: Stands between tokens of a text; a space where tokens are words.
    """

    rest_form: Form = field(default="paper", metadata={"help": f"One of {', '.join(FORMS)}."})
    rest_curriculum: bool = field(default=True, metadata={"help": "Weights move with the training."})
    rest_thought: bool = field(default=True, metadata={"help": "The thought has weight."})
    rest_permuted: bool = field(default=False, metadata={"help": "Control: weights go to random tokens."})
    rest_every_call: bool = field(default=False, metadata={"help": "Regions of every call of a response."})
    rest_whole: bool = field(default=False, metadata={"help": "Train on responses without any region."})
    rest_separator: str = field(default="", metadata={"help": "Stands between the tokens of a text."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weighting.form != "uniform" and self.loss_type not in ("bnpo", "dapo"):
            raise ValueError(
                f"ResT divides by the weights of a batch: loss_type 'bnpo' or 'dapo', not '{self.loss_type}'"
            )

    @property
    def weighting(self) -> Weighting:
        """Which weights tokens get."""
        return Weighting(**{each.name: getattr(self, f"rest_{each.name}") for each in fields(Weighting)})


class ResTTrainer(GroupTrainer, name="ResT", tags=("grpo", "tools", "rest")):
    """`GroupTrainer` with w_t A in the place of A.

    Weights are not negative, so min(ρ w A, clip(ρ) w A) = w min(ρ A, clip(ρ) A): weighed advantages are the
    weighed clipped loss. Its denominator is Σ w over the rows of an update, which `update_advantages` brings
    about. Regions are found in the tokens as they were sampled. Logs the mean weight and entropy of each
    region (``rest/weight/<region>``, ``rest/entropy/<region>``), the spread of the weights over tokens
    (``rest/spread``, their standard deviation) and the share of responses without weight (``rest/silent``).
    """

    args: ResTConfig

    @property
    def progress(self) -> float:
        """Share of the training that is behind."""
        return self.state.global_step / max(1, self.state.max_steps)

    def weights(self, rollout: Rollout) -> Float[Tensor, "B T"]:
        """w_t of a rollout's tokens."""
        args, weighting = self.args, self.args.weighting
        texts = [pieces(self.tokenizer, ids) for ids in rollout.completion_ids.tolist()]
        found = call_regions(texts, args.rest_separator, weighting.every_call)
        masks = {name: each.to(rollout.mask.device) for name, each in found.items()}
        generator = derived_generator(args.seed, rollout.step, self.accelerator.process_index)
        entropies = None if weighting.form == "code" else rollout.entropies
        step = RELEASED_STEPS * self.progress
        weights = token_weights(masks, rollout.mask, weighting, step, entropies, generator)
        self._log_weights(weights, masks, rollout)
        return weights

    def _log_weights(self, weights: Tensor, masks: dict[str, Tensor], rollout: Rollout) -> None:
        own = rollout.mask.bool()
        for name, mean in region_means(weights, masks, own).items():
            self.log_metric(f"rest/weight/{name}", mean)
        self.log_metric("rest/spread", float(weights[own].std()))
        self.log_metric("rest/silent", float((weights == 0).all(dim=1).float().mean()))

    def loss_inputs(self, rollout: Rollout) -> dict[str, Tensor]:
        """The weights beside the rows."""
        return {} if self.args.rest_form == "uniform" else {"rest_weights": self.weights(rollout)}

    def update_advantages(self, entropies: Float[Tensor, "B T"], batch: Batch) -> Float[Tensor, "B T"] | None:
        """w_t A, scaled so that TRL's mean over tokens is Σ w loss / Σ w of these rows; 0 without weight."""
        if "rest_weights" not in batch:
            return None
        weights, mask = batch["rest_weights"], loss_mask(batch)
        scale = mask.sum() / (weights * mask).sum().clamp(min=LOWEST)
        return batch["advantages"][:, None] * weights * scale
