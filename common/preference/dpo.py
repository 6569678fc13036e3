"""The seam of methods that add a term to TRL's DPO loss: one hook, and the columns that it may read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from trl import DPOTrainer


class PairTrainer(DPOTrainer):
    """`DPOTrainer` whose training loss gains `extra_loss`; without the hook it is TRL's, bit for bit.

    The term reads the log-probabilities of TRL's own forward pass, so it costs no second one. Evaluation
    reports TRL's loss. ``remove_unused_columns`` has to be off for `extra_columns` to arrive.

    Attributes:
        extra_columns: Numbers per pair in the data set that the hook gets as tensors [B].

    Raises:
        ValueError: the training data lack one of them.
    """

    extra_columns: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.has_extra_loss():
            return
        data: Any = self.train_dataset
        missing = [name for name in self.extra_columns if name not in next(iter(data))]
        if missing:
            raise ValueError(f"{type(self).__name__} needs the columns {missing} in its training data")
        self.data_collator = WithColumns(self.data_collator, self.extra_columns)

    def has_extra_loss(self) -> bool:
        """Whether there is a term to add; False keeps TRL's data and loss untouched."""
        return False

    def extra_loss(
        self, chosen: Float[Tensor, " B"], rejected: Float[Tensor, " B"], columns: Mapping[str, Tensor]
    ) -> Float[Tensor, ""]:
        """The term, in the scale of TRL's mean over pairs.

        Args:
            chosen: log π of the preferred responses, nats, with a gradient.
            rejected: log π of the others.
            columns: The `extra_columns` of these pairs.
        """
        raise NotImplementedError(f"{type(self).__name__} says that it has an extra loss and defines none")

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """TRL's loss; in training with `extra_loss`."""
        columns = {name: inputs[name] for name in self.extra_columns if name in inputs}
        inputs = {name: value for name, value in inputs.items() if name not in columns}
        if not (model.training and self.has_extra_loss()):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        with scored(model) as passes:
            loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        (log_probs,) = passes
        chosen, rejected = log_probs.sum(dim=1).chunk(2)
        return loss + self.extra_loss(chosen, rejected, columns)


class WithColumns:
    """TRL's collator of pairs, and some columns as tensors."""

    def __init__(self, pairs: Any, columns: Sequence[str]) -> None:
        self.pairs, self.columns = pairs, columns

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = self.pairs(examples)
        there = [name for name in self.columns if name in examples[0]]  # evaluation data need not have them
        return batch | {name: torch.tensor([example[name] for example in examples]) for name in there}


@contextmanager
def scored(model: nn.Module) -> Iterator[list[Float[Tensor, "2B L"]]]:
    """Collects the log-probabilities of passes that carry a gradient: the policy's, not the reference's."""
    passes: list[Tensor] = []

    def keep(_model: nn.Module, _inputs: Any, outputs: Any) -> None:
        if outputs.log_probs.requires_grad:
            passes.append(outputs.log_probs)

    handle = model.register_forward_hook(keep)
    try:
        yield passes
    finally:
        handle.remove()
