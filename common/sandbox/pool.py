"""The sandbox: warm interpreters that programs are sent to, at a level that is verified first."""

from __future__ import annotations

import os
import platform
import queue
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from common.sandbox.channel import receive, send
from common.sandbox.contract import Level, Limits, Outcome, SandboxError
from common.study.isolation import note_sandbox

ROOT = Path(__file__).resolve().parents[2]
START = """
import common.sandbox.zygote as __zygote__
exec(compile(__zygote__.serve(), "program.py", "exec"))
__zygote__.completed = True
"""  # a program is run by the main module itself, and finds no other name in it
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/scratch",
    "TMPDIR": "/scratch",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",  # the order of a set is the same in every run
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
}
READY_SECONDS = 120.0  # for a warm interpreter, imports included
ANSWER_SECONDS = 30.0  # beyond the wall limit, after which a warden is given up
CHECK = """
import os, socket
refused = 0
for family in (socket.AF_INET, socket.AF_INET6):
    try: socket.socket(family, socket.SOCK_DGRAM)
    except OSError: refused += 1
try: open("/outside", "w")
except OSError: refused += 1
open("inside", "w").write("x")
try: os.fork()
except OSError: refused += 1
print(refused, os.getpid(), os.path.exists("/proc/self"), os.path.exists(input()))
"""
CHECKED = "4 2 False False\n"
HELP = (
    "Full isolation needs Linux 5.12 or newer on x86_64 or aarch64 and unprivileged user namespaces: "
    "sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0, or a "
    "container started with the capability SYS_ADMIN."
)


class Sandbox:
    """Runs programs, several at a time, each apart from everything else; a context manager.

    Args:
        least: The level below which there is no sandbox.
        workers: Programs at a time.
        preload: Modules that programs find imported.
        limits: Of programs that are given no others.
        most: The level not to go beyond, to see what a lower one does.

    Attributes:
        level: The level reached.

    Raises:
        SandboxError: the level asked for is not to be had; says why.
    """

    def __init__(
        self,
        least: Level = Level.FULL,
        workers: int = 1,
        preload: Sequence[str] = (),
        limits: Limits | None = None,
        most: Level = Level.FULL,
    ) -> None:
        self.limits, self.preload, self.owner = limits or Limits(), tuple(preload), os.getpid()
        self.level, first = _best(least, most, self.preload)
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._workers = [first, *(_Worker(self.level, self.preload) for _ in range(workers - 1))]
        for worker in self._workers:
            self._idle.put(worker)

    def run(self, source: str, stdin: str = "", limits: Limits | None = None) -> Outcome:
        """Run one program; waits for a free worker. May be called from several threads.

        Raises:
            SandboxError: the sandbox is closed, is used in a copy of its process, or broke.
        """
        if os.getpid() != self.owner:
            raise SandboxError("this sandbox belongs to another process; make one in this process")
        if not self._workers:
            raise SandboxError("this sandbox is closed")
        note_sandbox(self.level, self.level.name.lower())
        worker = self._idle.get()
        try:
            return worker.run(source, stdin, limits or self.limits)
        finally:
            self._idle.put(worker)

    def map(self, programs: Iterable[str], stdin: str = "", limits: Limits | None = None) -> list[Outcome]:
        """Run several programs on all workers; outcomes in the order of the programs."""
        with ThreadPoolExecutor(len(self._workers) or 1) as threads:
            return list(threads.map(lambda source: self.run(source, stdin, limits), programs))

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.end()
        self._workers = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Worker:
    """One warm interpreter, started anew after it broke."""

    def __init__(self, level: Level, preload: Sequence[str]) -> None:
        self.level, self.preload = level, preload
        self._start()

    def _start(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="sandbox-")
        self.channel, other = socket.socketpair()
        arguments = (str(other.fileno()), str(int(self.level)), self.folder.name, *self.preload)
        with other:
            self.process = subprocess.Popen(
                (sys.executable, "-P", "-s", "-X", "utf8", "-c", START, *arguments),
                pass_fds=(other.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
                cwd=self.folder.name,
                start_new_session=True,
            )
        self._receive(READY_SECONDS)

    def run(self, source: str, stdin: str, limits: Limits) -> Outcome:
        """Send a program, and wait for what came of it."""
        if self.process.poll() is not None:
            self.end()
            self._start()
        try:
            send(self.channel, {"source": source, "stdin": stdin, "limits": asdict(limits)})
        except OSError as error:
            raise SandboxError(f"a warm interpreter ended: {error}") from error
        return Outcome.read(self._receive(limits.wall + ANSWER_SECONDS))

    def _receive(self, seconds: float) -> dict[str, Any]:
        self.channel.settimeout(seconds)
        try:
            answer = receive(self.channel)
        except (OSError, EOFError, ValueError) as error:
            self.end()
            raise SandboxError(f"a warm interpreter broke: {type(error).__name__} {error}") from error
        if reason := answer.pop("error", ""):
            raise SandboxError(reason)
        return answer

    def end(self) -> None:
        """End the interpreter and what runs in it."""
        with suppress(OSError):
            self.channel.shutdown(socket.SHUT_RDWR)  # who waits for an answer hears of it, and so do wardens
        self.channel.close()
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


def _best(least: Level, most: Level, preload: Sequence[str]) -> tuple[Level, _Worker]:
    """The highest level between two that can be had, and a worker that has shown it."""
    if platform.system() != "Linux":
        raise SandboxError("there is a sandbox on Linux only; run this in a container or a virtual machine")
    reasons = []
    for level in sorted((level for level in Level if least <= level <= most), reverse=True):
        try:
            worker = _Worker(level, preload)
        except SandboxError as error:
            reasons.append(str(error))
            continue
        if level != Level.FULL:
            return level, worker
        seen = worker.run(CHECK, worker.folder.name, Limits(processes=1))
        if seen.stdout == CHECKED:
            return level, worker
        worker.end()
        reasons.append(f"a program saw {seen.stdout or seen.stderr!r} where {CHECKED!r} was due")
    raise SandboxError(f"no sandbox at level {least.name.lower()}: {'; '.join(reasons)}. {HELP}")
