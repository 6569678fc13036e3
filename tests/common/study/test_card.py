import copy

import pytest
import yaml

from common.study.card import list_papers, load_card, parse_card
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
    assert card.ids() == ["table1", "fig1", "fig2", "moves", "exact1", "up", "placebo", "large"]
    assert card.needs(("fig1",)) == {"noise"}


def test_a_study_says_so_and_has_no_arxiv_id(write):
    assert parse_card(write()).kind == "paper"
    assert parse_card(write(lambda c: (c.pop("arxiv"), c.update(kind="study")))).kind == "study"
    assert [slug for slug in list_papers() if load_card(slug).kind == "study"] == ["zoo"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.pop("title"),
            r"papers/toy/paper.yaml: field 'title': required field is missing; add it",
        ),
        (lambda c: c.update(titel="x"), r"field 'titel': unknown field"),
        (lambda c: c.pop("arxiv"), r"a paper has its arXiv id"),
        (lambda c: c.update(kind="study"), r"a study of our own .* has none"),
        (lambda c: c.update(kind="survey"), r"field 'kind': Input should be 'paper' or 'study'"),
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
            lambda c: c["claims"]["up"].update(premises=["rests"]),
            r"claims.up.premises 'rests' is not a premise",
        ),
        (
            lambda c: c["premises"]["moves"].update(test={"exact": 0}),
            r"a premise is 'greater', 'less' or 'within'",
        ),
        (lambda c: c["premises"]["moves"].pop("needs"), r"field 'premises.moves.needs': required"),
        (lambda c: c["premises"].update(up=c["premises"]["moves"]), r"id 'up' stands twice"),
        (lambda c: c["learned"].pop(), r"three sentences or none; found 2"),
        (lambda c: c["learned"][0]["rests"].update(down="reproduced"), r"rests 'down' is not a claim"),
        (
            lambda c: c["learned"][0]["rests"].update(up="proved"),
            r"field 'learned.0.rests.up': Input should be",
        ),
        (lambda c: c["learned"][0].update(text="{down} moves."), r"quotes 'down' is not a claim or premise"),
        (lambda c: c["learned"][0].update(text="{up moves."), r"field 'learned.0': expected '}'"),
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
        (lambda c: c["claims"]["up"].update(test={"order": ["a"]}), r"order needs two or more names"),
        (lambda c: c["claims"]["up"].update(test={"order": []}), r"order needs two or more names"),
        (lambda c: c["claims"]["up"].update(test={"order": ["a", "b", "a"]}), r"order needs .*each once"),
        (lambda c: c["claims"]["exact1"]["test"].update(exact=-1e-9), r"exact': Input should be greater"),
        (lambda c: c["figures"].update(table1=c["figures"]["fig1"]), r"id 'table1' stands twice"),
        (lambda c: c["claims"].update(table1=c["claims"]["exact1"]), r"id 'table1' stands twice"),
        (lambda c: c["claims"].update(fig1=c["claims"]["exact1"]), r"id 'fig1' stands twice"),
        (lambda c: c.update(slug="yot"), r"has to be the folder's name 'toy'"),
    ],
)
def test_each_mistake_names_file_field_and_fix(write, change, message):
    with pytest.raises(StudyError, match=message):
        parse_card(write(change))


