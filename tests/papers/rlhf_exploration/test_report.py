"""Claims of the exploration study on hand-made numbers."""

import numpy as np
import pandas as pd
from numpy.testing import assert_allclose

from common.study.card import load_card
from common.study.report import Report
from papers.rlhf_exploration import report
from papers.rlhf_exploration.report.measures import GROWTH_BETAS, exponent, jackknife, slope

CARD = load_card("rlhf_exploration")
COLUMNS = ["sweep", "protocol", "instance", "beta", "gap", "arms", "horizon", "policy", "analysis"]


def cell(sweep: str, name: str, values: list[float], **labels: object) -> pd.DataFrame:
    """A scalar by seed 0, 1, ..."""
    seeds = range(len(values))
    step = pd.array([pd.NA] * len(values), dtype="Int32")
    frame = pd.DataFrame({"seed": seeds, "name": name, "step": step, "value": values})
    return frame.assign(**{**dict.fromkeys(COLUMNS), "sweep": sweep, **labels})


def frame_of(*cells: pd.DataFrame) -> pd.DataFrame:
    filled = [part.drop(columns=[name for name in COLUMNS if part[name].isna().all()]) for part in cells]
    return pd.concat(filled, ignore_index=True)


def test_identities_hold_on_real_records_and_their_controls_do_not(study_frame):
    for name, claim in CARD.claims.items():
        if claim.test and claim.test.kind == "exact":
            error = np.abs(Report(report).measure(name, claim)(study_frame)).max()
            assert (error > claim.test.exact) == (name in ("c1_flipped", "c2_proposed")), name


def test_a_policy_that_never_moves_has_linear_regret_in_every_seed():
    labels = {"protocol": "vpo", "beta": 0.15, "horizon": 200}
    steps = [
        cell("ce1", "regret", values, **labels).assign(step=pd.array([step, step], dtype="Int32"))
        for step, values in {0: [0.0, 0.0], 1: [100.0, 60.0], 2: [200.0, 80.0]}.items()
    ]
    frame = frame_of(*steps, cell("ce1", "first", [1.0, 0.5], **labels))
    assert_allclose(report.CLAIMS["c2"](frame), [0.0, 0.0, 0.2, -0.2], atol=1e-15)


def test_what_a_protocol_costs_a_round_beyond_the_proposal():
    parts = [
        cell("many", "total", values, protocol=protocol, arms=arms, horizon=100)
        for protocol, arms, values in (
            ("pairs", 100, [50.0, 20.0]),
            ("proposed", 100, [10.0, 30.0]),
            ("uniform", 3, [5.0, 5.0]),
            ("proposed", 3, [10.0, 10.0]),
        )
    ]
    frame = frame_of(*parts)
    assert_allclose(report.CLAIMS["c10"](frame), [0.4, -0.1])
    assert_allclose(report.CLAIMS["c10_partner_few"](frame), [-0.05, -0.05])


def test_a_premise_of_the_learned_policies_looks_at_the_baselines_alone():
    parts = [
        cell("lm", name, values, protocol=protocol, instance="rare", policy="model")
        for protocol, last in (("passive", 0.3), ("xpo", 0.6), ("vpo", 0.0))
        for name, values in {"last": [last, 2 * last], "first": [1.0, 1.0]}.items()
    ]
    assert_allclose(report.PREMISES["learners_open"](frame_of(*parts)), [0.3, 0.6])


def test_growth_reads_the_exponent_in_one_over_beta():
    parts = [
        cell("ce1", "total", [np.exp(c / beta) for c in (0.7, 1.1)], protocol="vpo", beta=beta)
        for beta in GROWTH_BETAS
    ]
    assert_allclose(report.CLAIMS["c2_growth"](frame_of(*parts)), [0.7, 1.1])


def test_gaps_and_degrees():
    parts = []
    for gap in (2.0, 4.0, 10.0):
        parts.append(cell("ce2", "total", [gap**2, 2 * gap**2], protocol="proposed", gap=gap))
        parts.append(cell("ce2", "half", [gap**2 / 2, gap**2], protocol="proposed", gap=gap))
    for beta in (1.0, 0.25):
        parts.append(cell("ce1", "total", [3 / beta, 3 / beta], protocol="proposed", beta=beta))
    frame = frame_of(*parts)
    degrees = report.CLAIMS["c4_polynomial"](frame)
    assert_allclose(degrees["gap"], 2)
    assert_allclose(degrees["1/beta"], 1)
    assert_allclose(report.CLAIMS["c3"](frame, arm="proposed"), [100 / 24, 200 / 24])
    assert_allclose(report.CLAIMS["c3_linear"](frame, arm="proposed"), 2)


def test_ratios_are_over_the_proposal_and_paired():
    proposal = cell("ce2", "total", [10.0, 20.0], protocol="proposed", gap=8.0)
    ablation = cell("ce2", "total", [50.0, 400.0], protocol="ablation_a", gap=8.0)
    assert_allclose(report.CLAIMS["c5_a"](frame_of(proposal, ablation)), np.log([5, 20]))


def test_benign_ratios_are_powers_of_two_averaged_over_beta():
    regrets = {"proposed": (4.0, 4.0), "vpo": (8.0, 2.0), "xpo": (16.0, 4.0), "passive": (4.0, 4.0)}
    parts = [
        cell("benign", "total", [value, value], protocol=name, beta=beta)
        for name, values in regrets.items()
        for beta, value in zip((0.5, 1.0), values, strict=True)
    ]
    ratios = report.CLAIMS["c8"](frame_of(*parts))
    assert_allclose(ratios.loc[0], [0.0, 1.0, 0.0])
    assert list(ratios.columns) == ["vpo", "xpo", "passive"]


def envelope_frame(regrets: np.ndarray) -> pd.DataFrame:
    """Regrets by seed, gap and horizon as the sweep's records."""
    parts = []
    for column, horizon in enumerate((100, 1000)):
        for gap in range(regrets.shape[1]):
            part = cell("envelope", "regret", list(regrets[:, gap, column]), protocol="proposed", beta=1.0)
            parts.append(part.assign(horizon=horizon, step=pd.array([gap] * len(regrets), dtype="Int32")))
    return frame_of(*parts)


def test_the_exponent_takes_the_worst_gap_at_each_horizon():
    regrets = np.array([[[5.0, 5.0], [1.0, 50.0]]])  # another gap is the worst at each horizon
    assert_allclose(exponent(np.array([100.0, 1000.0]), regrets), 1)


def test_jackknife_pseudo_values_average_to_the_exponent_if_seeds_agree():
    regrets = np.tile(np.array([[1.0, 2.0], [3.0, 9.0]]), (4, 1, 1))
    values = jackknife(envelope_frame(regrets), "proposed", 1.0)
    assert_allclose(values, np.log10(3))
    assert list(values.index) == [0, 1, 2, 3]
    excess = report.CLAIMS["c6"](envelope_frame(regrets))
    assert_allclose(excess["beta=1"], np.log10(3) - 2 / 3)


def test_jackknife_intervals_cover_a_known_slope():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        regrets = np.array([10.0, 40.0]) * rng.lognormal(0, 0.5, (20, 1, 2))
        values = jackknife(envelope_frame(regrets), "proposed", 1.0)
        half = 2.093 * values.std(ddof=1) / np.sqrt(20)
        covered += abs(values.mean() - np.log10(4)) <= half
    assert covered >= 51


def test_slopes_by_row():
    x = np.array([1.0, 2.0, 4.0])
    assert_allclose(slope(x, np.array([3 * x + 1, -x])), [3, -1])
