import copy

import pytest
import yaml

from common.study.card import parse_card
from common.study.errors import StudyError

from .conftest import CARD


@pytest.fixture
def write(tmp_path):
    folder = tmp_path / "papers" / "toy"
    folder.mkdir(parents=True)

    def card(change=None, text=None):
        content = copy.deepcopy(yaml.safe_load(CARD))
        if change:
            change(content)
        (folder / "paper.yaml").write_text(text or yaml.safe_dump(content, sort_keys=False))
        return folder / "paper.yaml"

    return card


def test_the_toy_card_is_valid(write):
    card = parse_card(write())
    assert card.ids() == ["table1", "fig1", "fig2", "exact1", "up", "placebo", "large"]
    assert card.needs(("fig1",)) == {"noise"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.pop("title"),
            r"papers/toy/paper.yaml: field 'title': required field is missing; add it",
        ),
        (lambda c: c.update(titel="x"), r"field 'titel': unknown field"),
        (
            lambda c: c["claims"]["up"].update(test={"bigger": 0}),
            r"field 'claims.up.test.bigger': unknown field",
        ),
        (lambda c: c["claims"]["up"].pop("control"), r"field 'claims.up': a trend claim needs 'control'"),
        (lambda c: c["claims"]["up"].update(control="exact1"), r"is not a claim row with role: control"),
        (lambda c: c["claims"]["up"].update(test={"greater": 0, "less": 1}), r"exactly one of"),
        (lambda c: c["claims"]["up"].pop("smallest_effect"), r"needs 'smallest_effect'"),
        (lambda c: c["claims"]["placebo"].update(primary=True), r"one primary claim per paper"),
        (
            lambda c: c["claims"]["exact1"].update(test={"greater": 0}),
            r"a theorem claim is decided by an 'exact'",
        ),
        (
            lambda c: c["seeds"].update(development=[100]),
            r"field 'seeds': judged and development seeds share",
        ),
        (lambda c: c["tables"]["table1"]["reported"]["rows"].update(Method=[1, 2]), r"2 cells for 1 columns"),
        (lambda c: c["tables"]["table1"]["counterparts"].update(Nothing="x"), r"rows that the paper's block"),
        (lambda c: c["figures"]["fig1"].pop("needs"), r"either 'needs'"),
        (lambda c: c.update(slug="yot"), r"has to be the folder's name 'toy'"),
    ],
)
def test_each_mistake_names_file_field_and_fix(write, change, message):
    with pytest.raises(StudyError, match=message):
        parse_card(write(change))


def test_broken_yaml_names_the_line(write):
    with pytest.raises(StudyError, match=r"paper.yaml line 3: not valid YAML"):
        parse_card(write(text="slug: toy\ntitle: [\n"))


def test_the_test_hash_follows_what_decides_and_nothing_else(write):
    base = parse_card(write()).claims["up"].test_hash()

    def changed(**fields):
        return parse_card(write(lambda c: c["claims"]["up"].update(fields))).claims["up"].test_hash()

    assert changed(statement="Other words.") == base
    assert changed(reported="3 %") == base
    assert changed(test={"greater": 0.1}) != base
    assert changed(smallest_effect=0.4) != base
    assert changed(metric="another") != base
