"""The site of a toy repository: complete, its links lead somewhere, nothing in it runs or asks elsewhere."""

import json
import shutil
from html import escape

import pytest
from click.testing import CliRunner

import papers
from common.study import cli, keys, overview
from common.study.configuration import Settings, paper
from common.study.errors import StudyError
from common.study.site.axis import axis
from common.study.site.build import build
from common.study.site.reference import code, reference

from .conftest import copy_reproduced
from .pages import Page, faults, pages

HOSTILE = """<img src=x onerror=alert(1)> "&' <script>alert(2)</script> | </td> {{ 1 }}"""
WRITTEN = {
    "title: Toy": "title: HOSTILE",
    "summary: A toy.": "summary: HOSTILE",
    "title: A table": "title: HOSTILE",
    "title: A figure": "title: HOSTILE",
    "rows: {Method: [1.5]": "rows: {HOSTILE: [1.5], Method: [1.5]",
    'bibtex: "@misc{toy}"': "bibtex: HOSTILE",
    "stand_ins: []": "stand_ins: [HOSTILE]",
}
JUDGED = ("The method is above zero.", "The method moves.", "The paper says that it moves.", "It is large.")


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """Committed results of the toy paper with hostile text in card and claims; it can be imported here."""
    repository = copy_reproduced(tmp_path_factory.mktemp("hostile") / "repository", tmp_path_factory)
    for old, new in WRITTEN.items():
        repository.edit("paper.yaml", old, new.replace("HOSTILE", json.dumps(HOSTILE)))
    claims = repository.results("laptop") / "claims.json"
    text = claims.read_text()
    for old in JUDGED:
        assert json.dumps(old) in text
        text = text.replace(json.dumps(old), json.dumps(HOSTILE))
    claims.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(papers, "__path__", [str(repository.root / "papers"), *papers.__path__])
        yield repository


@pytest.fixture
def here(committed, tmp_path, monkeypatch):
    """A copy of the repository's papers and results as the place that this process works in."""
    for name in ("papers", "results"):
        shutil.copytree(committed.root / name, tmp_path / name)
    shutil.copy(committed.root / "README.md", tmp_path)
    (tmp_path / "common").symlink_to(committed.root / "common")
    for module in ("paths", "study", "keys", "sources", "provenance"):
        monkeypatch.setattr(f"common.study.{module}.ROOT", tmp_path)
    keys.current.cache_clear()
    for name in ("REPRISE_RESULTS", "REPRISE_STORE"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    keys.current.cache_clear()


def page(here) -> Page:
    return Page(here / "site" / "toy" / "laptop" / "index.html")


def test_the_site_shows_everything_and_every_link_leads_somewhere(here):
    index = build(here / "site")
    assert list(faults(here / "site")) == []
    assert {str(path.relative_to(here / "site")) for path in pages(here / "site")} == {
        "index.html",
        "toy/configuration.html",
        "toy/laptop/index.html",
        "toy/laptop/notebook.html",
    }
    shown = page(here)
    assert shown.anchors >= {
        *(f"claim-{name}" for name in ("exact1", "up", "placebo", "large")),
        *("premise-moves", "figure-fig1", "figure-fig2", "table-table1", "learned"),
    }
    assert {"figures/fig1.png"} <= set(shown.loaded)
    assert {"figures/fig1.csv", "tables/table1.csv", "manifest.json", "notebook.html"} <= set(shown.links)
    point = json.loads((here / "results/toy/laptop/figures/points.json").read_text())["fig1"]
    for text in (point, "needs a hub model", "100, 101, 102", "no counterpart at this profile", "network"):
        assert escape(text) in shown.text
    first = Page(index).text
    for text in ("1 of 1", "yes", "current", "laptop", "toy/laptop/index.html", 'class="axis"'):
        assert text in first
    settings = Page(here / "site/toy/configuration.html").text
    assert "<code>steps</code>" in settings
    assert "<b>smoke</b> 2" in settings


def test_what_a_card_says_is_text(here):
    build(here / "site")
    for found in pages(here / "site").values():
        assert HOSTILE not in found.text
        assert "<script" not in found.text.lower()
    assert page(here).text.count("&lt;script&gt;alert(2)") >= len(WRITTEN) + len(JUDGED)


def test_pieces_that_are_missing_are_said_to_be(here):
    folder = here / "results" / "toy" / "laptop"
    content = json.loads((folder / "claims.json").read_text())
    older = {name: content[name] for name in ("paper", "profile", "exploratory", "claims")}
    for entry in older["claims"].values():
        for name in ("controls", "premises", "word", "integrity", "effect", "ours"):
            del entry[name]
    (folder / "claims.json").write_text(json.dumps(older))
    for name in ("figures/points.json", "figures/fig1.csv", "tables/table1.csv"):
        (folder / name).unlink()
    for name in ("manifest.json", "reproduce.ipynb"):
        (folder / name).write_text("{")
    build(here / "site")
    assert list(faults(here / "site")) == []
    shown = page(here)
    for text in (
        "older than the sentences on what was learned",
        "older than the sentence that stands above a figure",
        "The executed notebook cannot be read",
        "these results do not have it",
        "manifest.json: not valid JSON",
    ):
        assert text in shown.text
    assert {f"claim-{name}" for name in older["claims"]} <= shown.anchors
    (folder / "claims.json").unlink()
    build(here / "site")
    assert "The results cannot be read: claims.json: missing" in page(here).text
    shutil.rmtree(folder)
    assert "No results are committed yet." in build(here / "site").read_text()
    assert list(faults(here / "site")) == []


def test_each_profile_has_its_page_and_the_highest_the_row(here):
    toy = here / "results" / "toy"
    shutil.copytree(toy / "laptop", toy / "gpu")
    shutil.copytree(toy / "laptop", toy / "laptop.local")
    (toy / "example").mkdir()
    shutil.copy(toy / "laptop" / "figures" / "fig1.png", toy / "example" / "a curve#1.png")
    first = build(here / "site").read_text()
    assert "toy/gpu/index.html" in first
    assert '<td data-label="real model"><div>yes</div></td>' in first
    assert "../gpu/index.html" in page(here).links
    assert "../example/a%20curve%231.png" in page(here).loaded
    assert not (here / "site/toy/laptop.local").exists()
    assert list(faults(here / "site")) == []


def test_only_an_earlier_site_is_replaced(here):
    done = CliRunner().invoke(cli.cli, ["site", "--out", str(here / "results")])
    assert isinstance(done.exception, SystemExit | StudyError)
    assert "neither empty nor an earlier site" in done.output
    assert (here / "results/toy/laptop/claims.json").is_file()
    (here / "site").mkdir()
    build(here / "site")
    (here / "site" / "stale.html").write_text("old")
    build(here / "site")
    assert not (here / "site" / "stale.html").exists()
    assert not list(here.glob(".site-*"))


def test_the_table_of_the_root_readme_is_generated_and_verified(here):
    overview.update_readme()
    text = (here / "README.md").read_text()
    assert text.startswith("# Toys\n")
    assert text.endswith("<!-- /papers -->\n\nEnd.\n")
    row = next(line for line in text.splitlines() if "papers/toy/README.md" in line)
    assert "| 1 of 1 | laptop | 6 |" in row
    assert "| reproduced | 2" in row
    assert overview.problems() == []
    for wrong, line in (
        (text.replace("| reproduced |", "| proved |"), "its table of papers is not the one of claims.json"),
        (text.replace("<!-- /papers -->", ""), "needs one line <!-- papers --> and after it one line"),
        (text.encode() + b"\xc3", "README.md is not UTF-8"),
    ):
        (here / "README.md").write_bytes(wrong if isinstance(wrong, bytes) else wrong.encode())
        done = CliRunner().invoke(cli.cli, ["verify", "all"])
        assert done.exit_code == 1
        assert line in done.output


@pytest.mark.parametrize(
    ("entry", "order"),
    [
        ({"low": 1.0, "estimate": 2.0, "high": 3.0}, "zero low estimate high"),
        ({"low": -3.0, "estimate": -2.0, "high": 1.0}, "low estimate zero high"),
        ({"low": 1.0, "estimate": 2.0, "high": 3.0, "effect": 9}, "zero low estimate high paper"),
        ({"low": 1.0, "estimate": 2.0, "high": 3.0, "effect": -1.0}, "paper zero low estimate high"),
    ],
)
def test_an_axis_has_its_numbers_in_their_order(entry, order):
    at = vars(axis(entry))
    given = {name: place for name, place in at.items() if place is not None}
    assert " ".join(sorted(given, key=given.get)) == order
    assert min(given.values()) >= 0
    assert max(given.values()) <= 160


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"estimate": 1.0, "low": None, "high": None},
        {"low": float("nan"), "estimate": 1.0, "high": 2.0},
        {"low": 0.0, "estimate": 1.0, "high": 2.0, "integrity": True},
    ],
)
def test_what_has_no_interval_has_no_axis(entry):
    assert axis(entry) is None


