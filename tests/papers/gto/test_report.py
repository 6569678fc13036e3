"""Claims of GTO on hand-made numbers."""

import numpy as np
import pandas as pd
import pytest
import torch

from common.speculative.tree import TreePolicy
from common.study.card import load_card
from papers.gto import report


@pytest.mark.parametrize("name", ["c9_bounds", "c9_monotone", "c9_slack", "c10_greedy", "c10_sampled", "c11"])
def test_exact_claims_hold_on_real_records(name, study_frame):
    assert np.abs(report.CLAIMS[name](study_frame)).max() <= load_card("gto").claims[name].test.exact


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
    assert report.CLAIMS["c2_steps"](frame).to_dict() == {1: 1.0, 2: 0.5}
    assert report.CLAIMS["flip"](frame).to_dict() == {1: 1.0, 2: 2.5}
    assert report.CLAIMS["flip"](frame, arm="gto").to_dict() == {1: -1.0, 2: -0.5}
    assert report.CLAIMS["c7"](frame).to_dict() == {1: 0.5}


def test_premises_and_the_loss_read_what_they_say():
    steps = pd.array(range(8), dtype="Int32")

    def logged(name: str, arm: str, last: float) -> pd.DataFrame:
        values = [9.0] * 6 + [last - 0.1, last + 0.1]
        part = pd.DataFrame({"seed": 1, "name": name, "step": steps, "value": values})
        return part.assign(sweep="main", arm=arm)

    norms = {"gto": [2.0] * 8, "continual": [1.0] * 4 + [1.7320508] * 4}
    frame = pd.concat(
        [
            *(logged("loss", a, last) for a, last in {"gto": 0.3, "flipped": 1.3, "shuffled": 0.8}.items()),
            logged("equal_groups", "gto", 0.4),
            logged("outside_clip", "gto", 0.2),
            *(logged("grad_norm", a, 0.0).assign(value=norm) for a, norm in norms.items()),
            arm("tau1/all", {1: 4.0}, sweep="main", arm="untuned"),
            arm("tau1/all", {1: 4.1}, sweep="main", arm="continual_time"),
            arm("tau1/all", {1: 4.5}, sweep="oracle", arm="oracle"),
        ]
    )
    found = {name: measure(frame).to_dict()[1] for name, measure in report.PREMISES.items()}
    expected = {"plateau": 0.025, "head_room": 0.5, "unequal": 0.4, "within_clip": 0.2, "felt": 1.0}
    assert found == pytest.approx(expected)
    assert report.CLAIMS["loss"](frame).to_dict() == pytest.approx({1: -0.5})
    assert report.CLAIMS["loss"](frame, arm="flipped").to_dict() == pytest.approx({1: 0.5})


def test_the_counterexample_is_read_with_its_sign(study_frame):
    assert report.CLAIMS["c9_literal"](study_frame).tolist() == pytest.approx([0.96 - 0.5088, 0.962 - 0.5088])
    last = (study_frame["name"] == "reward") & (study_frame["tree"] == "B").fillna(False)
    low = study_frame.assign(value=study_frame["value"].mask(last, 0.0))
    assert report.CLAIMS["c9_literal"](low).tolist() == [0.0, 0.0]


def test_figure_1_is_the_papers_example():
    twin = report.FIGURES["fig1"].data(pd.DataFrame()).set_index("path")
    assert twin.loc["It is a", "probability"] == pytest.approx(0.36)
    assert twin.loc["It has to", "probability"] == pytest.approx(0.38)
    assert set(twin.index[twin["kept"]]) == {"It is", "It has", "It has to"}


def test_figure_1_keeps_what_the_engine_keeps():
    words = list(dict.fromkeys(word for following in report.DRAFT.values() for word in following))
    chances = torch.full((len(words), len(words)), 1e-12)
    for word, following in report.DRAFT.items():
        for token, chance in following.items():
            chances[words.index(word) if word else -1, words.index(token)] = chance
    tree = TreePolicy(2, 2, report.BUDGET).grow(
        chances[-1:].log(), lambda tokens, _parents, _visible: chances.log()[tokens]
    )
    paths = {
        " ".join(["It", *(words[token] for token in tree.tokens[0][seen])])
        for seen in tree.ancestor[0, 1:, 1:]
    }
    twin = report.FIGURES["fig1"].data(pd.DataFrame()).set_index("path")
    assert paths == set(twin.index[twin["kept"]])


def test_the_audits_find_what_they_look_for(monkeypatch):
    assert np.abs(report.CLAIMS["audit_averages"](None)).max() < 0.0101
    assert report.CLAIMS["audit_sizes"](None).tolist() == [1.0] * 4
