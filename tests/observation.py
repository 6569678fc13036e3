"""Jobs run by the worker's own function, each kind apart, with the files of the repository that they open."""

import ctypes
import json
import os
import struct
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.forks import SERVER, enter

OPENED, IS_FOLDER = 0x20, 0x40000000  # of inotify, which also sees what libraries in C and Rust open
SEQUENCES = ("seeds", "inputs", "modules", "assets")

Jobs = Mapping[str, Mapping[str, Any]]
"""Fields of jobs by key: the code that knows their class is another here and there."""


def observe(jobs: Jobs, root: Path, store: Path, environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """By key, the ``error`` of a job and the data files of the repository that it ``opened``.

    Args:
        jobs: To run. The worker itself refuses those that load a module which their key does not cover.
        root: A copy of the repository that nobody else reads.
        store: Gets the records.
        environment: Of the worker.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.jsonl"
        report.touch()
        process = SERVER.Process(target=_sweep, args=(jobs, root, store, environment, report))
        process.start()
        process.join()
        assert process.exitcode == 0
        return dict(map(json.loads, report.read_text("utf-8").splitlines()))


def _sweep(jobs: Jobs, root: Path, store: Path, environment: Mapping[str, str], report: Path) -> None:
    """Each kind of job in a process that has the libraries and nothing of another kind."""
    enter(root, environment)
    kinds = {(fields["entry"], *fields["modules"]) for fields in jobs.values()}
    for kind in sorted(kinds):
        if os.fork() == 0:
            status = 1
            try:
                alike = {key: job for key, job in jobs.items() if (job["entry"], *job["modules"]) == kind}
                with report.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(line) + "\n" for line in _each(alike, root, store))
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        assert os.wait()[1] == 0


def _each(jobs: Jobs, root: Path, store: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    from common.study.jobs import Job
    from common.study.worker import Limits, execute

    # Where models lie that jobs share: made again, so that what they are made from is seen too.
    os.environ["REPRISE_STORE"] = os.path.join(tempfile.mkdtemp(), "store")
    watch = _watch(root)
    for key, fields in jobs.items():
        job = Job(**fields | {name: tuple(fields[name]) for name in SEQUENCES})
        outcome = execute(job, key, store, Limits(), None, time.time())
        yield key, {"error": outcome.error, "opened": sorted(set(_opened(*watch, root)))}


def _watch(root: Path) -> tuple[int, dict[int, str]]:
    library = ctypes.CDLL(None, use_errno=True)
    handle = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    folders = [place for top in ("common", "papers") for place, *_ in os.walk(root / top)]
    return handle, {library.inotify_add_watch(handle, place.encode(), OPENED): place for place in folders}


def _opened(handle: int, folders: Mapping[int, str], root: Path) -> Iterator[str]:
    """Files that were opened since the last look, but for Python's."""
    while True:
        try:
            events = os.read(handle, 1 << 20)
        except BlockingIOError:
            return
        while events:
            folder, mask, _, size = struct.unpack_from("iIII", events)
            name = events[16 : 16 + size].rstrip(b"\0").decode()
            if not mask & IS_FOLDER and not name.endswith(".py") and ".pyc" not in name:
                yield os.path.relpath(os.path.join(folders[folder], name), root)
            events = events[16 + size :]
