"""The key of a job covers what the job loads and reads: every entry point of every paper, once, at smoke."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict

import pytest

from common.study.card import list_papers
from common.study.paths import ROOT
from common.study.study import Study

JOBS = {
    " ".join((job.entry, *job.modules)): job
    for slug in list_papers()
    for job in reversed(Study(slug, "smoke").jobs)
}
SWEEP = '''
"""Run the jobs of a file, each in a process forked from this one, which has the libraries but no paper."""
import ctypes, json, os, struct, sys, tempfile, traceback
from pathlib import Path

import accelerate, datasets, pandas, scipy.optimize, scipy.stats, torch, transformers, trl
from trl import GRPOTrainer

from common.study import keys, sources
from common.study.jobs import Job

OPENED, IS_FOLDER = 0x20, 0x40000000  # of inotify, which also sees what libraries in C and Rust open
libc = ctypes.CDLL(None, use_errno=True)


def watch():
    handle = libc.inotify_init1(os.O_NONBLOCK)
    folders = [place for top in sources.PACKAGES for place, *_ in os.walk(sources.ROOT / top)]
    return handle, {libc.inotify_add_watch(handle, place.encode(), OPENED): place for place in folders}


def opened(handle, folders):
    while True:
        try:
            events = os.read(handle, 1 << 20)
        except BlockingIOError:
            return
        while events:
            folder, mask, _, size = struct.unpack_from("iIII", events)
            if not mask & IS_FOLDER:
                name = events[16 : 16 + size].rstrip(b"\\0").decode()
                yield os.path.relpath(os.path.join(folders[folder], name), sources.ROOT)
            events = events[16 + size :]


def measure(job):
    """Models that jobs share are made by each again."""
    os.environ["REPRISE_STORE"] = os.path.join(tempfile.mkdtemp(), "store")
    covered = keys.covered(job, sources.Sources())
    watched = watch()
    job.function()(job, Path(tempfile.mkdtemp()))
    loaded = {name for name, module in sys.modules.items()
              if name.startswith(("common.", "papers.")) and getattr(module, "__file__", None)}
    numeric = {name for name in loaded if not sources.is_outside(name)}
    files = {name for name in opened(*watched) if not name.endswith(".py") and ".pyc" not in name}
    return {"uncovered": sorted(numeric - covered.keys()), "covered": sorted(numeric & covered.keys()),
            "undeclared": sorted(files - {*job.inputs}), "declared": sorted(files & {*job.inputs})}


def attempt(job):
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        return measure(job)
    except BaseException:
        return {"failed": traceback.format_exc()}


torch.set_num_threads(1)
for name, fields in json.loads(Path(sys.argv[1]).read_text()).items():
    job = Job(**fields | {part: tuple(fields[part]) for part in ("seeds", "inputs", "modules", "assets")})
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, json.dumps(attempt(job)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as report:
        print(json.dumps([name, json.load(report)]), flush=True)
    os.wait()
'''


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    """What each job loaded and read, in a copy of the repository that no other test touches."""
    if sys.platform != "linux":
        pytest.skip("the kernel's report of opened files is Linux's")
    root = tmp_path_factory.mktemp("copy")
    for name in ("common", "papers"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "jobs.json").write_text(json.dumps({name: asdict(job) for name, job in JOBS.items()}))
    settings = {
        "PYTHONPATH": str(root),
        "OMP_NUM_THREADS": "1",
        "REPRISE_STORE": str(root / "kept" / "store"),
    }
    done = subprocess.run(
        [sys.executable, "-c", SWEEP, "jobs.json"],
        cwd=root,
        env={**os.environ, **settings, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return dict(map(json.loads, done.stdout.splitlines()))


@pytest.mark.slow
@pytest.mark.parametrize("name", JOBS)
def test_a_job_loads_and_reads_nothing_that_its_key_does_not_cover(observed, name):
    seen = observed[name]
    assert "failed" not in seen, seen["failed"]
    assert JOBS[name].entry.partition(":")[0] in seen["covered"]
    assert seen["uncovered"] == []
    assert seen["undeclared"] == []


@pytest.mark.slow
def test_the_observation_sees_checkpoints_that_no_python_code_opens(observed):
    assert any(file.endswith(".safetensors") for seen in observed.values() for file in seen["declared"])
