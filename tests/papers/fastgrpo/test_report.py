"""Claims of FastGRPO on hand-made numbers."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.study.card import load_card
from common.study.study import tidy
from papers.fastgrpo import report
from papers.fastgrpo.report.measures import amdahl_e2e, implied_share, log_share

CARD = load_card("fastgrpo")


def record(sweep: str, name: str, values: dict[int, Any], **labels: object) -> pd.DataFrame:
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


def loop(name: str, which: str, values: dict[int, Any], sweep: str = "loops") -> pd.DataFrame:
    return record(sweep, name, values, arm=which, variant="grpo")


def replayed(name: str, arm: str, values: dict[int, Any]) -> pd.DataFrame:
    return record("loops", f"replay/{name}", values, arm="fast", variant="grpo", replayed=arm)


def replay(**paces: float) -> list[pd.DataFrame]:
    """Seconds of each arm at 100 tokens."""
    return [
        replayed(name, arm, {0: value, 1: value})
        for arm, seconds in paces.items()
        for name, value in {"seconds": seconds, "tokens": 100.0}.items()
    ]


def test_exact_claims_hold_on_real_records(study_frame):
    for name, claim in CARD.claims.items():
        if claim.test and claim.test.kind == "exact":
            assert np.abs(report.CLAIMS[name](study_frame)).max() <= claim.test.exact, name


def test_speed_ups_compare_tokens_per_second():
    frame = tidy(
        [
            *replay(vanilla=4.0, et=2.0, fast=1.0, random=3.0, static_4=1.5, static_8=1.2, static_16=1.1),
            *replay(peak_high=2.0, peak_low=1.5),
            replayed("predicted", "et", {0: 2.5, 1: 2.0}),
        ]
    )
    assert report.CLAIMS["c11_gain"](frame).tolist() == [2.0, 2.0]
    assert report.CLAIMS["c11_identity"](frame).tolist() == [0.8, 1.0]
    assert report.CLAIMS["c11_share"](frame).tolist() == pytest.approx([0.5, 0.5])
    assert report.CLAIMS["random_draft"](frame).tolist() == pytest.approx([2 / 3, 2 / 3])
    assert report.CLAIMS["c3_best"](frame).tolist() == pytest.approx([1.1, 1.1])
    assert report.CLAIMS["c3_median"](frame).tolist() == pytest.approx([1.2, 1.2])
    assert report.CLAIMS["wrong_peak"](frame).loc[0].tolist() == pytest.approx([2.0, 1.5])


def test_loops_are_compared_without_their_first_iteration():
    parts = {"generation": 4.0, "scoring": 1.0, "update": 1.0}
    frame = tidy(
        [
            loop("iteration", "vanilla", {0: [99.0, 6.0, 6.0], 1: [9.0, 6.0, 6.0]}),
            loop("iteration", "et", {0: [99.0, 4.0, 4.0, 8.0], 1: [9.0, 4.0, 4.0, 8.0]}),
            loop("iteration", "fast", {0: [99.0, 3.0, 3.0, 2.0], 1: [9.0, 3.0, 3.0, 2.0]}),
            *(loop(name, "vanilla", {0: [9.0, v, v], 1: [9.0, v, v]}) for name, v in parts.items()),
            loop("generation", "fast", {0: [9.0, 0.8, 0.8, 1.0], 1: [9.0, 0.8, 0.8, 1.0]}),
            loop("learn", "fast", {0: [9.0, 0.2, 0.2, 0.2], 1: [9.0, 0.2, 0.2, 0.2]}),
        ]
    )
    assert report.CLAIMS["c1_share"](frame).tolist() == pytest.approx([2 / 3, 2 / 3])
    assert report.CLAIMS["c5_order"](frame).loc[0].tolist() == pytest.approx([1 / 6, 1 / 4, 1 / 3])
    assert report.CLAIMS["c9"](frame).tolist() == pytest.approx([0.075, 0.075])


def test_acceptance_is_compared_at_the_ends():
    curves = {"online": [3.0, 3.0, 4.0], "frozen": [3.0, 2.0, 1.5], "scratch": [1.0, 2.0, 3.4]}
    curves |= {"used": [3.0, 3.0, 3.5], "shuffled": [3.0, 2.0, 1.0]}
    labels = {"arm": "fast", "variant": "grpo"}
    watching = [record("loops", "acceptance", {0: c}, draft=draft, **labels) for draft, c in curves.items()]
    still = record("still", "acceptance", {0: [3.0, 3.0, 2.9]}, arm="still", draft="frozen")
    frame = tidy([*watching, still])
    expected = {"c4_decay": -1.5, "c4_still": -0.1, "c4_online": 2.5, "c7": 0.8}
    expected |= {"c7_start": 0.0, "c8": 0.5, "c8_start": 0.0}
    for name, value in expected.items():
        assert report.CLAIMS[name](frame).tolist() == pytest.approx([value]), name
    assert report.CLAIMS["c4_online"](frame, arm="shuffled").tolist() == pytest.approx([-0.5])


def test_premises_read_the_sweep_the_engine_and_the_loop():
    gains = {
        ("rule", 1): 1.2,
        ("rule", 8): 1.0,
        ("rule", 64): 1.0,
        ("4", 1): 1.5,
        ("4", 8): 1.5,
        ("4", 64): 0.8,
    }
    labels = {"arm": "profile"}
    timed = [
        record("profile", name, {0: gain}, rows=rows, decoder=decoder, **labels)
        for (decoder, rows), gain in gains.items()
        for name, gain in {"measured": gain, "modelled": 0.8 * gain if rows == 64 else gain}.items()
    ]
    frame = tidy(
        [
            *timed,
            *(record("profile", "throughput", {0: 1.0}, rows=n, **labels) for n in (1, 64, 256)),
            record("profile", "c_peak", {0: 64.0}, **labels),
            loop("reward", "et", {0: [0.3, 0.0, 0.5, 0.7]}),
            loop("reward", "fast", {0: [0.3] * 100}),
            loop("reward", "et", {0: [0.2] * 10 + [0.5] * 90}, sweep="end_to_end"),
            loop("tau", "fast", {0: [9.0, 1.4, 1.6]}, sweep="end_to_end"),
        ]
    )
    found = {name: measure(frame).to_dict()[0] for name, measure in report.PREMISES.items()}
    expected = {"knee": 0.25, "engine": 0.25, "policy_moves": 0.3, "epoch": 2.0}
    assert found == pytest.approx(expected | {"long_policy_moves": 0.3, "long_delivered": 1.5})


def test_long_loops_are_compared_without_their_first_iteration():
    frame = tidy(
        [
            loop("iteration", "et", {0: [99.0, 3.0, 3.0]}, sweep="end_to_end"),
            loop("iteration", "fast", {0: [1.0, 2.0, 2.0]}, sweep="end_to_end"),
        ]
    )
    assert report.CLAIMS["c5_e2e"](frame).tolist() == pytest.approx([0.5])


def test_rewards_of_the_second_half():
    frame = tidy(
        [
            loop("reward", "fast", {0: [0.0, 0.0, 0.6, 0.8]}, sweep="end_to_end"),
            loop("reward", "et", {0: [0.0, 0.0, 0.5, 0.7]}, sweep="end_to_end"),
        ]
    )
    assert report.CLAIMS["c6_reward"](frame).tolist() == pytest.approx([0.1])


def test_static_speed_is_relative_to_plain_decoding():
    speeds = {"plain": 10.0, "4": 12.0, "8": 8.0, "16": 5.0, "32": 4.0, "rule": 11.4}
    rows = [
        record("static", "speed", {0: value * batch}, arm="static", rows=batch, schedule=name)
        for batch in (1, 8, 64)
        for name, value in speeds.items()
    ]
    frame = tidy(rows)
    assert report.CLAIMS["c3_constant"](frame).tolist() == pytest.approx([0.95])
    assert report.CLAIMS["c2_loses"](frame).loc[0].tolist() == pytest.approx([0.5, 0.4])


@given(st.floats(0.01, 0.99), st.floats(1.05, 50))
def test_amdahl_and_its_inverse(share, speedup):
    e2e = amdahl_e2e(share, speedup)
    assert implied_share(e2e, speedup) == pytest.approx(share, rel=1e-6)
    assert 1 < e2e < speedup


def test_half_of_the_reported_speedup_is_early_termination():
    assert log_share(1.68, 2.91) == pytest.approx(0.4857, abs=1e-3)
