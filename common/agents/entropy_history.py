"""Entropies of past rollouts, and the reference that they give a regulariser."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Reference = Literal["global", "per_turn"]


@dataclass
class EntropyHistory:
    """Mean entropies of past rollouts and the reference that they give.

    EPO's reference (arXiv:2509.22576) is the mean over all earlier RL steps, not a sliding window. Its code
    keeps one mean per turn, padded with zeros on the left where all episodes ended early, and counts the
    current step too; both are options.

    Attributes:
        reference: ``"global"`` or ``"per_turn"``.
        include_current: The current step counts.
        window: Sliding window in RL steps; 0 is the cumulative mean.
    """

    reference: Reference = "global"
    include_current: bool = False
    window: int = 0
    means: list[list[float]] = field(default_factory=list)

    def append(self, means: Float[Tensor, " K"], horizon: int = 0) -> None:
        """The mean entropies of an RL step by turn, or its one mean; `horizon` is the length to pad to."""
        padding = [0.0] * max(0, horizon - len(means)) if self.reference == "per_turn" else []
        self.means.append([*padding, *(float(mean) for mean in means)])

    def current(self, step: int) -> Float[Tensor, " K"] | None:
        """The reference of RL step `step`, one number or one per turn; None without a history."""
        past = self.means[: step + self.include_current]
        past = past[-self.window :] if self.window else past
        return torch.tensor(past, dtype=torch.float64).mean(dim=0) if past else None

    def at(self, step: int, turns: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"] | None:
        """The reference of each token."""
        reference = self.current(step)
        return None if reference is None else reference[turns.clamp(0, len(reference) - 1)]

    @property
    def network(self) -> None:
        """There is none: the history is a list of numbers that a checkpoint keeps."""

    def state_dict(self) -> dict[str, Any]:
        """All means."""
        return {"means": self.means}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.means = state["means"]
