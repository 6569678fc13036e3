"""The seam: `GroupTrainer` is TRL's `GRPOTrainer` with the advantage rule as one overridable method.

Everything else is off by default, one file per capability: loss variants, dynamic sampling, row skipping,
exact resume, a lean decoder. Switched off, training equals stock `GRPOTrainer` bit for bit.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from common.models.decoding import sample
from common.rl import dynamic_sampling, entropy, row_skipping
from common.rl.advantages import mean_advantages, merge_equal, mixed_groups
from common.rl.config import GroupConfig
from common.rl.loss_variants import LossVariants
from common.rl.losses import Advantages
from common.rl.resume import ExactResume
from common.rl.rollout import Rollout, reward_sizes, weighted_rewards
from common.rl.scoring import loss_mask

__all__ = ["GroupConfig", "GroupTrainer", "Rollout"]

Inputs = dict[str, Any]


class GroupTrainer(LossVariants, ExactResume):
    """`GRPOTrainer` whose advantages come from `advantages`; a method overrides that and nothing else.

    Takes the arguments of `trl.GRPOTrainer`; `args` has to be a `GroupConfig`. Beside TRL's metrics it logs
    the shares of A > 0, A = 0, A < 0 among rows (`advantages/positive|zero|negative`) and the token entropy
    of each class (`entropy/positive|zero|negative`). A class without tokens is NaN, which TRL's log shows as
    None.

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
        self._batch: Inputs | None = None
        self._sampling_entropies: Tensor | None = None
        self._check_capabilities()

    def advantages(
        self, rewards: Float[Tensor, " N"], batch: Rollout
    ) -> Float[Tensor, " B"] | Float[Tensor, "B T"]:
        """Advantages of this process's completions; here GRPO's mean baseline, as stock TRL computes it.

        Args:
            rewards: Weighted rewards of all processes in group order, NaN where no reward function applied.
            batch: The completions of this process; its rewards are ``rewards[batch.local]``.

        Returns:
            One value per completion or per token. Completions without reward get 0 whatever is returned.
        """
        return mean_advantages(rewards, batch.num_generations, std="trl")[batch.local]

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
        rotary = hasattr(self.model.config, "rope_parameters")
        if args.row_skipping and (self._is_vlm or not rotary):
            raise ValueError("row_skipping trims prompts: it needs a text model with rotary embeddings")
        needing = {"dynamic_sampling_rounds": args.dynamic_sampling_rounds, "exact_resume": args.exact_resume}
        on = " and ".join(name for name, value in needing.items() if value)
        if on and not self._indexed:
            raise ValueError(
                f"{on}: needs a dataset with an index, not a stream; load it without streaming=True"
            )
        if on and self._is_vlm:
            raise ValueError(
                f"{on}: knows batches of text only; pass a tokenizer instead of a processor if there are no "
                "images"
            )
        if args.exact_resume:
            self._check_resume()
        if args.decoder == "lean" and (self.tools or self._is_vlm or len(self.eos_token_ids) != 1):
            raise ValueError("decoder='lean' knows neither tools nor images, and one end-of-sequence token")

    def _send_telemetry(self) -> None:
        """Nothing leaves the machine."""

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Tensor:
        """Keep the gathered rewards per function that TRL throws away."""
        self._rewards_per_function = super()._calculate_rewards(*args, **kwargs)
        return self._rewards_per_function

    def _generate_and_score_completions(self, inputs: list[Inputs]) -> Inputs:
        """The only change is `output["advantages"]`, and the advantages and shares that are logged."""
        if self.args.dynamic_sampling_rounds and self.model.training:
            output, local_rewards, silent = self._fill_with_mixed_groups(inputs)
            per_function = self.accelerator.gather(local_rewards)
        else:
            output, per_function = self._generate_once(inputs)
            silent = None
        rewards = weighted_rewards(per_function, self.reward_weights)
        rollout = self._rollout(output, reward_sizes(per_function, self.reward_weights))
        silent = rewards[rollout.local].isnan() if silent is None else silent | rewards[rollout.local].isnan()
        advantages = self.advantages(rewards, rollout)
        if advantages.shape not in (rollout.mask.shape, rollout.mask.shape[:1]):
            rows, tokens = tuple(rollout.mask.shape[:1]), tuple(rollout.mask.shape)
            raise ValueError(
                f"{type(self).__name__}.advantages returned shape {tuple(advantages.shape)}; "
                f"expected one value per local completion {rows} or token {tokens}"
            )
        advantages = advantages.masked_fill(silent if advantages.ndim == 1 else silent[:, None], 0.0)
        if not advantages.isfinite().all():
            raise ValueError(
                f"{type(self).__name__}.advantages returned NaN or infinity for a scored completion"
            )
        output["advantages"] = advantages
        self._log_advantages(advantages, rollout)
        return output

    def _generate_once(self, inputs: list[Inputs]) -> tuple[Inputs, Float[Tensor, "N F"]]:
        """TRL's rollout batch and the gathered rewards, one column per reward function."""
        self._sampling_entropies = None
        output = super()._generate_and_score_completions(inputs)
        if self._sampling_entropies is not None and "old_per_token_logps" in output:
            output["sampling_entropies"] = self._sampling_entropies
        return output, self._rewards_per_function

    def _rollout(self, output: Inputs, sizes: Float[Tensor, " N"]) -> Rollout:
        rows = len(output["completion_ids"])
        start = self.accelerator.process_index * rows
        return Rollout(
            prompt_ids=output["prompt_ids"],
            prompt_mask=output["prompt_mask"],
            completion_ids=output["completion_ids"],
            mask=loss_mask(output),
            num_generations=self.num_generations if self._mode == "train" else self.num_generations_eval,
            local=slice(start, start + rows),
            step=self._step,
            score=partial(self.score_samples, output),
            recorded_log_probs=output.get("old_per_token_logps"),
            reward_sizes=sizes,
        )

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

    def _fill_with_mixed_groups(self, inputs: list[Inputs]) -> tuple[Inputs, Tensor, Tensor]:
        """Rollout batch, its local rewards and the rows that stay without advantage."""
        rows, ranks, rank = len(inputs), self.accelerator.num_processes, self.accelerator.process_index
        groups = rows // self.num_generations

        def generate(prompts: list[Inputs]) -> tuple[Inputs, Tensor]:
            output, rewards = self._generate_once(prompts)
            return output, rewards[rank * rows : (rank + 1) * rows]

        columns = list(inputs[0])

        def extra() -> list[Inputs]:
            drawn = self.prompt_stream.draw(groups * ranks)[rank * groups : (rank + 1) * groups]
            rows = [self.train_dataset[index] for index in drawn]
            return [
                {name: row[name] for name in columns} for row in rows for _ in range(self.num_generations)
            ]

        found = dynamic_sampling.collect(
            generate,
            inputs,
            extra,
            lambda missing: int(self._sum(torch.tensor(missing))),
            self._mixed,
            num_generations=self.num_generations,
            max_extra_rounds=self.args.dynamic_sampling_rounds,
            pad_token_id=self._tokenizer.pad_token_id,
        )
        found.batch["num_items_in_batch"] = self._sum(loss_mask(found.batch).sum())
        self.log_metric("rollouts/generated", float(found.rounds * rows * ranks))
        self.log_metric("rollouts/kept", float(self._sum(found.informative.sum())))
        return found.batch, found.rewards, ~found.informative

    def _mixed(self, per_function: Float[Tensor, "B F"]) -> Bool[Tensor, " Q"]:
        """Groups of this process whose rewards differ by more than rounding."""
        sizes = reward_sizes(per_function, self.reward_weights)
        rewards = weighted_rewards(per_function, self.reward_weights)
        return mixed_groups(merge_equal(rewards, self.num_generations, sizes), self.num_generations)

    def _sum(self, number: Tensor) -> Tensor:
        """Sum over processes."""
        return self.accelerator.reduce(number.to(self.accelerator.device), reduction="sum")

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], *rest: Any, **kwargs: Any
    ) -> tuple[Any, Any]:
        """TRL's generation, or with ``decoder="lean"`` a batched sampler without `generate`'s bookkeeping.

        Both draw from softmax(logits / temperature) and stop at EOS, but not the same numbers from the global
        generator.
        """
        if self.args.decoder == "generate":
            return super()._generate_single_turn(prompt_ids, *rest, **kwargs)
        padded = self._tokenizer.pad({"input_ids": prompt_ids}, padding_side="left", return_tensors="pt")
        padded = padded.to(self.accelerator.device)
        found = sample(
            self.accelerator.unwrap_model(self.model),
            padded["input_ids"],
            padded["attention_mask"],
            max_new_tokens=self.max_completion_length,
            temperature=self.temperature,
            eos_id=self.eos_token_ids,
            pad_id=self._tokenizer.pad_token_id,
        )
        return [ids[kept].tolist() for ids, kept in zip(found.ids, found.mask.bool(), strict=True)], None

    def _compute_loss(self, model: Any, inputs: Inputs) -> Tensor:
        """TRL's loss, unless `loss_variant` names another; the batch stays at hand for the scoring below."""
        self._batch = inputs
        loss = (
            super()._compute_loss(model, inputs)
            if self.args.loss_variant == "clip"
            else self._variant_loss(model, inputs)
        )
        self._batch = None
        return loss

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        *rest: Any,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """TRL's scoring; in the update it skips rows if asked to, and the entropies of each sign are
        logged.
        """
        score = super()._get_per_token_logps_and_entropies
        if self._batch is None:
            if self.args.row_skipping:
                kwargs["compute_entropy"] = True
            if self.args.scoring_batch_size is not None:
                kwargs["batch_size"] = self.args.scoring_batch_size
            result = score(model, input_ids, attention_mask, logits_to_keep, *rest, **kwargs)
            self._sampling_entropies = result[1]
            return result
        if self.args.row_skipping and self.model.training:
            log_probs, entropies = row_skipping.score_rows(
                lambda ids, mask, length: score(model, ids, mask, length, *rest, **kwargs)[:2],
                input_ids,
                attention_mask,
                logits_to_keep,
                row_skipping.kept_rows(self._batch["advantages"]),
                row_skipping.fill_values(
                    self._batch.get("old_per_token_logps"),
                    self._batch.get("sampling_entropies"),
                    self._batch["completion_ids"],
                ),
            )
            result = log_probs, entropies, None
        else:
            result = score(model, input_ids, attention_mask, logits_to_keep, *rest, **kwargs)
        self._log_entropies(result[1].detach(), self._batch)
        return result

    def _log_entropies(self, entropies: Tensor, inputs: Inputs) -> None:
        advantages = _per_token(inputs["advantages"])
        totals = self.accelerator.reduce(
            entropy.sign_totals(entropies, advantages, loss_mask(inputs)), reduction="sum"
        )
        for name, mean in entropy.sign_means(totals).items():
            self.log_metric(f"entropy/{name}", mean)


def _per_token(advantages: Tensor) -> Advantages:
    return advantages[:, None] if advantages.ndim == 1 else advantages
