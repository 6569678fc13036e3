"""What a trainer keeps beside its model (a draft, a critic, a generator): saved and restored with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Trainer


class Companion(Protocol):
    """A network or none, and what a resumed run goes on from."""

    @property
    def network(self) -> nn.Module | None:
        """Its weights stand beside the model's wherever that is saved."""

    def state_dict(self) -> dict[str, Any]:
        """The state of its optimizer, and whatever else a resumed run needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`, after the weights are back."""


class Companions(Trainer):
    """`Trainer`, or a base of any trainer, whose checkpoints hold what `companions` names.

    ``<name>.safetensors`` is written wherever the model is saved, ``<name>_state.pt`` beside its optimizer.
    """

    def companions(self) -> Mapping[str, Companion]:
        """By the name of their files; none by default."""
        return {}

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        folder = Path(output_dir or str(self.args.output_dir))
        for name, companion in self._written().items():
            if companion.network is not None:
                weights = {key: value.contiguous() for key, value in companion.network.state_dict().items()}
                save_file(weights, folder / f"{name}.safetensors", metadata={"format": "pt"})

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        for name, companion in self._written().items():
            torch.save(companion.state_dict(), Path(output_dir) / f"{name}_state.pt")

    def _written(self) -> Mapping[str, Companion]:
        """Every process trains them alike; one writes."""
        return self.companions() if self.args.should_save else {}

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Every process goes on with the companions of the checkpoint.

        Raises:
            ValueError: the checkpoint lacks one.
        """
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        device = self.accelerator.device
        for name, companion in self.companions().items():
            weights, state = (Path(checkpoint) / f"{name}{end}" for end in (".safetensors", "_state.pt"))
            needed = [state] if companion.network is None else [weights, state]
            if not all(path.is_file() for path in needed):
                raise ValueError(
                    f"{checkpoint} cannot be continued with a {name}: it lacks "
                    f"{' or '.join(path.name for path in needed)}"
                )
            if companion.network is not None:
                companion.network.load_state_dict(load_file(weights, device=str(device)))
            companion.load_state_dict(torch.load(state, map_location=device, weights_only=True))
