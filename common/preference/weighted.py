"""TRL's trainers of pairs and of demonstrations, with a weight per row."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from common.preference.dpo import WithColumns
from common.preference.losses import dpo_margin, weighted_dpo_loss, weighted_nll

WEIGHT = "weight"


@dataclass
class WeightedDPOConfig(DPOConfig):
    """Of `WeightedDPOTrainer`; the column `weight` of the data has to reach the collator.

    Attributes:
        reference_free: No reference policy stands in the margin.
    """

    reference_free: bool = field(default=False, metadata={"help": "Leave the reference out of the margin."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Keep the column of weights."})


class WeightedDPOTrainer(DPOTrainer):
    """`DPOTrainer` whose pairs count by the column `weight`, with or without a reference.

    The only changes are the weight in TRL's loss and, reference-free, log-probabilities of the reference that
    are zero. With weights of one it is TRL's, bit for bit. The losses other than "sigmoid" are refused.
    Evaluation is weighted where the data have weights. Reference-free, a second copy of the policy is in
    memory while the trainer is made, and none afterwards.

    Raises:
        ValueError: another loss, or training data without weights.
    """

    args: WeightedDPOConfig

    def __init__(
        self,
        model: PreTrainedModel,
        ref_model: PreTrainedModel | None = None,
        args: WeightedDPOConfig | None = None,
        **kwargs: Any,
    ) -> None:
        args = args or WeightedDPOConfig()
        if (
            list(args.loss_type) != ["sigmoid"]
            or args.f_divergence_type != "reverse_kl"
            or args.use_weighting
        ):
            raise ValueError(
                "weighted DPO is DPO: loss_type 'sigmoid', f_divergence_type 'reverse_kl', no WPO"
            )
        if args.reference_free and ref_model is None:
            ref_model = copy.deepcopy(model)
        super().__init__(model, ref_model, args=args, **kwargs)
        require_weights(self)
        self.data_collator = WithColumns(self.data_collator, (WEIGHT,))
        if args.reference_free:
            self.ref_model, self.precompute_ref_logps = None, True
            self.data_collator = WithoutReference(self.data_collator)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """TRL's passes and metrics, and the weighted loss."""
        weights = inputs.get(WEIGHT)
        inputs = {name: value for name, value in inputs.items() if name != WEIGHT}
        with log_probs_of(model, self.ref_model) as passes:
            found = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if weights is None:
            return found
        sums = [log_probs.sum(dim=1) for log_probs in passes]
        if "ref_chosen_logps" in inputs:
            sums[1:] = [torch.cat([inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]])]
        policy, reference = (both.chunk(2) for both in sums)
        loss = weighted_dpo_loss(dpo_margin(*policy, *reference), weights, self.beta)
        return (loss, found[1]) if return_outputs else loss


class WithoutReference:
    """A collator of pairs whose reference policy finds every response equally likely."""

    def __init__(self, pairs: Any) -> None:
        self.pairs = pairs

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = self.pairs(examples)
        names = ("ref_chosen_logps", "ref_rejected_logps")
        return batch | dict.fromkeys(names, torch.zeros(len(examples)))


@dataclass
class WeightedSFTConfig(SFTConfig):
    """Of `WeightedSFTTrainer`; the column `weight` of the data has to reach the collator.

    Attributes:
        constant_length: Tokens by which a sequence's summed loss is divided, the average response length of
            the data for one; None for TRL's mean over tokens.
    """

    constant_length: float | None = field(default=None, metadata={"help": "Divide by it, not by the tokens."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Keep the column of weights."})


class WeightedSFTTrainer(SFTTrainer):
    """`SFTTrainer` whose sequences count by the column `weight`.

    The only changes are the weight and, if asked for, a constant in place of the number of tokens. With
    weights of one and no constant it is TRL's, bit for bit.

    Raises:
        ValueError: packed sequences, another loss, or training data without weights.
    """

    args: WeightedSFTConfig

    def __init__(self, model: PreTrainedModel, args: WeightedSFTConfig | None = None, **kwargs: Any) -> None:
        args = args or WeightedSFTConfig()
        if args.packing or args.padding_free or args.loss_type != "nll" or args.label_smoothing_factor:
            raise ValueError("weighted SFT needs a row per sequence, loss_type 'nll' and no label smoothing")
        super().__init__(model, args=args, **kwargs)
        require_weights(self)
        self.data_collator = WithColumns(self.data_collator, (WEIGHT,))

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """TRL's pass and metrics, and the weighted loss."""
        weights = inputs.get(WEIGHT)
        inputs = {name: value for name, value in inputs.items() if name != WEIGHT}
        with log_probs_of(model, None) as passes:
            found = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if weights is None:
            return found
        loss = weighted_nll(passes[0], weights, self._normaliser(inputs["labels"], num_items_in_batch))
        return (loss, found[1]) if return_outputs else loss

    def _normaliser(self, labels: Tensor, tokens: Tensor | int | None) -> Tensor | float:
        """What the summed loss of these sequences is divided by; processes are averaged over afterwards."""
        if self.args.constant_length is not None:
            steps = 1 if tokens is None else self.args.gradient_accumulation_steps
            return self.args.constant_length * len(labels) * steps
        count = (labels[:, 1:] != -100).sum() if tokens is None else tokens
        several = self.args.average_tokens_across_devices and tokens is not None
        return torch.as_tensor(count).clamp(min=1) / (self.accelerator.num_processes if several else 1)


def require_weights(trainer: DPOTrainer | SFTTrainer) -> None:
    """Refuse training data without the column of weights.

    Raises:
        ValueError: it is missing.
    """
    data: Any = trainer.train_dataset
    if WEIGHT not in next(iter(data)):
        raise ValueError(f"{type(trainer).__name__} needs the column '{WEIGHT}' in its training data")


@contextmanager
def log_probs_of(model: nn.Module, reference: nn.Module | None) -> Iterator[list[Float[Tensor, "B T"]]]:
    """Collects the log-probabilities of every pass, in the order of the passes."""
    passes: list[Tensor] = []

    def keep(_model: nn.Module, _inputs: Any, outputs: Any) -> None:
        passes.append(outputs.log_probs)

    handles = [one.register_forward_hook(keep) for one in (model, reference) if one is not None]
    try:
        yield passes
    finally:
        for handle in handles:
            handle.remove()
