"""Who guards one program: keeps its time, collects its output, ends its cell and tells what came of it.

The warden stands outside the cell, where the program cannot see it. It forks the first process of the cell,
number 1 in it, which forks the program and waits; when the first process ends, the kernel ends the others.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import socket
import struct
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NoReturn

import psutil

from common.sandbox import jail, kernel
from common.sandbox.channel import send
from common.sandbox.contract import Level, Limits, Outcome, Status

CODE = struct.Struct("i")  # exit code of a program, or minus the signal that ended it
STREAMS = ("stdout", "stderr")
CHUNK = 65_536
DESCRIPTORS = os.sysconf("SC_OPEN_MAX")
ATTEMPTS = 100  # to end what forks faster than it dies, which happens below full isolation only
End = Literal["itself", "wall", "output"]


class Warden:
    """Guards one program, in a process of its own.

    Args:
        channel: To the sandbox.
        processes: Descriptor of `/proc`.
        level: Of isolation.
        folder: Where a scratch directory is made below full isolation.
        limits: Of the program.
    """

    def __init__(
        self, channel: socket.socket, processes: int, level: Level, folder: str, limits: Limits
    ) -> None:
        self.channel, self.processes, self.level = channel, processes, level
        self.folder, self.limits = folder, limits

    def guard(self, source: str, stdin: str) -> str:
        """Run one program and answer; returns in the program's process only, with its source."""
        try:
            self._prepare(source.encode(), stdin.encode())
            start = time.monotonic()
            first = os.fork()
        except UnicodeEncodeError as error:
            self._answer(Outcome("refused", None, "", f"this is no text: {error}", 0.0, 0.0, 0.0))
        except OSError as error:
            self._fail(str(error))
        if first != 0:
            self._watch(first, start)
        self._start()
        return source

    def _prepare(self, source: bytes, stdin: bytes) -> None:
        """What the program finds: a scratch directory with its source, standard input, pipes for output."""
        with os.fdopen(os.open("self/statm", os.O_RDONLY, dir_fd=self.processes)) as file:
            self.held = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        self.stdin = os.memfd_create("stdin")
        os.write(self.stdin, stdin)
        os.lseek(self.stdin, 0, os.SEEK_SET)
        if self.level == Level.FULL:
            jail.open_cell(self.processes, self.limits)
        else:
            os.chdir(tempfile.mkdtemp(dir=self.folder))
            kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)  # what outlives its parent stays in sight
        Path("program.py").write_bytes(source)  # for the lines in tracebacks
        self.pipes = {name: os.pipe() for name in (*STREAMS, "code")}

    def _start(self) -> None:
        """In the first process of a cell, which never returns, and in the program, which does."""
        report = self.pipes["code"][1]
        try:
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
            if self.level == Level.FULL:
                jail.lock_cell(self.processes)
            program = os.fork()
            if program == 0:
                self._dress()
                return
        except OSError as error:
            os.write(report, str(error).encode())
            os._exit(1)
        os.closerange(0, report)
        os.closerange(report + 1, DESCRIPTORS)
        while True:
            child, status = os.waitpid(-1, 0)  # orphans come here too
            if child == program:
                os.write(report, CODE.pack(os.waitstatus_to_exitcode(status)))
                os._exit(0)

    def _dress(self) -> None:
        """Give the program its three streams and its limits, and no other descriptor."""
        jail.bound(self.limits, self.held, self.level == Level.FULL)
        os.setsid()
        for number, end in enumerate((self.stdin, *(self.pipes[name][1] for name in STREAMS))):
            os.dup2(end, number)
        os.closerange(3, DESCRIPTORS)

    def _watch(self, first: int, start: float) -> NoReturn:
        """Collect output until the program ends or meets a limit; then end its cell and answer."""
        for _, write in self.pipes.values():
            os.close(write)
        self.texts = {name: bytearray() for name in self.pipes}
        end = self._collect(start + self.limits.wall)
        with suppress(ProcessLookupError):
            os.kill(first, signal.SIGKILL)
        usage = os.wait4(first, 0)[2]  # comes when all processes of the cell are gone
        if self.level != Level.FULL:
            end_descendants()
            shutil.rmtree(os.getcwd(), ignore_errors=True)
        for name, (read, _) in self.pipes.items():
            os.set_blocking(read, False)
            while not self._excess() and self._read(name, read):
                pass
        seconds, cpu = time.monotonic() - start, usage.ru_utime + usage.ru_stime
        code = bytes(self.texts["code"])
        if end == "itself" and len(code) != CODE.size:
            self._fail(code.decode(errors="replace") or "the first process of a cell ended early")
        status = verdict("output" if self._excess() else end, code, cpu, self.limits)
        out, err = (self.texts[name][: self.limits.output].decode(errors="replace") for name in STREAMS)
        peak = round(usage.ru_maxrss / 1024, 1)
        self._answer(Outcome(*status, out, err, round(seconds, 3), round(cpu, 3), peak))

    def _collect(self, deadline: float) -> End:
        with selectors.DefaultSelector() as selector:
            for name, (read, _) in self.pipes.items():
                selector.register(read, selectors.EVENT_READ, name)
            selector.register(self.channel, selectors.EVENT_READ, "sandbox")
            while (left := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    if key.data == "sandbox":
                        os._exit(1)  # it is gone, and this warden's death ends the cell
                    if not self._read(key.data, key.fd):
                        selector.unregister(key.fd)
                    if key.data == "code":
                        return "itself"
                    if self._excess():
                        return "output"
        return "wall"

    def _read(self, name: str, descriptor: int) -> bool:
        """Whether there was something to read."""
        try:
            part = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return False
        self.texts[name] += part
        return bool(part)

    def _excess(self) -> bool:
        return any(len(self.texts[name]) > self.limits.output for name in STREAMS)

    def _answer(self, outcome: Outcome) -> NoReturn:
        self._send(asdict(outcome))

    def _fail(self, reason: str) -> NoReturn:
        self._send({"error": reason})

    def _send(self, message: dict[str, Any]) -> NoReturn:
        send(self.channel, message)
        os._exit(0)


def verdict(end: End, code: bytes, cpu: float, limits: Limits) -> tuple[Status, int | None]:
    """Status and exit code of a program.

    Args:
        end: What ended it.
        code: Its packed exit code, where it ended by itself.
        cpu: Seconds of processor time that it took.
        limits: Of the program.
    """
    if end != "itself":
        return end, None
    (number,) = CODE.unpack(code)
    if number >= 0:
        return ("failed" if number else "ok"), number
    spent = -number == signal.SIGXCPU or (-number == signal.SIGKILL and cpu >= limits.cpu)
    return ("cpu" if spent else "signal"), number


def end_descendants() -> None:
    """End every process that descends from this one, a subreaper, however it left its group."""
    own = psutil.Process()
    for _ in range(ATTEMPTS):
        for process in own.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return
