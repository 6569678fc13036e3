"""Run the jobs of a study: a worker a core, one thread each, resumable, with the time left."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten

from joblib.externals.loky import as_completed, get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from common.study import cluster
from common.study.console import console
from common.study.errors import StudyError
from common.study.isolation import start_worker
from common.study.jobs import Job
from common.study.keys import job_key
from common.study.store import Store
from common.study.worker import SURROUNDINGS, Limits, Outcome, execute

DEATHS_ALONE = 2
DEAD_WORKER = Outcome("its worker process died (out of memory, or an import without end?)", died=True)
UNKNOWN_SECONDS = 10.0
SHOWN = 5  # failed jobs that are named


@dataclass(frozen=True)
class Plan:
    """Jobs by key, those still to run, and the seconds each is expected to take.

    Attributes:
        jobs: Key to job; equal jobs of two sweeps share one key.
        pending: Keys to compute, the longest first, so that workers finish together.
        seconds: Expected wall time by key.
        made: When the keys were made, in seconds since the epoch: files that are younger are other inputs.
    """

    jobs: Mapping[str, Job]
    pending: tuple[str, ...]
    seconds: Mapping[str, float]
    made: float = field(default_factory=time.time)


def plan(jobs: Sequence[Job], store: Store, past: Mapping[str, float]) -> Plan:
    """What has to run.

    Args:
        jobs: The study's jobs.
        store: Where records are.
        past: Seconds an earlier run took, by `Job.describe`.
    """
    made = time.time()
    keyed = {job_key(job): job for job in jobs}
    typical = sum(past.values()) / len(past) if past else UNKNOWN_SECONDS
    seconds = {key: past.get(job.describe(), typical) for key, job in keyed.items()}
    for key in store.damaged(list(keyed)):
        console(stderr=True).print(f"record {key} ({keyed[key].describe()}) is damaged: recomputing it")
        store.discard(key)
    pending = [key for key in keyed if not store.has(key)]
    return Plan(keyed, tuple(sorted(pending, key=lambda key: -seconds[key])), seconds, made)


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
        errors = results(work, store, workers, limits, backend)
        for finished, (key, error) in enumerate(errors, start=1):
            if error:
                failures[key] = error
            bar.update(
                task,
                advance=work.seconds[key],
                finished=finished,
                now=shorten(work.jobs[key].describe(), 36, placeholder=" …"),
            )
    lost = [key for key in work.pending if key not in failures and not store.has(key)]
    failures.update(dict.fromkeys(lost, f"it left no record in {store.root}"))
    if failures:
        raise StudyError(_failed(work, store, failures))


def results(
    work: Plan, store: Store, workers: int, limits: Limits, backend: str
) -> Iterator[tuple[str, str]]:
    """Yield (key, error) as jobs end, whatever happens to their processes; no error is an empty text.

    Jobs whose process or worker died are tried again, one at a time: the memory may not have been theirs.
    """
    waiting, deaths = list(work.pending), dict[str, int]()
    while waiting or deaths:
        batch, alone = (waiting, False) if waiting else (list(deaths)[:1], True)
        for key, outcome in _attempt(work, batch, store, 1 if alone else workers, limits, backend):
            waiting = [other for other in waiting if other != key]
            if outcome.died and deaths.get(key, 0) + alone < DEATHS_ALONE:
                deaths[key] = deaths.get(key, 0) + alone
            else:
                deaths.pop(key, None)
                yield key, outcome.error + f" ({1 + DEATHS_ALONE} attempts)" * outcome.died


def _attempt(
    work: Plan, keys: Sequence[str], store: Store, workers: int, limits: Limits, backend: str
) -> Iterator[tuple[str, Outcome]]:
    """Run jobs once and yield (key, outcome) as they end; those that a dead worker held up are left out."""
    if backend == "ray":
        yield from cluster.outcomes(work.jobs, keys, store.root, workers, limits, work.made)
        return
    run = os.getpid()
    # joblib would run a single worker's jobs in this process.
    executor = get_reusable_executor(
        max_workers=workers,
        reuse=False,
        env=SURROUNDINGS,
        initializer=start_worker,
        initargs=(run, limits.offline),
    )
    calls = [executor.submit(_call, work.jobs[key], key, store.root, limits, run, work.made) for key in keys]
    try:
        for future in as_completed(calls):
            yield future.result()
    except TerminatedWorkerError:
        suspects = [key for key in keys if store.was_running(key)]
        yield from ((key, DEAD_WORKER) for key in suspects or [key for key in keys if not store.has(key)][:1])
    except BaseException:
        executor.shutdown(wait=True, kill_workers=True)
        raise
    executor.shutdown(wait=True)


def _call(job: Job, key: str, root: Path, limits: Limits, run: int, made: float) -> tuple[str, Outcome]:
    return key, execute(job, key, root, limits, run, made)


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
    for key, error in list(failures.items())[:SHOWN]:
        lines.append(f"  {work.jobs[key].describe()}: {error}")
        if (store.folder(key) / "error.txt").is_file():
            lines.append(f"    traceback: {store.folder(key) / 'error.txt'}")
    if len(failures) > SHOWN:
        lines.append(f"  and {len(failures) - SHOWN} more")
    return "\n".join(lines)
