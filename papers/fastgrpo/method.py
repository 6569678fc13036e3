"""FastGRPO (arXiv:2509.21792): speculative rollouts sized by concurrency, and a draft that learns from them.

The schedule is `common.speculative.scheduler.ConcurrencyAwareScheduler`; the paper's draft, its loss and its
online step are in `papers.fastgrpo.learner`. Here stand the configuration and the trainer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from accelerate.utils import broadcast
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from transformers import PreTrainedModel

from common.rl.advantages import mean_advantages
from common.rl.companions import Companion
from common.rl.config import GroupConfig
from common.rl.rollout import Rollout
from common.speculative.clock import clock_of
from common.speculative.drafts import FeatureDraft
from common.speculative.generate import Generation, SpeculativeGenerator
from common.speculative.latency import measure_latency_knee
from common.speculative.networks import DraftNetwork
from common.speculative.rollouts import SpeculativeRollouts
from common.speculative.scheduler import ConcurrencyAwareScheduler
from common.speculative.target import Target
from papers.fastgrpo.learner import OnlineDraftLearner, TwoHeadEagleNetwork


@dataclass
class FastGRPOConfig(GroupConfig):
    """Configuration of `FastGRPOTrainer`; with ``speculation="off"`` alone it trains as `GroupTrainer`.

    Attributes:
        speculation: ``"draft"`` is the method; ``"plain"`` decodes in the same loop without a draft, the
            baseline; ``"off"`` leaves sampling to the parent class.
        early_termination: Drop finished rows from the batch.
        c_peak: Tokens of a forward at which it becomes bound by computation; 0 measures it on first use.
        k_max: Most children of a node.
        l_max: Most levels of a tree.
        l_min: Fewest levels; the paper's rule has no floor, the official code 3.
        alpha: The paper's α: smaller for better drafts.
        n_max: Most tokens of a row in a verification pass.
        draft_learning_rate: AdamW's; 0 freezes the draft.
        draft_feature_weight: Of SmoothL1 in the draft's loss.
        draft_token_weight: Of the cross-entropy in the draft's loss.
        train_draft_on: ``"all"`` rollouts, or those ``"used"`` in the policy update.
        advantage_std: Deviation that divides the advantages: the group's ``"population"`` one as in the
            official code, with nothing added, or ``"trl"``, its unbiased one plus 1e-4. None is the first
            with speculation, the second without.
        skip_equal_groups: As in `GroupConfig` and in the official code. None is true with speculation, false
            without.
        misaligned_rewards: Ablation: the official code's bug, see `misaligned`.
    """

    speculation: Literal["draft", "plain", "off"] = field(
        default="draft", metadata={"help": "draft (FastGRPO), plain (no draft) or off (GroupTrainer)."}
    )
    early_termination: bool = field(default=True, metadata={"help": "Drop finished rows from the batch."})
    c_peak: int = field(default=0, metadata={"help": "Tokens of a forward at the knee; 0 measures it."})
    k_max: int = field(default=8, metadata={"help": "Most children of a node."})
    l_max: int = field(default=5, metadata={"help": "Most levels of a tree."})
    l_min: int = field(default=1, metadata={"help": "Fewest levels of a tree (official code: 3)."})
    alpha: float = field(default=0.75, metadata={"help": "Smaller for better drafts."})
    n_max: int = field(default=160, metadata={"help": "Most tokens of a row in a verification pass."})
    draft_learning_rate: float = field(default=1e-4, metadata={"help": "AdamW's; 0 freezes the draft."})
    draft_feature_weight: float = field(default=2.0, metadata={"help": "Weight of SmoothL1."})
    draft_token_weight: float = field(default=0.1, metadata={"help": "Weight of the cross-entropy."})
    train_draft_on: Literal["all", "used"] = field(
        default="all", metadata={"help": "Rollouts the draft learns from: all, or those used in the update."}
    )
    advantage_std: Literal["population", "trl"] | None = field(
        default=None, metadata={"help": "Deviation that divides the advantages; population if speculating."}
    )
    skip_equal_groups: bool | None = field(  # type: ignore[assignment]  # None until it is built
        default=None, metadata={"help": "Leave groups of equal rewards out; true if speculating."}
    )
    misaligned_rewards: bool = field(
        default=False, metadata={"help": "Ablation: sort responses by length, but not their rewards."}
    )

    def __post_init__(self) -> None:
        choices = {
            "speculation": ("draft", "plain", "off"),
            "train_draft_on": ("all", "used"),
            "advantage_std": (None, "population", "trl"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name}={getattr(self, name)!r}; choose one of {', '.join(filter(None, allowed))}"
                )
        if self.advantage_std is None:
            self.advantage_std = "trl" if self.speculation == "off" else "population"
        if self.skip_equal_groups is None:
            self.skip_equal_groups = self.speculation != "off"
        super().__post_init__()

    def scheduler(self, c_peak: int) -> ConcurrencyAwareScheduler:
        """The schedule of these settings."""
        return ConcurrencyAwareScheduler(c_peak, self.k_max, self.l_max, self.l_min, self.alpha, self.n_max)


class FastGRPOTrainer(SpeculativeRollouts, name="FastGRPO", tags=("grpo", "fastgrpo")):
    """`GroupTrainer` whose rollouts are decoded speculatively by a draft that learns from them.

    The only changes are where completions come from, which leaves their distribution as it is, and one step
    of the draft per rollout batch, before the policy's. Logs ``rollout/acceptance_length``, and seconds under
    ``seconds/generation``, ``seconds/draft`` and ``seconds/rollout`` (both of these, and scoring).

    Args:
        draft: The draft network; None starts the paper's from random weights.
        args: A `FastGRPOConfig`; the rest as `GroupTrainer`.
    """

    args: FastGRPOConfig

    def __init__(self, *rest: Any, draft: DraftNetwork | None = None, **others: Any) -> None:
        super().__init__(*rest, **others)
        args, policy = self.args, self.accelerator.unwrap_model(self.model)
        self.learner: OnlineDraftLearner | None = None
        self.clock, self._generating = clock_of(self.accelerator.device), 0.0
        self.generations: list[tuple[Generation, list[list[int]]]] = []
        if args.speculation == "draft":
            self._set_draft(draft or TwoHeadEagleNetwork(policy), policy)
        elif draft is not None:
            raise ValueError(f"a draft needs speculation='draft', not '{args.speculation}'")
        if args.speculation != "off":
            layers = policy.config.get_text_config().num_hidden_layers
            self.target = Target(policy, (layers,) if args.speculation == "draft" else ())

    def _set_draft(self, network: DraftNetwork, policy: PreTrainedModel) -> None:
        """The draft in the policy's type, the same on every process, and what trains it."""
        args, self.c_peak = self.args, self.args.c_peak
        network.to(self.accelerator.device, policy.dtype)
        broadcast([weight.data for weight in network.parameters()])
        self.draft = FeatureDraft(network)
        self.learner = OnlineDraftLearner(
            network,
            args.draft_learning_rate,
            args.draft_feature_weight,
            args.draft_token_weight,
            total=self.sum_over_processes,
        )

    @property
    def speculates(self) -> bool:
        """Completions come from the engine."""
        return self.args.speculation != "off"

    def speculation(self, model: PreTrainedModel) -> SpeculativeGenerator | None:
        """Nothing, plain decoding, or the paper's schedule with the draft as it is now."""
        args = self.args
        if args.speculation == "off":
            return None
        if args.speculation == "plain":
            return SpeculativeGenerator(self.target, early_termination=args.early_termination)
        if not self.c_peak:  # one schedule for all processes
            peak = torch.tensor(measure_latency_knee(self.target)[0], device=self.accelerator.device)
            self.c_peak = int(broadcast(peak))
        return SpeculativeGenerator(
            self.target,
            self.draft,
            args.scheduler(self.c_peak),
            early_termination=args.early_termination,
        )

    def rollout(self, prompts: list[dict[str, Any]]) -> Rollout:
        """Speculative rollouts, then the draft's step on them; the policy has not moved yet."""
        self.generations.clear()
        self._generating, begin = 0.0, self.clock()
        rollout = super().rollout(prompts)
        if not self.speculates:
            return rollout
        before = self.clock()
        if self.learner is not None and self.model.training and self.args.draft_learning_rate > 0:
            self.log_metric("draft/loss", self.teach_draft(self.mixed_rows(rollout)))
        now = self.clock()
        stats = [generation.stats for generation, _ in self.generations]
        tokens, active = sum(each.tokens for each in stats), sum(sum(each.active) for each in stats)
        self.log_metric("rollout/acceptance_length", tokens / max(1, active))
        self.log_metric("seconds/generation", self._generating)
        self.log_metric("seconds/draft", now - before)
        self.log_metric("seconds/rollout", now - begin)
        return rollout

    def complete(self, prompt_ids: list[list[int]]) -> list[list[int]] | None:
        """As the parent; the engine's time ends with `after_generation`."""
        self._generating -= self.clock()
        return super().complete(prompt_ids)

    def after_generation(self, generation: Generation, prompt_ids: list[list[int]]) -> None:
        """Keep what the draft will learn from."""
        self._generating += self.clock()
        self.generations.append((generation, prompt_ids))

    def teach_draft(self, mixed: Bool[Tensor, " B"]) -> float:
        """The draft's step on the rollouts at hand, of mixed groups only if asked to; returns its loss."""
        generations, prompts = zip(*self.generations, strict=True)
        if self.args.train_draft_on == "used" and len(generations) > 1:
            raise ValueError("train_draft_on='used' does not go with dynamic sampling; use 'all'")
        used = mixed if self.args.train_draft_on == "used" else None
        assert self.learner is not None
        with torch.enable_grad():
            return self.learner.step(generations, [row for part in prompts for row in part], used)

    def advantages(self, rewards: Float[Tensor, " N"], rollout: Rollout) -> Float[Tensor, " B"]:
        """GRPO's; on the wrong responses if the official code's bug is asked for."""
        args, size = self.args, rollout.num_generations
        if args.advantage_std == "trl":
            values = mean_advantages(rewards, size, "trl")[rollout.local]
        else:
            values = mean_advantages(rollout.merged(rewards), size, "population")[rollout.local]
        if args.skip_equal_groups:
            values = values.masked_fill(~rollout.mixed, 0.0)  # TRL's are rounding errors over 1e-4
        return misaligned(values, rollout.mask.sum(dim=1)) if args.misaligned_rewards else values

    def loss_inputs(self, rollout: Rollout) -> dict[str, Tensor]:
        """The rows of the update, in the order of their advantages."""
        return {"mixed": self.mixed_rows(rollout)} if self.args.skip_equal_groups else {}

    def mixed_rows(self, rollout: Rollout) -> Bool[Tensor, " B"]:
        """Rows of groups of different rewards; with the official code's bug, those that it takes for them."""
        lengths = rollout.mask.sum(dim=1)
        return misaligned(rollout.mixed, lengths) if self.args.misaligned_rewards else rollout.mixed

    def companions(self) -> Mapping[str, Companion]:
        """The draft is saved with the policy, and goes on learning with it."""
        return {} if self.learner is None else {"draft": _SavedDraft(self)}


class _SavedDraft:
    """The draft in a checkpoint: its network, its optimizer, and the knee that its trees were cut for."""

    def __init__(self, trainer: FastGRPOTrainer) -> None:
        assert trainer.learner is not None
        self.trainer, self.learner, self.network = trainer, trainer.learner, trainer.draft.network

    def state_dict(self) -> dict[str, Any]:
        """AdamW's state and the knee."""
        return {"learner": self.learner.state_dict(), "c_peak": self.trainer.c_peak}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`; a knee that the configuration gives stands."""
        self.learner.load_state_dict(state["learner"])
        self.trainer.c_peak = self.trainer.args.c_peak or state["c_peak"]


def misaligned(values: Shaped[Tensor, " N"], lengths: Int[Tensor, " N"]) -> Shaped[Tensor, " N"]:
    """The official code's bug, as an ablation: responses are sorted by length, what they earned is not.

    The i-th shortest response gets the advantage of the i-th one.
    """
    return torch.empty_like(values).scatter(0, lengths.argsort(stable=True), values)
