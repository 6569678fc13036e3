"""Records on disk: written whole or not at all, checked when read.

A record is a folder ``<store>/<key>/``::

    record.parquet   tidy values (see `Record.frame`)
    job.json         the job, its wall time and peak memory (not part of the record)
    complete.json    hash of record.parquet; written last, so its presence means the record is whole
    workspace/       private scratch of the job (checkpoints); removed once the record is complete
    log.txt          what the job printed
    error.txt        traceback of the last failed attempt
    running          process id of the worker that computes the record
    lock             held by that worker
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
from filelock import FileLock

from common.study.errors import StudyError
from common.study.jobs import Job, Record


class DamagedRecordError(Exception):
    """A record whose content does not match its completion marker."""


@dataclass(frozen=True)
class Cost:
    """Wall time (s) and peak resident memory (MiB) of one job."""

    seconds: float
    peak_memory: float


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

    def has(self, key: str) -> bool:
        """True if a completion marker exists; `read` still checks the content."""
        return (self.folder(key) / "complete.json").is_file()

    def write(self, key: str, job: Job, record: Record, cost: Cost) -> None:
        """Write a record atomically; the completion marker comes last."""
        folder = self.folder(key)
        folder.mkdir(parents=True, exist_ok=True)
        staged = folder / "record.parquet.part"
        record.frame(job.seeds).to_parquet(staged, index=False)
        digest = hashlib.sha256(staged.read_bytes()).hexdigest()
        _sync(staged)
        staged.replace(folder / "record.parquet")
        write_json(folder / "job.json", {"job": asdict(job), "cost": asdict(cost)})
        write_json(folder / "complete.json", {"record": digest})
        shutil.rmtree(folder / "workspace", ignore_errors=True)
        (folder / "error.txt").unlink(missing_ok=True)

    def read(self, key: str) -> pd.DataFrame:
        """Tidy values of a complete record.

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
        return pd.read_parquet(folder / "record.parquet")

    def cost(self, key: str) -> Cost | None:
        """Wall time and memory of the run that made the record, if known."""
        try:
            return Cost(**json.loads((self.folder(key) / "job.json").read_bytes())["cost"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def mark_running(self, key: str, running: bool) -> None:
        """Note that this process computes a record, or no longer does."""
        path = self.folder(key) / "running"
        if running:
            path.write_text(str(os.getpid()), encoding="utf-8")
        else:
            path.unlink(missing_ok=True)

    def was_running(self, key: str) -> bool:
        """True if a process that is gone was computing this record; asks once, then forgets."""
        path = self.folder(key) / "running"
        if not path.is_file() or psutil.pid_exists(int(path.read_bytes() or 0)):
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
            self.read(key)
        except DamagedRecordError:
            return False
        return True


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
