"""Wall time of rollout batches."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from transformers import TrainerCallback


class Stopwatch(TrainerCallback):
    """Wall time at the end of every rollout batch."""

    def __init__(self, optimizer_steps: int) -> None:
        self.optimizer_steps = optimizer_steps
        self.times: list[float] = []

    def on_step_end(  # type: ignore[override]  # called by place: what it does not read has no name
        self, _args: Any, state: Any, *_: Any, **__: Any
    ) -> None:
        """Called by the trainer."""
        if state.global_step % self.optimizer_steps == 0:
            self.times.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        """Median seconds per rollout batch; the first, which has no end before it, does not count."""
        return float(np.median(np.diff(self.times)))
