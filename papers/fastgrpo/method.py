"""FastGRPO (arXiv:2509.21792): speculative rollouts sized by concurrency, and a draft that learns from them.

The schedule is `common.speculative.scheduler.ConcurrencyAwareScheduler`. Here stand the paper's draft with
its two heads, its loss, the online step on what the target has just computed, and the trainer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from common.rl.advantages import mean_advantages
from common.rl.config import GroupConfig
from common.rl.rollout import Rollout
from common.speculative.drafts import FeatureDraft
from common.speculative.generate import Generation, SpeculativeGenerator
from common.speculative.networks import DraftNetwork, Projection, SwiGLU
from common.speculative.profile import measure_c_peak
from common.speculative.rollouts import SpeculativeRollouts
from common.speculative.scheduler import ConcurrencyAwareScheduler
from common.speculative.target import Target
from common.speculative.unroll import soft_cross_entropy, unroll_text
from papers.fastgrpo.batching import (
    length_groups,
    misaligned,
    rows_with_advantage,
    score_by_length,
    score_used,
)


class TwoHeadEagleNetwork(DraftNetwork):
    """The paper's draft: a gated fusion, one attention block without feed-forward, a state and a logit head.

    Reads and predicts the target's state after the final norm; embeddings, head and norm are the target's.
    """

    def __init__(self, target: PreTrainedModel) -> None:
        super().__init__(target)
        self.gate = nn.Linear(self.hidden, self.ffn, bias=False)
        self.up = nn.Linear(self.hidden, self.ffn, bias=False)
        self.down = nn.Linear(self.ffn, self.hidden, bias=False)
        self.input_norm, self.attention = self.norm(), self.new_attention(self.hidden)
        self.trunk_norm = self.norm()
        self.state_head, self.state_norm = SwiGLU(self.hidden, self.ffn), self.norm()
        self.logit_head, self.logit_norm = SwiGLU(self.hidden, self.ffn), self.norm()

    def project(
        self, hidden: Float[Tensor, "B Q d"], tokens: Int[Tensor, "B Q"], positions: Int[Tensor, "B Q"]
    ) -> Projection:
        """down(silu(gate(e)) ⊙ up(f)) + f, then attention on its norm."""
        fused = self.down(F.silu(self.gate(self.embed(tokens))) * self.up(hidden)) + hidden
        return Projection(*self.attention.project(self.input_norm(fused), positions), fused)

    def finish(
        self, residual: Float[Tensor, "B Q d"], attended: Float[Tensor, "B H Q D"]
    ) -> Float[Tensor, "B Q d"]:
        """The trunk that both heads read."""
        return self.trunk_norm(residual + self.attention.finish(attended))

    def feedback(self, state: Float[Tensor, "B Q d"]) -> Float[Tensor, "B Q d"]:
        """The state head: the next feature."""
        return self.state_norm(state + self.state_head(state))

    def logits(self, state: Float[Tensor, "B Q d"]) -> Float[Tensor, "B Q V"]:
        """The logit head, read by the target's language-model head."""
        return self.head(self.logit_norm(state + self.logit_head(state)))


def draft_loss(
    network: DraftNetwork,
    tokens: Int[Tensor, "B T"],
    features: Float[Tensor, "B T d"],
    supervised: Bool[Tensor, "B T"],
    feature_weight: float = 2.0,
    token_weight: float = 0.1,
) -> Float[Tensor, " B"]:
    """2.0 · SmoothL1 of the next feature + 0.1 · H(p_target, p_draft), teacher-forced; mean over each
    response.

    The target's distribution is its head on the true feature, so that features are all that has to be stored.

    Args:
        network: A draft that reads the state after the final norm.
        tokens: Texts, padded on the right.
        features: The target's states of every token.
        supervised: Places whose state and next-token distribution are to be predicted; a row without any
            gives 0.
        feature_weight: Of the first term.
        token_weight: Of the second.
    """
    text = unroll_text(network, tokens, features, network.head(features), supervised, steps=1)
    distance = F.smooth_l1_loss(text.unrolled.states, text.features, reduction="none").mean(dim=-1)
    entropy = soft_cross_entropy(text.unrolled.logits, text.logits)
    values = feature_weight * distance + token_weight * entropy
    return (values * text.mask).sum(dim=(1, 2)) / text.mask.sum(dim=(1, 2)).clamp(min=1)


