"""Feedback-conditional policies as trainers: `SFTTrainer` offline, `GroupTrainer` online (arXiv:2509.22638).

Both maximise log π_θ(o|q, c) with c the critique that the response o got: nothing else. No ratio, no KL
term, no reward in the gradient, no reference model; bad responses stay, attached to bad critiques.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset
from jaxtyping import Float
from torch import Tensor
from trl import GRPOTrainer, SFTConfig, SFTTrainer

from common.feedback.critic import HIGHEST_SCORE, Critic, Critique, completion_text
from common.feedback.pool import FeedbackPool
from common.rl.config import GroupConfig
from common.rl.likelihood import Likelihood, check_likelihood, negative_log_likelihood
from common.rl.rollout import Rollout
from common.rl.trainer import GroupTrainer
from papers.fcp.conditions import FEEDBACK_TOKENS, conditioned, question_text

__all__ = ["FEEDBACK_TOKENS", "FCPBootstrapTrainer", "FCPConfig", "FCPOfflineTrainer", "conditioned"]


class FCPOfflineTrainer(SFTTrainer):
    """`SFTTrainer` on (critique, question) -> response (Eq. 3); the only change is the prompt.

    A row with a column ``critique`` is trained under it; without that column this is `SFTTrainer`, bit for
    bit. Add the two feedback tokens first (`common.models.special_tokens.add_special_tokens`).

    Args:
        train_dataset: Columns ``prompt``, ``completion`` and, to condition, ``critique``.
    """

    def __init__(self, model: Any, args: SFTConfig, train_dataset: Dataset, **others: Any) -> None:
        if "critique" in train_dataset.column_names:
            prompts = map(conditioned, train_dataset["prompt"], train_dataset["critique"])
            columns = {"prompt": list(prompts), "completion": list(train_dataset["completion"])}
            train_dataset = Dataset.from_dict(columns)
        super().__init__(model=model, args=args, train_dataset=train_dataset, **others)


@dataclass
class FCPConfig(GroupConfig):
    """Configuration of `FCPBootstrapTrainer`; the rest is `GroupConfig` and `trl.GRPOConfig`.

    The paper trains with 4 rollouts per prompt at temperature 1 and a constant learning rate of 1e-6. TRL
    counts completions in a mini-batch, not prompts (`common.rl.config.batching` takes prompts).

    Attributes:
        aggregation: How the negative log-likelihood is reduced, within one forward-backward pass.
        condition: What a rollout is trained under: its ``fresh`` critique, or the praise it was sampled
            under (``rollout``, self-distillation: a control that should not learn).
        praise_per: One c+ for the rollouts of a prompt (``prompt``), or one for each (``rollout``).
        feedback: The critique's part that conditions: ``summary`` or ``user``.
        max_prompt_tokens: Rebuilt prompts are cut on the left to so many tokens; None leaves them whole.
    """

    aggregation: Likelihood = field(
        default="token-mean", metadata={"help": "token-mean, seq-mean-token-sum or seq-mean-token-mean."}
    )
    condition: Literal["fresh", "rollout"] = field(
        default="fresh", metadata={"help": "fresh critique (Eq. 5), or the rollout's own c+ (control)."}
    )
    praise_per: Literal["prompt", "rollout"] = field(
        default="prompt", metadata={"help": "One c+ per prompt, or per rollout (Table 5)."}
    )
    feedback: Literal["summary", "user"] = field(
        default="summary", metadata={"help": "Reviewer-style summary, or user-style feedback (Table 5)."}
    )
    max_prompt_tokens: int | None = field(
        default=None, metadata={"help": "Left truncation of the rebuilt prompt (official code: 1024)."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_likelihood(self.aggregation)
        choices = {
            "condition": ("fresh", "rollout"),
            "praise_per": ("prompt", "rollout"),
            "feedback": ("summary", "user"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r}; choose one of {', '.join(allowed)}")
        if self.max_prompt_tokens is not None and self.max_prompt_tokens < 1:
            raise ValueError(f"max_prompt_tokens={self.max_prompt_tokens} must be at least 1 or None")
        unused = {
            "beta": self.beta != 0.0,
            "row_skipping": self.row_skipping,
            "loss_variant": self.loss_variant != "clip",
            "dynamic_sampling_rounds": self.dynamic_sampling_rounds > 0,
            "num_iterations": self.num_iterations != 1,
            "vllm_importance_sampling_correction": self.use_vllm and self.vllm_importance_sampling_correction,
        }
        offending = ", ".join(name for name, on in unused.items() if on)
        if offending:
            raise ValueError(f"the loss is a plain likelihood of every rollout: switch off {offending}")


class FCPBootstrapTrainer(GroupTrainer):
    """The online stage (Alg. 2): roll out under c+, critique afresh, maximise the likelihood under that.

    The changes to `GroupTrainer`: prompts of the rollouts, prompts of the loss, and the loss. The critic's
    score is logged as the reward and used nowhere else.

    Args:
        model: Policy after the offline stage.
        critic: Environment; sees the reference answer.
        pool: Praise c+ for the rollouts, drawn with the seed and the step.
        args: Configuration.
        train_dataset: Columns ``prompt`` (the bare question, text or messages) and ``reference``.
    """

    def __init__(
        self,
        model: Any,
        critic: Critic,
        pool: FeedbackPool,
        args: FCPConfig,
        train_dataset: Dataset,
        **others: Any,
    ) -> None:
        self.critic, self.pool = critic, pool
        self._critiques: list[Critique] = []
        super().__init__(model, self._critic_score, args, train_dataset=train_dataset, **others)

    def _critic_score(
        self, completions: list[Any], question: list[Any], reference: list[str], **_: Any
    ) -> list[float]:
        """A fresh critique of every rollout; the score over ten, for the log."""
        rows = zip(question, completions, reference, strict=True)
        self._critiques = [self.critic(question_text(q), completion_text(text), r) for q, text, r in rows]
        return [critique.score / HIGHEST_SCORE for critique in self._critiques]

    def advantages(self, rewards: Float[Tensor, " N"], batch: Rollout) -> Float[Tensor, " B"]:
        """1 for every rollout: a likelihood is a policy gradient without a reward."""
        return torch.ones_like(rewards[batch.local])

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Roll out under c+, then put the fresh critique in its place; response ids stay as they are."""
        praise = self._draw_praise(len(inputs))
        rollouts = [
            {**row, "question": row["prompt"], "prompt": conditioned(row["prompt"], c)}
            for row, c in zip(inputs, praise, strict=True)
        ]
        output = super()._generate_and_score_completions(rollouts)
        fresh = [str(getattr(critique, self.args.feedback)) for critique in self._critiques]
        critiques = fresh if self.args.condition == "fresh" else praise
        prompts = [conditioned(row["prompt"], c) for row, c in zip(inputs, critiques, strict=True)]
        ids, _, _ = self._tokenize_prompts(prompts)
        room = self.args.max_prompt_tokens
        padded = self._tokenizer.pad(
            {"input_ids": [row[-room:] if room else row for row in ids]},
            padding_side="left",
            return_tensors="pt",
        ).to(output["prompt_ids"].device)
        output["prompt_ids"], output["prompt_mask"] = padded["input_ids"], padded["attention_mask"]
        return output

    def _draw_praise(self, rows: int) -> list[str]:
        """One c+ per prompt or per rollout; a function of seed, step and process."""
        rng = np.random.default_rng([self.args.seed, self._step, self.accelerator.process_index])
        if self.args.praise_per == "rollout":
            return self.pool.draw(rng, rows)
        size = self.num_generations if self._mode == "train" else self.num_generations_eval
        return [c for c in self.pool.draw(rng, -(-rows // size)) for _ in range(size)][:rows]

    def _get_per_token_logps_and_entropies(self, *inputs: Any, **kwargs: Any) -> tuple[Any, Any, Any]:
        """None while rollouts are scored: their log-probabilities under c+ belong in no loss."""
        if self._batch is None:
            return None, None, None
        return GRPOTrainer._get_per_token_logps_and_entropies(self, *inputs, **kwargs)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """Eq. 5: -log π_θ(o|q, c) under the fresh critique."""
        self._batch = inputs
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        mask = inputs["completion_mask"]
        attention = torch.cat([inputs["prompt_mask"], mask], dim=1)
        log_probs, entropies, _ = self._get_per_token_logps_and_entropies(
            model, ids, attention, mask.shape[1], compute_entropy=True
        )
        self._batch = None
        loss = negative_log_likelihood(log_probs, mask, self.args.aggregation)
        self.log_metric("nll", self.accelerator.gather(loss.detach()).mean().item())
        mean_entropy = (entropies.detach() * mask).sum() / mask.sum().clamp(min=1)
        self.log_metric("entropy", self.accelerator.gather(mean_entropy).mean().item())
        return loss / (self.current_gradient_accumulation_steps if self.model.training else 1.0)
