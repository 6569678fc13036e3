"""The command line as a user types it, on the toy paper."""

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from common.study import scaffold
from common.study.errors import StudyError
from common.study.paths import ROOT
from common.study.study import _choose_seeds
from tests.common.study.conftest import OUTPUT, copy_reproduced

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The toy paper reproduced once, with its results committed by UPDATE, and what that printed."""
    repository = copy_reproduced(tmp_path_factory.mktemp("run") / "repository", tmp_path_factory)
    return repository, (repository.root / OUTPUT).read_text()


def test_a_run_ends_with_the_ledger_and_the_notebooks_path(run):
    _, printed = run
    assert "12 ran" in printed
    assert "1 reproduced" not in printed.splitlines()[0]
    for text in ("up*", "reproduced", "placebo", "shows no effect", "untested", "needs a cluster"):
        assert text in printed
    assert "results/toy/laptop/reproduce.ipynb" in printed


def test_the_results_folder_is_complete(run):
    repository, _ = run
    folder = repository.results("laptop")
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "values.parquet",
        "claims.json",
        "manifest.json",
        "reproduce.ipynb",
        "tables/table1.csv",
        "tables/table1.md",
        *(f"figures/fig1.{kind}" for kind in ("csv", "png", "svg")),
        "figures/points.json",
    }
    table = (folder / "tables" / "table1.md").read_text()
    assert "| Other | 2.5 | no counterpart at this profile |" in table
    assert "| row | paper: score | toy task: score |" in table
    claims = json.loads((folder / "claims.json").read_text())["claims"]
    assert claims["up"]["verdict"] == "reproduced"
    assert claims["up"]["n"] == 6
    assert claims["large"] == {**claims["large"], "verdict": "untested", "reason": "needs a cluster"}
    text = (folder / "reproduce.ipynb").read_text()
    assert str(repository.root) not in text
    assert "papermill" not in json.loads(text)["metadata"]


def test_update_writes_the_verdicts_into_the_papers_readme(run):
    repository, _ = run
    text = (repository.root / "papers" / "toy" / "README.md").read_text()
    assert "| up* | The method is above zero. | reproduced | 2" in text
    assert "| moves | The method moves. | yes | 2" in text
    assert re.search(
        r"\*\*What we learned\.\*\* The paper says that it moves\. Here it moves by [12]\.\d \[", text
    )
    assert "The placebo is above zero" not in text
    assert text.endswith("<!-- /verdicts -->\n\nEnd.\n")
    row = next(line for line in (repository.root / "README.md").read_text().splitlines() if "toy" in line)
    assert row.startswith("| [toy](papers/toy/README.md): Toy, [2509.00000]")
    assert "| reproduced | 2" in row


def test_a_second_run_trains_nothing_is_identical_and_leaves_tracked_files_alone(run):
    repository, _ = run
    before = {path: path.read_bytes() for path in repository.results("laptop").rglob("*") if path.is_file()}
    done = repository("reproduce", "toy")
    assert "12 jobs were there, 0 ran" in done.stdout
    assert "against the committed results: identical" in done.stdout
    assert {path: path.read_bytes() for path in before} == before
    local = repository.results("laptop.local")
    for name in ("values.parquet", "claims.json", "figures/fig1.csv", "figures/fig1.svg", "tables/table1.md"):
        assert (local / name).read_bytes() == (repository.results("laptop") / name).read_bytes()


def test_overrides_go_elsewhere_and_are_marked_exploratory(run):
    repository, _ = run
    done = repository("reproduce", "toy", "--seeds", "3", "--only", "up", "--set", "steps=2")
    assert done.returncode == 0, done.stderr
    assert "exploratory" in done.stdout
    (folder,) = (
        path for path in repository.results("laptop").parent.iterdir() if "+" in path.name and path.is_dir()
    )
    content = json.loads((folder / "claims.json").read_text())
    assert content["exploratory"] is True
    assert list(content["claims"]) == ["up"]
    assert content["claims"]["up"]["n"] == 3


def test_a_figure_alone_or_a_claim_alone_makes_a_whole_notebook(run):
    """The other tables show the paper's block, the ledger is empty, and nothing breaks."""
    repository, _ = run
    done = repository("reproduce", "toy", "--only", "fig1", "--set", "steps=1", "--seeds", "2")
    assert done.returncode == 0, done.stderr
    assert "no claims" in done.stdout


