"""Claims and Table 1 of QAE on hand-made numbers."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from common.study.audits import number, possible, reported
from common.study.card import load_card
from common.study.errors import StudyError
from common.study.frame import rows
from common.study.study import tidy
from papers.qae import report
from papers.qae.report import measures

CARD = load_card("qae")
TABULAR = {
    "baseline": "mean", "k": 0.4, "epsilon_high": 0.28, "inner_steps": 8, "optimizer": "adam",
    "matched_grad_norm": False,
}  # fmt: skip


def shuffled(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sample(frac=1.0, random_state=7)


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


def tabular(name: str, mix: str, values: dict[int, list[float]], **labels: object) -> pd.DataFrame:
    return arm(f"tabular_{mix}", name, values, mix=mix, **{**TABULAR, **labels})


def trained(sweep: str, base: str, baseline: str, name: str, values: dict[int, float]) -> pd.DataFrame:
    return arm(sweep, name, values, base=base, baseline=baseline, k=0.4, epsilon_high=0.28)


def ramp(start: float, slope: float, length: int = 17) -> list[float]:
    return [start + slope * step for step in range(length)]


def test_two_arms_under_one_selection_are_refused(study_frame):
    with pytest.raises(StudyError, match="more than one arm"):
        rows(study_frame, "tabular_hard", "entropy", baseline="mean")
    with pytest.raises(StudyError, match="no record of 'entropy' of sweep 'main'"):
        rows(study_frame, "main", "entropy", baseline="b0")


def test_c1_linear_counts_beyond_one_and_at_sixteen():
    frame = tidy(
        [
            arm("theory", "k", {0: [0.2, 0.2, 0.4, 0.55]}, analysis="linear_mismatches"),
            arm("theory", "group_size", {0: [8.0, 8.0, 16.0, 16.0]}, analysis="linear_mismatches"),
        ]
    )
    assert report.CLAIMS["c1_linear"](frame).tolist() == [
        1,
        0,
        0,
        0,
        1,
        0,
        0,
    ]


def test_c3_is_one_where_the_entropy_change_does_not_rise():
    frame = tidy(
        [
            arm("theory", "increment", {0: [1e-9, 0.0, -1e-9]}, analysis="entropy_safety"),
            arm("theory", "centred_spread", {0: [0.0, 1e-11]}, analysis="entropy_safety"),
        ]
    )
    assert report.CLAIMS["c3"](frame).tolist() == [0, 1, 1]
    assert report.CLAIMS["c3_centred"](frame).tolist() == [1, 0]


def test_c6_is_the_mean_over_the_first_quarter_on_the_broad_mix():
    slopes = {0.2: 1.0, 0.4: 2.0, 0.6: 3.0, 0.8: 4.0}
    parts = [
        tabular("entropy", "broad", {1: ramp(1, s), 2: ramp(2, s)}, baseline=baseline, k=k)
        for k, s in slopes.items()
        for baseline in ("quantile", "random_gate")
    ]
    decoys = [
        tabular("entropy", "hard", {1: ramp(9, 9), 2: ramp(9, 9)}, baseline="quantile"),
        tabular("entropy", "broad", {1: ramp(9, 9)}, baseline="quantile", matched_grad_norm=True),
        tabular("entropy", "broad", {1: ramp(9, 9)}, baseline="quantile", epsilon_high=0.2),
    ]
    values = report.CLAIMS["c6"](shuffled(tidy(parts + decoys)))
    assert list(values) == ["k02", "k04", "k06", "k08"]
    assert values.loc[1].tolist() == [3.5, 6.0, 8.5, 11.0]  # iterations 1 to 4 of 16
    assert values.loc[2].tolist() == [4.5, 7.0, 9.5, 12.0]


def hard_curves() -> list[pd.DataFrame]:
    """Entropies on the hard mix that grow linearly, one slope per baseline, and absurd decoys."""
    slopes = {
        "mean": 0.3,
        "quantile": 0.1,
        "random_gate": 0.2,
        "pos": 0.5,
        "b1": 0.7,
        "neg": 0.05,
        "b0": -0.1,
    }
    slopes["sparse_mean"] = 0.25
    parts = [
        tabular("entropy", "hard", {5: ramp(1, s), 4: ramp(2, 2 * s)}, baseline=baseline)
        for baseline, s in slopes.items()
    ]
    parts += [
        tabular("entropy", "hard", {5: ramp(0, 1), 4: ramp(0, 2)}, baseline="pos", epsilon_high=0.2),
        tabular("entropy", "hard", {5: ramp(0, 2), 4: ramp(0, 1)}, baseline="neg", epsilon_high=0.2),
        tabular("entropy", "hard", {5: ramp(99, 9), 4: ramp(99, 9)}, epsilon_high=0.2),
        tabular("entropy", "hard", {5: ramp(99, 9), 4: ramp(99, 9)}, baseline="quantile", k=0.8),
        tabular("entropy", "broad", {5: ramp(-99, 9), 4: ramp(-99, 9)}, baseline="quantile"),
    ]
    return parts


def test_c7a_is_a_paired_difference_after_fifteen_iterations():
    frame = shuffled(tidy(hard_curves()))
    assert_allclose(report.CLAIMS["c7a"](frame)[[4, 5]], [-6.0, -3.0])
    assert_allclose(report.CLAIMS["c7a"](frame, arm="random_gate")[[4, 5]], [-3.0, -1.5])


def test_c7a_refuses_a_run_that_is_too_short():
    frame = tidy([tabular("entropy", "hard", {1: ramp(1, 1, 11)}, baseline=b) for b in ("mean", "quantile")])
    with pytest.raises(StudyError, match="after 15 iterations"):
        report.CLAIMS["c7a"](frame)


def test_c7b_reads_the_entropy_after_five_iterations():
    frame = shuffled(tidy(hard_curves()))
    values = report.CLAIMS["c7b"](frame)
    assert list(values) == ["mean", "pos_mask", "b1"]
    assert_allclose(values.loc[5], [2.5, 3.5, 4.5])
    assert_allclose(values.loc[4], [5.0, 7.0, 9.0])
    controls = report.CLAIMS["c7b_positives"](frame)
    assert list(controls) == ["mean", "neg_mask", "b0"]
    assert_allclose(controls.loc[5], [2.5, 1.25, 0.5])


def test_c8d_is_the_mean_entropy_over_training_without_the_start():
    frame = shuffled(tidy(hard_curves()))
    values = report.CLAIMS["c8d"](frame)
    assert_allclose(values.loc[5], [0.45 * 8.5, -8.5])
    assert_allclose(values.loc[4], [0.9 * 8.5, 8.5])
    assert_allclose(report.CLAIMS["c8d_random"](frame)[[4, 5]], [0.1 * 8.5, 0.05 * 8.5])


def successes() -> pd.DataFrame:
    """Success at the end by baseline and range on the hard mix; the other mix and earlier steps mislead."""
    wide = {"neg": 0.6, "quantile": 0.7, "pos": 0.4, "random_gate": 0.5, "mean": 0.45}
    narrow = {"neg": 0.2, "pos": 0.3, "quantile": 0.1, "mean": 0.05}
    parts = []
    for epsilon_high, ends in ((0.28, wide), (0.2, narrow)):
        for baseline, end in ends.items():
            labels = {"baseline": baseline, "epsilon_high": epsilon_high}
            parts.append(tabular("success", "hard", {7: [1.0, 0.0, end], 8: [0.0, 1.0, end / 2]}, **labels))
            parts.append(tabular("success", "broad", {7: [0.0, 0.0, 1 - end], 8: [0.0] * 3}, **labels))
    for epsilon_high in (0.22, 0.24, 0.26):
        parts.append(tabular("success", "hard", {7: [0.0, epsilon_high]}, epsilon_high=epsilon_high))
        parts[-1] = pd.concat([parts[-1], parts[-1].assign(seed=8)])
        parts.append(tabular("success", "broad", {7: [0.0], 8: [1.0]}, epsilon_high=epsilon_high))
    return shuffled(tidy(parts))


@pytest.mark.parametrize(
    ("name", "difference"), [("c8a", -0.1), ("c8b", 0.3), ("c8c", 0.1), ("c8c_wide", -0.2)]
)
def test_c8_pairs_the_successes_at_the_end(name, difference):
    assert_allclose(report.CLAIMS[name](successes())[[7, 8]], [difference, difference / 2])


def test_a_control_arm_reads_the_same_line():
    assert_allclose(report.CLAIMS["c8b"](successes(), arm="random_gate")[[7, 8]], [0.1, 0.05])


def test_c10_compares_with_every_range():
    values = report.CLAIMS["c10"](successes())
    assert_allclose(values.loc[7], [0.65, 0.48, 0.46, 0.44, 0.25])
    assert_allclose(values.loc[8], [0.325, 0.13, 0.11, 0.09, 0.125])
    assert_allclose(
        report.CLAIMS["c10"](successes(), arm="random_gate").loc[7], [0.45, 0.28, 0.26, 0.24, 0.05]
    )


def test_table1_is_in_percent_by_mix():
    block = report.TABLES["table1"](successes()).set_index(["row", "column"])
    assert list(block.loc["QAE, eps_high=0.28", "hard mix"])[:1] == pytest.approx([52.5])  # of 70 and 35
    assert block.loc[("QAE, eps_high=0.28", "broad mix"), "mean"] == pytest.approx(15.0)
    assert block.loc[("mean, eps_high=0.20", "hard mix"), "mean"] == pytest.approx(3.75)
    assert set(block["n"]) == {2}


LABELS = {"base": "clip_higher", "k": 0.4, "epsilon_high": 0.28}
Values = dict[int, list[float] | float]


def long(baseline: str, name: str, values: Values) -> pd.DataFrame:
    """A value of an arm in the long runs."""
    return arm("long", name, values, **LABELS, baseline=baseline, purpose="judged")


def at_rate(rate: float, baseline: str, name: str, values: Values, purpose: str = "judged") -> pd.DataFrame:
    """A value of an arm in the grid of learning rates."""
    return arm("rates", name, values, **LABELS, baseline=baseline, learning_rate=rate, purpose=purpose)


def test_c9_end_weighs_the_levels_trained_on_and_c9_tuned_takes_each_arms_own_rate():
    ends = {"mean": (0.2, 0.4), "quantile": (0.5, 0.6), "random_gate": (0.1, 0.3)}
    best = {"mean": 1e-4, "quantile": 3e-4, "random_gate": 3e-4}  # on development seeds
    parts = []
    for baseline, scores in ends.items():
        for level, score in zip("HX", scores, strict=True):
            pair: Values = {11: score, 12: 2 * score}
            parts.append(long(baseline, f"final/pass_at_1/{level}", pair))
            parts.append(long(baseline, f"final/pass_at_16/{level}", {11: 2 * score, 12: 4 * score}))
        parts.append(long(baseline, "final/pass_at_1/E", {11: 77.0, 12: 77.0}))
        for rate in measures.RATES:
            found: Values = {7: 0.5 + (rate == best[baseline]), 8: 0.7}
            parts += [at_rate(rate, baseline, f"final/pass_at_1/{level}", found, "search") for level in "HX"]
            more = 0.0 if rate == measures.RATES[-1] else 0.1
            parts += [
                at_rate(rate, baseline, f"final/pass_at_1/{level}", {1: score + more, 2: 2 * score + more})
                for level, score in zip("HX", scores, strict=True)
            ]
    frame = shuffled(tidy(parts))
    assert_allclose(report.PREMISES["headroom"](frame)[[11, 12]], [0.26, 0.52])  # 0.7 H and 0.3 X
    assert_allclose(report.CLAIMS["c9_end"](frame)[[11, 12]], [0.27, 0.54])
    assert_allclose(report.CLAIMS["c9_end"](frame, arm="random_gate")[[11, 12]], [-0.1, -0.2])
    assert_allclose(report.CLAIMS["c9_pass16"](frame)[[11, 12]], [0.54, 1.08])
    assert_allclose(report.CLAIMS["c9_tuned"](frame)[[1, 2]], [0.17, 0.44])
    assert_allclose(report.CLAIMS["c9_tuned"](frame, arm="random_gate")[[1, 2]], [-0.2, -0.3])


def test_c9_compares_the_last_quarter_of_the_rollouts():
    ends = {"mean": [0.2, 0.4], "quantile": [0.5, 0.9], "random_gate": [0.1, 0.1]}
    parts = [long(name, "reward", {3: [9.0] * 6 + end, 4: [0.0] * 6 + end}) for name, end in ends.items()]
    frame = shuffled(tidy(parts))
    assert_allclose(report.CLAIMS["c9"](frame)[[3, 4]], 0.4)
    assert_allclose(report.CLAIMS["c9"](frame, arm="random_gate")[[3, 4]], -0.2)


def test_c12_is_the_swing_of_entropy_whenever_it_comes():
    flat = [2.0] * 18
    curves = {"mean": [*flat, 0.4, 0.6], "quantile": [0.5, 1.5, *flat]}
    curves["random_gate"] = [*flat[:10], 9.0, 7.0, *flat[10:]]  # in twenty batches a tenth is two
    parts = [long(name, "entropy", {3: curve, 4: curve}) for name, curve in curves.items()]
    frame = shuffled(tidy(parts))
    assert_allclose(report.PREMISES["entropy_moves"](frame)[[3, 4]], 2.0)
    assert_allclose(report.CLAIMS["c12"](frame)[[3, 4]], 1.0 - 2.0)
    assert_allclose(report.CLAIMS["c12"](frame, arm="random_gate")[[3, 4]], 2.0 - 2.0)


def test_clipping_is_the_share_at_the_upper_range_over_training():
    frame = tidy([long("mean", "clip_high", {1: [9.0, 0.001, 0.003]})])
    assert report.PREMISES["clipping_acts"](frame)[1] == pytest.approx(0.002)


def test_c9_bases_pairs_by_seed_on_the_seeds_of_every_base():
    ones = {"mean": {1: 0.2, 2: 0.5, 3: 0.0}, "quantile": {1: 0.5, 2: 0.6, 3: 1.0}}
    ones["random_gate"] = {1: 0.1, 2: 0.55, 3: 0.0}
    parts = [
        trained("main", "clip_higher", baseline, f"final/pass_at_1/{level}", scores)
        for baseline, scores in ones.items()
        for level in ("all", "E")
    ]
    for base, gain in (("clip_cov", 0.1), ("kl_cov", 0.2), ("gspo", -0.3)):
        for baseline, score in (("mean", 0.4), ("quantile", 0.4 + gain)):
            parts.append(trained("bases", base, baseline, "final/pass_at_1/all", {2: score, 1: score}))
    frame = shuffled(tidy(parts))
    gains = report.CLAIMS["c9_bases"](frame)
    assert list(gains.index) == [1, 2]
    assert_allclose(gains.loc[1], [0.3, 0.1, 0.2, -0.3])
    assert_allclose(report.CLAIMS["c9_bases_gate"](frame)[[1, 2, 3]], [-0.1, 0.05, 0.0])


def test_c11_is_relative_to_the_mean_drop_over_seeds():
    curves = {
        "mean": {1: [2.0, 1.5, 1.0], 2: [2.0, 1.0, -1.0]},  # drops 1 and 3, on average 2
        "quantile": {1: [2.0, 1.6, 1.2], 2: [2.0, 1.2, -0.6]},
        "b0": {1: [2.0, 1.5, 0.8], 2: [2.0, 1.0, -1.0]},
    }
    parts = []
    for baseline, values in curves.items():
        labels = {**TABULAR, "mix": "hard", "baseline": baseline, "inner_steps": 1}
        parts.append(arm("tabular_small_steps", "entropy", values, **{**labels, "optimizer": "sgd"}))
        parts.append(arm("tabular_small_steps", "entropy", {1: [9.0, 0.0], 2: [9.0, 0.0]}, **labels))
    frame = shuffled(tidy(parts))
    values = report.CLAIMS["c11"](frame)
    assert_allclose(values["quantile, average"][[1, 2]], [0.075, 0.15])
    assert_allclose(values["quantile, end"][[1, 2]], [0.1, 0.2])
    assert_allclose(values["b0, average"][[1, 2]], [-0.05, 0.0])
    assert_allclose(values["b0, end"][[1, 2]], [-0.1, 0.0], atol=1e-15)
    assert report.PREMISES["small_steps_move"](frame)[[1, 2]].tolist() == [1.0, 3.0]


def test_reported_improvements_recompute():
    table1, table2 = reported("qae", "table1"), reported("qae", "table2")
    scores, base = table1["AIME24 pass@1"], table1["AIME24 pass@1"]["mean, eps_high=0.28"]
    off = (table1["relative to 0.28"] - 100 * (scores / base - 1)).dropna()
    assert len(off) == 4
    assert off.abs().max() < 0.051  # percentage points, the card's digits
    qae = table2.filter(like=" + QAE", axis=0)
    bases = table2.loc[qae.index.str.removesuffix(" + QAE")]
    gains = 100 * (qae.to_numpy() / bases - 1)
    assert gains["AIME24 p@1"]["8B Clip-Higher"] == pytest.approx(
        number(CARD.claims["c9_headline"].reported), abs=0.051
    )
    assert (gains.filter(regex="p@1$", axis=1) > 0).sum().sum() == 10  # of 12, as the paper counts


def test_reported_scores_are_possible_averages_of_32_samples():
    samples = {"AIME": 30 * 32, "AMC": 40 * 32}
    table1 = possible("qae", "table1", {"AIME24 pass@1": samples["AIME"]})
    columns = {"AIME25 p@1": "AIME", "AIME24 p@1": "AIME", "AMC23 p@1": "AMC"}
    table2 = possible("qae", "table2", {column: samples[name] for column, name in columns.items()})
    for audit, count in ((table1, 5), (table2, 8 * 3)):
        distances = audit(pd.DataFrame())
        assert len(distances) == count
        assert np.abs(distances).max() < 0.0051  # the card's digits