def test_an_axis_of_nothing_but_zeros_is_drawn():
    assert axis({"low": 0.0, "estimate": 0.0, "high": 0.0}) is not None


class Group(Settings):
    """A group.

    Attributes:
        size: Of it.
        rate: Inherited.

    More text.
    """

    size: int = 1
    rate: float = 0.5
    bare: bool = True


class Own(Group):
    """Another.

    Attributes:
        size: Our own.
    """


class Whole(Settings):
    """Two groups.

    Attributes:
        name: What it is called.
    """

    name: str = paper("x", "Sec. 2")
    first: Group = Group()
    second: Own = Own()


def test_a_reference_knows_groups_parents_and_profiles():
    found = {item.name: item for item in reference(Whole, {"smoke": {"second.size": 7}, "laptop": {}})}
    assert list(found) == [
        "name",
        *(f"{group}.{field}" for group in ("first", "second") for field in ("size", "rate", "bare")),
    ]
    assert (found["name"].paper, found["name"].place) == ("x", "Sec. 2")
    assert found["second.size"].meaning == "Our own."
    assert found["second.size"].profiles == {"smoke": "7"}
    assert found["second.rate"].meaning == "Inherited."
    assert found["first.size"].place == ""
    assert found["first.bare"].meaning == "A group."


def test_code_between_backticks_is_text_too():
    assert code("``a<b`` or `c`") == "<code>a&lt;b</code> or <code>c</code>"


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="gone.html">', "gone.html leads nowhere"),
        ('<a href="index.html#gone">', "index.html#gone leads nowhere"),
        ('<a href="#gone">', "#gone leads nowhere"),
        ('<img src="https://example.org/a.png">', "loads https://example.org/a.png"),
        ('<link href="//example.org/a.css">', "loads //example.org/a.css"),
        ("<script>1</script>", "runs script []"),
        ('<p onclick="1">', "runs p ['onclick']"),
        ('<a href="https://example.org">', None),
        ('<a href="index.html#here">', None),
    ],
)
def test_a_fault_of_a_page_is_named(tmp_path, body, fault):
    (tmp_path / "index.html").write_text(f'<p id="here">{body}')
    assert list(faults(tmp_path)) == ([f"index.html: {fault}"] if fault else [])
