"""Measures on small numbers."""

import numpy as np
import pandas as pd
import pytest

from papers.mot_g.experiment import CANDIDATES
from papers.mot_g.report import (
    CLAIMS,
    READ,
    area,
    bias,
    learned,
    lost,
    no_counterexample,
    scores,
    soft,
    worse,
)


def frame(*parts):
    """Values by sweep, labels and name, one seed."""
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "sweep": sweep,
                    "arm": labels.get("arm"),
                    "surrogate": labels.get("surrogate"),
                    "read": labels.get("read"),
                    "seed": 0,
                    "name": name,
                    "step": pd.array(range(len(values)), dtype="Int32"),
                    "value": np.asarray(values, dtype=float),
                }
            )
            for sweep, labels, name, values in parts
        ],
        ignore_index=True,
    )


def test_an_area_leaves_the_start_out_and_noise_is_a_way_to_read_grpo():
    own = frame(
        ("reach", {"arm": "different"}, "curve/entropy", [9.0, 1.0, 2.0]),
        ("reach", {"arm": "vanilla"}, "curve/noise_entropy", [9.0, 3.0, 5.0]),
        ("bonus", {"arm": "bonus"}, "curve/entropy", [9.0, 4.0, 4.0]),
    )
    assert [area(own, arm, "entropy")[0] for arm in ("different", "noise", "bonus")] == [1.5, 4.0, 4.0]


def test_what_grpo_learns_is_its_last_accuracy_minus_that_of_the_base_policy():
    own = frame(
        ("reach", {"arm": "vanilla"}, "base/accuracy", [0.3]),
        ("reach", {"arm": "vanilla"}, "final/accuracy", [0.4]),
        ("reach", {"arm": "different"}, "base/accuracy", [0.1]),
    )
    assert learned(own, "reach")[0] == pytest.approx(0.1)


def test_what_heat_costs_is_usual_minus_heated():
    own = frame(
        ("reach", {"arm": "dirichlet"}, "final/accuracy", [0.6]),
        ("warm", {"arm": "top_k"}, "final/accuracy", [0.5]),
        ("heated", {"arm": "dirichlet"}, "final/accuracy", [0.5]),
        ("heated", {"arm": "top_k"}, "final/accuracy", [0.2]),
    )
    assert [lost(own, arm)[0] for arm in ("dirichlet", "top_k")] == pytest.approx([0.1, 0.3])


def test_the_bias_is_read_at_k_and_a_counterexample_is_wanted_from_two_on():
    own = frame(
        ("bias", {"surrogate": "multi"}, "cosine", [1.0, 0.3, 0.1]),
        ("theory", {"surrogate": "multi"}, "smallest", [1.0, 1.0, 0.5]),
    )
    assert bias(own, "multi")[0] == 0.3
    assert no_counterexample(own).tolist() == pytest.approx([1e-6, 0.0])


def test_colourings_stand_in_the_chart_under_the_authors_name_where_they_were_run():
    own = frame(
        *(
            ("color", {"arm": arm}, "final/accuracy", [0.1 * at])
            for at, arm in enumerate(("vanilla", "different", "visible"), 3)
        )
    )
    assert [(row, cell[0]) for row, _, cell in scores(own)] == [
        ("graph_color", pytest.approx(100 * value)) for value in (0.3, 0.4, 0.5)
    ]
    assert CLAIMS["c4_color"](own)[0] == pytest.approx(0.1)
    assert CLAIMS["c4_color"](own, arm="visible")[0] == pytest.approx(0.2)


def test_what_mixtures_do_to_a_language_model_is_read_over_k():
    own = frame(
        *(
            ("soft", labels, name, [float(at)] * 3 + [np.log(8.0)])
            for at, labels in enumerate(READ.values())
            for name in ("surprise", "entropy", "pairs", "moved")
        )
    )
    twin = soft(own)
    assert sorted(set(twin["step"])) == list(CANDIDATES)
    assert set(twin[twin["panel"] == "distance from the token"]["arm"]) == {
        name for name, labels in READ.items() if labels["read"] == "mixture"
    }
    assert "at k = 8: top k, weighted 8; " in worse(twin)
