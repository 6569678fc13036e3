"""What people see: text as it was written, whatever it contains and wherever it goes."""

import ast
import shlex
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from common.study.paths import ROOT
from tests.waiting import finish

HOSTILE = "[/b] [low, high] [red]x :smile: ≥ é†"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
KEPT = ("slug", "arxiv", "year", "seeds", "kind", "role", "test", "control", "primary", "profile", "rests")


def hostile(part, key=""):
    """The same card with `HOSTILE` behind every text that a person chooses."""
    if key in KEPT or part is None or (key == "premises" and isinstance(part, list)):
        return part
    if isinstance(part, dict):
        return {name: hostile(value, name) for name, value in part.items()}
    if isinstance(part, list):
        return [hostile(value) for value in part]
    return f"{part} {HOSTILE}" if isinstance(part, str) else part


@pytest.fixture(scope="module")
def strange(shared_repository):
    """The toy paper with hostile text in its card, its jobs and its README, reproduced once."""
    path = shared_repository.root / "papers" / "toy" / "paper.yaml"
    card = hostile(yaml.safe_load(path.read_text()))
    path.write_text(yaml.safe_dump(card, sort_keys=False, allow_unicode=True), encoding="utf-8")
    shared_repository.edit("experiment.py", '"noise"', f'"noise {HOSTILE}"')
    shared_repository.edit("experiment.py", '"method", 2.0', f'"method {HOSTILE}", 2.0')
    shared_repository.edit("report.py", '"noise"', f'"noise {HOSTILE}"')
    shared_repository.edit("report.py", '"method"', f'"method {HOSTILE}"')
    shared_repository.edit("README.md", "# Toy", f"# Toy {HOSTILE}")
    done = shared_repository("reproduce", "toy", "--update", COLUMNS="400")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(HOSTILE) >= 4  # every statement, and why one is untested
    return shared_repository


@pytest.mark.parametrize(
    ("verb", "times"),
    [("plan toy", 2), ("list toy", 8), ("list", 1), ("verify toy", 0), ("status", 0), ("gc --dry-run", 0)],
)
def test_every_verb_shows_the_text_of_a_card_as_it_is(strange, verb, times):
    done = strange(*verb.split(), COLUMNS="400")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(HOSTILE) >= times


@pytest.mark.parametrize("verb", ["reproduce toy --update", "list toy", "status", "verify toy"])
def test_a_narrow_locale_changes_what_is_shown_and_nothing_else(strange, verb):
    done = strange.type(*verb.split(), COLUMNS="400", **ASCII)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert HOSTILE in (strange.results("laptop") / "claims.json").read_text("utf-8")


@pytest.mark.parametrize("verb", ["list", "plan toy", "status"])
def test_a_reader_that_goes_away_ends_the_program_quietly(strange, verb):
    process = strange.start(*verb.split())
    process.stdout.close()
    _, errors = finish(process)
    assert (process.returncode, errors) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize(("redirection", "status"), [(">&-", 0), (">&- 2>&-", 0), (">/dev/full", 1)])
def test_standard_output_that_takes_nothing_is_no_traceback(strange, redirection, status):
    command = f"{shlex.join(strange.command('list'))} {redirection}"
    done = subprocess.run(["sh", "-c", command], **strange.surroundings({}), capture_output=True)
    assert done.returncode == status
    assert done.stderr.count("\n") == status


def _opened(tree):
    """Calls that read or write text, with the names of their keyword arguments; `os.open` gives a number."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) != "os.open":
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            mode = next((a.value for a in node.args[-1:] if isinstance(a, ast.Constant)), "")
            if name in ("read_text", "write_text") or (name == "open" and "b" not in str(mode)):
                yield node, {keyword.arg for keyword in node.keywords}


@pytest.mark.parametrize("path", sorted((ROOT / "common" / "study").glob("*.py")), ids=lambda path: path.name)
def test_every_text_file_names_its_encoding(path: Path):
    """The locale's would read and write other bytes on another machine."""
    calls = _opened(ast.parse(path.read_text(encoding="utf-8")))
    assert [f"{path.name}:{node.lineno}" for node, keywords in calls if "encoding" not in keywords] == []


def test_a_misspelt_sweep_is_an_error_that_names_it(repository):
    """It would leave a claim untested, and the run would end well."""
    repository.edit("paper.yaml", "metric: error, needs: [noise]", "metric: error, needs: [niose]")
    done = repository("reproduce", "toy", "--profile", "smoke")
    assert done.returncode == 1
    assert "unknown sweep 'niose', did you mean 'noise'?" in done.stderr
    assert "(papers/toy/paper.yaml: needs of exact1)" in done.stderr
