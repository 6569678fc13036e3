"""`GroupConfig`: TRL's GRPO configuration plus the switches of the capabilities in this package."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from trl import GRPOConfig

from common.rl.capabilities import active, check_pairs

LOSS_TYPES_OF_VARIANTS = ("dapo", "grpo", "bnpo", "dr_grpo")
OF_POLICY_LOSS = (
    "beta",
    "num_iterations",
    "epsilon",
    "epsilon_high",
    "delta",
    "importance_sampling_level",
    "loss_type",
    "top_entropy_quantile",
    "entropy_coef",
    "use_adaptive_entropy",
    "off_policy_mask_threshold",
    "dual_clip",
    "row_skipping",
    "skip_equal_groups",
    "micro_batch_tokens",
    "dynamic_sampling_rounds",
)
"""Fields that switch something on in the policy loss; its others do nothing without one of them."""


@dataclass
class GroupConfig(GRPOConfig):
    """Configuration of `GroupTrainer`; with the fields below at their defaults it trains as stock
    `GRPOTrainer`.

    Attributes:
        loss_variant: ``"clip"`` is TRL's own loss; ``"clip_cov"`` and ``"kl_cov"`` are those of
            arXiv:2505.22617; ``"none"`` leaves the objective to `GroupTrainer.extra_loss`. GSPO is TRL's
            ``importance_sampling_level="sequence"`` with ``loss_type="grpo"``.
        dual_clip: Bound c of the loss of a negative advantage, c |A|; above 1 + epsilon_high
            (arXiv:1912.09729).
        clip_cov_ratio: Share of the tokens that Clip-Cov drops.
        clip_cov_low: Lower end of the covariances that Clip-Cov draws from.
        clip_cov_high: Upper end of the same.
        kl_cov_ratio: Share of the tokens that KL-Cov penalises.
        kl_cov_coefficient: Weight of that penalty.
        dynamic_sampling_rounds: Extra generation rounds at most to replace groups whose rewards are all
            equal.
        row_skipping: Leave rows without advantage and padding columns out of the policy update.
        skip_equal_groups: Leave groups of equal rewards out of the update, their KL term and router loss
            too; they still count in its mean.
        micro_batch_tokens: Score and update in batches of similar length of at most so many tokens; 0 pads
            every completion to the longest one, as TRL does.
        micro_batch_gap: Largest difference of lengths in such a batch.
        exact_resume: Save and restore what TRL loses inside a rollout buffer; ignore half-written
            checkpoints.
        decoder: ``"generate"`` is TRL's generation; ``"lean"`` samples with `common.models.decoding`.
        scoring_batch_size: Rows per forward when sampled completions are scored; None is TRL's choice, the
            rows of one training pass.
    """

    loss_variant: Literal["clip", "clip_cov", "kl_cov", "none"] = field(
        default="clip", metadata={"help": "Policy loss: clip (TRL's own), clip_cov, kl_cov or none."}
    )
    dual_clip: float | None = field(
        default=None, metadata={"help": "Bound of the loss of negative advantages, above 1 + epsilon_high."}
    )
    clip_cov_ratio: float = field(default=2e-4, metadata={"help": "Share of tokens that Clip-Cov drops."})
    clip_cov_low: float = field(default=1.0, metadata={"help": "Lowest covariance that Clip-Cov may drop."})
    clip_cov_high: float = field(default=5.0, metadata={"help": "Highest covariance that Clip-Cov may drop."})
    kl_cov_ratio: float = field(default=2e-3, metadata={"help": "Share of tokens that KL-Cov penalises."})
    kl_cov_coefficient: float = field(default=1.0, metadata={"help": "Weight of the penalty of KL-Cov."})
    dynamic_sampling_rounds: int = field(
        default=0, metadata={"help": "Extra generation rounds at most to replace groups of equal rewards."}
    )
    row_skipping: bool = field(
        default=False, metadata={"help": "Skip rows with zero advantage and padding in the policy update."}
    )
    skip_equal_groups: bool = field(
        default=False, metadata={"help": "Leave groups of equal rewards out of the policy update."}
    )
    micro_batch_tokens: int = field(
        default=0, metadata={"help": "Most tokens of a batch of similar length in the update; 0: one batch."}
    )
    micro_batch_gap: int = field(
        default=256, metadata={"help": "Largest difference of lengths in such a batch."}
    )
    exact_resume: bool = field(
        default=False, metadata={"help": "Resume bit for bit inside a rollout buffer."}
    )
    decoder: Literal["generate", "lean"] = field(
        default="generate", metadata={"help": "Sampler of completions: generate (TRL's own) or lean."}
    )
    scoring_batch_size: int | None = field(
        default=None, metadata={"help": "Rows per forward when sampled completions are scored."}
    )

    def __post_init__(self) -> None:
        if self.dual_clip is not None and self.delta is not None:
            raise ValueError("dual_clip and delta are the same bound; set dual_clip alone")
        super().__post_init__()
        self._check_values()
        self._check_loss_terms()
        self._check_layout()
        check_pairs(active(self))
        if self.loss_variant == "clip":
            self.delta = self.dual_clip if self.dual_clip is not None else self.delta

    @property
    def optimizer_steps_per_rollout(self) -> float:
        """Optimizer steps taken on one rollout batch (μ in the papers)."""
        return self.passes_per_rollout / self.gradient_accumulation_steps

    @property
    def passes_per_rollout(self) -> int:
        """Forward-backward passes of each process on one rollout batch."""
        assert self.steps_per_generation is not None, "TRL sets it when the configuration is built"
        return self.steps_per_generation * self.num_iterations

    def _check_values(self) -> None:
        choices = {"loss_variant": ("clip", "clip_cov", "kl_cov", "none"), "decoder": ("generate", "lean")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r}; choose one of {', '.join(allowed)}")
        if self.scoring_batch_size is not None and self.scoring_batch_size < 1:
            raise ValueError(f"scoring_batch_size={self.scoring_batch_size} must be at least 1 or None")
        if self.dynamic_sampling_rounds < 0:
            raise ValueError(f"dynamic_sampling_rounds={self.dynamic_sampling_rounds} must not be negative")
        upper = 1 + (self.epsilon if self.epsilon_high is None else self.epsilon_high)
        if self.dual_clip is not None and self.dual_clip <= upper:
            raise ValueError(f"dual_clip={self.dual_clip} must lie above 1 + epsilon_high = {upper}")
        if self.scale_rewards != "group" or self.multi_objective_aggregation != "sum_then_normalize":
            raise ValueError(
                "the advantages come from the method's hook: leave scale_rewards='group' and "
                "multi_objective_aggregation='sum_then_normalize'"
            )

    def _check_loss_terms(self) -> None:
        """Refuse terms of the loss that would be dropped without a word."""
        if self.loss_variant == "none":
            self._check_no_loss()
            return
        terms = {
            "beta": self.beta != 0.0,
            "entropy_coef": self.entropy_coef != 0.0,
            "use_adaptive_entropy": self.use_adaptive_entropy,
            "top_entropy_quantile": self.top_entropy_quantile < 1.0,
        }
        variant = self.loss_variant != "clip"
        if variant:
            terms["off_policy_mask_threshold"] = self.off_policy_mask_threshold is not None
            terms["delta"] = self.delta is not None
            if self.loss_type not in LOSS_TYPES_OF_VARIANTS:
                raise ValueError(
                    f"loss_variant='{self.loss_variant}' needs loss_type in {LOSS_TYPES_OF_VARIANTS}, "
                    f"not '{self.loss_type}'"
                )
        offending = ", ".join(name for name, on in terms.items() if on)
        if offending and (variant or self.row_skipping):
            what = f"loss_variant='{self.loss_variant}'" if variant else "row_skipping"
            raise ValueError(
                f"{what} leaves out the loss term switched on by {offending}; switch one of them off"
            )
        if self.skip_equal_groups:
            terms |= {"beta": False, "loss_variant": variant}  # what is filled in has KL term 0
            every = ", ".join(name for name, on in terms.items() if on)
            if every:
                raise ValueError(f"{every} needs every row: set skip_equal_groups=False")
        if self.row_skipping and (self.skip_equal_groups or self.micro_batch_tokens):
            raise ValueError(
                "row_skipping goes with skip_equal_groups=False and micro_batch_tokens=0: these choose the "
                "rows of the update too"
            )

    def _check_no_loss(self) -> None:
        """Refuse what belongs to a policy loss that is not there."""
        neutral = {field.name: field.default for field in fields(GroupConfig)}
        unused = [name for name in OF_POLICY_LOSS if getattr(self, name) != neutral[name]]
        if self.use_vllm and self.vllm_importance_sampling_correction:
            unused.append("vllm_importance_sampling_correction")
        if unused:
            raise ValueError(f"loss_variant='none' has no policy loss: switch off {', '.join(unused)}")

    def _check_layout(self) -> None:
        rows = self.per_device_train_batch_size * self.passes_per_rollout // self.num_iterations
        if self.dynamic_sampling_rounds and rows % (self.num_generations or 1):
            raise ValueError(
                f"dynamic sampling needs whole groups on each process, but {rows} rows a process "
                "(per_device_train_batch_size x steps_per_generation) are no multiple of "
                f"num_generations={self.num_generations}"
            )
        if self.log_completions and (self.dynamic_sampling_rounds or self.exact_resume):
            raise ValueError("log_completions is not kept by dynamic sampling or exact resume; switch it off")
        if self.exact_resume:
            self._check_resume()
        if self.decoder == "lean":
            self._check_lean()

    def _check_resume(self) -> None:
        """Refuse options under which a checkpoint lacks something that the run goes on from."""
        breaking = {
            "ignore_data_skip=False, for the data order of the first run": self.ignore_data_skip,
            "save_total_limit >= 2 or None, for with 1 the last complete checkpoint is deleted before the "
            "next one is complete": self.save_total_limit == 1,
            "save_only_model=False, for without the optimizer's state it starts afresh": self.save_only_model,
            "eval_on_start=False, for each resume would evaluate again": self.eval_on_start,
            "sync_ref_model=False, for the reference model is in no checkpoint": self.sync_ref_model,
        }
        for need, broken in breaking.items():
            if broken:
                raise ValueError(f"exact_resume needs {need}")

    def _check_lean(self) -> None:
        plain = {
            "use_vllm": not self.use_vllm,
            "use_transformers_continuous_batching": not self.use_transformers_continuous_batching,
            "top_p": self.top_p == 1.0,
            "top_k": self.top_k == 0,
            "min_p": self.min_p is None,
            "repetition_penalty": self.repetition_penalty == 1.0,
            "generation_kwargs": not self.generation_kwargs,
            "gradient_checkpointing": not self.gradient_checkpointing,
        }
        offending = ", ".join(name for name, fine in plain.items() if not fine)
        if offending:
            raise ValueError(
                f"decoder='lean' samples the plain distribution with a cache: leave {offending} unset"
            )


def batching(
    prompts: int, num_generations: int, optimizer_steps: int, *, world_size: int = 1, micro_batches: int = 1
) -> dict[str, Any]:
    """TRL's batch arguments for `optimizer_steps` steps (μ) on each rollout batch of `prompts` x
    `num_generations`.

    >>> batching(prompts=8, num_generations=16, optimizer_steps=8)["per_device_train_batch_size"]
    16

    Args:
        prompts: Prompts per rollout batch, over all processes.
        num_generations: Completions per prompt (G).
        optimizer_steps: Optimizer steps per rollout batch.
        world_size: Number of processes.
        micro_batches: Forward/backward passes per optimizer step (gradient accumulation).

    Raises:
        ValueError: the rollout batch does not divide into equal micro-batches.
    """
    parts = world_size * optimizer_steps * micro_batches
    rows, rest = divmod(prompts * num_generations, parts)
    if rest:
        raise ValueError(
            f"{prompts} x {num_generations} completions do not divide into {world_size} process(es) x "
            f"{optimizer_steps} optimizer step(s) x {micro_batches} micro-batch(es)"
        )
    return {
        "num_generations": num_generations,
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": micro_batches,
        "steps_per_generation": optimizer_steps * micro_batches,
    }
