"""Measures on small numbers."""

import numpy as np
import pandas as pd
import pytest

from papers.variational_reasoning.report import CLAIMS, PREMISES, by_length, loss, spikes, widening


def frame(sweep="main", **arms):
    """Scalars and series by arm and name, seeds 0 and 1; the arm ``none`` is the record itself."""
    parts = []
    for arm, named in arms.items():
        for name, values in named.items():
            series = np.ndim(values[0]) > 0
            for seed, value in enumerate(values):
                steps = pd.array(range(len(value)) if series else [pd.NA], dtype="Int32")
                content = {"sweep": sweep, "seed": seed, "name": name, "step": steps, "value": value}
                parts.append(pd.DataFrame(content | {"arm": None if arm == "none" else arm}))
    return pd.concat(parts, ignore_index=True).astype({"value": float})


def test_a_gain_is_paired_by_seed_and_controls_read_the_same_line():
    own = frame(
        sft={"accuracy": [0.2, 0.4]}, acc={"accuracy": [0.3, 0.4]}, uniform={"accuracy": [0.25, 0.45]}
    )
    assert CLAIMS["c8"](own).tolist() == pytest.approx([0.1, 0.0])
    assert CLAIMS["c8"](own, arm="uniform").tolist() == pytest.approx([0.05, 0.05])


def test_premises_look_at_baseline_and_treatment():
    own = frame(
        none={"verified": [0.6, 0.8], "verified_prior": [0.3, 0.2], "unequal": [0.1, 0.2]},
        base={"accuracy": [0.1, 0.1]},
        sft={"accuracy": [0.2, 0.4]},
    )
    assert PREMISES["learns"](own).tolist() == pytest.approx([0.1, 0.3])
    assert PREMISES["verifies"](own).tolist() == [2.0, 4.0]
    assert PREMISES["headroom"](own).tolist() == [0.2, 0.4]
    assert PREMISES["unequal"](own).tolist() == [0.1, 0.2]


def test_loss_is_of_the_last_half_and_spikes_are_relative():
    flat, spiky = [1.0] * 100, [1.0] * 98 + [9.0, 9.0]
    own = frame(sft={"loss": [[4.0, 3.0, 2.0, 1.0]] * 2, "norm": [flat, spiky]})
    assert loss(own, "sft").tolist() == [1.5, 1.5]
    assert spikes(own, "sft").tolist() == pytest.approx([0.0, np.log(9)], abs=0.01)


def test_a_gain_that_widens_on_hard_questions_alone_counts():
    powers = {"pass@1/easy": [0.5, 0.5], "pass@32/easy": [0.9, 0.9], "pass@1/hard": [0.1, 0.1]}
    own = frame(
        "ablations",
        sft=powers | {"pass@32/hard": [0.3, 0.3]},
        acc=powers | {"pass@32/hard": [0.5, 0.4]},
    )
    assert widening(own, "acc").tolist() == pytest.approx([0.2, 0.1])


def test_a_hint_gains_on_hard_questions_beyond_easy_ones():
    own = frame("ablations", acc={"hard": [0.3], "easy": [0.7]}, without={"hard": [0.1], "easy": [0.6]})
    assert CLAIMS["c9_hard"](own).tolist() == pytest.approx([0.1])


def test_a_reverse_kl_that_leaks_more_and_knows_less_is_two_columns():
    own = frame(
        "reverse", forward={"leak": [0.2], "entropy": [1.0]}, reverse={"leak": [0.7], "entropy": [0.4]}
    )
    assert CLAIMS["c15"](own).iloc[0].tolist() == pytest.approx([0.5, 0.6])


def test_lengths_are_the_middles_of_their_bins():
    values = [[-1.0, -2.0, np.nan]] * 2
    own = by_length(frame(none={"raw_ratio": values, "token_ratio": values}))
    assert own["step"].tolist() == [5.0, 15.0, 25.0] * 2
    assert own["mean"].tolist()[:2] == [-1.0, -2.0]
