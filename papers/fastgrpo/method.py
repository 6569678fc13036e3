"""FastGRPO (arXiv:2509.21792): speculative rollouts sized by concurrency, and a draft that learns from them.

The schedule is `common.speculative.scheduler.ConcurrencyAwareScheduler`; the paper's draft, its loss and its
online step are in `papers.fastgrpo.learner`. Here stand the configuration and the trainer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate.utils import broadcast
from jaxtyping import Bool, Float
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel
from trl import GRPOTrainer

from common.rl.advantages import mean_advantages, mixed_groups
from common.rl.citation import Citation
from common.rl.config import GroupConfig
from common.rl.rollout import Rollout
from common.speculative.drafts import FeatureDraft
from common.speculative.generate import Generation, SpeculativeGenerator
from common.speculative.networks import DraftNetwork
from common.speculative.profile import measure_c_peak
from common.speculative.rollouts import SpeculativeRollouts
from common.speculative.scheduler import ConcurrencyAwareScheduler
from common.speculative.target import Target
from papers.fastgrpo.batching import Score, misaligned, score_by_length, score_mixed
from papers.fastgrpo.learner import OnlineDraftLearner, TwoHeadEagleNetwork

DRAFT_WEIGHTS, DRAFT_STATE = "draft.safetensors", "draft_optimizer.pt"


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
        micro_batch_tokens: Score and update in batches of similar length of at most so many tokens (official
            code: 3072); 0 pads every completion to the longest one, as TRL does.
        micro_batch_gap: Largest difference of lengths in such a batch.
        advantage_std: Deviation that divides the advantages: the group's ``"population"`` one as in the
            official code, with nothing added, or ``"trl"``, its unbiased one plus 1e-4. None is the first
            with speculation, the second without.
        skip_equal_groups: Leave groups of equal rewards out of the update, their KL term and router loss too
            (official code); they still count in its mean. None is true with speculation, false without.
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
    micro_batch_tokens: int = field(
        default=0, metadata={"help": "Most tokens of a batch of similar length in the update; 0: one batch."}
    )
    micro_batch_gap: int = field(
        default=256, metadata={"help": "Largest difference of lengths in such a batch."}
    )
    advantage_std: Literal["population", "trl"] | None = field(
        default=None, metadata={"help": "Deviation that divides the advantages; population if speculating."}
    )
    skip_equal_groups: bool | None = field(
        default=None, metadata={"help": "Leave groups of equal rewards out; true if speculating."}
    )
    misaligned_rewards: bool = field(
        default=False, metadata={"help": "Ablation: sort responses by length, but not their rewards."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
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
        self._check_update()

    @property
    def selects_rows(self) -> bool:
        """The update scores rows by themselves or in an order of its own."""
        return bool(self.skip_equal_groups or self.micro_batch_tokens)

    def _check_update(self) -> None:
        """Refuse terms of the loss that need the rows left out, as row skipping does but for the KL term."""
        terms = {
            "loss_variant": self.loss_variant != "clip",
            "entropy_coef": self.entropy_coef != 0.0,
            "use_adaptive_entropy": self.use_adaptive_entropy,
            "top_entropy_quantile": self.top_entropy_quantile < 1.0,
        }
        offending = ", ".join(name for name, on in terms.items() if on)
        if offending and self.skip_equal_groups:
            raise ValueError(f"{offending} needs every row: set skip_equal_groups=False")
        if self.row_skipping and self.selects_rows:
            raise ValueError(
                "row_skipping goes with skip_equal_groups=False and micro_batch_tokens=0: these choose the "
                "rows of the update too"
            )

    def scheduler(self, c_peak: int) -> ConcurrencyAwareScheduler:
        """The schedule of these settings."""
        return ConcurrencyAwareScheduler(c_peak, self.k_max, self.l_max, self.l_min, self.alpha, self.n_max)


class FastGRPOTrainer(SpeculativeRollouts):
    """`GroupTrainer` whose rollouts are decoded speculatively by a draft that learns from them.

    The only changes are where completions come from, which leaves their distribution as it is, and one step
    of the draft per rollout batch, before the policy's. Logs ``rollout/acceptance_length``, and seconds under
    ``seconds/generation``, ``seconds/draft`` and ``seconds/rollout`` (both of these, and scoring).

    Args:
        draft: The draft network; None starts the paper's from random weights.
        args: A `FastGRPOConfig`; the rest as `GroupTrainer`.
    """

    _name = "FastGRPO"
    _tag_names = ["trl", "grpo", "fastgrpo", "reprise"]  # noqa: RUF012 - a plain list in TRL
    _paper = Citation()
    args: FastGRPOConfig

    def __init__(self, *rest: Any, draft: DraftNetwork | None = None, **others: Any) -> None:
        super().__init__(*rest, **others)
        args, policy = self.args, self.accelerator.unwrap_model(self.model)
        rotary = hasattr(policy.config, "rope_parameters")
        if args.selects_rows and (self._is_vlm or not rotary):
            raise ValueError(
                "skip_equal_groups and micro_batch_tokens trim prompts: they need a text model with rotary "
                "embeddings; set skip_equal_groups=False and micro_batch_tokens=0"
            )
        self.learner: OnlineDraftLearner | None = None
        self._rollouts: list[tuple[Generation, list[list[int]]]] = []
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
            total=self._sum,
        )

    @property
    def speculates(self) -> bool:
        """Completions come from the engine."""
        return self.args.speculation != "off"

    def speculation(self, model: PreTrainedModel) -> SpeculativeGenerator | None:  # noqa: ARG002
        """Nothing, plain decoding, or the paper's schedule with the draft as it is now."""
        args = self.args
        if args.speculation == "off":
            return None
        if args.speculation == "plain":
            return SpeculativeGenerator(self.target, early_termination=args.early_termination)
        if not self.c_peak:  # one schedule for all processes
            peak = torch.tensor(measure_c_peak(self.target)[0], device=self.accelerator.device)
            self.c_peak = int(broadcast(peak))
        return SpeculativeGenerator(
            self.target,
            self.draft,
            args.scheduler(self.c_peak),
            early_termination=args.early_termination,
        )

    def advantages(self, rewards: Float[Tensor, " N"], batch: Rollout) -> Tensor:
        """GRPO's; on the wrong responses if the official code's bug is asked for."""
        args, size = self.args, batch.num_generations
        merged = batch.merged(rewards)
        self._mixed_rows = mixed_groups(merged, size).repeat_interleave(size)[batch.local]
        if args.advantage_std == "trl":
            found = super().advantages(rewards, batch)
        else:
            found = mean_advantages(merged, size, "population")[batch.local]
        if args.skip_equal_groups:
            found = found.masked_fill(~self._mixed_rows, 0.0)  # TRL's are rounding errors over 1e-4
        if args.misaligned_rewards:
            lengths = batch.mask.sum(dim=1)
            self._mixed_rows, found = misaligned(self._mixed_rows, lengths), misaligned(found, lengths)
        return found

    def after_generation(self, generation: Generation, prompt_ids: list[list[int]]) -> None:
        """Keep what the draft will learn from."""
        self._rollouts.append((generation, prompt_ids))

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        """Rollouts, then the draft's step on them; the policy has not moved yet."""
        self._rollouts.clear()
        clock = time.perf_counter()
        output = super()._generate_and_score_completions(inputs)
        if self.args.skip_equal_groups:
            output["mixed"] = self._mixed_rows
        if not self.speculates:
            return output
        before = time.perf_counter()
        if self.learner is not None and self.model.training and self.args.draft_learning_rate > 0:
            self.log_metric("draft/loss", self._learn(self._mixed_rows))
        now = time.perf_counter()
        stats = [generation.stats for generation, _ in self._rollouts]
        tokens, active = sum(each.tokens for each in stats), sum(sum(each.active) for each in stats)
        self.log_metric("rollout/acceptance_length", tokens / max(1, active))
        self.log_metric("seconds/generation", sum(sum(each.seconds.values()) for each in stats))
        self.log_metric("seconds/draft", now - before)
        self.log_metric("seconds/rollout", now - clock)
        return output

    def _learn(self, mixed: Bool[Tensor, " B"]) -> float:
        """The draft's step on the rollouts at hand, of mixed groups only if asked to."""
        generations, prompts = zip(*self._rollouts, strict=True)
        if self.args.train_draft_on == "used" and len(generations) > 1:
            raise ValueError("train_draft_on='used' does not go with dynamic sampling; use 'all'")
        used = mixed if self.args.train_draft_on == "used" else None
        assert self.learner is not None
        with torch.enable_grad():
            return self.learner.step(generations, [row for part in prompts for row in part], used)

    def _get_per_token_logps_and_entropies(  # type: ignore[override]  # TRL passes these four by place
        self, model: Any, ids: Tensor, mask: Tensor, keep: int, *rest: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The parent's scoring, in batches of similar length and without equal groups if asked to.

        Entropies are logged once, without those of skipped rows.
        """
        args, batch = self.args, self._batch
        skip = args.skip_equal_groups and batch is not None and self.model.training
        if not skip and not args.micro_batch_tokens:
            return super()._get_per_token_logps_and_entropies(model, ids, mask, keep, *rest, **kwargs)

        def score(ids: Tensor, mask: Tensor, keep: int) -> Any:
            return GRPOTrainer._get_per_token_logps_and_entropies(
                self, model, ids, mask, keep, *rest, **kwargs
            )

        scored: Score = score
        if args.micro_batch_tokens:
            scored = partial(score_by_length, score, tokens=args.micro_batch_tokens, gap=args.micro_batch_gap)
        if batch is not None and skip:
            found = score_mixed(scored, ids, mask, keep, batch)
        else:
            found = scored(ids, mask, keep)
        if batch is None:
            self._sampling_entropies = found[1]
        elif found[1] is not None:
            self._log_entropies(found[1].detach(), batch)
        return found

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The model, and its draft beside it."""
        super()._save(output_dir, state_dict)
        if self.learner is not None and self.args.should_save:
            folder = Path(output_dir or str(self.args.output_dir))
            weights = {name: value.contiguous() for name, value in self.draft.network.state_dict().items()}
            save_file(weights, folder / DRAFT_WEIGHTS, metadata={"format": "pt"})

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.learner is not None and self.args.should_save:
            state = {"learner": self.learner.state_dict(), "c_peak": self.c_peak}
            torch.save(state, Path(output_dir) / DRAFT_STATE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Every process goes on with the draft of the checkpoint."""
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None or self.learner is None:
            return
        weights, state = Path(checkpoint) / DRAFT_WEIGHTS, Path(checkpoint) / DRAFT_STATE
        if not (weights.is_file() and state.is_file()):
            raise ValueError(
                f"{checkpoint} cannot be continued with a draft: {weights.name} or {state.name} is missing"
            )
        device = self.accelerator.device
        self.draft.network.load_state_dict(load_file(weights, device=str(device)))
        saved = torch.load(state, map_location=device, weights_only=True)
        self.learner.load_state_dict(saved["learner"])
        self.c_peak = self.args.c_peak or saved["c_peak"]
