"""Committed results as records again: to judge them anew, or to go on from them.

To judge them by new rules, cards or figures, their values become records of a store of their own for as long
as it takes. What the manifest says of the measurement (commit, machine, keys and costs of jobs) stays, so
that results of older sources remain older.

To go on, with more seeds or a new arm, those whose keys are today's join the records of this machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from common.study import execution, results
from common.study.artefacts import Artefacts
from common.study.errors import StudyError
from common.study.jobs import Job
from common.study.keys import file_hash, job_key
from common.study.paths import results_root
from common.study.rows import misfits
from common.study.store import Cost, Store, write_json
from common.study.stored import Manifest, read_manifest, read_values
from common.study.study import Study

MEASURED = ("commit", "dirty", "lock", "environment", "machine", "sandbox", "network", "jobs", "total")


def rejudge(slug: str, profile: str) -> Artefacts:
    """Write the reports, pictures, notebook and verdicts of committed results again; returns what they show.

    Raises:
        StudyError: the results are damaged, or the values are not those of the jobs as they are today.
    """
    folder = results_root() / slug / profile
    measured, frame = read_manifest(folder), read_values(folder / "values.parquet")
    results.require_places(slug)
    with _scratch_store():
        study = Study(slug, profile)
        study.lacking = frozenset()  # what is committed had all
        wrong = misfits(frame, study.jobs, measured.get("parts"))
        if wrong:
            raise StudyError(
                f"{slug}/{profile}: its values are not those of today's jobs ({wrong[0]}); "
                f"run make reproduce PAPER={slug} PROFILE={profile} UPDATE=1"
            )
        _adopt(study, frame, measured)
        made = Artefacts(study)
        with results.staged(folder) as target:
            results.write(study, made, target, lambda path: execution.execute(study, path))
            fresh = read_manifest(target)
            content = dict(fresh) | {name: value for name, value in measured.items() if name in MEASURED}
            rows = {job["job"]: job.get("rows") for job in fresh["jobs"]}
            content["jobs"] = [{**job, "rows": rows[job["job"]]} for job in measured["jobs"]]
            write_json(target / "manifest.json", content)
    results.update_readmes(study, folder)
    return made


def restore(slug: str, profile: str) -> tuple[int, int]:
    """Put the committed values of every job whose key is the same today into the store, where it has none.

    The key covers code, configuration, inputs, versions and kind of processor, so that they are what this
    machine would compute. Jobs that only their parts tell apart are left to be computed.

    Returns:
        How many records were restored, and how many jobs of the study are still to compute.

    Raises:
        StudyError: the results are damaged.
    """
    folder = results_root() / slug / profile
    measured, frame = read_manifest(folder), read_values(folder / "values.parquet")
    if file_hash(folder / "values.parquet") != measured["files"]["values.parquet"]:
        raise StudyError(f"{slug}/{profile}: values.parquet is not the manifest's; git checkout {folder}")
    study, entries = Study(slug, profile), {job["key"]: job for job in measured["jobs"]}
    facts: dict[str, Any] = {**measured}
    keyed = {job_key(job): job for job in study.every_job}
    before = [key for key in keyed if not study.store.has(key)]
    for key in entries.keys() & before:
        job, entry = keyed[key], entries[key]
        rows = rows_of(frame, job, measured.get("parts", {}).get(job.sweep, []))
        if len(rows) == entry.get("rows"):
            levels, commit = (facts["network"], facts["sandbox"]), entry.get("restored", facts["commit"])
            cost = Cost(entry["seconds"] or 0.0, entry["peak_memory_mib"] or 0.0, *levels, restored=commit)
            _write(study.store, job, rows, cost)
    left = sum(not study.store.has(key) for key in keyed)
    return len(before) - left, left


@contextmanager
def _scratch_store() -> Iterator[None]:
    """A store that this process and the notebook's kernel share, and that is gone afterwards."""
    before = os.environ.get("REPRISE_STORE")
    with TemporaryDirectory() as scratch:
        os.environ["REPRISE_STORE"] = str(Path(scratch) / "store")
        try:
            yield
        finally:
            os.environ.pop("REPRISE_STORE")
            if before is not None:
                os.environ["REPRISE_STORE"] = before


def _adopt(study: Study, frame: pd.DataFrame, measured: Manifest) -> None:
    """Put the rows of each job into the store as the record that they came from."""
    entries = {job["job"]: job for job in measured["jobs"]}
    adopted = set()
    for job in study.jobs:
        entry = entries[job.describe()]
        cost = Cost(entry["seconds"] or 0.0, entry["peak_memory_mib"] or 0.0)
        rows = rows_of(frame, job, measured.get("parts", {}).get(job.sweep, []))
        own = (job.sweep, *job.labels.items(), job.seeds)
        if own in adopted:  # only their parts tell such jobs apart: the first has the rows of all
            rows = rows[:0]
        adopted.add(own)
        _write(study.store, job, rows, cost)


def rows_of(frame: pd.DataFrame, job: Job, parts: list[str]) -> pd.DataFrame:
    """The record of a job among the values of a run; `parts` are the columns that it brought itself."""
    own = frame["sweep"] == job.sweep
    for name, value in job.labels.items():
        own &= frame[name].isna() if value is None else frame[name] == value
    rows = frame[own.to_numpy(dtype=bool, na_value=False) & frame["seed"].isin(job.seeds).to_numpy()]
    return rows[["seed", "name", "step", "value", *parts]].reset_index(drop=True)


def _write(store: Store, job: Job, values: pd.DataFrame, cost: Cost) -> None:
    text = {name: str for name in values.columns if isinstance(values[name].dtype, pd.CategoricalDtype)}
    store.write_frame(job_key(job), job, values.astype(text), cost)
