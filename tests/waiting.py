"""Waits that a busy machine does not break: limits on progress and on CPU time, never on the clock alone."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import psutil

STALL = 300.0  # seconds of the clock in which a living run has to get `LEAST`
LEAST = 5.0  # seconds of CPU time; parents that only poll get less
CPU_LIMIT = 900.0  # seconds of CPU time
PAUSE = 0.2  # seconds


class Watch:
    """The CPU time that processes and their descendants take.

    Args:
        roots: The processes.
        cpu_limit: Seconds of CPU time after which work without an end is assumed.
        stall: Seconds of the clock after which processes that got less than `LEAST` count as hanging.
    """

    def __init__(
        self, roots: Sequence[psutil.Process], cpu_limit: float = CPU_LIMIT, stall: float = STALL
    ) -> None:
        self.roots, self.cpu_limit, self.stall = list(roots), cpu_limit, stall
        self.seen = _cpu_times(self.roots)
        self.spent = self.advance = 0.0
        self.since = time.monotonic()

    def check(self) -> None:
        """Look again.

        Raises:
            AssertionError: the processes hang, or work without an end; they are killed.
        """
        times = _cpu_times(self.roots)
        step = sum(seconds - self.seen.get(process, 0.0) for process, seconds in times.items())
        self.seen, self.spent, self.advance = times, self.spent + step, self.advance + step
        if self.advance >= LEAST:
            self.advance, self.since = 0.0, time.monotonic()
        if self.spent > self.cpu_limit:
            self._fail(f"took more than {self.cpu_limit:g} s of CPU time")
        if time.monotonic() - self.since > self.stall:
            self._fail(f"got {self.advance:.1f} s of CPU time in {self.stall:g} s: it hangs")

    def _fail(self, reason: str) -> None:
        for process in self.seen:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        raise AssertionError(f"{[process.pid for process in self.roots]} {reason}")


def finish(process: subprocess.Popen, **limits: float) -> tuple[str, str]:
    """Output and errors of a process once it has ended.

    Raises:
        AssertionError: as `Watch.check`.
    """
    watch = Watch([psutil.Process(process.pid)], **limits)
    while True:
        try:
            return process.communicate(timeout=PAUSE)
        except subprocess.TimeoutExpired:
            watch.check()


def reach(process: subprocess.Popen, state: Callable[[], Any], pause: float = PAUSE, **limits: float) -> Any:
    """What `state` returns once it is truthy, while the process runs.

    Raises:
        AssertionError: the process has ended before, or as `Watch.check`.
    """
    watch = Watch([psutil.Process(process.pid)], **limits)
    checked = time.monotonic()
    while not (result := state()):
        assert process.poll() is None, f"the run ended before the fault: {process.communicate()[1]}"
        if time.monotonic() - checked > PAUSE:
            watch.check()
            checked = time.monotonic()
        time.sleep(pause)
    return result


def vanish(processes: Sequence[psutil.Process], **limits: float) -> None:
    """Wait until all of them have ended by themselves.

    Raises:
        AssertionError: as `Watch.check`.
    """
    watch = Watch(processes, **limits)
    while any(_runs(process) for process in processes):
        watch.check()
        time.sleep(PAUSE)


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _cpu_times(roots: Sequence[psutil.Process]) -> dict[psutil.Process, float]:
    """Seconds of CPU time by process, the descendants too."""
    times = {}
    for root in roots:
        with suppress(psutil.NoSuchProcess):
            for process in (root, *root.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    times[process] = sum(process.cpu_times()[:2])
    return times
