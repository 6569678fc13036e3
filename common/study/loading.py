"""What a worker runs is what the key of its job says, or nothing of it is kept.

A key is made when a run is planned; a worker imports its modules later, and the files may change in between,
even twice. So a worker keeps the text of every repository module at the moment it compiles it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from pathlib import Path
from types import CodeType

from common.study.errors import StudyError
from common.study.jobs import Job, Record
from common.study.keys import covered, job_key
from common.study.paths import ROOT
from common.study.sources import PACKAGES, Module, Sources, is_outside, parse_text

_loaded: dict[str, bytes] = {}


class SourceChangedError(StudyError):
    """The code or the inputs of a job are not those that its key was made from."""


@contextmanager
def entry_point(
    job: Job, key: str, workspace: Path, before: frozenset[str], made: float
) -> Iterator[Callable[[Job, Path], Record]]:
    """The function of a job, checked against the job's key before its first and after its last line.

    What it left in `workspace` goes if the second check fails: a later run would resume from it.

    Args:
        job: The job.
        key: Its key.
        workspace: Its scratch folder.
        before: Modules that had been loaded for other jobs (`loaded`).
        made: When the key was made, in seconds since the epoch.

    Raises:
        SourceChangedError: a file changed since the key was made, or the key does not cover a module that the
            job loaded.
    """
    record_imports()
    function = job.function()
    _check(job, key, before, made)
    try:
        yield function
    finally:
        try:
            _check(job, key, before, made)
        except (StudyError, OSError):
            shutil.rmtree(workspace, ignore_errors=True)
            raise


def loaded() -> frozenset[str]:
    """Repository modules whose text this process has kept."""
    return frozenset(_loaded)


def _check(job: Job, key: str, before: frozenset[str], made: float) -> None:
    now = Sources()
    modules = covered(job, now)
    replaced = [module.path for name, module in modules.items() if _is_other(name, module)]
    if replaced or job_key(job, now) != key:
        paths = [*(module.path for module in modules.values()), *map(ROOT.joinpath, job.inputs)]
        touched = replaced or _touched(paths, made)
        names = ", ".join(os.path.relpath(path, ROOT) for path in touched)
        raise SourceChangedError(
            f"{names or 'the environment, or a file that is gone,'} changed during the run: nothing of this "
            "job was kept, run the same command again"
        )
    beyond = sorted(name for name in _loaded.keys() - modules.keys() - before if not is_outside(name))
    if beyond:
        raise SourceChangedError(
            f"{job.entry} loaded {', '.join(beyond)}, which its key does not cover: nothing was kept; import "
            "it by a literal name, or name it in the job's `modules`"
        )


def _is_other(name: str, module: Module) -> bool:
    """True if this process compiled another text than the one on disk; comments do not count."""
    source = _loaded.get(name)
    return source is not None and parse_text(source, module.is_package).syntax != module.text.syntax


def _touched(paths: Iterable[Path], made: float) -> list[Path]:
    """Files that were written since the key was made."""
    return [path for path in paths if path.stat().st_ctime > made]


class _Loader(SourceFileLoader):
    """Loads the text itself, never ``__pycache__``, which an edit within a second can leave behind."""

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.path)
        _loaded[fullname] = source
        return self.source_to_code(source, self.path)


def _repository_finder(folder: str) -> FileFinder:
    place = Path(folder).resolve()
    if not any(place.is_relative_to(ROOT / package) for package in PACKAGES):
        raise ImportError(folder)
    return FileFinder(folder, (_Loader, SOURCE_SUFFIXES))


def record_imports() -> None:
    """Keep the text of repository modules that this process loads from now on."""
    if _repository_finder not in sys.path_hooks:
        sys.path_hooks.insert(0, _repository_finder)
        sys.path_importer_cache.clear()
