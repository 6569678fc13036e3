"""Run the jobs of a study: a worker a core, one thread each, resumable, with the time left."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten

import joblib
from joblib.externals.loky import as_completed, get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from common.study.console import console
from common.study.errors import StudyError
from common.study.jobs import Job
from common.study.keys import job_key
from common.study.store import Store
from common.study.worker import Limits, ended_reason, execute

DEATHS_ALONE = 2
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
UNKNOWN_SECONDS = 10.0


@dataclass(frozen=True)
class Plan:
    """Jobs by key, those still to run, and the seconds each is expected to take.

    Attributes:
        jobs: Key to job; equal jobs of two sweeps share one key.
        pending: Keys to compute, the longest first, so that workers finish together.
        seconds: Expected wall time by key.
    """

    jobs: Mapping[str, Job]
    pending: tuple[str, ...]
    seconds: Mapping[str, float]


def plan(jobs: Sequence[Job], store: Store, past: Mapping[str, float]) -> Plan:
    """What has to run.

    Args:
        jobs: The study's jobs.
        store: Where records are.
        past: Seconds an earlier run took, by `Job.describe`.
    """
    keyed = {job_key(job): job for job in jobs}
    typical = sum(past.values()) / len(past) if past else UNKNOWN_SECONDS
    seconds = {key: past.get(job.describe(), typical) for key, job in keyed.items()}
    for key in store.damaged(list(keyed)):
        console(stderr=True).print(f"record {key} ({keyed[key].describe()}) is damaged: recomputing it")
        store.discard(key)
    pending = [key for key in keyed if not store.has(key)]
    return Plan(keyed, tuple(sorted(pending, key=lambda key: -seconds[key])), seconds)


def run(work: Plan, store: Store, workers: int, limits: Limits, backend: str = "loky") -> None:
    """Compute every pending record.

    Finished records are kept whatever happens; the same call picks up what is missing.

    Raises:
        StudyError: jobs failed or were ended; names each with its reason and the traceback's file.
    """
    if not work.pending:
        return
    failures: dict[str, str] = {}
    with _bar() as bar:
        total = sum(work.seconds[key] for key in work.pending)
        task = bar.add_task("", total=total, count=len(work.pending), finished=0, now="")
        results = _results(work, store, workers, limits, backend)
        for finished, (key, error) in enumerate(results, start=1):
            if error:
                failures[key] = error
            bar.update(
                task,
                advance=work.seconds[key],
                finished=finished,
                now=shorten(work.jobs[key].describe(), 36, placeholder=" …"),
            )
    if failures:
        raise StudyError(_failed(work, store, failures))


def _results(
    work: Plan, store: Store, workers: int, limits: Limits, backend: str
) -> Iterator[tuple[str, str | None]]:
    """Yield (key, error) as jobs end, whatever happens to the workers.

    A worker that dies takes its neighbours with it. Jobs that were running then are tried again one at a
    time, so that a job is blamed for its own deaths only.
    """
    calm, deaths = list(work.pending), dict[str, int]()
    while calm or deaths:
        batch = calm or list(deaths)[:1]
        try:
            for key, error in _attempt(work, batch, store, workers if calm else 1, limits, backend):
                calm = [other for other in calm if other != key]
                deaths.pop(key, None)
                yield key, error
        except TerminatedWorkerError:
            for key in [key for key in batch if store.was_running(key)]:
                reason = ended_reason(store.folder(key))
                alone = not calm
                calm = [other for other in calm if other != key]
                deaths[key] = deaths.get(key, 0) + alone
                if reason or deaths[key] == DEATHS_ALONE:
                    del deaths[key]
                    yield key, reason or "its worker process died again and again (out of memory?)"


def _attempt(
    work: Plan, keys: Sequence[str], store: Store, workers: int, limits: Limits, backend: str
) -> Iterator[tuple[str, str | None]]:
    calls = [(work.jobs[key], key, store, limits, os.getpid()) for key in keys]
    if backend != "loky":
        with joblib.parallel_config(backend=backend, n_jobs=workers):
            yield from joblib.Parallel(return_as="generator_unordered")(
                joblib.delayed(_call)(*c) for c in calls
            )
        return
    # joblib would run a single worker's jobs in this process, where a limit could not end them.
    executor = get_reusable_executor(max_workers=workers, reuse=False, env=ONE_THREAD)
    try:
        for future in as_completed([executor.submit(_call, *call) for call in calls]):
            yield future.result()
    except BaseException:
        executor.shutdown(wait=True, kill_workers=True)
        raise
    executor.shutdown(wait=True)


def _call(job: Job, key: str, store: Store, limits: Limits, parent: int) -> tuple[str, str | None]:
    return key, execute(job, key, store.root, limits, parent)


def _bar() -> Progress:
    columns = ("jobs {task.fields[finished]}/{task.fields[count]}", "left", "{task.fields[now]}")
    count, left, now = (
        TextColumn(text, style=style, markup=False, table_column=Column(no_wrap=True))
        for text, style in zip(columns, ("none", "none", "dim"), strict=True)
    )
    bar = BarColumn(bar_width=20)
    return Progress(
        count, bar, TimeElapsedColumn(), left, TimeRemainingColumn(), now, console=console(stderr=True)
    )


def _failed(work: Plan, store: Store, failures: Mapping[str, str]) -> str:
    lines = [f"{len(failures)} of {len(work.pending)} jobs failed; the others are kept, run again to retry:"]
    for key, error in list(failures.items())[:5]:
        lines.append(f"  {work.jobs[key].describe()}: {error}")
        if (store.folder(key) / "error.txt").is_file():
            lines.append(f"    traceback: {store.folder(key) / 'error.txt'}")
    return "\n".join(lines)
