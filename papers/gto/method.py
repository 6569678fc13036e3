"""Group Tree Optimization (arXiv:2509.22134): a trained draft tuned so that its trees are accepted longer.

Plain training of a draft looks at one chain of tokens; decoding grows a tree and keeps its best nodes. GTO
scores the tree that the draft would grow at a prefix by the target's probabilities of its branches,
subtracts the score of a frozen reference draft's tree, standardises over neighbouring prefixes, and pushes
the likelihood of the branch that the target accepts up or down by it, beside the ordinary token loss. No
rollouts, no KL term; the reward is not differentiated. Decoding does not change.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import TrainOutput, get_last_checkpoint

from common.speculative.drafts import FeatureDraft
from common.speculative.networks import DraftNetwork
from common.speculative.packed import TreeScores, score_packed_trees
from common.speculative.target import Target
from common.speculative.texts import TextReading, grow_trees, read_texts
from common.speculative.tree import DraftTree, TreePolicy
from common.speculative.unroll import eagle3_loss, path_log_likelihood, unroll_text
from papers.gto.tree_reward import (
    AcceptedPath,
    Groups,
    Mode,
    Path,
    Scope,
    draft_tree_reward,
    group_advantages,
    gto_loss,
    longest_accepted_path,
    path_ratio,
    sample_groups,
)

CONTROLS = ("none", "shuffled", "flipped")
GROUPS = "groups.pt"
"""Beside a saved draft: the state of the generator that groups are drawn with."""


@dataclass
class GTOConfig(TrainingArguments):
    """Training arguments with those of GTO; the defaults are the paper's where it gives one."""

    gto_omega: float = field(
        default=0.5, metadata={"help": "ω, weight of the GTO loss; 0 is token training."}
    )
    gto_groups: int = field(default=16, metadata={"help": "K, groups of a sequence."})
    gto_group_size: int = field(default=8, metadata={"help": "m, adjacent positions of a group."})
    gto_mode: Mode = field(
        default="lse", metadata={"help": "How branches become a reward: lse (Eq. 5), max, average; node_sum."}
    )
    gto_eta: float = field(default=1.0, metadata={"help": "η of the log-sum-exp."})
    gto_debias: bool = field(default=True, metadata={"help": "Subtract the reference draft's reward."})
    gto_norm_scope: Scope = field(
        default="group", metadata={"help": "Standardise in each group or the batch."}
    )
    gto_accepted_path: AcceptedPath = field(
        default="greedy", metadata={"help": "Ŝ: the greedily verified path, or the branch of largest L."}
    )
    gto_epsilon: float = field(default=0.2, metadata={"help": "Clip range; the paper gives none."})
    gto_delta: float = field(default=1e-6, metadata={"help": "Added to the deviation; the paper gives none."})
    gto_control: str = field(
        default="none",
        metadata={"help": "Negative controls: shuffled (within a group) or flipped advantages."},
    )
    tree_depth: int = field(default=7, metadata={"help": "Levels of draft tokens."})
    tree_top_k: int = field(default=10, metadata={"help": "Children of a node, and nodes of a frontier."})
    tree_budget: int = field(default=59, metadata={"help": "Draft tokens kept; 60 with the root."})
    unroll_steps: int = field(default=7, metadata={"help": "Steps of training-time test; 1 is App. B.2."})
    unroll_decay: float = field(default=0.8, metadata={"help": "Weight of step j is decay ** j."})
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "`collate` takes the columns that it needs; leave it off."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        unused = {
            "gradient_checkpointing": self.gradient_checkpointing or self.activation_checkpointing,
            "label_smoothing_factor": self.label_smoothing_factor != 0.0,
            "neftune_noise_alpha": self.neftune_noise_alpha is not None,
            "remove_unused_columns": self.remove_unused_columns,
            "torch_compile": self.torch_compile,
            "use_liger_kernel": self.use_liger_kernel,
        }
        offending = ", ".join(name for name, on in unused.items() if on)
        if offending:
            raise ValueError(
                f"a draft of one layer, trained on soft targets, has no use for {offending}: leave it unset"
            )

    @property
    def tree(self) -> TreePolicy:
        """Shape of the trees."""
        return TreePolicy(self.tree_depth, self.tree_top_k, self.tree_budget)


