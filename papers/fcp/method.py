"""Feedback-conditional policies as trainers: `SFTTrainer` offline, `GroupTrainer` online (arXiv:2509.22638).

Both maximise log π_θ(o|q, c) with c the critique that the response o got: nothing else. No ratio, no KL
term, no reward in the gradient, no reference model; bad responses stay, attached to bad critiques.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset, IterableDataset
from jaxtyping import Float
from torch import Tensor
from trl import SFTConfig, SFTTrainer

from common.judge.critic import HIGHEST_SCORE, Content, Critic, Critique, completion_text, content_text
from common.judge.pool import FeedbackPool
from common.rl.citation import Named
from common.rl.config import GroupConfig
from common.rl.losses import Aggregation, negative_log_likelihood
from common.rl.rollout import Batch, Rollout, loss_mask
from common.rl.trainer import GroupTrainer

Responses = Float[np.ndarray, "*S O"]
"""Distributions over the responses o of a question, with any leading axes."""
Joint = Float[np.ndarray, "*S C O"]
"""The same over critiques c and responses."""


def joint(pi_ref: Responses, p_env: Joint) -> Joint:
    """P_off(o, c) = π_ref(o) p_env(c|o), the pairs of the offline data (Eq. 1, arXiv:2509.22638)."""
    return pi_ref[..., None, :] * p_env


def posterior(pairs: Joint) -> Joint:
    """P(o|c) of a joint distribution of responses and critiques (Eq. 1)."""
    return pairs / pairs.sum(axis=-1, keepdims=True)


def divergence(p: Responses, q: Responses) -> Float[np.ndarray, "*S"]:
    """KL(p‖q) in nats; 0 log 0 = 0."""
    ratio = np.log(np.where(p > 0, p, 1.0)) - np.log(np.where(p > 0, q, 1.0))
    return (p * ratio).sum(axis=-1)


def kl_regularised(pi: Responses, pi_ref: Responses, p_plus: Responses) -> Float[np.ndarray, "*S"]:
    """E_π[log p_env(c+|o)] - KL(π‖π_ref): RL on the log-probability of praise, KL weight 1 (Eq. 2).

    `p_plus` is p_env(c+|o), positive where π is.
    """
    reward = np.log(np.where(pi > 0, p_plus, 1.0))
    return (pi * reward).sum(axis=-1) - divergence(pi, pi_ref)


def bootstrap_round(pi_plus: Responses, p_env: Joint) -> Joint:
    """One exact online round: roll out under c+, critique afresh, fit all pairs (Eqs. 4 and 5).

    Returns π_{t+1}(o|c) for every c from π_t(o|c+).
    """
    return posterior(joint(pi_plus, p_env))


def bootstrap_closed_form(pi_plus: Responses, p_plus: Responses, rounds: int) -> Responses:
    """π_0(o|c+) p_env(c+|o)^t, normalised: KL-regularised RL with weight 1/t.

    Own derivation from Eq. 4 with a point mass on c+; computed in logs.
    """
    with np.errstate(divide="ignore"):
        logits = np.log(pi_plus) + rounds * np.log(p_plus)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


# The input format π([<EF>c</EF>, q]): the critique first, then the question (App. C)

OPEN, CLOSE = "<EF>", "</EF>"
FEEDBACK_TOKENS = (OPEN, CLOSE)

Prompt = str | list[dict[str, Any]]


def conditioned(question: Prompt, critique: str) -> Prompt:
    """The prompt that asks `question` under `critique`; an empty critique is a condition of its own.

    Args:
        question: Text, or chat messages of which the last is the user's, as text or content blocks; left as
            they are.
        critique: Verbal feedback.

    Raises:
        ValueError: a critique that holds a feedback token, or messages that do not end with the user's.
    """
    if OPEN in critique or CLOSE in critique:
        raise ValueError(f"a critique must not hold {OPEN} or {CLOSE}: {critique!r}")
    if isinstance(question, str):
        return f"{OPEN}{critique}{CLOSE}{question}"
    *before, last = question
    if last["role"] != "user":
        raise ValueError(f"the last message has to be the user's, not the {last['role']}'s")
    return [*before, {**last, "content": _preceded(last["content"], f"{OPEN}{critique}{CLOSE}")}]


def _preceded(content: Content, text: str) -> Content:
    """A message's content with `text` before its first words; blocks without words stay where they are."""
    if isinstance(content, str):
        return text + content
    blocks = list(content)
    first = next((place for place, block in enumerate(blocks) if block["type"] == "text"), len(blocks))
    words = blocks[first]["text"] if first < len(blocks) else ""
    return [*blocks[:first], {"type": "text", "text": text + words}, *blocks[first + 1 :]]


