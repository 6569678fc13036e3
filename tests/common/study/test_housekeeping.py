"""`clean`, `gc` and the store: nothing goes that a run needs or that exists once."""

import subprocess
import sys

import pytest
from filelock import FileLock

from common.study import housekeeping
from common.study.card import list_papers
from tests.waiting import finish

HOLD = """
import sys, time
from common.study.housekeeping import in_use
with in_use("toy"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    from .conftest import make_repository

    repository = make_repository(tmp_path_factory.mktemp("reproduced"))
    done = repository("reproduce", "toy", "--seeds", "2", "--profile", "smoke", REPRISE_STORE="kept/store")
    assert done.returncode == 0, done.stderr
    return repository


@pytest.fixture(scope="module")
def wanted(shared_repository):
    """Keys of the toy's jobs, which do not depend on where the repository lies."""
    lines = "from common.study.housekeeping import wanted; print(*sorted(wanted('toy')[0]))"
    return python(shared_repository, lines)


@pytest.fixture
def toy(repository, wanted):
    """A toy repository with a record for every job, which nobody has to compute."""
    for key in wanted:
        record(repository, key)
    return repository


def python(repository, lines, **environment):
    surroundings = repository.surroundings(environment)
    done = subprocess.run([sys.executable, "-c", lines], **surroundings, capture_output=True, check=True)
    return done.stdout.split()


def record(toy, key):
    folder = toy.root / ".reprise" / "store" / key
    folder.mkdir(parents=True)
    (folder / "complete.json").write_text("{}")
    return folder


def records(toy):
    return {path.parent.name for path in (toy.root / ".reprise" / "store").glob("*/complete.json")}


def folder(path, text="1"):
    path.mkdir(parents=True)
    (path / "content").write_text(text)
    return path


def test_clean_brings_back_the_only_copy_of_a_killed_swap(toy):
    base = toy.results("x").parent
    for name in (".laptop.old", ".laptop.new-part", ".gpu.old", "gpu", ".laptop.local.old", "laptop+12ab"):
        folder(base / name, text=name)
    done = toy("clean", "toy")
    assert done.returncode == 0, done.stderr
    left = {path.name: (path / "content").read_text() for path in base.iterdir() if path.is_dir()}
    assert left == {"laptop": ".laptop.old", "gpu": "gpu"}
    assert records(toy) == set()


def test_clean_leaves_what_somebody_holds_and_says_so(toy):
    base = toy.results("x").parent
    for name in (".laptop.new-live", "laptop.local"):
        folder(base / name)
    computing = min(records(toy))
    store = toy.root / ".reprise" / "store"
    with FileLock(base / ".laptop.lock"), FileLock(store / computing / "lock"):
        done = toy("clean", "toy")
    assert f"record {computing}: being computed, it stays" in done.stdout
    assert "results/toy/laptop: being written, it stays" in done.stdout
    assert records(toy) == {computing}
    assert [path.name for path in base.iterdir() if path.is_dir()] == [".laptop.new-live"]


def test_a_live_run_keeps_its_finished_records(toy):
    before = records(toy)
    surroundings = toy.surroundings({})
    run = subprocess.Popen(
        [sys.executable, "-c", HOLD], **surroundings, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert run.stdout.readline() == "held\n"
    cleaned, collected = toy("clean", "toy"), toy("gc")
    assert "toy: a run is going on; nothing was removed" in cleaned.stdout
    assert "a run of toy is going on; nothing was removed" in collected.stderr
    assert collected.returncode == 1
    assert records(toy) == before
    finish(run)
    assert toy("clean", "toy").returncode == 0
    assert records(toy) == set()


def test_gc_removes_what_nobody_asks_for_and_nothing_else(toy):
    before = records(toy)
    record(toy, "stale")
    assert "1 record(s) would be removed" in toy("gc", "--dry-run").stdout
    assert "removed 1 record(s)" in toy("gc").stdout
    assert records(toy) == before


def test_gc_removes_nothing_while_a_checkpoint_is_missing(toy):
    before = records(toy)
    toy.edit("experiment.py", '"shift": shift}, (seed,))', '"shift": shift}, (seed,), ("weights.bin",))')
    done = toy("gc")
    assert done.returncode == 1
    assert (
        "nothing was removed, since some wanted records are unknown: toy at smoke: input file" in done.stderr
    )
    assert "make pocket-models" in done.stderr
    assert "Traceback" not in done.stderr
    assert records(toy) == before
    done = toy("clean", "toy")
    assert "toy at laptop: input file" in done.stdout
    assert "these records stay" in done.stdout
    assert records(toy) == before


def test_records_of_a_gpu_are_wanted_without_one(shared_repository, wanted):
    lines = "from common.study.study import Study; from common.study.keys import job_key\n"
    lines += "print(*(job_key(job) for job in Study('toy', 'gpu').jobs))"
    assert set(python(shared_repository, lines, REPRISE_DEVICE="cuda")) < set(wanted)


@pytest.mark.parametrize("slug", list_papers())
def test_the_keys_of_every_profile_of_a_paper_are_known(slug):
    """Otherwise `gc` would never remove anything."""
    known, problems = housekeeping.wanted(slug)
    assert problems == []
    assert known


def test_a_relative_store_is_one_store(reproduced):
    """The command line, its workers and the notebook run in three directories."""
    stores = [
        path for path in reproduced.root.rglob("store") if path.is_dir() and "__pycache__" not in str(path)
    ]
    assert stores == [reproduced.root / "kept" / "store"]
    assert len(list(stores[0].glob("*/complete.json"))) == 4
