"""What happens inside a worker: one job, in a process of its own, into one record."""

from __future__ import annotations

import gc
import importlib
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from common.study.errors import StudyError
from common.study.isolation import OPEN, cut_network, lowest_sandbox
from common.study.jobs import Job
from common.study.keys import covered
from common.study.loading import entry_point, loaded, record_imports
from common.study.logs import bound
from common.study.sources import Sources
from common.study.store import Cost, DamagedRecordError, Store
from common.study.supervise import Ending, can_fork, run_apart

SURROUNDINGS = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "PYTHONHASHSEED": "0",  # the order of a set of words is the same in every worker
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # a worker of one thread can fork
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # to ask for a GPU does not open it, which a copy could not use
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_MODE": "disabled",
}  # environment of every process that runs jobs
PEAK_UNIT = 2**20 if sys.platform == "darwin" else 2**10  # of `getrusage` in a MiB


@dataclass(frozen=True)
class Limits:
    """Bounds on one job, its child processes included.

    Attributes:
        seconds: Wall time after which the job is ended.
        memory: Resident memory in MiB at which the job is ended.
        offline: Refuse connections to anything but this machine.
    """

    seconds: float = 3600.0
    memory: float = 4096.0
    offline: bool = True


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        error: Why there is no record; empty if there is one.
        died: Its process ended without saying why, so that another try may succeed.
    """

    error: str = ""
    died: bool = False


def execute(job: Job, key: str, root: Path, limits: Limits, parent: int | None, made: float) -> Outcome:
    """Compute the record of one job unless it is there.

    The folder's lock makes a second run of the same job wait and then find the record.

    Args:
        job: The job.
        key: Its key.
        root: Folder of the store.
        limits: Bounds on the job.
        parent: Process id of the run that this worker serves; None where another program ends the worker.
        made: When the key was made, in seconds since the epoch.
    """
    store = Store(root)
    try:
        with store.held(key, parent or os.getpid()):
            if store.has(key):
                try:
                    store.check(key)
                    return Outcome()
                except DamagedRecordError:
                    store.discard(key)
            before = loaded()
            if can_fork():
                _import_entry(job, limits)
            call = partial(_compute, job, key, root, limits, before, made)
            cut = partial(bound, store.folder(key) / "log.txt")
            ending = run_apart(call, limits.seconds, limits.memory, parent, limits.offline, cut)
            cut()
            store.raise_peak(key, ending.peak)
            return _outcome(ending, store.has(key))
    except OSError as error:  # a full disk is this job's fault report, not the end of the run
        return Outcome(f"{type(error).__name__}: {error}")


def _outcome(ending: Ending, recorded: bool) -> Outcome:
    if recorded or ending.reason or ending.report:
        return Outcome("" if recorded else ending.reason or ending.report)
    if ending.status < 0:
        hint = " (out of memory?)" if -ending.status == signal.SIGKILL else ""
        name = signal.strsignal(-ending.status)
        return Outcome(f"its process was ended by signal {-ending.status}, {name}{hint}", died=True)
    return Outcome(f"its process ended with status {ending.status} and left no record", died=True)


def _import_entry(job: Job, limits: Limits) -> None:
    """Import what the job needs and parse what its key covers, once for all jobs of this worker.

    Each job's own process would do it again. The kernel ends it at the time limit.
    """
    module = job.entry.partition(":")[0]
    if module in sys.modules:
        return
    record_imports()
    signal.setitimer(signal.ITIMER_REAL, limits.seconds)
    try:
        with _output_in(Path(os.devnull)):
            importlib.import_module(module)
            if "torch" in sys.modules:  # its first optimizer would import this, for a second
                importlib.import_module("torch._dynamo")
            covered(job, Sources())  # texts are remembered by their content
    except BaseException:  # foreign code; the job's own process meets the same error and reports it
        return
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    gc.collect()
    gc.freeze()  # imported libraries are half a million objects that no collection has to visit again


def _compute(job: Job, key: str, root: Path, limits: Limits, before: frozenset[str], made: float) -> str:
    """Run the job in this process and write its record; returns an error text, empty if all went well.

    Args:
        job: The job.
        key: Its key.
        root: Folder of the store.
        limits: Bounds on the job.
        before: Modules that other jobs had loaded.
        made: When the key was made.
    """
    store = Store(root)
    folder = store.folder(key)
    workspace = folder / "workspace"
    start = time.perf_counter()
    try:
        workspace.mkdir(parents=True, exist_ok=True)
        _seed(key)
        with _output_in(folder / "log.txt"), entry_point(job, key, workspace, before, made) as function:
            record = function(job, workspace)
        level = cut_network() if limits.offline else OPEN
        cost = Cost(round(time.perf_counter() - start, 3), _own_peak(), level, lowest_sandbox())
        store.write(key, job, record, cost)
    except BaseException as error:  # a job is foreign code: whatever it raises becomes its report
        with suppress(OSError):
            text = traceback.format_exc()
            (folder / "error.txt").write_text(text, encoding="utf-8", errors="backslashreplace")
        if isinstance(error, StudyError):  # written for the user: what it says is enough
            return error.message
        return "".join(traceback.format_exception_only(error)).strip()
    return ""


def _own_peak() -> float:
    """Largest resident memory of this process so far, in MiB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / PEAK_UNIT, 1)


def _seed(key: str) -> None:
    """Give what a job draws without a seed of its own the same start in every process."""
    random.seed(key)
    np.random.seed(int(key[:8], 16))  # noqa: NPY002  the global generator is what has to be seeded


@contextmanager
def _output_in(path: Path) -> Iterator[None]:
    """Send what this process and its children print into a file."""
    saved = os.dup(1), os.dup(2)
    _flush()
    if path.is_file():
        path.unlink()
    with path.open("ab") as file:  # appending, so that a log that is cut meanwhile goes on at its end
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        _flush()
        for number, copy in enumerate(saved, start=1):
            with suppress(OSError):  # a job may have closed it
                os.dup2(copy, number)
                os.close(copy)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # a job may have closed or replaced it
            stream.flush()