def question_text(question: Prompt) -> str:
    """What the critic sees of a question: the text, or the words of the last message."""
    return question if isinstance(question, str) else content_text(question[-1]["content"])


# The trainers


class FCPOfflineTrainer(Named, SFTTrainer, name="FCP (offline)", tags=("sft", "fcp")):
    """`SFTTrainer` on (critique, question) -> response (Eq. 3); the only change is the prompt.

    A row with a column ``critique`` is trained and evaluated under it; without that column this is
    `SFTTrainer`, bit for bit. Add the two feedback tokens first
    (`common.models.special_tokens.add_special_tokens`).

    Args:
        train_dataset: Columns ``prompt``, ``completion`` and, to condition, ``critique``; others as in TRL.
        eval_dataset: The same, or several of them by name.
    """

    def __init__(
        self,
        model: Any,
        args: SFTConfig | None = None,
        data_collator: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        *rest: Any,
        **others: Any,
    ) -> None:
        datasets = conditioned_rows(train_dataset), conditioned_rows(eval_dataset)
        super().__init__(model, args, data_collator, *datasets, *rest, **others)

    def evaluate(self, eval_dataset: Any = None, *rest: Any, **others: Any) -> dict[str, float]:
        """As `SFTTrainer.evaluate`, under the critiques of a dataset that is given here."""
        return super().evaluate(conditioned_rows(eval_dataset), *rest, **others)


def conditioned_rows(rows: Any) -> Any:
    """A dataset (or several by name) whose prompts stand under their critiques; without any, as it is.

    Raises:
        ValueError: critiques without prompts that could be put under them.
    """
    if isinstance(rows, Mapping):
        return {name: conditioned_rows(part) for name, part in rows.items()}
    if not isinstance(rows, Dataset | IterableDataset):
        return rows
    columns = rows.column_names or list(next(iter(rows)))
    if "critique" not in columns:
        return rows
    if "prompt" not in columns or "input_ids" in columns:
        raise ValueError(
            "a column 'critique' needs the columns 'prompt' and 'completion' beside it, not yet tokenised; "
            f"the dataset has {', '.join(columns)}"
        )
    return rows.map(
        lambda prompt, critique: {"prompt": conditioned(prompt, critique)},
        input_columns=["prompt", "critique"],
        remove_columns=["critique"],
    )