class GTOTrainer(Trainer):
    """Phase II; the only change to token training is the second term of the loss.

    Evaluation gives the same loss as ``eval_loss``, on groups of its own, and leaves training as it is. A run
    that resumes needs the draft that the first one started from: it is the reference.

    Args:
        model: The draft, already trained with the token loss (Phase I).
        target: The frozen model, with the taps of the draft.
        args: Configuration.
        train_dataset: Items with `ids` and `supervised` (places whose next token counts), as `collate` takes
            them.

    Raises:
        ValueError: a draft that does not fit the target, an unknown control, or several processes or devices.
    """

    _tag_names: ClassVar[list[str]] = ["gto", "reprise"]
    args: GTOConfig
    model: DraftNetwork

    def __init__(
        self, model: DraftNetwork, target: Target, args: GTOConfig, train_dataset: Any, **kwargs: Any
    ) -> None:
        FeatureDraft(model).check(target)
        if args.gto_control not in CONTROLS:
            raise ValueError(f"gto_control is '{args.gto_control}'; choose from {', '.join(CONTROLS)}")
        kwargs.setdefault("data_collator", collate)
        super().__init__(model=model, args=args, train_dataset=train_dataset, **kwargs)
        if self.accelerator.num_processes > 1 or self.args.n_gpu > 1:
            raise ValueError("GTOTrainer runs in one process on one device: a wrapper would hide the draft")
        self.target, self.model_accepts_loss_kwargs = target, False
        self.reference = copy.deepcopy(model, {id(model._shared): model._shared}).requires_grad_(False)
        self.generator = torch.Generator().manual_seed(args.seed)

    def compute_loss(
        self,
        model: DraftNetwork,  # type: ignore[override]  # trains drafts only: the loss unrolls them
        inputs: Mapping[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """L_token + ω L_GTO (Eq. 12)."""
        text, supervised = read_texts(self.target, inputs["ids"]), inputs["supervised"]
        loss = self.token_loss(model, text, supervised)
        if self.args.gto_omega:
            loss = loss + self.args.gto_omega * self.tree_loss(model, text, supervised)
        return (loss, {}) if return_outputs else loss

    @torch.no_grad()
    def prediction_step(  # type: ignore[override]  # as `compute_loss`
        self,
        model: DraftNetwork,
        inputs: dict[str, Tensor | Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor, None, None]:
        """The loss of a batch, on groups drawn afresh for each: training's stay what they are."""
        training, self.generator = self.generator, torch.Generator().manual_seed(self.args.seed)
        loss = self.compute_loss(model, inputs)
        self.generator = training
        return loss, None, None

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The draft, and where its groups stand."""
        super().save_model(output_dir, _internal_call)
        torch.save(self.generator.get_state(), os.path.join(output_dir or str(self.args.output_dir), GROUPS))

    def train(
        self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any
    ) -> TrainOutput:
        """Groups go on where the checkpoint left them."""
        checkpoint = resume_from_checkpoint
        if checkpoint is True:
            checkpoint = get_last_checkpoint(str(self.args.output_dir))
        if checkpoint:
            self.generator.set_state(torch.load(os.path.join(checkpoint, GROUPS), weights_only=True))
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def token_loss(
        self, model: DraftNetwork, text: TextReading, supervised: Bool[Tensor, "B T"]
    ) -> Float[Tensor, ""]:
        """Soft cross-entropy to the target, unrolled as decoding unrolls (training-time test)."""
        unrolled = unroll_text(
            model, text.ids, text.features, text.logits, supervised, self.args.unroll_steps
        )
        return eagle3_loss(unrolled, self.args.unroll_decay)

    def tree_loss(
        self, model: DraftNetwork, text: TextReading, supervised: Bool[Tensor, "B T"]
    ) -> Float[Tensor, ""]:
        """L_GTO over freshly sampled groups (Eqs. 5 to 11)."""
        args = self.args
        rooted = supervised.clone()
        rooted[:, 0] = False  # a tree needs the feature of the token before its root
        groups = sample_groups(rooted, args.gto_groups, args.gto_group_size, self.generator)
        rewards, path = self.score(model, text, groups)
        advantages = group_advantages(rewards, groups.mask, args.gto_delta, args.gto_norm_scope)
        roots, shape = groups.places.flatten(1), groups.places.shape
        tokens = path.tokens.unflatten(0, roots.shape)
        where = text.features, text.ids, roots, tokens
        log_m = path_log_likelihood(model, *where)
        with torch.no_grad():
            log_reference = path_log_likelihood(self.reference, *where)
        ratio = path_ratio(log_m.flatten(0, 1), log_reference.flatten(0, 1), path.length).view(shape)
        if model.training:
            lowered = (advantages < 0) & (path.length > 0).view(shape)
            self.measure(groups, rewards, advantages, ratio, lowered)
        return gto_loss(ratio, self.controlled(advantages, groups.mask), groups.mask, args.gto_epsilon)

    @torch.no_grad()
    def score(
        self, model: DraftNetwork, text: TextReading, groups: Groups
    ) -> tuple[Float[Tensor, "B K m"], Path]:
        """Rewards R_i (debiased unless switched off) and longest accepted paths of the draft's trees."""
        args, roots = self.args, groups.places.flatten(1)
        tree = grow_trees(model, text.ids, text.features, roots, args.tree)
        texts, places, every = text.ids, roots, tree
        if args.gto_debias:
            # One forward of the target for both drafts: the reference's trees hang below copies of the texts.
            before = grow_trees(self.reference, text.ids, text.features, roots, args.tree)
            every = DraftTree.cat([tree, before])
            texts, places = text.ids.repeat(2, 1), roots.repeat(2, 1)
        scores = score_packed_trees(self.target, texts, places, every)
        rewards, count = draft_tree_reward(every, scores.log_p, args.gto_mode, args.gto_eta), roots.numel()
        own = TreeScores(*(part[:count] for part in scores))
        path = longest_accepted_path(tree, own, args.tree_depth, args.gto_accepted_path)
        debiased = rewards[:count] - rewards[count:] if args.gto_debias else rewards
        return debiased.view(groups.places.shape), path

    def controlled(
        self, advantages: Float[Tensor, "B K m"], mask: Bool[Tensor, "B K m"]
    ) -> Float[Tensor, "B K m"]:
        """Advantages as used: GTO's own, or those of a control."""
        if self.args.gto_control == "flipped":
            return -advantages
        if self.args.gto_control == "shuffled":
            keys = torch.rand(mask.shape, generator=self.generator).to(mask.device)
            order = keys.masked_fill(~mask, 2.0).argsort(dim=-1)  # places that do not count stay behind
            return advantages.gather(-1, order)
        return advantages

    def measure(
        self, groups: Groups, rewards: Tensor, advantages: Tensor, ratio: Tensor, lowered: Tensor
    ) -> None:
        """Log what GTO's own advantages say before the step, in every arm.

        Its loss and its reward; the shares of equal groups, of ratios outside the clip range, and of accepted
        paths whose likelihood the loss lowers.
        """
        mask, epsilon, ratio = groups.mask, self.args.gto_epsilon, ratio.detach()
        flat = (advantages == 0).all(dim=-1) & mask.any(dim=-1)
        self.log(
            {
                "gto/loss": float(gto_loss(ratio, advantages, mask, epsilon)),
                "gto/reward": float(rewards[mask].mean()),
                "gto/equal_groups": float(flat.sum() / mask.any(dim=-1).sum()),
                "gto/outside_clip": float(((ratio - 1).abs() > epsilon)[mask].float().mean()),
                "gto/lowered": float(lowered[mask].float().mean()),
            }
        )


def collate(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Texts of a batch, padded on the right."""
    return {
        name: torch.nn.utils.rnn.pad_sequence([row[name] for row in rows], batch_first=True)
        for name in ("ids", "supervised")
    }
