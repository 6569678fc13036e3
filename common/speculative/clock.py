"""The clock of what is timed: loops, generations, a draft's trees."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from transformers import TrainerCallback


def clock_of(device: torch.device) -> Callable[[], float]:
    """Seconds of this thread's own work on a CPU, which another process on the machine does not lengthen;
    elapsed seconds on an accelerator, which works beside the thread.
    """
    return time.thread_time if device.type == "cpu" else time.perf_counter


class StepClock(TrainerCallback):
    """Seconds of every iteration by `clock_of`, from the end of one optimizer step to the end of the next."""

    def __init__(self, device: torch.device) -> None:
        self.now, self.marks = clock_of(device), [0.0]

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Start."""
        self.marks = [self.now()]

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """One optimizer step per iteration."""
        self.marks.append(self.now())

    @property
    def seconds(self) -> Float[np.ndarray, " T"]:
        """Of each iteration."""
        return np.diff(self.marks)
