"""A call in a process of its own, watched and ended from outside.

A worker imports what a job needs and forks: the copy may change what it likes (seeds, modules, environment,
threads), and all of it ends with the copy. A fork takes milliseconds, a new interpreter with PyTorch seconds.
Where a fork is not safe (other systems than Linux, threads in the worker), the call gets a new interpreter.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil

from common.study.isolation import adopt_orphans, cut_network, end_with, threads
from common.study.paths import ROOT

POLL_SECONDS = 1.0
LONGEST_REPORT = 10_000  # bytes; has to fit into a pipe
ROUNDS = 20  # of ending processes that start others meanwhile


@dataclass(frozen=True)
class Ending:
    """How a supervised call ended.

    Attributes:
        report: What it returned; empty too if its process ended without returning.
        reason: The limit that it exceeded; empty if none.
        status: Exit status of its process, negative for a signal.
        peak: Largest memory seen, in MiB: resident in its process, and the share of its child processes.
    """

    report: str
    reason: str
    status: int
    peak: float


def run_apart(
    call: Callable[[], str],
    seconds: float,
    memory: float,
    parent: int | None,
    offline: bool,
    meanwhile: Callable[[], None],
) -> Ending:
    """Run ``call()`` in a process of its own; every process that it leaves behind is ended.

    Args:
        call: Picklable; catches its own exceptions.
        seconds: Wall time after which it is ended.
        memory: Memory in MiB (as in `Ending.peak`) at which it is ended.
        parent: Process that has to live on; None if nobody has to.
        offline: Cut the call off the network where a new interpreter runs it.
        meanwhile: Called about every second.
    """
    adopt_orphans()
    reading, writing = os.pipe()
    with _ended_descendants(parent):
        process = psutil.Process(_launch(call, writing, offline))
        os.close(writing)
        status, reason, peak = _watch(process, seconds, memory, parent, meanwhile)
    os.set_blocking(reading, False)
    with open(reading, "rb") as pipe:
        report = pipe.read()
    return Ending((report or b"").decode(errors="replace"), reason, status, peak)


def can_fork() -> bool:
    """True where a forked copy of this process can compute: on Linux, with no thread that it would lack."""
    return sys.platform == "linux" and threads() == 1


def _launch(call: Callable[[], str], report: int, offline: bool) -> int:
    """Process id of a copy of this process, or of a new one, that runs `call` and writes to `report`."""
    sys.stdout.flush()
    sys.stderr.flush()
    if not can_fork():
        return _launch_new(call, report, offline)
    supervisor = os.getpid()
    pid = os.fork()
    if pid == 0:
        _serve(call, report, supervisor)
    return pid


def _launch_new(call: Callable[[], str], report: int, offline: bool) -> int:
    reading, writing = os.pipe()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", __name__, str(os.getpid()), str(int(offline))],
        environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0), (os.POSIX_SPAWN_DUP2, report, 3)],
    )
    os.close(reading)
    with open(writing, "wb") as pipe, suppress(BrokenPipeError):  # its end is noticed by the watch
        pickle.dump(call, pipe)
    return pid


def _serve_new() -> None:
    """What the new interpreter of `_launch_new` does; the network goes before threads can start."""
    supervisor, offline = (int(argument) for argument in sys.argv[1:])
    if offline:
        cut_network()
    _serve(pickle.load(sys.stdin.buffer), 3, supervisor)


def _serve(call: Callable[[], str], report: int, supervisor: int) -> None:
    """Be the supervised process; never returns."""
    status = 1
    try:
        os.setsid()  # Ctrl-C at the terminal is for the run, not for its jobs
        end_with(supervisor, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _release_inherited(report)
        text = call()
        with suppress(OSError):  # a call that has closed the pipe is judged by what it left on disk
            os.write(report, text.encode(errors="backslashreplace")[:LONGEST_REPORT])
        status = 0
    finally:
        os._exit(status)


def _release_inherited(report: int) -> None:
    """Let go of the worker's pipes: whoever waits for their end must not wait for this process too.

    They are replaced, not closed, because Python objects of the worker still name their numbers.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for number in [int(name) for name in os.listdir("/dev/fd")]:
        if number > 2 and number not in (report, null):
            with suppress(OSError):  # the listing's own descriptor is closed by now
                os.fstat(number)
                os.dup2(null, number, inheritable=False)
    os.close(null)


def _watch(
    process: psutil.Process, seconds: float, memory: float, parent: int | None, meanwhile: Callable[[], None]
) -> tuple[int, str, float]:
    """Wait for a process, and end it at a limit: exit status, limit exceeded, peak memory in MiB."""
    deadline = time.monotonic() + seconds
    peak, reason = 0.0, ""
    while True:
        with suppress(psutil.TimeoutExpired):
            return process.wait(max(0.0, min(POLL_SECONDS, deadline - time.monotonic()))), reason, peak
        meanwhile()
        peak = max(peak, _memory(process))
        if time.monotonic() >= deadline:
            reason = f"took longer than {seconds:g} s"
        elif peak > memory:
            reason = f"used more than {memory:g} MiB of memory"
        elif parent is not None and os.getppid() != parent:
            reason = "the run ended"
        if reason:
            process.kill()
            return process.wait(), reason, peak


def _memory(process: psutil.Process) -> float:
    """Memory in MiB of a process and the other descendants of this one; pages that they share count once."""
    total = 0
    for member in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it ended meanwhile
            if member == process:
                total += member.memory_info().rss
            else:
                use = member.memory_full_info()
                total += getattr(use, "pss", use.uss)
    return float(total / 2**20)


@contextmanager
def _ended_descendants(parent: int | None) -> Iterator[None]:
    """End the descendants that come meanwhile on the way out, also when the run dies or ends this process."""
    others = set(psutil.Process().children(recursive=True))

    def leave(*_: object) -> None:
        _end_descendants(others)
        os._exit(1)

    before = signal.signal(signal.SIGTERM, leave) if parent is not None else None
    try:
        yield
    finally:
        _end_descendants(others)
        if parent is not None:
            signal.signal(signal.SIGTERM, before)


def _end_descendants(spared: Set[psutil.Process]) -> None:
    for _ in range(ROUNDS):
        members = [member for member in psutil.Process().children(recursive=True) if member not in spared]
        if not members:
            return
        for member in members:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(members, timeout=POLL_SECONDS)


if __name__ == "__main__":
    _serve_new()