@dataclass
class FCPConfig(GroupConfig):
    """Configuration of `FCPBootstrapTrainer`; the rest is `GroupConfig` and `trl.GRPOConfig`.

    The paper trains with 4 rollouts per prompt at temperature 1 and a constant learning rate of 1e-6. TRL
    counts completions in a mini-batch, not prompts (`common.rl.config.batching` takes prompts).

    Attributes:
        loss_variant: There is no policy loss.
        aggregation: How the negative log-likelihood is reduced, within one forward-backward pass.
        condition: What a rollout is trained under: its ``fresh`` critique, or the praise it was sampled
            under (``rollout``, self-distillation: a control that should not learn).
        praise_per: One c+ for the rollouts of a prompt (``prompt``), or one for each (``rollout``).
        feedback: The critique's part that conditions: ``summary`` or ``user``.
        max_prompt_tokens: Rebuilt prompts are cut on the left to so many tokens; None leaves them whole.
    """

    loss_variant: Literal["none"] = field(
        default="none", metadata={"help": "The loss is a plain likelihood of every rollout."}
    )
    aggregation: Aggregation = field(
        default="token_mean", metadata={"help": "token_mean, sequence_mean or sequence_sum."}
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
        choices = {
            "loss_variant": ("none",),
            "aggregation": ("token_mean", "sequence_mean", "sequence_sum"),
            "condition": ("fresh", "rollout"),
            "praise_per": ("prompt", "rollout"),
            "feedback": ("summary", "user"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r}; choose one of {', '.join(allowed)}")
        if self.max_prompt_tokens is not None and self.max_prompt_tokens < 1:
            raise ValueError(f"max_prompt_tokens={self.max_prompt_tokens} must be at least 1 or None")


class FCPBootstrapTrainer(GroupTrainer, name="FCP", tags=("fcp",)):
    """The online stage (Alg. 2): roll out under c+, critique afresh, maximise the likelihood under that.

    The critic's score is logged as the reward and used nowhere else.

    Args:
        model: Policy after the offline stage.
        critic: Environment; sees the reference answer.
        pool: Praise c+ for the rollouts, drawn with the seed and the step.
        args: Configuration.
        train_dataset: Columns ``prompt`` (the bare question, text or messages) and ``reference``.

    Raises:
        ValueError: images, or prompts that come from elsewhere than the dataset.
    """

    args: FCPConfig

    def __init__(
        self,
        model: Any,
        critic: Critic,
        pool: FeedbackPool,
        args: FCPConfig,
        train_dataset: Dataset | IterableDataset,
        **others: Any,
    ) -> None:
        self.critic, self.pool = critic, pool
        self.critiques: list[Critique] = []
        super().__init__(model, self.critic_score, args, train_dataset=train_dataset, **others)
        if self.has_images or self.rollout_func is not None or self.environment_factories is not None:
            raise ValueError(
                "the loss rebuilds the dataset's prompts as text under another critique: it knows neither "
                "images, rollout_func nor environment_factory"
            )

    def critic_score(
        self, completions: list[Any], question: list[Any], reference: list[str], **_: Any
    ) -> list[float]:
        """A fresh critique of every rollout; the score over ten, for the log."""
        rows = zip(question, completions, reference, strict=True)
        self.critiques = [self.critic(question_text(q), completion_text(text), r) for q, text, r in rows]
        return [critique.score / HIGHEST_SCORE for critique in self.critiques]

    def rollout(self, prompts: list[dict[str, Any]]) -> Rollout:
        """Roll out under c+, then put the fresh critique in its place; response ids stay as they are."""
        praise = self._draw_praise(len(prompts))
        rollout = super().rollout(
            [
                {**row, "question": row["prompt"], "prompt": conditioned(row["prompt"], c)}
                for row, c in zip(prompts, praise, strict=True)
            ]
        )
        fresh = [str(getattr(critique, self.args.feedback)) for critique in self.critiques]
        conditions = fresh if self.args.condition == "fresh" else praise
        rows = [conditioned(row["prompt"], c) for row, c in zip(prompts, conditions, strict=True)]
        return rollout.under(*self.encode_prompts(rows, self.args.max_prompt_tokens))

    def _draw_praise(self, rows: int) -> list[str]:
        """One c+ per prompt or per rollout; a function of seed, step and place among all processes' rows."""
        size = self.group_size if self.args.praise_per == "prompt" else 1
        first, total = self.accelerator.process_index * rows, self.accelerator.num_processes * rows
        rng = np.random.default_rng([self.args.seed, self.passes_done, 0])
        drawn = self.pool.draw(rng, -(-total // size))
        return [drawn[row // size] for row in range(first, first + rows)]

    def advantages(self, rewards: Float[Tensor, " N"], rollout: Rollout) -> Float[Tensor, " B"]:
        """1 for every rollout: a likelihood is a policy gradient without a reward."""
        return torch.ones_like(rewards[rollout.local])

    def extra_loss(
        self,
        log_probs: Float[Tensor, "B T"],
        entropies: Float[Tensor, "B T"],
        batch: Batch,
    ) -> Float[Tensor, ""]:
        """Eq. 5: -log π_θ(o|q, c) under the fresh critique."""
        loss = negative_log_likelihood(log_probs, loss_mask(batch), self.args.aggregation)
        self.log_metric("nll", self.accelerator.gather(loss.detach()).mean().item())
        return loss