def test_verify_passes_and_status_plan_and_list_tell_the_state(run):
    repository, _ = run
    assert "toy/laptop: consistent" in repository("verify", "toy").stdout
    assert "current" in repository("status").stdout
    plan = repository("plan", "toy")
    assert "0 of 12 jobs to run" in plan.stdout
    assert "The method is above zero." in repository("list", "toy").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("reproduce", "tyo"), "unknown paper 'tyo', did you mean 'toy'? (make list)"),
        (("reproduce", "toy", "--profile", "labtop"), "unknown profile 'labtop', did you mean 'laptop'?"),
        (("reproduce", "toy", "--set", "stepz=1"), "unknown parameter 'stepz', did you mean 'steps'?"),
        (("reproduce", "toy", "--set", "steps=ten"), "parameter 'steps' expects int, got 'ten'"),
        (("reproduce", "toy", "--set", "steps"), "parameter 'steps' has no value; write steps=VALUE"),
        (("reproduce", "toy", "--set", "steps=1", "--set", "steps=2"), "parameter 'steps' is given twice"),
        (("reproduce", "toy", "--only", "fgi1"), "did you mean 'fig1'? (make list PAPER=toy)"),
        (("reproduce", "toy", "--seeds", "many"), "SEEDS='many' is no count and no list"),
        (("reproduce", "toy", "--seeds", "99"), "the card has 6 seeds"),
        (("reproduce", "toy", "--update", "--seeds", "2"), "UPDATE=1 writes the committed results"),
        (("reproduce", "toy", "--update", "--profile", "smoke"), "smoke results are never committed"),
        (("reproduce", "toy", "--model", "org/name"), "is offline by design"),
        (("reproduce", "toy", "--profile", "paper"), "the model hub cannot be reached"),
        (("reproduce", "toy", "--workers", "two"), "'two' is not a valid integer"),
        (("reprodcue", "toy"), "No such command 'reprodcue'"),
        (("new", "My-Paper"), "use lower-case letters"),
        (("new", "toy"), "papers/toy exists already"),
        (("new", "class"), "'class' cannot name a paper: it is a word of Python; choose e.g. class_paper"),
        (("reproduce", "toy", "--seeds", "5,5"), "SEEDS=5,5: seed 5 stands twice and would count twice"),
    ],
)
def test_bad_input_gives_one_clear_line_and_a_status(run, arguments, message):
    repository, _ = run
    done = repository(*arguments, HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shouting", "papers/SHOUTING exists already"),
        ("all", "'all' cannot name a paper: PAPER=all means every paper"),
        ("none", None),
        ("is", "word of Python"),
        ("json", "'json' cannot name a paper: a module has that name; choose e.g. json_paper"),
        ("numpy", "a module has that name"),
        ("common", "a module has that name"),
        ("a; touch x", "use lower-case letters"),
        ("../up", "use lower-case letters"),
        ("paper\n", "use lower-case letters"),
        ("é", "use lower-case letters"),
        ("", "use lower-case letters"),
    ],
)
def test_a_name_that_means_something_else_is_refused(tmp_path, monkeypatch, name, message):
    (tmp_path / "SHOUTING").mkdir()
    monkeypatch.setattr(scaffold, "papers_root", lambda: tmp_path)
    if message is None:
        scaffold.check_name(name)
        return
    with pytest.raises(StudyError, match=message):
        scaffold.check_name(name)


@pytest.mark.parametrize("text", ["5,5", "100,101,0100", "7,8,7,"])
def test_a_seed_given_twice_is_an_error_that_names_it(text):
    card = SimpleNamespace(seeds=SimpleNamespace(judged=(1, 2), development=(3,)))
    with pytest.raises(StudyError, match=f"SEEDS={text}: seed {int(text.split(',')[0])} stands twice"):
        _choose_seeds(card, "laptop", text)
    assert _choose_seeds(card, "laptop", "5,") == (5,)


def test_debug_shows_the_traceback(run):
    repository, _ = run
    assert "Traceback" in repository("reproduce", "tyo", DEBUG="1").stderr


def test_help_names_every_verb(run):
    repository, _ = run
    text = repository("--help").stdout
    for verb in ("reproduce", "plan", "status", "verify", "site", "list", "new", "clean", "gc"):
        assert verb in text


def test_an_audit_is_judged_at_every_profile_and_without_a_single_job(repository):
    repository.edit(
        "paper.yaml", "kind: theorem, metric: error, needs: [noise]", "kind: audit, metric: error"
    )
    done = repository("reproduce", "toy", "--profile", "smoke", "--only", "exact1")
    assert done.returncode == 0, done.stderr
    assert "0 jobs were there, 0 ran" in done.stdout
    assert "1 reproduced" in done.stdout
    assert "12" not in repository("plan", "toy", "--only", "exact1").stdout.split("jobs to run")[0]


def test_a_scaffolded_paper_is_clean_and_reproduces_with_an_honest_untested_claim(repository):
    assert repository("new", "second").returncode == 0
    written = [
        str(repository.root / "papers" / "second"),
        str(repository.root / "tests" / "papers" / "second"),
    ]
    config = ("--config", str(ROOT / "pyproject.toml"))
    for verb in (("check",), ("format", "--check")):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *verb, *config, *written], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout
    done = repository("reproduce", "second", "--profile", "smoke")
    assert done.returncode == 0, done.stderr
    assert "1 reproduced, 1 untested" in done.stdout
    assert "not implemented yet" in done.stdout
    assert repository("clean", "second").returncode == 0
    assert not list((repository.root / ".reprise" / "store").glob("*/complete.json"))
