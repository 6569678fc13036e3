"""Kill, corrupt, block: a clear error, nothing lost, and the same numbers after the same command."""

import json
import os
import signal

import psutil
import pytest

from common.study.isolation import HOOK, NAMESPACE
from tests.common.study.conftest import copy_reproduced
from tests.waiting import finish, reach, vanish

pytestmark = pytest.mark.slow

ARTEFACTS = ("values.parquet", "claims.json", "figures/fig1.csv", "tables/table1.csv")


def artefacts(repository, folder="laptop.local"):
    return {name: (repository.results(folder) / name).read_bytes() for name in ARTEFACTS}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    made = copy_reproduced(tmp_path_factory.mktemp("uninterrupted") / "repository", tmp_path_factory)
    return artefacts(made, "laptop")


def test_killing_the_whole_run_leaves_no_orphans_and_the_next_run_ends_the_same(repository, uninterrupted):
    fault = repository.root / "fault"
    fault.write_text("sleep")
    process = repository.start("reproduce", "toy", TOY_FAULT=str(fault))
    store = repository.root / ".reprise" / "store"
    reach(process, lambda: len(list(store.glob("*/workspace/steps"))) >= 2)
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    vanish(children)
    fault.unlink()
    done = repository("reproduce", "toy")
    assert done.returncode == 0, done.stderr
    assert artefacts(repository) == uninterrupted


def test_a_worker_that_dies_once_costs_a_retry(repository, uninterrupted):
    fault = repository.root / "fault"
    fault.write_text("die once")
    done = repository("reproduce", "toy", TOY_FAULT=str(fault))
    assert done.returncode == 0, done.stderr
    assert artefacts(repository) == uninterrupted


def test_a_job_that_always_dies_or_raises_is_named_and_the_last_good_results_stay(reproduced):
    before = artefacts(reproduced, "laptop")
    fault = reproduced.root / "fault"
    for what, message in {
        "die": "its process ended with status 9 and left no record (3 attempts)",
        "raise": "ValueError: the toy broke",
        "exit": "SystemExit: 0",
    }.items():
        fault.write_text(what)
        reproduced("clean", "toy") if what == "die" else None
        done = reproduced("reproduce", "toy", "--set", "steps=9", "--seeds", "1", TOY_FAULT=str(fault))
        assert done.returncode == 1
        assert message in done.stderr
        assert "noise arm=method" in done.stderr
        assert "Traceback" not in done.stderr
    fault.unlink()
    assert reproduced("reproduce", "toy").returncode == 0
    assert artefacts(reproduced) == artefacts(reproduced, "laptop") == before


def test_one_worker_gives_the_same_results_and_the_manifest_says_how_jobs_were_kept_offline(
    repository, uninterrupted
):
    assert repository("reproduce", "toy", "--workers", "1").returncode == 0
    assert artefacts(repository) == uninterrupted
    manifest = json.loads((repository.results("laptop.local") / "manifest.json").read_text())
    assert manifest["network"] in (NAMESPACE, HOOK)


def test_a_job_over_its_time_limit_is_ended_with_the_reason(repository):
    fault = repository.root / "fault"
    fault.write_text("sleep")
    done = repository("reproduce", "toy", "--seeds", "1", TOY_FAULT=str(fault), TOY_LIMIT="2")
    assert done.returncode == 1
    assert "took longer than 2 s" in done.stderr


def test_the_laptop_profile_is_offline(repository):
    fault = repository.root / "fault"
    fault.write_text("connect")
    done = repository("reproduce", "toy", "--seeds", "1", TOY_FAULT=str(fault))
    assert done.returncode == 1
    assert "this profile is offline" in done.stderr


def test_a_damaged_record_is_reported_and_recomputed(reproduced, uninterrupted):
    victim = next((reproduced.root / ".reprise" / "store").glob("*/record.parquet"))
    victim.write_bytes(victim.read_bytes()[:-100])
    done = reproduced("reproduce", "toy")
    assert "is damaged: recomputing it" in done.stderr
    assert "11 jobs were there, 1 ran" in done.stdout
    assert artefacts(reproduced) == uninterrupted


def test_a_file_in_the_place_of_the_results_folder_is_an_error_before_any_work(repository):
    (repository.root / "results").write_text("in the way")
    done = repository("reproduce", "toy")
    assert done.returncode == 1
    assert "is a file where a folder has to be" in done.stderr
    assert not list((repository.root / ".reprise" / "store").glob("*"))
    assert (repository.root / "results").read_text() == "in the way"


def test_a_failed_notebook_never_replaces_the_last_good_results(reproduced):
    before = artefacts(reproduced, "laptop")
    notebook = json.loads((reproduced.root / "papers/toy/reproduce.ipynb").read_text())
    notebook["cells"][-1]["source"] = "1 / 0"
    (reproduced.root / "papers/toy/reproduce.ipynb").write_text(json.dumps(notebook))
    done = reproduced("reproduce", "toy", "--update")
    assert done.returncode == 1
    assert "reproduce.ipynb cell" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert artefacts(reproduced, "laptop") == before
    assert not [path for path in reproduced.results("x").parent.iterdir() if ".new-" in path.name]


def test_two_runs_at_once_both_end_well(repository, uninterrupted):
    runs = [repository.start("reproduce", "toy") for _ in range(2)]
    for process in runs:
        output, errors = finish(process)
        assert process.returncode == 0, errors
        assert "notebook:" in output
    assert artefacts(repository) == uninterrupted


def _fail_inside(target):
    from common.study.results import staged

    with staged(target):
        assert (target / "good").read_text() == "1"
        raise ZeroDivisionError


def test_a_swap_killed_between_its_renames_is_repaired(tmp_path):
    target, backup = tmp_path / "laptop", tmp_path / ".laptop.old"
    backup.mkdir()
    (backup / "good").write_text("1")
    (tmp_path / ".laptop.new-stale").mkdir()
    with pytest.raises(ZeroDivisionError):
        _fail_inside(target)
    assert (target / "good").read_text() == "1"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".laptop.lock", "laptop"]
