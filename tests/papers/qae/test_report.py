"""Tables and figures of QAE on real records, against the numbers of the spec sheet."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from common.study.card import load_card
from common.study.frame import rows
from papers.qae import report
from papers.qae.report import measures

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


def test_coefficients_are_those_of_the_sheet(made):
    block = made["coefficients"].set_index(["row", "column"])["mean"]
    expected = {"0.05": (0.163, 0.172, 0.172, 0.101), "0.50": (0.967, 0.869, 1.037, 1.037)}
    expected["0.95"] = (3.104, 3.275, 1.909, 3.275)
    for rate, values in expected.items():
        assert block.loc[f"G=16, p={rate}"].tolist() == pytest.approx(values, abs=6e-4)


def test_long_runs_have_every_arm_at_every_rate(made):
    block = made["long_runs"]
    assert block["row"].nunique() == 3 * (len(measures.RATES) + 1)
    assert block["column"].nunique() == 7
    panels = list(made["fig1"]["panel"].unique())
    assert [panel.partition(": ")[2] for panel in panels[:: len(measures.RATES) + 1]] == [
        "entropy (nats)",
        "success in training",
    ]


def test_a_control_of_fewer_seeds_is_compared_on_those(study_frame):
    for name, seeds in {"c9": [3, 4, 5], "c9_tuned": [0, 1, 2], "c12": [3, 4, 5]}.items():
        assert list(report.CLAIMS[name](study_frame).index) == seeds
        gate = report.CLAIMS[name](study_frame, arm="random_gate")
        assert list(gate.index) == seeds[:2]
        assert gate.notna().all()


def test_gains_are_paired_by_seed(study_frame, made):
    data = made["fig5a"]
    assert data["step"].unique().tolist() == [0, 2, 8, 20, 30]

    def start(arm: str) -> np.ndarray:
        return (
            rows(study_frame, "long", "curve/pass_at_16", baseline=arm).query("step == 1")["value"].to_numpy()
        )

    cell = data[(data["panel"] == "Gain in pass@16") & (data["step"] == 2)]
    difference = start("quantile") - start("mean")
    assert cell["mean"].item() == pytest.approx(difference.mean())
    half = cell["high"].item() - cell["mean"].item()
    assert half == pytest.approx(4.3027 * difference.std(ddof=1) / np.sqrt(3), rel=1e-4)  # t of two degrees


def test_few_seeds_are_a_gap(study_frame):
    frame = study_frame.copy()
    lost = (
        (frame["sweep"] == "tabular_hard")
        & (frame["name"] == "entropy_positive")
        & (frame["step"] == 4)
        & (frame["seed"] > 0)
    )
    frame.loc[lost, "value"] = np.nan
    twin = report.FIGURES["fig4a"].data(frame).query("arm == 'positive advantage'").set_index("step")
    assert twin.loc[4, ["mean", "low", "high"]].isna().all()
    assert twin["mean"].loc[[3, 5]].notna().all()


def test_a_class_without_responses_is_a_gap_not_a_zero(made):
    assert made["fig4a"].query("arm == 'zero advantage'")["mean"].isna().all()
    assert made["fig4a"].query("arm == 'negative advantage'")["mean"].gt(0).any()


def test_fig5c_shares_add_up_and_the_closed_form_switches(made):
    data = made["fig5c"]
    hard = data[data["panel"] == "Tabular, hard mix"].groupby("step")["mean"].sum(min_count=3).dropna()
    assert_allclose(hard, 1.0)
    closed = data[data["panel"] == "One group (closed form)"]
    assert_allclose(closed.groupby("step")["mean"].sum(), 1.0)
    at = {
        rate: closed[np.isclose(closed["step"], rate)].set_index("arm")["mean"] for rate in (0.5975, 0.6025)
    }
    assert at[0.5975].to_dict() == pytest.approx(
        {"zero advantage": 0.4025, "positive advantage": 0.5975, "negative advantage": 0.0}
    )
    assert at[0.6025].to_dict() == pytest.approx(
        {"zero advantage": 0.6025, "positive advantage": 0.0, "negative advantage": 0.3975}
    )
