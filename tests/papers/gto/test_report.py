"""Tables, figures and claims of GTO: complete against the card, right on hand-made numbers."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from pandas.testing import assert_frame_equal

from common.plotting.style import save
from common.study.artefacts import TABLE_COLUMNS, side_by_side
from common.study.card import load_card
from common.study.results import read_values, write_values
from common.study.verdicts import judge
from papers.gto import report
from papers.gto.selection import gradient_spread

CARD = load_card("gto")
TESTED = [name for name, claim in CARD.claims.items() if claim.test]


@pytest.fixture(scope="module")
def made(study_frame) -> dict:
    """What every function of the report makes of the study's frame."""
    return {name: getattr(report, name)(study_frame) for name in [*CARD.tables, *CARD.figures, *TESTED]}


@pytest.mark.parametrize("name", CARD.tables)
def test_every_table_of_the_card(name, made):
    table = made[name]
    assert list(table.columns) == TABLE_COLUMNS
    assert not table.duplicated(["row", "column"]).any()
    assert table["mean"].notna().all()
    assert set(CARD.tables[name].counterparts.values()) <= set(table["row"])
    assert not side_by_side(CARD.tables[name], table).empty


@pytest.mark.parametrize("name", CARD.figures)
def test_every_figure_of_the_card(name, made, tmp_path):
    figure = getattr(report, f"plot_{name}")(made[name], CARD.figures[name].reported)
    assert isinstance(figure, Figure)
    save(figure, tmp_path / name)
    assert (tmp_path / f"{name}.png").stat().st_size > 5_000


def test_every_claim_is_judged(made):
    verdicts = judge(CARD.claims, {name: made[name] for name in TESTED})
    assert set(verdicts) == set(TESTED)
    for name in ("c9_bounds", "c9_monotone", "c9_slack", "c10_greedy", "c10_sampled", "c11"):
        assert verdicts[name].verdict == "reproduced", name
    assert verdicts["c9_literal"].verdict == "contradicted"


def test_values_survive_storage(study_frame, tmp_path):
    write_values(study_frame, tmp_path / "values.parquet")
    back = read_values(tmp_path / "values.parquet")
    for name in ("table7", "differences", "orders"):
        assert_frame_equal(getattr(report, name)(back), getattr(report, name)(study_frame))


def arm(name: str, values: dict[int, float], **labels: object) -> pd.DataFrame:
    steps = pd.array([pd.NA] * len(values), dtype="Int32")
    part = pd.DataFrame({"seed": list(values), "name": name, "step": steps, "value": list(values.values())})
    return part.assign(**labels)


def test_gains_are_paired_by_seed_and_have_the_right_sign():
    frame = pd.concat(
        [
            arm("tau1/all", {1: 4.0, 2: 5.0}, sweep="main", arm="gto"),
            arm("tau1/all", {2: 4.5, 1: 3.0}, sweep="main", arm="continual"),
            arm("tau1/all", {1: 2.0, 2: 2.0}, sweep="main", arm="flipped"),
            arm("tau1/all", {1: 3.5}, sweep="debias", arm="no debiasing"),
        ]
    )
    assert report.c2_steps(frame).to_dict() == {1: 1.0, 2: 0.5}
    assert report.flip(frame).to_dict() == {1: 1.0, 2: 2.5}
    assert report.flip_gto(frame).to_dict() == {1: -1.0, 2: -0.5}
    assert report.c7(frame).to_dict() == {1: 0.5}


def test_the_spread_is_that_of_the_second_half():
    steps = pd.array(range(6), dtype="Int32")
    part = pd.DataFrame({"seed": 1, "name": "grad_norm", "step": steps, "value": [9.0, 0, 9, 1, 2, 3]})
    frame = part.assign(sweep="main", arm="gto")
    assert gradient_spread(frame, "main", "gto").to_dict() == {1: pytest.approx(1.0)}


def test_the_counterexample_is_read_with_its_sign(study_frame):
    assert report.c9_literal(study_frame).tolist() == pytest.approx([0.96 - 0.5088, 0.962 - 0.5088])
    harmless = study_frame[study_frame["name"] != "reward/B"]
    low = study_frame[study_frame["name"] == "reward/B"].assign(value=0.0)
    assert report.c9_literal(pd.concat([harmless, low])).tolist() == [0.0, 0.0]


def test_figure_1_is_the_papers_example(made):
    twin = made["fig1"].set_index("path")
    assert twin.loc["It is a", "probability"] == pytest.approx(0.36)
    assert twin.loc["It has to", "probability"] == pytest.approx(0.38)
    assert twin["kept"].sum() == 3
    assert bool(twin.loc["It has to", "kept"])
    assert not twin.loc["It is a", "kept"]


def test_the_audits_find_what_they_look_for(monkeypatch):
    assert np.abs(report.audit_averages(None)).max() < 0.0101
    assert report.audit_sizes(None).tolist() == [1.0] * 4
