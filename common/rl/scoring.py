"""Scoring a batch with the arguments that TRL's own loss would use.

The one place that knows which parts of a batch a forward has to see (images, token types, …) and how the
auxiliary loss of experts joins a loss. Whoever writes a loss of its own scores through `Scoring`.
"""

from __future__ import annotations

import inspect
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from trl import GRPOTrainer
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import pad

from common.rl.config import GroupConfig
from common.rl.rollout import Batch

Scores = tuple[Float[Tensor, "B T"], Float[Tensor, "B T"], Float[Tensor, ""] | None]

_OF_THE_CALL = (
    "self",
    "model",
    "input_ids",
    "attention_mask",
    "logits_to_keep",
    "batch_size",
    "compute_entropy",
    "compute_aux_loss",
)
MODEL_INPUTS: tuple[str, ...] = tuple(
    name
    for name in inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters
    if name not in _OF_THE_CALL
)
"""What TRL's scoring takes beside ids and masks; a batch holds each under the same name, if at all."""


def model_inputs(batch: Batch) -> dict[str, Any]:
    """The keyword arguments of a scoring call that come from the batch, None for what it lacks."""
    return {name: batch.get(name) for name in MODEL_INPUTS}


def sequences(batch: Batch) -> tuple[Int[Tensor, "B L"], Int[Tensor, "B L"], int]:
    """Ids and attention mask of prompt and completion, and the completions' width."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    return ids, attention, batch["completion_ids"].shape[1]


class Scoring(GRPOTrainer):
    """`GRPOTrainer` whose scoring a loss of one's own can call as TRL's loss does."""

    args: GroupConfig
    model: Any
    num_generations: int
    num_generations_eval: int
    pad_to_multiple_of: int | None

    _metrics: Any
    _tokenizer: Any
    _is_vlm: bool
    _step: int

    def log_metric(self, name: str, value: float) -> None:
        """Log `value`, averaged until TRL's next log; every process should pass the same number."""
        self._metrics["train" if self.model.training else "eval"][name].append(value)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, also where the processing class is a processor of images."""
        return self._tokenizer

    @property
    def has_images(self) -> bool:
        """The model reads images too."""
        return self._is_vlm

    @property
    def passes_done(self) -> int:
        """Forward-backward passes so far; with the seed it identifies a rollout batch."""
        return self._step

    @property
    def group_size(self) -> int:
        """Completions per prompt, in training or in evaluation."""
        return self.num_generations if self.model.training else self.num_generations_eval

    def sum_over_processes(self, number: Tensor) -> Tensor:
        """The same sum on every process."""
        return self.accelerator.reduce(number.to(self.accelerator.device), reduction="sum")

    def encode_prompts(
        self, prompts: list[Any], max_tokens: int | None = None
    ) -> tuple[Int[Tensor, "B P"], Int[Tensor, "B P"]]:
        """Ids and mask of prompts (texts or messages) as TRL encodes them, cut and padded on the left."""
        ids = [
            torch.tensor(row[-max_tokens:] if max_tokens else row)
            for row in self._tokenize_prompts(prompts)[0]
        ]
        parts = ((ids, self.tokenizer.pad_token_id), ([torch.ones_like(row) for row in ids], 0))
        padded = (
            pad(rows, filler, padding_side="left", pad_to_multiple_of=self.pad_to_multiple_of)
            for rows, filler in parts
        )
        left, mask = (rows.to(self.accelerator.device) for rows in padded)
        return left, mask

    @property
    def loss_parts(self) -> float:
        """What a mean over a micro-batch is divided by: parts of an optimizer step, 1 in evaluation."""
        return self.current_gradient_accumulation_steps if self.model.training else 1.0

    def score(self, model: Any, batch: Batch) -> Scores:
        """Log-probabilities, entropies (nats) and the auxiliary loss of experts (None without) of an update.

        The arguments are those of TRL's `_compute_loss`; pass the last result to `add_aux_loss`.
        """
        return self._get_per_token_logps_and_entropies(
            model,
            *sequences(batch),
            compute_entropy=True,
            compute_aux_loss=self.aux_loss_enabled,
            **model_inputs(batch),
        )

    @torch.no_grad()
    def score_samples(self, batch: Batch) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
        """Log-probabilities and entropies (nats) of fresh completions under the policy that sampled them.

        TRL's own scoring, as for its `old_per_token_logps`, whatever a subclass makes of later calls.
        """
        rows = self.args.per_device_train_batch_size
        checkpointing = cast(dict[str, Any] | None, self.args.gradient_checkpointing_kwargs)
        with disable_gradient_checkpointing(self.model, checkpointing):
            log_probs, entropies, _ = super()._get_per_token_logps_and_entropies(
                self.model,
                *sequences(batch),
                batch_size=rows if self.model.training else self.args.per_device_eval_batch_size,
                compute_entropy=True,
                **model_inputs(batch),
            )
        return log_probs, entropies

    def add_aux_loss(self, loss: Float[Tensor, ""], aux_loss: Float[Tensor, ""] | None) -> Float[Tensor, ""]:
        """`loss` with the load-balancing loss of the router, weighed, scaled and logged as TRL does."""
        if aux_loss is None:
            return loss
        self.log_metric("aux_loss", self.accelerator.gather_for_metrics(aux_loss).mean().item())
        return loss + self.router_aux_loss_coef * aux_loss / self.loss_parts
