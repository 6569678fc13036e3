"""Tables, figures and claims of RL-ZVP: complete against the card, right on hand-made numbers."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from common.study.study import tidy
from common.study.verdicts import judge
from papers.rl_zvp import report
from papers.rl_zvp.arms import at, batch_quarter, drawdown, stop
from tests.papers.contract import Contract

CONTRACT = Contract("rl_zvp", report)


def arm(sweep: str, name: str, values: dict[int, list[float] | float], **labels: object) -> pd.DataFrame:
    """One arm's curve (a list) or scalar (a number) by seed."""
    parts = [
        pd.DataFrame(
            {
                "seed": seed,
                "name": name,
                "step": pd.array(range(len(curve)) if isinstance(curve, list) else [pd.NA], dtype="Int32"),
                "value": curve if isinstance(curve, list) else [curve],
            }
        )
        for seed, curve in values.items()
    ]
    return pd.concat(parts, ignore_index=True).assign(sweep=sweep, **labels)


def hard(name: str, which: str, values: dict[int, Any], alpha: float = 0.1) -> pd.DataFrame:
    return arm("tabular_hard", name, values, mix="hard", arm=which, alpha=alpha)


def filters(name: str, which: str, values: dict[int, Any], mix: str = "hard") -> pd.DataFrame:
    return arm("filters", name, values, mix=mix, arm=which, alpha=0.1)


@pytest.fixture(scope="module")
def made(study_frame) -> dict[str, Any]:
    return CONTRACT.made(study_frame)


@pytest.mark.parametrize("name", CONTRACT.tables)
def test_every_table_of_the_card(name, made):
    CONTRACT.check_table(name, made[name])


@pytest.mark.parametrize("name", CONTRACT.figures)
def test_every_figure_of_the_card_can_be_saved(name, made, tmp_path):
    CONTRACT.check_panels(made[name], CONTRACT.check_figure(name, made[name], tmp_path))


@pytest.mark.parametrize("name", CONTRACT.absent)
def test_what_is_absent_has_no_function(name):
    CONTRACT.check_absent(name)


@pytest.mark.parametrize("name", CONTRACT.exact)
def test_every_exact_claim_returns_errors(name, made):
    CONTRACT.check_errors(made[name])


def test_every_sampled_claim_can_be_judged(made):
    for name in CONTRACT.sampled:
        policies = CONTRACT.card.claims[name].needs == ("theory",)
        assert sorted(made[name].index) == list(range(10 if policies else 3)), name
    CONTRACT.check_judged(made, CONTRACT.sampled)


@pytest.mark.parametrize("name", ["c1_gradient", "c1_pattern", "c1_mixed", "c9_zero_mean", "c9_identity"])
def test_exact_claims_hold_on_real_records(name, made):
    assert np.abs(made[name]).max() <= CONTRACT.card.claims[name].test.exact


def test_neither_row_order_nor_storage_matters(study_frame, made, tmp_path):
    CONTRACT.check_storage(study_frame, made, tmp_path)


def test_a_filter_stops_at_the_batch_that_uses_up_the_rollouts():
    climbs = {0: [0.1, 0.2, 0.3, 0.4], 1: [0.1, 0.5, 0.6, 0.7], 2: [0.0, 0.1, 0.2, 0.3]}
    spent = {0: [0, 60, 120, 180], 1: [0, 100, 150, 200], 2: [0, 10, 20, 30]}
    arms = [
        hard("success", name, {seed: [0.1, 0.2, 0.3, 0.6] for seed in range(3)}) for name in ("zvp", "grpo")
    ]
    frame = tidy(
        [
            *arms,
            hard("rollouts", "grpo", dict.fromkeys(range(3), 100.0)),
            filters("rollouts", "ds", spent),
            filters("success", "ds", climbs),
            filters("rollouts", "greso", {seed: [0, 50, 100, 150] for seed in range(3)}),
            filters("success", "greso", {seed: [0.1, 0.2, 0.3, 0.9] for seed in range(3)}),
        ]
    )
    assert stop(frame, "hard", "ds").to_dict() == {0: 2, 1: 1, 2: 3}
    accuracy = report.c4_accuracy(frame)
    np.testing.assert_allclose(accuracy["ds"], [0.3, 0.1, 0.3])
    np.testing.assert_allclose(accuracy["greso"], 0.3)
    np.testing.assert_allclose(report.c5(frame)["ds"], [0.2, -0.1, 0.3])
    np.testing.assert_allclose(report.c5(frame)["greso"], -0.3)
    np.testing.assert_allclose(report.c4_steps(frame)["ds"], [2 / 3, 1 / 3, 1])
    assert (report.c4_steps_grpo(frame) == 1).all()


