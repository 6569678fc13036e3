"""Claims of RL-ZVP on hand-made numbers."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from common.study.card import load_card
from common.study.study import tidy
from common.study.verdicts import judge
from papers.rl_zvp import report
from papers.rl_zvp.report.measures import at, batch_quarter, drawdown, stop

CARD = load_card("rl_zvp")


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


@pytest.mark.parametrize("name", ["c1_gradient", "c1_pattern", "c1_mixed", "c9_zero_mean", "c9_identity"])
def test_exact_claims_hold_on_real_records(name, study_frame):
    assert np.abs(report.CLAIMS[name](study_frame)).max() <= CARD.claims[name].test.exact


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
    accuracy = report.CLAIMS["c4_accuracy"](frame)
    np.testing.assert_allclose(accuracy["ds"], [0.3, 0.1, 0.3])
    np.testing.assert_allclose(accuracy["greso"], 0.3)
    np.testing.assert_allclose(report.CLAIMS["c5"](frame)["ds"], [0.2, -0.1, 0.3])
    np.testing.assert_allclose(report.CLAIMS["c5"](frame)["greso"], -0.3)
    np.testing.assert_allclose(report.CLAIMS["c4_steps"](frame)["ds"], [2 / 3, 1 / 3, 1])
    assert (report.CLAIMS["c4_steps_grpo"](frame) == 1).all()


def test_ablations_read_the_hard_mix_at_the_end():
    ends = {"zvp": 0.7, "no_negative": 0.6, "no_positive": 0.65, "unit": 0.5, "const": 0.72, "shuffle": 0.69, "alpha": 0.71, "flip": 0.4, "grpo": 0.61}  # fmt: skip  # noqa: E501
    frame = tidy([hard("success", name, {0: [0.1, end], 1: [0.2, end]}) for name, end in ends.items()])
    expected = {"c6_negative": 0.1, "c6_positive": 0.05, "c6_shape": 0.2, "c6_null": -0.03, "flip": 0.21}
    for name, value in expected.items():
        np.testing.assert_allclose(report.CLAIMS[name](frame), value, err_msg=name)
    np.testing.assert_allclose(report.CLAIMS["c6_shape"](frame, arm="const"), 0.22)
    np.testing.assert_allclose(report.CLAIMS["flip"](frame, arm="zvp"), -0.09)
    np.testing.assert_allclose(report.CLAIMS["c6_matched"](frame).loc[0], [-0.02, 0.01, -0.01])


def test_the_peak_of_the_alpha_sweep():
    ends = {0.05: 0.3, 0.1: 0.5, 0.2: 0.7, 0.3: 0.4, 1.0: 0.2}
    frame = tidy([hard("success", "zvp", {0: [0.0, end]}, alpha) for alpha, end in ends.items()])
    assert report.CLAIMS["c7"](frame).loc[0].tolist() == pytest.approx([0.3, 0.2])


def test_changes_of_the_zero_variance_share():
    frame = tidy(
        [
            hard("zero_variance", "grpo", {0: [0.9, 0.8, 0.8, 0.8, 0.7, 0.6, 0.5, 0.3]}),
            hard("predicted_zero_variance", "grpo", {0: 0.85}),
        ]
    )
    assert report.CLAIMS["c2_hard"](frame)[0] == pytest.approx(0.4 - 0.9)
    assert report.CLAIMS["c2_hard_frozen"](frame)[0] == pytest.approx(-0.05)


def language(name: str, which: str, values: dict[int, Any]) -> pd.DataFrame:
    return arm("proofs", name, values, mix="hard", arm=which, alpha=1.0)


def test_claims_and_premises_on_the_hard_mix():
    ends = {"grpo": 0.7, "zvp": 0.6}
    parts = [language("final/pass_at_1/all", which, {0: end}) for which, end in ends.items()]
    for which, fall in {"grpo": 0.3, "zvp": 0.1}.items():
        parts += [
            language("curve/pass_at_1", which, {0: [0.2, 0.5, 0.5 - fall, 0.7]}),
            language("curve/iteration", which, {0: [0, 50, 100, 150]}),
            language("final/entropy/connector", which, {0: 0.7}),
            language("final/entropy/result", which, {0: 1 - fall}),
        ]
    parts += [
        language("zero_variance", "grpo", {0: [1.0, 0.9, 0.5, 0.1]}),
        language("gradient_share", "zvp", {0: [0.2, 0.4]}),
    ]
    frame = tidy(parts)
    expected = {"c3": -0.1, "c8_drawdown": 0.2, "probe": -0.2}
    for name, value in expected.items():
        np.testing.assert_allclose(report.CLAIMS[name](frame), value, err_msg=name)
    premises = {"zero_variance": 0.95, "gradient": 0.3, "headroom": 0.2, "baseline_learns": 0.5}
    for name, value in premises.items():
        np.testing.assert_allclose(report.PREMISES[name](frame), value, err_msg=name)


def test_small_reductions():
    part = pd.DataFrame({"seed": [0] * 5, "step": range(5), "value": [0.1, 0.5, 0.3, 0.6, 0.2]})
    assert drawdown(part)[0] == pytest.approx(0.4)
    assert batch_quarter(part)[0] == pytest.approx(0.2)
    assert at(part, pd.Series({0: 3}))[0] == pytest.approx(0.6)


def test_audits_find_what_the_paper_reports():
    audits = {name: report.CLAIMS[name](pd.DataFrame()) for name in CARD.claims if name.startswith("audit")}
    verdicts = judge(CARD, audits)
    wrong = {name for name, verdict in verdicts.items() if verdict.verdict != "reproduced"}
    assert wrong == {"audit_math500", "audit_pass"}
