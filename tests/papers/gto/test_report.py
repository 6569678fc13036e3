"""Tables, figures and claims of GTO: complete against the card, right on hand-made numbers."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from papers.gto import report
from papers.gto.selection import gradient_spread
from tests.papers.contract import Contract

CONTRACT = Contract("gto", report)


@pytest.fixture(scope="module")
def made(study_frame) -> dict[str, Any]:
    return CONTRACT.made(study_frame)


@pytest.mark.parametrize("name", CONTRACT.tables)
def test_every_table_of_the_card(name, made):
    CONTRACT.check_table(name, made[name])
    assert made[name]["mean"].notna().all()


@pytest.mark.parametrize("name", CONTRACT.figures)
def test_every_figure_of_the_card_can_be_saved(name, made, tmp_path):
    CONTRACT.check_figure(name, made[name], tmp_path)


@pytest.mark.parametrize("name", CONTRACT.exact)
def test_every_exact_claim_returns_errors(name, made):
    CONTRACT.check_errors(made[name])


def test_every_claim_is_judged(made):
    verdicts = CONTRACT.check_judged(made, CONTRACT.tested)
    for name in ("c9_bounds", "c9_monotone", "c9_slack", "c10_greedy", "c10_sampled", "c11"):
        assert verdicts[name].verdict == "reproduced", name
    assert verdicts["c9_literal"].verdict == "contradicted"


def test_neither_row_order_nor_storage_matters(study_frame, made, tmp_path):
    CONTRACT.check_storage(study_frame, made, tmp_path)


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
