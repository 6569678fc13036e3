"""What a program may use, what came of it, and how far it was kept apart."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any, Literal, Self

Status = Literal["ok", "failed", "wall", "cpu", "output", "signal", "refused"]


class SandboxError(RuntimeError):
    """There is no sandbox of the kind that was asked for, or it broke: says what and what would help."""


class Level(IntEnum):
    """How far programs are kept apart; see `common.sandbox` for what each covers."""

    LIMITS = 1
    FULL = 2


@dataclass(frozen=True)
class Limits:
    """Bounds on one program.

    Attributes:
        wall: Seconds until it is ended.
        cpu: Whole seconds of processor time per process.
        memory: MiB of address space per process, beyond what the warm interpreter holds.
        disk: MiB of its scratch directory and of each file.
        processes: Processes and threads at a time.
        files: Open files per process.
        output: Bytes of standard output, and of standard error, after which it is ended.
    """

    wall: float = 10.0
    cpu: int = 10
    memory: int = 512
    disk: int = 64
    processes: int = 8
    files: int = 64
    output: int = 65_536

    def __post_init__(self) -> None:
        wrong = [name for name, value in asdict(self).items() if not value > 0]
        if wrong:
            raise ValueError(f"limits have to be positive: {', '.join(wrong)}")


@dataclass(frozen=True)
class Outcome:
    """What came of one program.

    Attributes:
        status: ``ok`` it ended by itself with 0; ``failed`` with another code, an exception for one;
            ``wall``, ``cpu``, ``output`` it was ended at that limit; ``signal`` it crashed or was killed;
            ``refused`` there is no program to run: text that cannot be written to a file.
        code: Its exit code; minus the signal's number if a signal ended it; None at ``wall``, ``output`` and
            ``refused``.
        stdout: What it printed, at most `Limits.output` bytes, undecodable ones replaced.
        stderr: Likewise.
        seconds: Wall time.
        cpu_seconds: Processor time of all of its processes.
        peak_memory: Largest resident memory of one process in MiB, the warm interpreter's included.
    """

    status: Status
    code: int | None
    stdout: str
    stderr: str
    seconds: float
    cpu_seconds: float
    peak_memory: float

    @classmethod
    def read(cls, content: dict[str, Any]) -> Self:
        """From what a warden sent.

        Raises:
            SandboxError: its fields are others.
        """
        try:
            return cls(**content)
        except TypeError as error:
            raise SandboxError(f"the sandbox answered something else than an outcome: {error}") from error
