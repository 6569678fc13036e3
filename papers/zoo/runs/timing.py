"""Wall time of rollout batches."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback, set_seed

from common.models.pocket import load_policy
from common.rl.config import GroupConfig
from common.rl.harness import make_trainer, policy_path
from common.rl.run import Run
from common.rl.tasks import load_task
from common.rl.trainer import GroupTrainer


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


def seconds_per_batch(
    _run: Run, timed: Run, seed: int, _workspace: Path, trainer: type[GroupTrainer], args: GroupConfig
) -> float:
    """Median seconds per rollout batch of `timed`, a short run that stands for the whole one."""
    watch = Stopwatch(timed.optimizer_steps)
    set_seed(seed)
    model, tokenizer = load_policy(policy_path(timed, 0))
    task = load_task(timed, seed, tokenizer)
    make_trainer(trainer, args, model, tokenizer, task, watch).train()
    return watch.seconds
