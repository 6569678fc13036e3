"""The Ray backend: one line without Ray; with it, two workers of a local cluster and what survives."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from common.study import cluster
from common.study.errors import StudyError
from common.study.jobs import Job
from common.study.runner import Plan, run
from common.study.store import Store
from common.study.worker import Limits

HERE = Path(__file__).parent


def plan_of(*names):
    jobs = {
        f"{index:08x}-{name}": Job("ray", {"job": name}, f"hostile:{name}", {}, (index,))
        for index, name in enumerate(names)
    }
    return Plan(jobs, tuple(jobs), dict.fromkeys(jobs, 1.0))


def test_without_ray_one_line_names_the_fix(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(StudyError) as caught:
        run(plan_of("well"), Store(tmp_path), 2, Limits(), "ray")
    assert caught.value.format_message() == "BACKEND=ray needs the extra: pip install 'reprise[cluster]'"


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_the_command_line_without_ray_prints_that_line_and_no_traceback(repository):
    done = repository("reproduce", "toy", "--backend", "ray")
    assert done.returncode == 1
    assert "error: BACKEND=ray needs the extra: pip install 'reprise[cluster]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not repository.results("laptop.local").exists()


def test_a_local_cluster_runs_every_job_once_and_repeats_what_died(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="needs the extra 'cluster'")
    for wait, value in {"raylet_start_wait_time_s": "300", "agent_register_timeout_ms": "300000"}.items():
        monkeypatch.setenv(f"RAY_{wait}", value)  # a busy machine starts a cluster slowly
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    work, store = (
        plan_of("well", "ends_its_worker_once", "counts", "vanishes", "exits", "counts"),
        Store(tmp_path),
    )
    outcomes = dict(cluster.outcomes(work.jobs, work.pending, store.root, 2, Limits(seconds=600)))
    errors = {work.jobs[key].labels["job"]: outcome.error for key, outcome in outcomes.items()}
    assert errors == {
        "well": "",
        "ends_its_worker_once": "",
        "counts": "",
        "vanishes": "its process ended with status 0 and left no record (4 attempts)",
        "exits": "SystemExit: 0",
    }
    for key, job in work.jobs.items():
        if errors[job.labels["job"]] == "":
            assert store.read(key)["value"].tolist() == [float(job.seeds[0])]
        if job.labels["job"] == "counts":
            assert (store.folder(key) / "count").read_text() == "x"
    assert np.isfinite([store.cost(key).peak_memory for key in work.jobs if store.has(key)]).all()
