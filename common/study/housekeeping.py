"""What leaves the disk: what can be made again, never a live run's files and never the only copy.

A run holds a shared lock on its paper from plan to results; who removes something needs it alone.
"""

from __future__ import annotations

import fcntl
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from common.study.card import list_papers
from common.study.errors import StudyError
from common.study.jobs import Job
from common.study.keys import job_key
from common.study.paths import EXAMPLE, is_committed, results_root, store_root
from common.study.study import Study

DEVICES = ("cpu", "cuda")
_SWAPPED = re.compile(r"\.(?P<target>.+)\.(old|new-[^.]*)")


@contextmanager
def in_use(slug: str) -> Iterator[None]:
    """Keep the records and results of a paper from being removed while a run needs them."""
    with _lock(slug, fcntl.LOCK_SH):
        yield


@contextmanager
def _lock(slug: str, operation: int) -> Iterator[bool]:
    """A paper's lock, held by any number of runs or by one who removes; False if it cannot be had at once."""
    place = store_root().parent / "runs" / f"{slug}.lock"
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("a", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, operation)
            is_mine = True
        except BlockingIOError:
            is_mine = False
        yield is_mine


def clean(slug: str) -> list[str]:
    """Remove the records and untracked results of a paper; says what went, and what stayed and why."""
    with _lock(slug, fcntl.LOCK_EX | fcntl.LOCK_NB) as is_mine:
        if not is_mine:
            return [f"{slug}: a run is going on; nothing was removed, end it or wait for it"]
        keys, problems = wanted(slug)
        lines = [f"{problem}: these records stay" for problem in problems]
        return [*lines, *_remove_records(store_root() / key for key in keys), *_clean_results(slug)]


def collect(dry_run: bool) -> list[str]:
    """Remove records that no profile of any paper asks for; says how many.

    Raises:
        StudyError: it cannot be known which records are asked for: a run goes on, or an input is missing.
    """
    papers = list_papers()
    with ExitStack() as locks:
        exclusive = fcntl.LOCK_EX | fcntl.LOCK_NB
        busy = [slug for slug in papers if not locks.enter_context(_lock(slug, exclusive))]
        if busy:
            raise StudyError(f"a run of {', '.join(busy)} is going on; nothing was removed, wait for it")
        asked = [wanted(slug) for slug in papers]
        problems = [problem for _, some in asked for problem in some]
        if problems:
            raise StudyError(
                "nothing was removed, since some wanted records are unknown: " + "; ".join(problems)
            )
        keys = set[str]().union(*(some for some, _ in asked))
        folders = [path for path in store_root().glob("*") if path.is_dir() and path.name not in keys]
        return [f"{len(folders)} record(s) would be removed"] if dry_run else _remove_records(folders)


def wanted(slug: str) -> tuple[set[str], list[str]]:
    """Keys of the jobs of every profile of a paper, made here or on a GPU; and which are unknown, and why."""
    keys: set[str] = set()
    problems = []
    for profile in Study(slug, "smoke").experiment.PROFILES:
        jobs: list[Job] = []
        with suppress(StudyError):  # a profile that the study refuses has no records
            jobs = Study(slug, profile).every_job
        try:
            keys.update(job_key(job, device=device) for job in jobs for device in DEVICES)
        except StudyError as error:
            problems.append(f"{slug} at {profile}: {error.format_message()}")
    return keys, problems


def _remove_records(folders: Iterable[Path]) -> list[str]:
    existing = [folder for folder in folders if folder.is_dir()]
    busy = [folder for folder in existing if not _alone(folder / "lock", partial(_remove, folder))]
    lines = [f"record {folder.name}: being computed, it stays" for folder in busy]
    return [*lines, f"removed {len(existing) - len(busy)} record(s)"]


def _clean_results(slug: str) -> list[str]:
    """Remove untracked results; what a killed swap left under another name comes back or goes."""
    base = results_root() / slug
    names = [path.name for path in base.glob("*") if path.is_dir() and path.name != EXAMPLE]
    swapped = {match["target"] for name in names if (match := _SWAPPED.fullmatch(name))}
    local = {name for name in names if not name.startswith(".") and not is_committed(name)}
    lines = []
    for target in sorted(swapped | local):
        if not _alone(base / f".{target}.lock", partial(_settle, base / target)):
            lines.append(f"results/{slug}/{target}: being written, it stays")
    return [*lines, f"removed {len(swapped | local) - len(lines)} unfinished or untracked results folder(s)"]


def _settle(target: Path) -> None:
    from common.study.results import recover  # loads the plotting library

    recover(target, target.parent / f".{target.name}.old")
    if not is_committed(target.name):
        _remove(target)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _alone(lock: Path, action: Callable[[], None]) -> bool:
    """Act under a lock, unless somebody holds it: then False."""
    try:
        with FileLock(lock, timeout=0):
            action()
    except Timeout:
        return False
    return True
