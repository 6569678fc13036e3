"""The seam: `GroupTrainer` is TRL's `GRPOTrainer` with four hooks, which a method overrides and nothing else.

==================================== =====================================================================
hook                                 says
==================================== =====================================================================
`rollout(prompts)`                   who plays the episodes; `complete(prompt_ids)` who writes one turn
`advantages(rewards, rollout)`       what a completion, or a token, is worth
`loss_inputs(rollout)`               what an update may look at besides; `update_advantages(entropies,
                                     batch)` what it makes of the advantages with the policy of the moment
`extra_loss(log_probs, entropies,    what is minimised besides the policy loss, or in its place
batch)`
==================================== =====================================================================

Everything else is a capability, off by default, one file each: loss variants, dynamic sampling, row skipping,
batches of similar length, exact resume, a lean decoder, companions. Switched off, training equals stock
`GRPOTrainer` bit for bit.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from common.models.decoding import sample
from common.rl import dynamic_sampling, entropy
from common.rl.advantages import mean_advantages, merge_equal, mixed_groups
from common.rl.citation import Named
from common.rl.companions import Companions
from common.rl.config import GroupConfig
from common.rl.loss_variants import LossVariants
from common.rl.losses import Advantages
from common.rl.resume import ExactResume
from common.rl.rollout import Batch, Rollout, loss_mask, reward_sizes, weighted_rewards
from common.rl.scored_rows import ScoredRows

__all__ = ["GroupConfig", "GroupTrainer", "Rollout"]

Inputs = list[dict[str, Any]]
"""Rows of the dataset, a prompt's as often as it is completed."""


