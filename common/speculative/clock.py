"""The clock of everything that is timed here."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def clock_of(device: torch.device) -> Callable[[], float]:
    """Seconds of this thread's own work on a CPU, which another process on the machine does not lengthen;
    elapsed seconds on an accelerator, which works beside the thread.
    """
    return time.thread_time if device.type == "cpu" else time.perf_counter
