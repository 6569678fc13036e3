"""Measures on small numbers."""

import numpy as np
import pandas as pd
import pytest

from papers.brt_align.experiment import GAMMAS
from papers.brt_align.report import CLAIMS, PREMISES, kept, slope, unsteered

BOUNDS = dict(zip(GAMMAS, (3, 6, 9, 13, 68), strict=True))


def row(sweep: str, name: str, value: float, arm: str | None = None, gamma: float | None = None) -> dict:
    return {
        "sweep": sweep,
        "arm": arm,
        "gamma": gamma,
        "seed": 0,
        "name": name,
        "step": pd.NA,
        "value": value,
    }


def frame(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame(list(rows)).astype({"step": "Int32"})


def test_leads_that_follow_the_law_have_slope_one_up_to_what_the_sample_variant_sees():
    rows = [row("detection", "native_lead", 10.0, "final", 0.93)]
    for gamma, bound in BOUNDS.items():
        rows += [row("gamma", "bound", bound, arm, gamma) for arm in ("rl", "time")]
        rows += [
            row("gamma", "native_lead", min(bound, 10), "rl", gamma),
            row("gamma", "native_lead", 4, "time", gamma),
        ]
    assert slope(frame(*rows), "rl")[0] == pytest.approx(1.0)
    assert slope(frame(*rows), "time")[0] == 0.0


def test_a_claim_is_a_difference_to_each_baseline_and_reads_its_controls():
    scores = {"rl": 0.9, "recontrol": 0.8, "sap": 0.7, "probe": 0.95, "prompt": 0.6}
    own = frame(*(row("detection", "auroc", value, arm, 0.93) for arm, value in scores.items()))
    found = CLAIMS["c1"](own)
    assert found.loc[0].tolist() == pytest.approx([0.1, 0.2])
    assert CLAIMS["c1"](own, arm="probe").loc[0].tolist() == pytest.approx([0.15, 0.25])
    assert PREMISES["blind"](own)[0] == 0.6


def test_what_is_unsteered_stands_beside_the_arms():
    own = frame(
        row("steering", "rate", 0.5), row("steering", "rate", 0.1, "rl"), row("steering", "legal", 0.9)
    )
    assert unsteered(own, "steering")[0] == 0.5
    changes = {"coherence": -0.02, "diversity": 0.01}
    own = frame(*(row("steering", name, value, "rl") for name, value in changes.items()))
    assert kept(own, "rl").loc[0].to_dict() == changes


def test_the_reduction_without_an_exit_is_taken_off():
    own = frame(row("steering", "reduction", 0.7, "rl"), row("no_exit", "reduction", 0.2, "rl"))
    assert CLAIMS["c3_exit"](own)[0] == pytest.approx(0.5)
    speeds = {"rl": 50.0, "recontrol": 25.0}
    assert CLAIMS["c5"](frame(*(row("speed", "tokens", v, a) for a, v in speeds.items())))[
        0
    ] == pytest.approx(np.log(2))
