"""Every paper at `smoke`: its jobs, the command on their records, then nbval on every notebook."""

import json
import os
import shutil
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from io import StringIO
from pathlib import Path

import nbformat
import pytest

from common.study.card import TEMPLATE, list_papers, load_card
from common.study.keys import job_key
from common.study.paths import ROOT, papers_root
from common.study.study import Study
from tests import forks
from tests.observation import observe

pytestmark = pytest.mark.slow


def validate(notebook: Path, **environment: str) -> None:
    """Nbval in a pytest inside this process, on a kernel of its own with some environment.

    Raises:
        AssertionError: a cell fails or a checked output differs.
    """
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as printed:
        for name, value in {"PYTHONPATH": str(ROOT), **environment}.items():
            patch.setenv(name, value)
        patch.setattr("jupyter_client.provisioning.local_provisioner.launch_kernel", forks.launch_kernel)
        code = pytest.main(["--nbval-lax", "-q", "-p", "no:cacheprovider", str(notebook)])
    assert code == pytest.ExitCode.OK, printed.getvalue()
    assert " passed" in printed.getvalue()


@pytest.fixture(scope="session")
def copy(tmp_path_factory):
    """The code in a place where no other test reads."""
    root = tmp_path_factory.mktemp("copy")
    for name in ("common", "papers"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture(scope="module", params=[*list_papers(), TEMPLATE])
def smoke(request, tmp_path_factory, copy):
    """A paper reproduced at `smoke` into places of its own, and what its jobs opened."""
    root = tmp_path_factory.mktemp(request.param)
    places = {"REPRISE_STORE": str(root / "store"), "REPRISE_RESULTS": str(root / "results")}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **places}
    jobs = {job_key(job): job for job in Study(request.param, "smoke").jobs}
    seen = {}
    if sys.platform == "linux":  # elsewhere the command runs the jobs
        fields = {key: asdict(job) for key, job in jobs.items()}
        seen = observe(fields, copy, root / "store", environment)
    # The tests' own workers have the other cores: a second one here would only import everything again.
    command = ("reproduce", request.param, "--profile", "smoke", "--workers", "1")
    done = forks.run(command, ROOT, environment)
    assert done.returncode == 0, done.stderr
    folder = root / "results" / request.param / "smoke.local"
    return request.param, folder, places, [(jobs[key], found) for key, found in seen.items()]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's report of opened files is Linux's")
def test_a_job_loads_and_reads_nothing_that_its_key_does_not_cover(smoke):
    slug, _, _, observed = smoke
    assert {job.describe() for job, _ in observed} == {job.describe() for job in Study(slug, "smoke").jobs}
    for job, seen in observed:
        assert not seen["error"], job.describe()
        assert set(seen["opened"]) <= set(job.inputs), job.describe()
    # Checkpoints, which no Python code opens, are seen.
    shown = [{Path(file).suffix for file in seen["opened"]} for job, seen in observed if job.inputs]
    assert all(".safetensors" in suffixes for suffixes in shown)


def test_smoke_makes_every_artefact_of_the_card(smoke):
    slug, folder, _, _ = smoke
    card = load_card(slug)
    made = {path.stem for path in folder.glob("figures/*.png")} | {
        path.stem for path in folder.glob("tables/*.md")
    }
    wanted = {name: entry for name, entry in (card.tables | card.figures).items() if entry.profile == "smoke"}
    assert made == {name for name, entry in wanted.items() if not entry.absent}
    claims = json.loads((folder / "claims.json").read_text())["claims"]
    assert list(claims) == list(dict.fromkeys([*claims, *card.claims]))
    assert all(
        claims[name]["verdict"] != "untested"
        for name, claim in card.claims.items()
        if claim.profile == "smoke"
    )


def test_the_executed_notebook_repeats_itself_on_the_warm_store(smoke):
    _, folder, places, _ = smoke
    validate(folder / "reproduce.ipynb", **places)


@pytest.mark.parametrize("slug", [path.parent.name for path in sorted(papers_root().glob("*/method.ipynb"))])
def test_the_method_notebooks_stored_outputs_are_what_the_code_prints(slug):
    validate(papers_root() / slug / "method.ipynb")


def test_the_ledger_runs_on_the_committed_results():
    validate(ROOT / "notebooks" / "ledger.ipynb")


@pytest.mark.parametrize(
    "path", sorted(papers_root().glob("*/*.ipynb")), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_notebooks_are_short_and_reproduce_is_stored_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(cells) <= 25
    assert max(len(cell.source.splitlines()) for cell in cells) <= 12
    if path.name == "reproduce.ipynb":
        assert not any(cell.outputs for cell in cells)
