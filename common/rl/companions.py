"""Networks that are trained beside the policy (a draft, a critic): saved and restored with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from trl import GRPOTrainer


class Companion(Protocol):
    """A network, and what its training goes on from."""

    @property
    def network(self) -> nn.Module:
        """Its weights stand beside the policy's wherever that is saved."""

    def state_dict(self) -> dict[str, Any]:
        """The state of its optimizer, and whatever else a resumed run needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`, after the weights are back."""


class Companions(GRPOTrainer):
    """`GRPOTrainer` whose checkpoints hold what `companions` names.

    ``<name>.safetensors`` is written wherever the policy is saved, ``<name>_optimizer.pt`` beside its
    optimizer.
    """

    def companions(self) -> Mapping[str, Companion]:
        """By the name of their files; none by default."""
        return {}

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        for name, companion in self._written().items():
            weights = {key: value.contiguous() for key, value in companion.network.state_dict().items()}
            folder = Path(output_dir or str(self.args.output_dir))
            save_file(weights, folder / f"{name}.safetensors", metadata={"format": "pt"})

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        for name, companion in self._written().items():
            torch.save(companion.state_dict(), Path(output_dir) / f"{name}_optimizer.pt")

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
            weights, state = (Path(checkpoint) / f"{name}{end}" for end in (".safetensors", "_optimizer.pt"))
            if not (weights.is_file() and state.is_file()):
                raise ValueError(
                    f"{checkpoint} cannot be continued with a {name}: {weights.name} or {state.name} is "
                    "missing"
                )
            companion.network.load_state_dict(load_file(weights, device=str(device)))
            companion.load_state_dict(torch.load(state, map_location=device, weights_only=True))
