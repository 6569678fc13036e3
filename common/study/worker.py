"""What happens inside a worker process: one job, guarded."""

from __future__ import annotations

import gc
import ipaddress
import json
import os
import sys
import threading
import time
import traceback
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from common.study.jobs import Job
from common.study.loading import entry_point
from common.study.logs import BoundedLog
from common.study.store import Cost, DamagedRecordError, Store, write_json

POLL_SECONDS = 0.5
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false", "WANDB_MODE": "disabled"}


@dataclass(frozen=True)
class Limits:
    """Bounds on one job.

    Attributes:
        seconds: Wall time after which the job is ended.
        memory: Resident memory in MiB at which the job is ended.
        offline: Refuse connections to anything but this machine.
    """

    seconds: float = 3600.0
    memory: float = 4096.0
    offline: bool = True


def execute(job: Job, key: str, root: Path, limits: Limits, parent: int) -> str | None:
    """Compute the record of one job unless it is there; returns an error text or None.

    The folder's lock makes a second run of the same job wait and then find the record.
    """
    os.environ.update(QUIET)
    if limits.offline:
        refuse_network()
    store = Store(root)
    watch = _Watch(limits, parent, store.folder(key))
    with watch, store.lock(key):
        watch.begin()
        if store.has(key):
            try:
                store.read(key)
                return None
            except DamagedRecordError:
                store.discard(key)
        store.mark_running(key, True)
        error = _compute(job, key, store, watch)
        store.mark_running(key, False)
        return error


def _compute(job: Job, key: str, store: Store, watch: _Watch) -> str | None:
    workspace = store.folder(key) / "workspace"
    workspace.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    try:
        with (
            BoundedLog(store.folder(key) / "log.txt") as log,
            redirect_stdout(log),
            redirect_stderr(log),
            entry_point(job, key, workspace) as function,
        ):
            gc.freeze()  # imported libraries are half a million objects that no collection has to visit again
            record = function(job, workspace)
        cost = Cost(round(time.perf_counter() - start, 3), round(watch.peak, 1))
        store.write(key, job, record, cost)
    except Exception as error:  # a job is foreign code: whatever it raises becomes its report
        (store.folder(key) / "error.txt").write_text(
            traceback.format_exc(), encoding="utf-8", errors="replace"
        )
        return f"{type(error).__name__}: {error}"
    return None


class _Watch:
    """Thread that ends this process when its parent is gone or the job exceeds a limit.

    A worker that outlives a killed parent would race the next run for the same records.
    """

    def __init__(self, limits: Limits, parent: int, folder: Path) -> None:
        self.limits, self.parent, self.folder = limits, parent, folder
        self.peak = 0.0
        self.deadline = float("inf")
        self.done = threading.Event()

    def begin(self) -> None:
        """Start the job's clock; waiting for the record's lock does not count."""
        self.deadline = time.monotonic() + self.limits.seconds

    def __enter__(self) -> _Watch:
        threading.Thread(target=self._guard, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()

    def _guard(self) -> None:
        process = psutil.Process()
        while True:
            self.peak = max(self.peak, process.memory_info().rss / 2**20)
            if os.getppid() != self.parent and _gone(self.parent):
                os._exit(1)
            if time.monotonic() > self.deadline:
                self._end(f"took longer than {self.limits.seconds:g} s")
            if self.peak > self.limits.memory:
                self._end(f"used more than {self.limits.memory:g} MiB of memory")
            if self.done.wait(POLL_SECONDS):
                return

    def _end(self, reason: str) -> None:
        write_json(self.folder / "ended.json", {"reason": reason})
        os._exit(1)


def _gone(pid: int) -> bool:
    """True if a process has ended, also where nobody reaps it (as the first process of some containers)."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def ended_reason(folder: Path) -> str | None:
    """Why the watch ended a job, once; None if it did not."""
    path = folder / "ended.json"
    if not path.is_file():
        return None
    reason = str(json.loads(path.read_bytes())["reason"])
    path.unlink()
    return reason


_refusing = False


def refuse_network() -> None:
    """Make every connection of this process to another machine fail; cannot be undone."""
    global _refusing
    os.environ.update(OFFLINE)
    if not _refusing:
        sys.addaudithook(_audit)
        _refusing = True


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple) and not _local(str(arguments[1][0])):
        raise PermissionError(f"this profile is offline: connection to {arguments[1][0]} refused")
    if event == "socket.getaddrinfo" and arguments[0] and not _local(str(arguments[0])):
        raise PermissionError(f"this profile is offline: look-up of {arguments[0]} refused")


def _local(host: str) -> bool:
    if host in ("localhost", ""):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
