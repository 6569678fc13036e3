"""Measures on small numbers."""

import numpy as np
import pandas as pd
import pytest

from papers.epo.report import CLAIMS, FIGURES, PREMISES, TABLES, gap, illness, steps_to_half


def frame(sweep="plain", **arms):
    """Series by arm and name, one seed."""
    parts = [
        pd.DataFrame(
            {
                "sweep": sweep,
                "arm": arm,
                "sharing": "shared",
                "seed": 0,
                "name": name,
                "step": pd.array(range(len(values)), dtype="Int32"),
                "value": np.asarray(values, dtype=float),
            }
        )
        for arm, named in arms.items()
        for name, values in named.items()
    ]
    return pd.concat(parts, ignore_index=True)


def test_steps_to_half_are_rl_steps_and_censored():
    own = frame(
        fast={"success": [0, 0.6, 1], "entropy": [1] * 4}, slow={"success": [0, 0.1, 0.2], "entropy": [1] * 4}
    )
    assert steps_to_half(own, "fast")[0] == 2.0
    assert steps_to_half(own, "slow")[0] == 4.0


def test_a_smooth_decline_is_no_illness_and_a_rebound_or_collapse_is():
    smooth = np.linspace(1, 0.5, 50)
    rebound = np.concatenate([smooth, np.linspace(0.5, 0.9, 50)])
    values = {"smooth": smooth, "rebound": rebound, "collapse": np.linspace(1, 0, 50)}
    ill = {name: illness(frame(ppo={"entropy": curve}))[0] for name, curve in values.items()}
    assert ill["smooth"] < 0.1 < min(ill["rebound"], ill["collapse"])


def test_the_gap_is_relative_and_ignores_steps_without_late_turns():
    base = {"early": [2.0, 2.0], "late": [1.0, np.nan], "entropy": [2.0, 2.0]}
    decay = {"early": [2.5, 9.0], "late": [1.0, np.nan], "entropy": [2.0, 2.0]}
    assert gap(frame("sharing", base=base, decay=decay), "shared")[0] == pytest.approx(0.25)


def test_the_text_game_is_read_from_its_own_records():
    steps = np.linspace(0, 1, 40)
    arms = {
        arm: {"success": gain * steps, "entropy": 2 - fall * steps, "unseen": [0.5]}
        for arm, gain, fall in (("ppo", 0.5, 1.0), ("base", 0.6, 0.5), ("epo", 0.6, 0.5))
    }
    arms["epo"]["epo/outside"] = [np.nan, *[0.25] * 39]
    own = frame("text_game", **arms)
    own.loc[own["name"] == "unseen", "step"] = pd.NA
    assert CLAIMS["c3a_text"](own)[0] == pytest.approx(0.0)
    assert CLAIMS["c3a_text"](own, arm="ppo")[0] == pytest.approx(-CLAIMS["c1_text"](own)[0])
    assert PREMISES["text_outside"](own)[0] == 0.25
    assert PREMISES["text_bonus"](own)[0] > 0.1
    table = TABLES["searches"](own).set_index(["row", "column"])["mean"]
    assert set(table.index.levels[0]) == {"PPO", "EPO-Base", "EPO"}
    assert table["PPO", "seen worlds"] == pytest.approx(50 * steps[-8:].mean())
    assert PREMISES["text_learns"](own)[0] == pytest.approx((steps[-8:].mean() - steps[:8].mean()) / 2)
    twin = FIGURES["text_game"].data(own)
    assert twin.groupby("panel")["step"].max().to_dict() == {
        "success": 39,
        "entropy": 39,
        "share outside": 39,
    }