class OnlineDraftLearner:
    """One AdamW step of the draft on each batch of rollouts, from the features of their verification passes.

    Args:
        network: The draft; trained in place.
        learning_rate: AdamW's.
        feature_weight: See `draft_loss`.
        token_weight: See `draft_loss`.
        tokens: Most tokens of a forward-backward pass, padding included; texts of similar length share one,
            and the gradients are accumulated. (official code: twice those of the policy's update, 3072)
        gap: Largest difference of lengths in a pass.
    """

    def __init__(
        self,
        network: DraftNetwork,
        learning_rate: float = 1e-4,
        feature_weight: float = 2.0,
        token_weight: float = 0.1,
        tokens: int = 6144,
        gap: int = 256,
    ) -> None:
        self.network, self.limits = network, (tokens, gap)
        self.weights = (feature_weight, token_weight)
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate)

    def step(
        self,
        generations: Sequence[Generation],
        prompts: Sequence[list[int]],
        used: Bool[Tensor, " N"] | None = None,
    ) -> float:
        """Learn from rollouts; mean over them of the mean over each response.

        Args:
            generations: With features, the rows of all in order.
            prompts: Prompt of each row.
            used: Rows to learn from; None is all, those without advantage too.

        Returns:
            The loss before the step; 0 without rows or with responses too short to teach anything.

        Raises:
            ValueError: generations without features.
        """
        texts = [row for generation in generations for row in generation.tokens]
        states = [row for generation in generations for row in generation.features or ()]
        if len(states) != len(texts):
            raise ValueError("the draft learns from features: generate with return_features=True")
        kept = [*range(len(texts))] if used is None else used.nonzero()[:, 0].tolist()
        self.optimizer.zero_grad()
        total = 0.0
        for group in length_groups([len(states[row]) for row in kept], *self.limits):
            batch = [(prompts[row], texts[row], states[row]) for row in (kept[place] for place in group)]
            loss = draft_loss(self.network, *_padded(batch), *self.weights).sum() / len(kept)
            loss.backward()
            total += loss.item()
        if kept:
            self.optimizer.step()
        return total


