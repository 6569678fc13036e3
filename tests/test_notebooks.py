"""Every paper at `smoke` through the command line, then nbval on every notebook."""

import json
import os
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import nbformat
import pytest

from common.study.card import TEMPLATE, list_papers, load_card
from common.study.paths import ROOT, papers_root
from tests.common.study import commands

pytestmark = pytest.mark.slow


def validate(notebook: Path, **environment: str) -> None:
    """Nbval in a pytest inside this process, on a kernel of its own with some environment.

    Raises:
        AssertionError: a cell fails or a checked output differs.
    """
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as printed:
        for name, value in {"PYTHONPATH": str(ROOT), **environment}.items():
            patch.setenv(name, value)
        code = pytest.main(["--nbval-lax", "-q", "-p", "no:cacheprovider", str(notebook)])
    assert code == pytest.ExitCode.OK, printed.getvalue()
    assert " passed" in printed.getvalue()


@pytest.fixture(scope="module", params=[*list_papers(), TEMPLATE])
def smoke(request, tmp_path_factory):
    """A paper reproduced at `smoke` into places of its own."""
    root = tmp_path_factory.mktemp(request.param)
    places = {"REPRISE_STORE": str(root / "store"), "REPRISE_RESULTS": str(root / "results")}
    # The tests' own workers have the other cores: a second one here would only import everything again.
    command = ("reproduce", request.param, "--profile", "smoke", "--workers", "1")
    done = commands.run(command, ROOT, {**os.environ, "PYTHONPATH": str(ROOT), **places})
    assert done.returncode == 0, done.stderr
    return request.param, root / "results" / request.param / "smoke.local", places


def test_smoke_makes_every_artefact_of_the_card(smoke):
    slug, folder, _ = smoke
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
    _, folder, places = smoke
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