class GroupTrainer(Named, LossVariants, ScoredRows, Companions, ExactResume):
    """`GRPOTrainer` whose rollouts, advantages and further loss terms come from hooks.

    Takes the arguments of `trl.GRPOTrainer`; `args` has to be a `GroupConfig`. Beside TRL's metrics it logs
    the shares of A > 0, A = 0, A < 0 among rows (`advantages/positive|zero|negative`) and the token entropy
    of each class (`entropy/positive|zero|negative`). A class without tokens is NaN, which TRL's log shows as
    None. A subclass gives its name, and tags for the model card, as class arguments: ``name="QAE"``.

    Raises:
        TypeError: `args` is not a `GroupConfig`.
        ValueError: a capability that this model or backend does not allow.
    """

    _name = "GRPO (GroupTrainer of Reprise)"
    _tag_names = ["trl", "grpo", "reprise"]  # noqa: RUF012 - a plain list in TRL

    def __init__(
        self, model: Any, reward_funcs: Any = None, args: GroupConfig | None = None, *rest: Any, **others: Any
    ) -> None:
        if not isinstance(args, GroupConfig):
            raise TypeError(f"args must be a GroupConfig, not {type(args).__name__}")
        super().__init__(model, reward_funcs, args, *rest, **others)
        self.prompt_stream = dynamic_sampling.PromptStream(
            len(self.train_dataset) if self._indexed else 0, args.seed
        )
        self._check_capabilities()

    def rollout(self, prompts: Inputs) -> Rollout:
        """Completions of this process's prompts, with the rewards of all: TRL's, refilled by dynamic sampling
        if that is on.

        A method that changes what is sampled under, or with what, calls this and changes prompts or result.
        """
        if self.args.dynamic_sampling_rounds and self.model.training:
            batch, per_function, filler = self._fill_with_mixed_groups(prompts)
        else:
            batch, per_function = self._generate_once(prompts)
            filler = torch.zeros(len(prompts), dtype=torch.bool, device=per_function.device)
        rows = len(batch["completion_ids"])
        local = slice(self.accelerator.process_index * rows, (self.accelerator.process_index + 1) * rows)
        rewards = weighted_rewards(per_function, self.reward_weights)
        return Rollout(
            batch=batch,
            rewards=rewards,
            num_generations=self.group_size,
            local=local,
            step=self.passes_done,
            score=partial(self.score_samples, batch),
            reward_sizes=reward_sizes(per_function, self.reward_weights),
            silent=filler | rewards[local].isnan(),
        )

    def complete(self, prompt_ids: list[list[int]]) -> list[list[int]] | None:
        """One turn after each prompt, as token ids without padding; None leaves it to TRL's generation.

        The lean decoder (``decoder="lean"``) draws from softmax(logits / temperature) and stops at EOS, as
        TRL does, but not the same numbers from the global generator.
        """
        if self.args.decoder == "generate":
            return None
        padded = self.tokenizer.pad({"input_ids": prompt_ids}, padding_side="left", return_tensors="pt")
        padded = padded.to(self.accelerator.device)
        completions = sample(
            self.accelerator.unwrap_model(self.model),
            padded["input_ids"],
            padded["attention_mask"],
            max_new_tokens=self.max_completion_length,
            temperature=self.temperature,
            eos_id=self.eos_token_ids,
            pad_id=self.tokenizer.pad_token_id,
        )
        rows = zip(completions.ids, completions.mask.bool(), strict=True)
        return [ids[written].tolist() for ids, written in rows]

    def advantages(
        self, rewards: Float[Tensor, " N"], rollout: Rollout
    ) -> Float[Tensor, " B"] | Float[Tensor, "B T"]:
        """Advantages of this process's completions; here GRPO's mean baseline, as stock TRL computes it.

        Args:
            rewards: Weighted rewards of all processes in group order, NaN where no reward function applied.
            rollout: The completions of this process; its rewards are ``rewards[rollout.local]``.

        Returns:
            One value per completion or per token. Completions without reward get 0 whatever is returned.
        """
        return mean_advantages(rewards, rollout.num_generations, std="trl")[rollout.local]

    def loss_inputs(self, rollout: Rollout) -> dict[str, Tensor]:  # noqa: ARG002 - a hook
        """Further tensors for the update, one row per completion: they follow it through TRL's shuffle."""
        return {}

    def update_advantages(
        self,
        entropies: Float[Tensor, "B T"],  # noqa: ARG002 - a hook
        batch: Batch,  # noqa: ARG002
    ) -> Advantages | None:
        """The advantages of this update, where they depend on the policy that is being updated.

        Args:
            entropies: Token entropies (nats) of that policy, without gradient.
            batch: The update's rows, with ``advantages`` and the tensors of `loss_inputs`.

        Returns:
            What takes the place of ``batch["advantages"]`` in this update; None leaves them.
        """
        return None

    def extra_loss(
        self,
        log_probs: Float[Tensor, "B T"],  # noqa: ARG002 - a hook
        entropies: Float[Tensor, "B T"],  # noqa: ARG002
        batch: Batch,  # noqa: ARG002
    ) -> Float[Tensor, ""] | None:
        """A term to be minimised beside the policy loss; with ``loss_variant="none"`` the whole objective.

        Args:
            log_probs: Log-probabilities of the completions' tokens, with gradient.
            entropies: Their entropies in nats, with gradient.
            batch: The update's rows, with the tensors of `loss_inputs`.

        Returns:
            A mean over the rows of this forward-backward pass (passes of one optimizer step are averaged), or
            None for no term.
        """
        return None

    @property
    def _indexed(self) -> bool:
        """False for a stream, and where an environment supplies the prompts."""
        return hasattr(self.train_dataset, "__len__")

    def _check_capabilities(self) -> None:
        args = self.args
        if args.row_skipping and self.aux_loss_enabled:
            raise ValueError(
                "row_skipping leaves out the auxiliary loss of the experts; set router_aux_loss_coef=0"
            )
        trimming = [name for name in ("row_skipping", "skip_equal_groups") if getattr(args, name)]
        trimming += ["micro_batch_tokens"] * bool(args.micro_batch_tokens)
        rotary = hasattr(self.model.config, "rope_parameters")
        if trimming and (self.has_images or not rotary):
            raise ValueError(
                f"{' and '.join(trimming)} trims prompts: it needs a text model with rotary embeddings"
            )
        needing = {"dynamic_sampling_rounds": args.dynamic_sampling_rounds, "exact_resume": args.exact_resume}
        on = " and ".join(name for name, value in needing.items() if value)
        if on and not self._indexed:
            raise ValueError(
                f"{on}: needs a dataset with an index, not a stream; load it without streaming=True"
            )
        if on and self.has_images:
            raise ValueError(
                f"{on}: knows batches of text only; pass a tokenizer instead of a processor if there are no "
                "images"
            )
        if args.exact_resume:
            self._check_resume()
        if args.decoder == "lean" and (self.tools or self.has_images or len(self.eos_token_ids) != 1):
            raise ValueError("decoder='lean' knows neither tools nor images, and one end-of-sequence token")

    def _send_telemetry(self) -> None:
        """Nothing leaves the machine."""

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Tensor:
        """Keep the gathered rewards per function that TRL throws away."""
        self._rewards_per_function = super()._calculate_rewards(*args, **kwargs)
        return self._rewards_per_function

    def _generate_and_score_completions(self, inputs: Inputs) -> Batch:
        """TRL's batch with the hooks' advantages and tensors, and the logs that go with them."""
        rollout = self.rollout(inputs)
        advantages = self.advantages(rollout.rewards, rollout)
        if advantages.shape not in (rollout.mask.shape, rollout.mask.shape[:1]):
            rows, tokens = tuple(rollout.mask.shape[:1]), tuple(rollout.mask.shape)
            raise ValueError(
                f"{type(self).__name__}.advantages returned shape {tuple(advantages.shape)}; "
                f"expected one value per local completion {rows} or token {tokens}"
            )
        if rollout.silent is not None:
            silent = rollout.silent if advantages.ndim == 1 else rollout.silent[:, None]
            advantages = advantages.masked_fill(silent, 0.0)
        if not advantages.isfinite().all():
            raise ValueError(
                f"{type(self).__name__}.advantages returned NaN or infinity for a scored completion"
            )
        self._log_advantages(advantages, rollout)
        mixed = {"mixed": rollout.mixed} if self.args.skip_equal_groups else {}
        return {**rollout.batch, "advantages": advantages, **mixed, **self.loss_inputs(rollout)}

    def _generate_once(self, inputs: Inputs) -> tuple[Batch, Float[Tensor, "N F"]]:
        """TRL's rollout batch and the gathered rewards, one column per reward function."""
        self._sampling_entropies = None
        output = super()._generate_and_score_completions(inputs)
        if self._sampling_entropies is not None and "old_per_token_logps" in output:
            output["sampling_entropies"] = self._sampling_entropies
        return output, self._rewards_per_function

    def _log_advantages(self, advantages: Tensor, rollout: Rollout) -> None:
        """Log what training will use, in place of what TRL has logged."""
        if advantages.ndim == 1:
            per_row, values, mask = advantages, advantages[:, None], torch.ones_like(rollout.mask[:, :1])
        else:
            mask, values = rollout.mask, advantages
            per_row = (advantages * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        logged, used = self._logs["advantages"], self.accelerator.gather(per_row).tolist()
        for _ in range(min(len(logged), len(used))):
            logged.pop()
        logged.extend(used)
        totals = self.accelerator.reduce(entropy.sign_totals(values, values, mask), reduction="sum")
        for name, share in entropy.sign_shares(totals).items():
            self.log_metric(f"advantages/{name}", share)

    def _fill_with_mixed_groups(
        self, inputs: Inputs
    ) -> tuple[Batch, Float[Tensor, "N F"], Bool[Tensor, " B"]]:
        """Rollout batch, the gathered rewards, and the rows that only fill it up."""
        rows, ranks, rank = len(inputs), self.accelerator.num_processes, self.accelerator.process_index
        groups = rows // self.num_generations

        def generate(prompts: Inputs) -> tuple[Batch, Tensor]:
            output, rewards = self._generate_once(prompts)
            return output, rewards[rank * rows : (rank + 1) * rows]

        columns = list(inputs[0])

        def extra() -> Inputs:
            drawn = self.prompt_stream.draw(groups * ranks)[rank * groups : (rank + 1) * groups]
            rows = [self.train_dataset[index] for index in drawn]
            return [
                {name: row[name] for name in columns} for row in rows for _ in range(self.num_generations)
            ]

        collected = dynamic_sampling.collect(
            generate,
            inputs,
            extra,
            lambda missing: int(self.sum_over_processes(torch.tensor(missing))),
            self._mixed,
            num_generations=self.num_generations,
            max_extra_rounds=self.args.dynamic_sampling_rounds,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        batch, informative = collected.batch, collected.informative
        batch["num_items_in_batch"] = self.sum_over_processes(loss_mask(batch).sum())
        self.log_metric("rollouts/generated", float(collected.rounds * rows * ranks))
        self.log_metric("rollouts/kept", float(self.sum_over_processes(informative.sum())))
        return batch, self.accelerator.gather(collected.rewards), ~informative

    def _mixed(self, per_function: Float[Tensor, "B F"]) -> Bool[Tensor, " Q"]:
        """Groups of this process whose rewards differ by more than rounding."""
        sizes = reward_sizes(per_function, self.reward_weights)
        rewards = weighted_rewards(per_function, self.reward_weights)
        return mixed_groups(merge_equal(rewards, self.num_generations, sizes), self.num_generations)

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], *rest: Any, **kwargs: Any
    ) -> tuple[Any, Any]:
        """The hook's completions, or TRL's."""
        completions = self.complete(prompt_ids)
        if completions is None:
            return super()._generate_single_turn(prompt_ids, *rest, **kwargs)
        return completions, None

    def _compute_loss(self, model: Any, inputs: Batch) -> Float[Tensor, ""]:
        """The policy loss and the hook's term; the batch is at hand for the scoring in between.

        Updates work on a copy: TRL shows a row again with ``num_iterations``, then with its own advantages.
        """
        self._batch = batch = dict(inputs)
        loss = (
            super()._compute_loss(model, batch)
            if self.args.loss_variant == "clip"
            else self.variant_loss(model, batch)
        )
        assert self._update_scores is not None, "every loss scores its batch"
        extra = self.extra_loss(*self._update_scores, batch)
        self._batch = self._update_scores = None
        if extra is None and self.args.loss_variant == "none":
            raise ValueError(
                f"loss_variant='none' leaves nothing to minimise: {type(self).__name__} has no extra_loss"
            )
        return loss if extra is None else loss + extra / self.loss_parts
