"""Trained drafts on disk: weights and training log, by recipe."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from common.models.recipe import cached
from common.speculative.networks import DraftNetwork


@dataclass(frozen=True)
class Checkpoint:
    """A trained draft that can write itself, as `cached` asks of a model.

    Attributes:
        network: The draft; the target's embeddings are not among its weights.
        log: Name to values over training steps.
    """

    network: DraftNetwork
    log: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def save_pretrained(self, folder: Path) -> None:
        """Write weights and log."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.network.state_dict(), folder / "draft.safetensors")
        (folder / "log.json").write_text(json.dumps(self.log))

    @classmethod
    def of(cls, recipe: Any, empty: DraftNetwork, train: Callable[[], Checkpoint]) -> Checkpoint:
        """The draft of a recipe, trained on first use.

        Args:
            recipe: Frozen dataclass that names the draft; see `cached`.
            empty: A network of the right shape, whose weights are overwritten.
            train: Trains it.
        """
        folder = cached(recipe, train)
        empty.load_state_dict(load_file(folder / "draft.safetensors"))
        return cls(empty.eval(), json.loads((folder / "log.json").read_text()))
