"""What every paper's report owes its card, on the committed values of all papers."""

import re
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal, assert_series_equal

from common.plotting.style import save
from common.study.artefacts import Artefacts, side_by_side
from common.study.card import Card, list_papers, load_card
from common.study.frame import TABLE_COLUMNS
from common.study.ledger import MARKS, claims_json, readme
from common.study.overview import highest
from common.study.paths import ROOT, results_root
from common.study.results import markdown, write_values
from common.study.stored import read_claims, read_values
from common.study.study import Study

HERE = ("smoke", "laptop")  # profiles whose values are committed


def entries(kind: str) -> list[tuple[str, str]]:
    """Paper and id of every table or figure that `laptop` makes."""
    return [
        (slug, name)
        for slug in list_papers()
        for name, entry in getattr(load_card(slug), kind).items()
        if not entry.absent and entry.profile in HERE
    ]


@cache
def artefacts(slug: str) -> Artefacts:
    """The report on the committed values; `laptop` is the profile that decides."""
    values = read_values(ROOT / "results" / slug / "laptop" / "values.parquet")
    study = Study(slug, "laptop")
    study.lacking = frozenset()  # what is committed had all, whatever is installed here
    return Artefacts(study, values)


def cells(text: str) -> set[int]:
    """Numbers of cells in the rows of GitHub tables."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return {len(re.findall(r"(?<!\\)\|", row)) - 1 for row in rows}


def decided(card: Card) -> list[str]:
    """Claims that `laptop` decides."""
    return [name for name, claim in card.claims.items() if claim.test and claim.profile in HERE]


def measured(slug: str, frame: pd.DataFrame) -> dict[str, Any]:
    """What every entry of a report makes of a frame."""
    study = Study(slug, "laptop")
    report, card = study.report, study.card
    made = {name: report.measure(name, card.claims[name])(frame) for name in decided(card)}
    made |= {name: report.table(name)(frame) for paper, name in entries("tables") if paper == slug}
    return made | {
        name: report.figure(name).data(frame) for paper, name in entries("figures") if paper == slug
    }


@pytest.mark.parametrize("slug", list_papers())
def test_a_report_has_what_its_card_asks_for_and_nothing_else(slug):
    report, card = Study(slug, "smoke").report, load_card(slug)
    parts = {"TABLES": card.tables, "FIGURES": card.figures}
    for kind, asked in parts.items():
        assert set(getattr(report.module, kind)) == {
            name for name, entry in asked.items() if not entry.absent
        }
    assert set(getattr(report.module, "PREMISES", {})) == set(card.premises)
    lines = {name for name, claim in card.claims.items() if claim.test and claim.arm is None}
    assert set(report.module.CLAIMS) == lines


@pytest.mark.parametrize(("slug", "name"), entries("tables"))
def test_a_table_is_long_and_goes_beside_the_papers(slug, name):
    card, made = load_card(slug), artefacts(slug)
    block = made.table(name, card.tables[name])
    assert list(block.columns) == TABLE_COLUMNS
    assert not block.duplicated(["row", "column"]).any()
    wide = side_by_side(card.tables[name], block)
    assert len(wide) >= max(len(card.tables[name].reported.rows), block["row"].nunique())
    assert cells(markdown(wide)) == {wide.shape[1] + 1}
    for theirs, ours in card.tables[name].pairs(list(block["row"])).items():
        assert theirs in wide.index
        assert ours in set(block["row"])


@pytest.mark.parametrize(("slug", "name"), entries("figures"))
def test_a_figure_shows_every_panel_of_its_twin_with_labelled_axes(slug, name, tmp_path):
    made = artefacts(slug)
    data, plot = made.data(name), made.plot(name)
    axes = [axis for axis in plot.axes if axis.has_data() or axis.images]
    texts = " ".join(f"{axis.get_title()} {axis.get_ylabel()}" for axis in axes).replace("\n", " ")
    for panel in data["panel"].unique() if "panel" in data else ():
        assert panel in texts
    assert all(axis.get_xlabel() or axis.get_xticklabels()[0].get_text() for axis in axes)
    assert all(axis.get_ylabel() or axis.get_yticklabels()[0].get_text() for axis in axes)
    assert made.point(name)
    save(plot, tmp_path / name)
    assert min((tmp_path / f"{name}.{kind}").stat().st_size for kind in ("png", "svg")) > 5000


@pytest.mark.parametrize("slug", list_papers())
def test_every_claim_that_laptop_decides_gets_a_verdict(slug):
    made, card = artefacts(slug), load_card(slug)
    assert set(made.verdicts) == set(card.claims)
    content = claims_json(made.study, made.verdicts, made.premises)
    assert cells(readme("".join(MARKS), content, "laptop")) <= {4, 5}
    for name in decided(card):
        assert made.verdicts[name].verdict != "untested", made.verdicts[name].reason
        assert np.isfinite(made.verdicts[name].estimate) or "no variance" in made.verdicts[name].reason, name


@pytest.mark.parametrize("slug", list_papers())
def test_what_was_learned_rests_on_the_committed_verdicts(slug):
    folder = highest((results_root() / slug).glob("*"))
    claims = read_claims(folder)["claims"]
    for sentence in load_card(slug).learned:
        assert {name: claims[name]["verdict"] for name in sentence.rests} == sentence.rests


@pytest.mark.parametrize("slug", list_papers())
def test_neither_the_order_of_rows_nor_storage_changes_a_digit(slug, tmp_path):
    whole = artefacts(slug).frame
    frame = whole[whole["seed"].isin(load_card(slug).seeds.judged[:3])]
    write_values(frame.sample(frac=1.0, random_state=7), tmp_path / "values.parquet")
    other = measured(slug, read_values(tmp_path / "values.parquet"))
    for name, first in measured(slug, frame).items():
        if isinstance(first, pd.DataFrame):
            assert_frame_equal(first, other[name], check_exact=True)
        elif isinstance(first, pd.Series):
            assert_series_equal(first, other[name], check_exact=True)
        else:
            np.testing.assert_array_equal(first, other[name])


def test_a_method_has_one_colour_in_every_figure_of_the_repository():
    colours: dict[str, set[tuple[float, ...]]] = {}
    for slug in list_papers():
        for method, colour in Study(slug, "smoke").report.module.COLOURS.items():
            colours.setdefault(method, set()).add(tuple(colour))
    assert {method for method, found in colours.items() if len(found) > 1} == set()