def _padded(rows: Sequence[tuple[list[int], Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Texts without their last token, which has no feature; their features; the places of the response."""
    tokens, supervised = [], []
    for prompt, response, states in rows:
        text = torch.cat([torch.tensor(prompt, device=response.device), response])[:-1]
        tokens.append(text)
        supervised.append(torch.arange(len(states), device=text.device) >= len(prompt) - 1)
    pad = torch.nn.utils.rnn.pad_sequence
    return (
        pad(tokens, batch_first=True),
        pad([states for _, _, states in rows], batch_first=True),
        pad(supervised, batch_first=True),
    )


@dataclass
class FastGRPOConfig(GroupConfig):
    """Configuration of `FastGRPOTrainer`; with ``speculation="off"`` it trains as `GroupTrainer`.

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
            official code, with nothing added, or ``"trl"``, its unbiased one plus 1e-4.
        skip_equal_groups: Leave groups of equal rewards out of the update, their KL term too (official
            code); they still count in its mean.
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
    advantage_std: Literal["population", "trl"] = field(
        default="population", metadata={"help": "Deviation that divides the advantages."}
    )
    skip_equal_groups: bool = field(
        default=True, metadata={"help": "Leave groups of equal rewards out of the update."}
    )
    misaligned_rewards: bool = field(
        default=False, metadata={"help": "Ablation: sort responses by length, but not their rewards."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        choices = {
            "speculation": ("draft", "plain", "off"),
            "train_draft_on": ("all", "used"),
            "advantage_std": ("population", "trl"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r}; choose one of {', '.join(allowed)}")
        if self.speculation == "draft" and self.exact_resume:
            raise ValueError("exact_resume does not keep the draft; use speculation='plain' or 'off' with it")

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

    args: FastGRPOConfig

    def __init__(self, *rest: Any, draft: DraftNetwork | None = None, **others: Any) -> None:
        super().__init__(*rest, **others)
        policy = self.accelerator.unwrap_model(self.model)
        self.learner: OnlineDraftLearner | None = None
        self._rollouts: list[tuple[Generation, list[list[int]]]] = []
        if self.args.speculation == "draft":
            network = (draft or TwoHeadEagleNetwork(policy)).to(self.accelerator.device)
            self.draft = FeatureDraft(network)
            self.learner = OnlineDraftLearner(
                network,
                self.args.draft_learning_rate,
                self.args.draft_feature_weight,
                self.args.draft_token_weight,
            )
            self.c_peak = self.args.c_peak
        if self.args.speculation != "off":
            layers = policy.config.get_text_config().num_hidden_layers
            self.target = Target(policy, (layers,) if self.args.speculation == "draft" else ())

    def speculation(self, model: PreTrainedModel) -> SpeculativeGenerator | None:  # noqa: ARG002
        """Nothing, plain decoding, or the paper's schedule with the draft as it is now."""
        args = self.args
        if args.speculation == "off":
            return None
        if args.speculation == "plain":
            return SpeculativeGenerator(self.target, early_termination=args.early_termination)
        self.c_peak = self.c_peak or measure_c_peak(self.target)[0]
        return SpeculativeGenerator(
            self.target,
            self.draft,
            args.scheduler(self.c_peak),
            early_termination=args.early_termination,
        )

    def advantages(self, rewards: Float[Tensor, " N"], batch: Rollout) -> Tensor:
        """GRPO's; on the wrong responses if the official code's bug is asked for."""
        found = mean_advantages(rewards, batch.num_generations, self.args.advantage_std)[batch.local]
        return misaligned(found, batch.mask.sum(dim=1)) if self.args.misaligned_rewards else found

    def after_generation(self, generation: Generation, prompt_ids: list[list[int]]) -> None:
        """Keep what the draft will learn from."""
        self._rollouts.append((generation, prompt_ids))

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        """Rollouts, then the draft's step on them; the policy has not moved yet."""
        if self.args.speculation == "off":
            return super()._generate_and_score_completions(inputs)
        self._rollouts.clear()
        clock = time.perf_counter()
        output = super()._generate_and_score_completions(inputs)
        before = time.perf_counter()
        if self.learner is not None and self.model.training and self.args.draft_learning_rate > 0:
            self.log_metric("draft/loss", self._learn(output["advantages"]))
        now = time.perf_counter()
        stats = [generation.stats for generation, _ in self._rollouts]
        tokens, active = sum(each.tokens for each in stats), sum(sum(each.active) for each in stats)
        self.log_metric("rollout/acceptance_length", tokens / max(1, active))
        self.log_metric("seconds/generation", sum(sum(each.seconds.values()) for each in stats))
        self.log_metric("seconds/draft", now - before)
        self.log_metric("seconds/rollout", now - clock)
        return output

    def _get_per_token_logps_and_entropies(
        self, model: Any, ids: Tensor, mask: Tensor, keep: int, *rest: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The parent's scoring, in batches of similar length and without equal groups if asked to.

        Entropies are logged once, without those of skipped rows.
        """
        args, score = self.args, super()._get_per_token_logps_and_entropies
        skip = args.skip_equal_groups and self._batch is not None and self.model.training
        if not args.micro_batch_tokens and not skip:
            return score(model, ids, mask, keep, *rest, **kwargs)
        batch, self._batch = self._batch, None

        def whole(ids: Tensor, mask: Tensor, keep: int) -> tuple[Tensor, Tensor | None]:
            return score(model, ids, mask, keep, *rest, **kwargs)[:2]

        def scored(ids: Tensor, mask: Tensor, keep: int) -> tuple[Tensor, Tensor | None]:
            if not args.micro_batch_tokens:
                return whole(ids, mask, keep)
            return score_by_length(whole, ids, mask, keep, args.micro_batch_tokens, args.micro_batch_gap)

        if skip:
            log_probs, entropies = score_used(scored, ids, mask, keep, batch)
        else:
            log_probs, entropies = scored(ids, mask, keep)
        self._batch, self._sampling_entropies = batch, entropies
        if batch is not None and entropies is not None:
            self._log_entropies(entropies.detach(), batch)
        return log_probs, entropies, None

    def _learn(self, advantages: Tensor) -> float:
        generations, prompts = zip(*self._rollouts, strict=True)
        used = None
        if self.args.train_draft_on == "used":
            if len(generations) > 1:
                raise ValueError("train_draft_on='used' does not go with dynamic sampling; use 'all'")
            used = rows_with_advantage(advantages)
        assert self.learner is not None
        with torch.enable_grad():
            return self.learner.step(generations, [row for part in prompts for row in part], used)
