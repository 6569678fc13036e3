"""Records on disk: written whole or not at all, checked when read.

A record is a folder ``<store>/<key>/``::

    record.parquet   tidy values (see `Record.frame`)
    job.json         the job, its wall time and peak memory (not part of the record)
    complete.json    hash of record.parquet; written last, so its presence means the record is whole
    workspace/       private scratch of the job (checkpoints); removed once the record is complete
    log.txt          what the job printed
    error.txt        traceback of the last failed attempt
    running          which run computes the record, and since when it runs
    lock             held by that process
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from textwrap import shorten
from typing import Any

import pandas as pd
import psutil
from filelock import FileLock, Timeout

from common.study.errors import StudyError
from common.study.isolation import NOT_USED
from common.study.jobs import Job, Record

GRACE_SECONDS = 0.5  # that a lock may be held before a waiting process speaks of it


class DamagedRecordError(Exception):
    """A record whose content does not match its completion marker."""


@dataclass(frozen=True)
class Cost:
    """What the record of one job took.

    Attributes:
        seconds: Wall time.
        peak_memory: Peak resident memory in MiB, child processes included.
        network: How the job was kept off the network (see `isolation.cut_network`).
        sandbox: The lowest level at which it ran generated code (see `common.sandbox`).
        restored: Commit of the committed results that it was restored from; empty if it was computed here.
    """

    seconds: float
    peak_memory: float
    network: str = "unknown"
    sandbox: str = NOT_USED
    restored: str = ""


class Store:
    """A folder of records addressed by key."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            root.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise StudyError(f"the store {root} cannot be made: a file is in the way; move it") from error

    def folder(self, key: str) -> Path:
        """Folder of a record, which may not exist yet."""
        return self.root / key

    def lock(self, key: str) -> FileLock:
        """Operating-system lock of a record; released when its holder dies."""
        self.folder(key).mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder(key) / "lock")

    @contextmanager
    def held(self, key: str, run: int) -> Iterator[None]:
        """Hold a record's lock, noting who does; before it waits for another process, it says so.

        Args:
            key: The record's key.
            run: Process id of the run that wants the record.
        """
        lock = self.lock(key)
        try:
            lock.acquire(timeout=GRACE_SECONDS)
        except Timeout:
            _say(f"{self.holder(key)} computes the same records: waiting for it")
            lock.acquire()
        try:
            self.mark_running(key, run)
            yield
        finally:
            self.mark_running(key, None)
            lock.release()

    def holder(self, key: str) -> str:
        """The run that holds a record's lock, and since when it runs."""
        try:
            note = json.loads((self.folder(key) / "running").read_bytes())
            return f"process {note['run']} on {note['host']} ({note['command']}, since {note['since']})"
        except (OSError, ValueError, KeyError, TypeError):
            return f"a process that holds {self.folder(key) / 'lock'}"

    def has(self, key: str) -> bool:
        """True if a completion marker exists; `read` still checks the content."""
        return (self.folder(key) / "complete.json").is_file()

    def write(self, key: str, job: Job, record: Record, cost: Cost) -> None:
        """Write a record atomically; the completion marker comes last."""
        self.write_frame(key, job, record.frame(job.seeds), cost)

    def write_frame(self, key: str, job: Job, values: pd.DataFrame, cost: Cost) -> None:
        """As `write`, of a record in tidy form (`Record.frame`)."""
        folder = self.folder(key)
        folder.mkdir(parents=True, exist_ok=True)
        staged = folder / "record.parquet.part"
        values.to_parquet(staged, index=False)
        digest = hashlib.sha256(staged.read_bytes()).hexdigest()
        _sync(staged)
        staged.replace(folder / "record.parquet")
        write_json(folder / "job.json", {"job": asdict(job), "cost": asdict(cost)})
        write_json(folder / "complete.json", {"record": digest})
        shutil.rmtree(folder / "workspace", ignore_errors=True)
        (folder / "error.txt").unlink(missing_ok=True)

    def check(self, key: str) -> None:
        """Compare a record with its completion marker, without parsing it.

        Raises:
            DamagedRecordError: marker or content is missing or does not match.
        """
        folder = self.folder(key)
        try:
            marker = json.loads((folder / "complete.json").read_bytes())
            content = (folder / "record.parquet").read_bytes()
        except (OSError, ValueError) as error:
            raise DamagedRecordError(f"{folder}: {error}") from error
        if not isinstance(marker, dict) or hashlib.sha256(content).hexdigest() != marker.get("record"):
            raise DamagedRecordError(f"{folder}: record.parquet does not match its completion marker")

    def read(self, key: str) -> pd.DataFrame:
        """Tidy values of a complete record.

        Raises:
            DamagedRecordError: marker or content is missing or does not match.
        """
        self.check(key)
        return pd.read_parquet(self.folder(key) / "record.parquet")

    def cost(self, key: str) -> Cost | None:
        """Wall time and memory of the run that made the record, if known."""
        try:
            return Cost(**json.loads((self.folder(key) / "job.json").read_bytes())["cost"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def raise_peak(self, key: str, peak: float) -> None:
        """Enter a larger peak memory (MiB) than a record's job could see itself, if there is a record."""
        cost = self.cost(key)
        if self.has(key) and cost is not None and peak > cost.peak_memory:
            path = self.folder(key) / "job.json"
            content = json.loads(path.read_bytes())
            content["cost"]["peak_memory"] = round(peak, 1)
            write_json(path, content)

    def mark_running(self, key: str, run: int | None) -> None:
        """Note that this process computes a record for a run (a process id), or no longer does (None)."""
        path = self.folder(key) / "running"
        if run is None:
            path.unlink(missing_ok=True)
            return
        command, since = _origin(run)
        note = {
            "pid": os.getpid(),
            "run": run,
            "command": command,
            "since": since,
            "host": socket.gethostname(),
        }
        write_json(path, note)

    def was_running(self, key: str) -> bool:
        """True if a process that is gone was computing this record; asks once, then forgets."""
        path = self.folder(key) / "running"
        try:
            pid = json.loads(path.read_bytes())["pid"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if not _gone(pid):
            return False
        path.unlink(missing_ok=True)
        return True

    def discard(self, key: str) -> None:
        """Forget a record but keep its workspace."""
        for name in ("complete.json", "record.parquet", "job.json"):
            (self.folder(key) / name).unlink(missing_ok=True)

    def damaged(self, keys: Sequence[str]) -> list[str]:
        """Keys whose marker exists but whose content cannot be trusted."""
        return [key for key in keys if self.has(key) and not self._sound(key)]

    def _sound(self, key: str) -> bool:
        try:
            self.check(key)
        except DamagedRecordError:
            return False
        return True


@cache
def _say(line: str) -> None:
    """Tell the user something once."""
    print(line, file=sys.stderr, flush=True)


def _gone(pid: int) -> bool:
    """True if a process has ended, also where nobody reaps it (as the first process of some containers)."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _origin(pid: int) -> tuple[str, str]:
    """Command line and start of a process."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        command = shorten(" ".join(process.cmdline()), 80, placeholder=" …")
        return command, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(process.create_time()))
    return "gone", "?"


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, keys sorted, readable."""
    staged = path.with_name(path.name + ".part")
    staged.write_text(
        json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    _sync(staged)
    staged.replace(path)


def _sync(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