def test_oversampling_of_a_filter():
    parts = []
    for mix in ("easy", "hard"):
        parts += [
            filters("used", "ds", {0: [8.0, 16.0]}, mix),
            filters("kept", "ds", {0: [4.0, 4.0]}, mix),
            filters("zero_variance", "ds", {0: [0.5, 0.75]}, mix),
        ]
    assert report.c4_oversampling(tidy(parts)).loc[0].tolist() == pytest.approx([1.0, 1.0])


def test_ablations_read_the_hard_mix_at_the_end():
    ends = {"zvp": 0.7, "no_negative": 0.6, "no_positive": 0.65, "unit": 0.5, "const": 0.72, "shuffle": 0.69, "alpha": 0.71, "flip": 0.4, "grpo": 0.61}  # fmt: skip  # noqa: E501
    frame = tidy([hard("success", name, {0: [0.1, end], 1: [0.2, end]}) for name, end in ends.items()])
    expected = {"c6_negative": 0.1, "c6_positive": 0.05, "c6_shape": 0.2, "c6_const": 0.22, "c6_null": -0.03, "flip": 0.21, "flip_zvp": -0.09}  # fmt: skip  # noqa: E501
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(report, name)(frame), value, err_msg=name)
    np.testing.assert_allclose(report.c6_matched(frame).loc[0], [-0.02, 0.01, -0.01])
    np.testing.assert_allclose(report.c6_worst(frame).loc[0], [0.1, 0.15])


def test_the_peak_of_the_alpha_sweep():
    ends = {0.05: 0.3, 0.1: 0.5, 0.2: 0.7, 0.3: 0.4, 1.0: 0.2}
    frame = tidy([hard("success", "zvp", {0: [0.0, end]}, alpha) for alpha, end in ends.items()])
    assert report.c7(frame).loc[0].tolist() == pytest.approx([0.3, 0.2])


def test_changes_of_the_zero_variance_share():
    frame = tidy(
        [
            hard("zero_variance", "grpo", {0: [0.9, 0.8, 0.8, 0.8, 0.7, 0.6, 0.5, 0.3]}),
            hard("predicted_zero_variance", "grpo", {0: 0.85}),
        ]
    )
    assert report.c2_hard(frame)[0] == pytest.approx(0.4 - 0.9)
    assert report.c2_hard_frozen(frame)[0] == pytest.approx(-0.05)


def test_small_reductions():
    part = pd.DataFrame({"seed": [0] * 5, "step": range(5), "value": [0.1, 0.5, 0.3, 0.6, 0.2]})
    assert drawdown(part)[0] == pytest.approx(0.4)
    assert batch_quarter(part)[0] == pytest.approx(0.2)
    assert at(part, pd.Series({0: 3}))[0] == pytest.approx(0.6)


def test_audits_find_what_the_paper_reports():
    verdicts = judge(CONTRACT.card.claims, {name: getattr(report, name)(pd.DataFrame()) for name in CONTRACT.tested if name.startswith("audit")})  # fmt: skip  # noqa: E501
    wrong = {name for name, verdict in verdicts.items() if verdict.verdict != "reproduced"}
    assert wrong == {"audit_math500", "audit_pass"}
