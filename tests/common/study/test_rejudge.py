"""Results judged anew from their values: nothing is measured, and what was measured stays as it was said."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd

from common.study import rejudge
from common.study.jobs import Job
from common.study.rejudge import rows_of
from common.study.stored import read_values


def test_the_rows_of_a_job_are_its_own_also_where_a_label_says_nothing():
    frame = pd.DataFrame(
        [("s", "a", np.nan, 0, "x", 1.0), ("s", "a", 0.5, 0, "x", 2.0), ("s", "b", 0.5, 1, "x", 3.0)],
        columns=["sweep", "arm", "k", "seed", "name", "value"],
    ).assign(step=0)
    for labels, seed, value in (({"arm": "a", "k": None}, 0, 1.0), ({"arm": "a", "k": 0.5}, 0, 2.0)):
        job = Job("s", labels, "papers.toy.experiment:draw", {}, (seed,))
        assert rows_of(frame, job, [])["value"].tolist() == [value]


def test_new_rules_are_applied_to_stored_values_and_values_of_other_jobs_are_refused(repository):
    assert repository("reproduce", "toy", "--update").returncode == 0
    folder = repository.results("laptop")
    measured = json.loads((folder / "manifest.json").read_text())
    values = (folder / "values.parquet").read_bytes()
    shutil.rmtree(repository.root / ".reprise" / "store")
    repository.edit(
        "paper.yaml",
        "test: {greater: 0.0}, smallest_effect: 0.5, control",
        "test: {greater: 9.0}, smallest_effect: 0.5, control",
    )
    done = repository("rejudge", "toy")
    assert done.returncode == 0, done.stdout
    assert "toy/laptop: 1 reproduced, 1 contradicted, 1 untested" in done.stdout
    again = json.loads((folder / "manifest.json").read_text())
    for name in ("commit", "machine", "environment", "jobs", "total"):
        assert again[name] == measured[name]
    assert again["claims"] != measured["claims"]
    assert (folder / "values.parquet").read_bytes() == values
    assert "contradicted" in (repository.root / "papers" / "toy" / "README.md").read_text()
    assert repository("verify", "toy").returncode == 0

    repository.edit("experiment.py", '"method", 2.0', '"other", 2.0')
    done = repository("rejudge", "toy")
    assert done.returncode == 1
    assert "its values are not those of today's jobs" in done.stdout + done.stderr


def test_a_study_that_grows_goes_on_from_its_committed_results(repository):
    assert repository("reproduce", "toy", "--update").returncode == 0
    folder = repository.results("laptop")
    measured = json.loads((folder / "manifest.json").read_text())
    values = read_values(folder / "values.parquet")
    shutil.rmtree(repository.root / ".reprise" / "store")
    repository.edit("paper.yaml", "104, 105]", "104, 105, 106]")

    assert "toy/laptop: 12 records restored, 2 jobs left to compute" in repository("restore", "toy").stdout
    assert "toy/laptop: 0 records restored, 2 jobs left to compute" in repository("restore", "toy").stdout
    assert repository("reproduce", "toy", "--update").returncode == 0
    again = json.loads((folder / "manifest.json").read_text())["jobs"]
    assert [job.get("restored") for job in again if "seed=106" not in job["job"]] == [measured["commit"]] * 12
    assert not any("restored" in job for job in again if "seed=106" in job["job"])
    grown = read_values(folder / "values.parquet")
    pd.testing.assert_frame_equal(grown[grown["seed"] < 106].reset_index(drop=True), values)

    (folder / "values.parquet").write_bytes(b"PAR1")
    assert "values.parquet" in repository("restore", "toy").stderr


def test_jobs_that_only_their_parts_tell_apart_share_their_rows_once(monkeypatch):
    frame = pd.DataFrame(
        [("s", "usual", "full", 0, "x", 1.0), ("s", "usual", "frozen", 0, "x", 2.0)],
        columns=["sweep", "dial", "arm", "seed", "name", "value"],
    ).assign(step=0)
    jobs = [
        Job("s", {"dial": "usual"}, "papers.toy.experiment:draw", {"arms": [arm]}, (0,))
        for arm in ("full", "frozen")
    ]
    written: list[pd.DataFrame] = []
    monkeypatch.setattr(rejudge, "_write", lambda store, job, values, cost: written.append(values))
    entry = {"job": jobs[0].describe(), "seconds": 1.0, "peak_memory_mib": 1.0}
    measured = {"jobs": [entry, entry], "parts": {"s": ["arm"]}}
    rejudge._adopt(SimpleNamespace(jobs=jobs, store=None), frame, measured)
    assert pd.concat(written)["value"].tolist() == [1.0, 2.0]