NUMBERS = {
    "test.greater": lambda c, x: c["claims"]["up"].update(test={"greater": x}),
    "test.less": lambda c, x: c["claims"]["up"].update(test={"less": x}),
    "test.within.1": lambda c, x: c["claims"]["up"].update(test={"within": [0.0, x]}),
    "test.within.0": lambda c, x: c["claims"]["up"].update(test={"within": [x, 0.0]}),
    "test.exact": lambda c, x: c["claims"]["exact1"].update(test={"exact": x}),
    "smallest_effect": lambda c, x: c["claims"]["up"].update(smallest_effect=x),
    "rows.Method": lambda c, x: c["tables"]["table1"]["reported"]["rows"].update(Method=[x]),
    "reported.mean": lambda c, x: c["figures"]["fig1"]["reported"].update(mean=x),
}


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("place", NUMBERS)
def test_every_number_is_finite(write, place, number):
    """An infinite bound would let a claim be reproduced whatever is measured."""
    with pytest.raises(StudyError, match=rf"{place}.*(finite|greater)"):
        parse_card(write(lambda c: NUMBERS[place](c, number)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slug: toy\ntitle: [\n", r"line 3: not valid YAML"),
        (
            CARD.replace("tables:", "claims: {}\ntables:"),
            r"line 26: not valid YAML: key 'claims' stands twice",
        ),
        (
            CARD.replace("    ours: toy", "    source: x\n    ours: toy"),
            r"line 17: .*key 'source' stands twice",
        ),
        (
            CARD.replace("test: {greater: 0.0}", "kind: audit, test: {greater: 0.0}", 1),
            r"line 31: .*key 'kind' stands twice",
        ),
        ("slug: &a {x: 1}\ntitle: {<<: *a, y: 1, y: 2}\n", r"line 2: .*key 'y' stands twice"),
        ("slug: toy\nyear: 2025-13-45\n", r"not valid YAML: month must be in 1..12"),
        ("slug: \0\n", r"not valid YAML"),
        ("{[1]: 2}\n", r"line 1: not valid YAML: found unhashable key"),
        ("", r"field 'card'"),
        ("[slug, toy]", r"field 'card'"),
    ],
)
def test_broken_yaml_names_the_line(write, text, message):
    with pytest.raises(StudyError, match=rf"papers/toy/paper.yaml.*{message}"):
        parse_card(write(text=text or "# nothing\n"))


def test_a_merged_block_may_override_what_it_merges(write):
    text = CARD.replace("fig1: {", "fig1: &one {").replace("fig2: {", "fig2: {<<: *one, needs: [], ")
    assert parse_card(write(text=text)).figures["fig2"].source == "paper, Fig. 2"


def test_a_file_that_is_no_text_is_one_line(write):
    path = write()
    path.write_bytes(b"slug: \xff\xfe\n")
    with pytest.raises(StudyError, match=r"paper.yaml: not valid YAML: .*can't decode"):
        parse_card(path)


def test_the_test_hash_follows_what_decides_and_nothing_else(write):
    base = parse_card(write()).claims["up"].test_hash()

    def changed(**fields):
        return parse_card(write(lambda c: c["claims"]["up"].update(fields))).claims["up"].test_hash()

    assert changed(statement="Other words.") == base
    assert changed(reported="3 %") == base
    assert changed(test={"greater": 0.1}) != base
    assert changed(smallest_effect=0.4) != base
    assert changed(metric="another") != base


ARM_UP = {
    "statement": "The method is above zero, with placebo in the method's place.",
    "place": "control of Table 1",
    "kind": "trend",
    "role": "control",
    "metric": "score",
    "test": {"greater": 0.0},
    "smallest_effect": 0.5,
    "needs": ["noise"],
}


def test_a_nested_control_is_a_row_of_its_own_right_after_its_claim(write):
    """Field by field the row that a person would have written; what is left out is the claim's."""

    def nested(content):
        content["claims"]["up"]["control"] = {"arm": "placebo"}
        del content["claims"]["placebo"]

    def flat(content):
        claims = content["claims"]
        claims["up"]["control"] = "up_placebo"
        claims["up_placebo"] = dict(ARM_UP)
        del claims["placebo"]

    short, long = parse_card(write(nested)), parse_card(write(flat))
    assert list(short.claims) == ["exact1", "up", "up_placebo", "large"]
    assert short.claims["up"] == long.claims["up"]
    row = short.claims["up_placebo"]
    assert (row.arm, row.of, row.primary) == ("placebo", "up", False)
    assert row.model_copy(update={"arm": None, "of": None}) == long.claims["up_placebo"]
    assert row.test_hash() == long.claims["up_placebo"].test_hash()


def test_several_nested_controls_are_all_compared(write):
    def two(content):
        content["claims"]["up"]["control"] = [{"arm": "placebo", "id": "sugar"}, {"arm": "water"}]

    card = parse_card(write(two))
    assert list(card.claims) == ["exact1", "up", "sugar", "up_water", "placebo", "large"]
    assert card.claims["up"].control == "sugar"
    assert card.controls("up") == ["sugar", "up_water"]


def test_a_nested_control_keeps_what_it_gives_itself(write):
    given = {
        "id": "placebo",
        "statement": "The placebo is above zero.",
        "place": "ours",
        "metric": "m",
        "test": {"greater": 0.1},
        "smallest_effect": 0.25,
        "profile": "gpu",
        "needs": ["other"],
    }

    def nested(content):
        content["claims"]["up"]["control"] = {"arm": "sugar", **given}
        del content["claims"]["placebo"]

    card = parse_card(write(nested))
    row = card.claims["placebo"]
    assert card.claims["up"].control == "placebo"
    shown = row.model_dump(mode="json", exclude_defaults=True)
    assert shown == {
        **{name: value for name, value in given.items() if name != "id"},
        "kind": "trend",
        "role": "control",
        "arm": "sugar",
        "of": "up",
    }
    assert card.needs(("up",)) == {"noise", "other"}


@pytest.mark.parametrize(
    ("control", "message"),
    [
        ({"id": "x"}, r"claims.up.control needs 'arm'"),
        ({"arm": 3}, r"claims.up.control needs 'arm'"),
        ({"arm": "a", "primary": True}, r"claims.up.control has no field 'primary'; it has arm, id"),
        ({"arm": "a", "id": "placebo"}, r"claims.up.control: its id 'placebo' is another row's"),
        ({"arm": "a", "needs": []}, r"field 'claims.up_a': a tested claim needs"),
        ({"arm": "A b"}, r"field 'claims.up_A b.\[key\]'"),
    ],
)
def test_a_wrong_nested_control_is_named_with_its_claim(write, control, message):
    with pytest.raises(StudyError, match=message):
        parse_card(write(lambda c: c["claims"]["up"].update(control=control)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"arm": "a"}, "'arm' and 'of' stand together"),
        ({"arm": "a", "of": "u"}, r"claims.placebo.of 'u' is not a claim"),
    ],
)
def test_a_flat_control_names_the_claim_that_it_repeats(write, fields, message):
    with pytest.raises(StudyError, match=message):
        parse_card(write(lambda c: c["claims"]["placebo"].update(fields)))


def test_rows_of_equal_name_stand_beside_each_other_unless_the_card_maps_them(write):
    def table(**fields):
        card = parse_card(write(lambda c: c["tables"]["table1"].update(fields)))
        return card.tables["table1"].pairs(["Other", "method"])

    assert table(counterparts=None) == {"Other": "Other"}
    assert table() == {"Method": "method"}
    assert table(counterparts={}) == {}


def test_a_table_of_ours_reports_nothing_and_an_audit_needs_no_sweep(write):
    def change(content):
        del content["tables"]["table1"]["reported"], content["tables"]["table1"]["counterparts"]
        content["claims"]["exact1"].update(kind="audit", needs=[])

    card = parse_card(write(change))
    assert (card.tables["table1"].reported.columns, card.tables["table1"].reported.rows) == ((), {})
    assert card.needs(("exact1",)) == set()
    with pytest.raises(StudyError, match="a tested claim needs 'metric'"):
        parse_card(write(lambda c: c["claims"]["exact1"].update(needs=[])))
