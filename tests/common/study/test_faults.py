"""Kill, corrupt, block: a clear error, nothing lost, and the same numbers after the same command."""

import json
import os
import signal

import psutil
import pytest

from common.study.isolation import HOOK, NAMESPACE
from tests.waiting import finish, reach, vanish

ARTEFACTS = ("values.parquet", "claims.json", "figures/fig1.csv", "tables/table1.csv")


def artefacts(repository, folder="laptop.local"):
    return {name: (repository.results(folder) / name).read_bytes() for name in ARTEFACTS}


@pytest.fixture(scope="module")
def uninterrupted(shared_repository):
    assert shared_repository("reproduce", "toy").returncode == 0
    return artefacts(shared_repository)


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


def test_a_job_that_always_dies_or_raises_is_named_and_the_last_good_results_stay(repository):
    assert repository("reproduce", "toy").returncode == 0
    before = artefacts(repository)
    fault = repository.root / "fault"
    for what, message in {
        "die": "its process ended with status 9 and left no record (3 attempts)",
        "raise": "ValueError: the toy broke",
        "exit": "SystemExit: 0",
    }.items():
        fault.write_text(what)
        repository("clean", "toy") if what == "die" else None
        done = repository("reproduce", "toy", "--set", "steps=9", "--seeds", "1", TOY_FAULT=str(fault))
        assert done.returncode == 1
        assert message in done.stderr
        assert "noise arm=method" in done.stderr
        assert "Traceback" not in done.stderr
    fault.unlink()
    assert repository("reproduce", "toy").returncode == 0
    assert artefacts(repository) == before


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


def test_a_damaged_record_is_reported_and_recomputed(repository, uninterrupted):
    assert repository("reproduce", "toy").returncode == 0
    victim = next((repository.root / ".reprise" / "store").glob("*/record.parquet"))
    victim.write_bytes(victim.read_bytes()[:-100])
    done = repository("reproduce", "toy")
    assert "is damaged: recomputing it" in done.stderr
    assert "11 jobs were there, 1 ran" in done.stdout
    assert artefacts(repository) == uninterrupted


def test_a_file_in_the_place_of_the_results_folder_is_an_error_before_any_work(repository):
    (repository.root / "results").write_text("in the way")
    done = repository("reproduce", "toy")
    assert done.returncode == 1
    assert "is a file where a folder has to be" in done.stderr
    assert not list((repository.root / ".reprise" / "store").glob("*"))
    assert (repository.root / "results").read_text() == "in the way"


def test_a_failed_notebook_never_replaces_the_last_good_results(repository):
    assert repository("reproduce", "toy").returncode == 0
    before = artefacts(repository)
    notebook = json.loads((repository.root / "papers/toy/reproduce.ipynb").read_text())
    notebook["cells"][-1]["source"] = "1 / 0"
    (repository.root / "papers/toy/reproduce.ipynb").write_text(json.dumps(notebook))
    done = repository("reproduce", "toy")
    assert done.returncode == 1
    assert "reproduce.ipynb cell" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert artefacts(repository) == before
    assert not [path for path in repository.results("x").parent.iterdir() if ".new-" in path.name]


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


VERIFY_FAULTS = {
    "claims.json": ('"verdict": "reproduced"', '"verdict": "contradicted"', "claim up: stored verdict"),
    "tables/table1.csv": ("method,score,2", "method,score,3", "column 'mean' differs"),
    "figures/fig1.csv": ("method,0,", "method,0,9", "column 'mean' differs"),
    "tables/table1.md": ("2.5", "2.7", "text differs"),
}


@pytest.mark.parametrize("name", VERIFY_FAULTS)
def test_verify_fails_on_a_wrong_number(verified, name):
    repository, folder = verified
    old, new, message = VERIFY_FAULTS[name]
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    done = repository("verify", "toy")
    path.write_text(text)
    assert done.returncode == 1
    assert message in done.stdout


def test_verify_fails_on_a_verdict_typed_into_the_readme(verified):
    repository, _ = verified
    path = repository.root / "papers" / "toy" / "README.md"
    text = path.read_text()
    path.write_text(text.replace("| untested |", "| reproduced |"))
    done = repository("verify", "toy")
    path.write_text(text)
    assert done.returncode == 1
    assert "README.md: its verdict table is not the one of claims.json" in done.stdout


def test_verify_fails_on_a_missing_or_stale_artefact_and_a_changed_test_block(verified):
    repository, folder = verified
    picture = (folder / "figures" / "fig1.png").read_bytes()
    (folder / "figures" / "fig1.png").unlink()
    assert "figures/fig1.png: missing" in repository("verify", "toy").stdout
    (folder / "figures" / "fig1.png").write_bytes(picture + b"stale")
    assert "figures/fig1.png: differs" in repository("verify", "toy").stdout
    (folder / "figures" / "fig1.png").write_bytes(picture)
    repository.edit(
        "paper.yaml",
        "test: {greater: 0.0}, smallest_effect: 0.5, control",
        "test: {greater: -9.0}, smallest_effect: 0.5, control",
    )
    done = repository("verify", "toy")
    assert done.returncode == 1
    assert "claims.up: its test block changed after the run" in done.stdout


@pytest.fixture(scope="module")
def verified(tmp_path_factory):
    from .conftest import make_repository

    repository = make_repository(tmp_path_factory.mktemp("verified"))
    assert repository("reproduce", "toy", "--update").returncode == 0
    return repository, repository.results("laptop")
