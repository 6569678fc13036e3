"""Committed results that somebody edited, lost or damaged: `verify` names file and field, and runs go on."""

import shutil
import subprocess

import pytest
from click.testing import CliRunner

import papers
from common.study import cli, keys, ledger, recomputed, status, verify
from common.study.comparison import compare_runs, same_drawing
from common.study.errors import StudyError
from common.study.replay import replay
from common.study.results import destination, write_values
from common.study.stored import read_values
from common.study.study import Study, past_seconds

from .conftest import copy_reproduced
from .forger import Results
from .tamperings import CAUGHT, SIGNATURE

NOT_PROVED = "consistent is not measured"


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """The toy repository with committed results; its paper can be imported here."""
    repository = copy_reproduced(tmp_path_factory.mktemp("committed") / "repository", tmp_path_factory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(papers, "__path__", [str(repository.root / "papers"), *papers.__path__])
        yield repository


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    """Recomputing depends on card, values and notebook only; do it once for each."""
    made = {}

    def recompute(artefacts, folder):
        paper = artefacts.study.notebook.parent
        parts = (paper / "paper.yaml", artefacts.study.notebook, artefacts.study.committed / "values.parquet")
        key = tuple(path.read_bytes() for path in parts)
        if key not in made:
            made[key] = recomputed.recompute(artefacts, tmp_path_factory.mktemp("recomputed"))
        return made[key]

    return recompute


@pytest.fixture
def results(committed, memory, tmp_path, monkeypatch):
    for name in ("papers", "results"):
        shutil.copytree(committed.root / name, tmp_path / name)
    shutil.copy(committed.root / "README.md", tmp_path)
    (tmp_path / "common").symlink_to(committed.root / "common")
    (tmp_path / "requirements.lock").write_text("")
    for module in ("paths", "study", "keys", "sources", "provenance"):
        monkeypatch.setattr(f"common.study.{module}.ROOT", tmp_path)
    keys.current.cache_clear()
    for name in ("REPRISE_RESULTS", "REPRISE_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(verify, "recompute", memory)
    yield Results(tmp_path)
    keys.current.cache_clear()


def test_untouched_results_are_consistent_and_nothing_more_is_claimed(results):
    code, output = results.verify()
    assert code == 0, output
    assert "toy/laptop: consistent" in output
    assert "note:" not in output
    assert NOT_PROVED in output
    assert "verified" not in output


@pytest.mark.parametrize("name", CAUGHT)
def test_a_tampering_is_named_with_file_and_field(results, name):
    tamper, line = CAUGHT[name]
    tamper(results)
    code, output = results.verify()
    assert code == 1, output
    assert line in output


@pytest.mark.parametrize("name", SIGNATURE)
def test_what_only_a_signature_proves_is_said_not_passed(results, name):
    SIGNATURE[name](results)
    code, output = results.verify()
    assert code == 0, output
    assert NOT_PROVED in output
    if "older" in name:
        assert "note: " in output
        assert "not compared" in output


def test_one_profile_and_an_untracked_folder_can_be_named(results):
    shutil.copytree(results.folder, results.folder.with_name("laptop.local"))
    results.folder.with_name("laptop.local").joinpath("claims.json").unlink()
    assert results.verify("toy", "--profile", "laptop")[0] == 0
    code, output = results.verify("toy", "--profile", "laptop.local")
    assert code == 1
    assert "toy/laptop.local: 1 problem(s)\n  claims.json: missing\n" in output


def test_a_field_that_the_configuration_got_later_is_a_note(results):
    def change(content):
        del content["configuration"]["model"]
        content["configuration"]["rate"] = 0.1

    results.json("manifest.json", change)
    code, output = results.verify()
    assert code == 0
    assert "note: manifest.json: configuration.model is None; expected 'pocket': the code got or" in output
    assert "note: manifest.json: configuration.rate is 0.1; expected None: the code got or lost" in output


def git(root, *arguments):
    identity = ("-c", "user.name=toy", "-c", "user.email=toy@example.org")
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


def without_verdicts(results):
    text = (results.paper / "README.md").read_text()
    start, end = text.index("Verdicts at"), text.index("<!-- /verdicts -->")
    (results.paper / "README.md").write_text(text[:start] + text[end:])


def test_a_paper_is_new_if_neither_its_readme_nor_a_commit_knows_results(results):
    shutil.rmtree(results.folder.parent)
    without_verdicts(results)
    code, output = results.verify()
    assert code == 0
    assert output == "toy: no results yet\n"


def test_results_that_a_commit_holds_or_held_are_missed(results):
    git(results.root, "init", "-q")
    git(results.root, "add", "-A")
    git(results.root, "commit", "-qm", "results")
    shutil.rmtree(results.folder.parent)
    without_verdicts(results)
    code, output = results.verify()
    assert code == 1
    assert (
        "toy/laptop: 1 problem(s)\n  laptop: no such results, but the checked-out commit holds it" in output
    )
    git(results.root, "commit", "-qam", "no results")
    code, output = results.verify()
    assert code == 1
    assert "no committed results, but commit " in output


def test_results_of_no_paper_are_named(results):
    shutil.copytree(results.folder.parent, results.folder.parent.parent / "tyo")
    code, output = results.verify("all")
    assert code == 1
    assert "tyo: no paper has this name" in output


@pytest.mark.parametrize(
    "text", ["# Toy\n", "<!-- verdicts -->\n", "<!-- /verdicts -->\n<!-- verdicts -->\n"]
)
def test_an_update_needs_a_place_for_the_verdicts(results, text):
    (results.paper / "README.md").write_text(text)
    with pytest.raises(StudyError, match="needs one line <!-- verdicts --> and after it"):
        destination(Study("toy", "laptop"), update=True)


def test_drawings_are_the_same_up_to_the_rounding_of_a_machine():
    drawing = '<g clip-path="url(#p0123456789)"><path id="p0123456789" d="M 1.5 2.25"/></g>'
    other = drawing.replace("p0123456789", "pabcdef0123")
    assert same_drawing(drawing, other.replace("2.25", "2.250001"))
    assert not same_drawing(drawing, other.replace("2.25", "2.26"))
    assert not same_drawing(drawing, drawing.replace("url(#p0123456789)", "url(#pabcdef0123)"))


def test_cells_run_again_as_a_kernel_runs_them():
    sources = [
        "profile: str = 'smoke'",
        "from IPython.display import display\n\nbook = Notebook('toy', profile)",
        "for row in (1, 2):\n    print(row)\ndisplay(book, 'b')\nprint('end')\n'last'",
        "x = 3",
        "print(x)\nNone",
    ]
    shown = replay(sources, "the notebook")
    texts = ["'the notebook'", "'b'", "'last'"]
    first, second, last = ({"text/plain": text} for text in texts)
    assert shown[:2] == [[], []]
    assert shown[2:] == [
        [{"stdout": "1\n2\n"}, first, second, {"stdout": "end\n"}, last],
        [],
        [{"stdout": "3\n"}],
    ]


@pytest.mark.parametrize(
    ("sources", "reason"),
    [
        (["book = Notebook()", "%matplotlib inline"], "cell '%matplotlib inline' cannot run again"),
        (["book = Notebook()", "1 / 0"], "cell '1 / 0' cannot run again: ZeroDivisionError"),
        (["import os"], "the notebook has no cell 'study = Notebook"),
    ],
)
def test_a_notebook_that_cannot_run_again_is_an_error(sources, reason):
    with pytest.raises(StudyError, match=reason):
        replay(sources, None)


def cut(path):
    path.write_bytes(path.read_bytes()[:40])


def folder(path):
    path.unlink()
    path.mkdir()


DAMAGE = {
    "cut": cut,
    "empty": lambda path: path.write_bytes(b""),
    "binary": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "no keys": lambda path: path.write_text("{}"),
    "a list": lambda path: path.write_text("[1, 2]"),
    "folder": folder,
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", ["claims.json", "values.parquet"])
def test_a_run_that_meets_damaged_results_says_which_file(results, name, how):
    run = shutil.copytree(results.folder, results.folder.with_name("laptop.local"))
    DAMAGE[how](results.folder / name)
    assert compare_runs(run, results.folder).startswith(f"committed results cannot be read: {name}: ")


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_manifest_costs_the_expected_times_only(results, how):
    run = shutil.copytree(results.folder, results.folder.with_name("laptop.local"))
    assert len(past_seconds(results.folder)) == 12
    DAMAGE[how](results.folder / "manifest.json")
    assert past_seconds(results.folder) == {}
    assert compare_runs(run, results.folder) == "identical"


@pytest.mark.parametrize("how", ["empty", "binary", "no keys", "a list", "folder"])
def test_a_run_that_meets_a_damaged_table_says_so(results, how):
    run = shutil.copytree(results.folder, results.folder.with_name("laptop.local"))
    values = read_values(run / "values.parquet")
    write_values(values.assign(value=values["value"] + 0.001), run / "values.parquet")
    assert compare_runs(run, results.folder) == (
        "within tolerance (all 2 table cells inside the committed intervals, verdicts equal)"
    )
    DAMAGE[how](results.folder / "tables" / "table1.csv")
    assert compare_runs(run, results.folder).startswith("committed results cannot be read: table1.csv: ")


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", ["claims.json", "manifest.json"])
def test_status_list_and_ledger_give_damaged_results_a_line_and_go_on(results, name, how):
    for place in ("toy/laptop.local", "other/laptop"):
        shutil.copytree(results.folder, results.root / "results" / place)
    DAMAGE[how](results.folder / name)
    damaged, sound = status.rows("toy")
    assert damaged[:3] == ("toy", "laptop", "cannot be read")
    assert damaged[3].startswith(f"{name}: ")
    assert sound[1:] == ("laptop.local", "current", "2 reproduced, 1 untested")
    claims = ledger.committed()
    unread = claims[claims["verdict"] == "cannot be read"]
    assert list(unread["paper"]) == (["toy"] if name == "claims.json" else [])
    assert len(claims[claims["paper"] == "other"]) == 4
    for verb in ("status", "list"):
        done = CliRunner().invoke(cli.cli, [verb])
        assert done.exit_code == 0, done.output
        assert "toy" in done.output


def test_a_damaged_committed_file_does_not_stop_a_finished_run(committed):
    path = committed.results("laptop") / "claims.json"
    text = path.read_text()
    path.write_text(text[:40])
    done = committed("reproduce", "toy")
    path.write_text(text)
    assert done.returncode == 0, done.stderr
    assert (
        "against the committed results: committed results cannot be read: claims.json: not valid"
        in done.stdout
    )
    assert (committed.results("laptop.local") / "manifest.json").is_file()
