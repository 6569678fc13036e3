"""Tables and figures of QAE on real records, against the numbers of the spec sheet."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from common.study.card import load_card
from common.study.frame import rows
from papers.qae import report

CARD = load_card("qae")


@pytest.fixture(scope="module")
def made(study_frame) -> dict[str, Any]:
    """The tables and data twins that the tests below look into."""
    twins = {name: figure.data for name, figure in report.FIGURES.items()}
    return {name: make(study_frame) for name, make in (report.TABLES | twins).items()}


def test_the_papers_zero_share_is_drawn(made):
    figure = report.FIGURES["fig5c"].draw(made["fig5c"], {"zero share": 0.8})
    lines = [
        [line for line in axis.lines if line.get_label() == "paper: 80% zero share"] for axis in figure.axes
    ]
    assert [len(panel) for panel in lines] == [1, 1, 1, 0]
    assert list(lines[0][0].get_ydata()) == [0.8, 0.8]
    assert "paper: 80% zero share" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_exact_claims_hold_on_real_records(study_frame):
    for name, claim in CARD.claims.items():
        if claim.test and claim.test.kind == "exact":
            error = np.abs(report.CLAIMS[name](study_frame)).max()
            assert (error > claim.test.exact) == (name in ("c2_sampled", "c3_centred")), (name, error)


def test_mismatches_are_those_of_the_sheet(made):
    block = made["mismatches"].pivot_table(index="row", columns="column", values="mean")
    cells = {row: tuple(values) for row, values in block.iterrows()}
    expected = {
        "K=0.2, G=4": (0, 0.6, 1), "K=0.2, G=8": (0, 0.4, 2), "K=0.2, G=32": (0, 0.2, 7),
        "K=0.4, G=4": (0, 0.2, 2), "K=0.4, G=8": (1, 0.8, 3), "K=0.4, G=32": (0, 0.4, 13),
        "K=0.6, G=4": (1, 0.8, 2), "K=0.6, G=8": (0, 0.2, 5), "K=0.6, G=32": (1, 0.6, 19),
        "K=0.8, G=4": (1, 0.4, 3), "K=0.8, G=8": (1, 0.6, 6), "K=0.8, G=32": (1, 0.8, 25),
    }  # fmt: skip
    assert list(block.columns) == ["Eq. 4", "linear quantile", "wrong responses"]
    assert set(cells) == set(expected)
    for row, values in expected.items():
        assert cells[row] == pytest.approx(values), row


def test_coefficients_are_those_of_the_sheet(made):
    block = made["coefficients"].set_index(["row", "column"])["mean"]
    expected = {"0.05": (0.163, 0.172, 0.172, 0.101), "0.50": (0.967, 0.869, 1.037, 1.037)}
    expected["0.95"] = (3.104, 3.275, 1.909, 3.275)
    for rate, values in expected.items():
        assert block.loc[f"G=16, p={rate}"].tolist() == pytest.approx(values, abs=6e-4)


def test_controls_name_every_tabular_arm_once(made):
    block = made["controls"]
    names = list(block["row"].drop_duplicates())
    assert len(names) == 17 + 23 + 6
    assert names[0] == "hard mix: mean"
    assert "broad mix: QAE, K=0.4, matched gradient norm" in names
    assert "hard mix: b=0, one SGD step a batch" in names
    assert block[block["column"] == "entropy at 15"].groupby("n").size().to_dict() == {
        0: 3,
        3: 43,
    }  # SGD ran four


def test_training_curves_stand_at_their_iterations(study_frame, made):
    data = made["fig10"]
    assert data.loc[data["panel"] == "pass@1", "step"].unique().tolist() == [0, 2, 8, 20, 30]
    assert data.loc[data["panel"] == "Entropy (nats)", "step"].unique().tolist() == list(range(30))
    start = rows(study_frame, "main", "curve/pass_at_1", baseline="quantile").query("step == 1")["value"]
    cell = data[(data["panel"] == "pass@1") & (data["arm"] == "QAE") & (data["step"] == 2)]
    assert cell["mean"].item() == pytest.approx(start.mean())


def test_high_entropy_tokens_are_ranked_at_the_papers_moments(made):
    data = made["fig3"]
    assert list(data["panel"].unique()) == [
        "Early (iteration 2)",
        "Middle (iteration 8)",
        "Late (iteration 20)",
    ]
    early = data[data["panel"] == "Early (iteration 2)"]
    assert len(early) == 20
    assert early["mean"].is_monotonic_decreasing
    kinds = dict(zip(data["token"], data["kind"], strict=True))
    assert {kinds.get("wait", "exploratory"), kinds.get("so", "rigid"), kinds["="]} == {
        "exploratory", "rigid", "other",
    }  # fmt: skip


def test_markers_add_up_the_rigid_tokens(study_frame, made):
    data = made["fig7"]
    part = data[(data["panel"] == "Rigid tokens (so, let)") & (data["arm"] == "QAE") & (data["step"] == 30)]
    counts = [
        rows(study_frame, "main", f"curve/count/{token}", baseline="quantile")
        .query("step == 4")["value"]
        .mean()
        for token in ("so", "let")
    ]
    assert part["mean"].item() == pytest.approx(sum(counts))


def test_a_class_without_responses_is_a_gap_not_a_zero(made):
    assert made["fig4a"].query("arm == 'zero advantage'")["mean"].isna().all()
    assert made["fig4a"].query("arm == 'negative advantage'")["mean"].gt(0).any()


def test_fig5c_shares_add_up_and_the_closed_form_switches(made):
    data = made["fig5c"]
    hard = data[data["panel"] == "Tabular, hard mix"].groupby("step")["mean"].sum(min_count=3).dropna()
    assert_allclose(hard, 1.0)
    closed = data[(data["arm"] == "K = 0.4") & (data["n"] == 0)].set_index("step")["mean"]
    assert closed[np.isclose(closed.index, 0.5975)].item() == pytest.approx(1 - 0.5975)
    assert closed[np.isclose(closed.index, 0.6025)].item() == pytest.approx(0.6025)
