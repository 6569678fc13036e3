import numpy as np
import pandas as pd
import pytest

from common.statistics import mean_interval
from common.study.frame import (
    estimate,
    late,
    over,
    paired,
    point,
    reached,
    rebound,
    roughness,
    summarise,
)


def test_estimate_is_the_t_interval_of_the_seeds_that_have_a_value():
    assert estimate(pd.Series([1.0, np.nan, 2.0, 6.0])) == mean_interval([1.0, 2.0, 6.0])


def test_one_seed_has_a_mean_and_no_interval():
    mean, low, high, n = estimate(pd.Series([np.nan, 3.0]))
    assert (mean, n) == (3.0, 1)
    assert np.isnan([low, high]).all()


def test_no_seed_has_nothing():
    mean, low, high, n = estimate(pd.Series([np.nan, np.nan]))
    assert n == 0
    assert np.isnan([mean, low, high]).all()


def test_summarise_reduces_each_group_in_order_of_appearance():
    frame = pd.DataFrame(
        {
            "arm": pd.Categorical(["b", "b", "a", "a", "b", "b"], categories=["a", "b", "never"]),
            "step": [0, 0, 0, 0, 1, 1],
            "value": [1.0, 3.0, 5.0, np.nan, 2.0, 2.0],
        }
    )
    table = summarise(frame, ["arm", "step"])
    assert list(table.columns) == ["arm", "step", "mean", "low", "high", "n"]
    assert list(zip(table["arm"], table["step"], strict=True)) == [("b", 0), ("a", 0), ("b", 1)]
    assert table["mean"].tolist() == [2.0, 5.0, 2.0]
    assert table["n"].tolist() == [2, 1, 2]
    assert table.loc[0, ["low", "high"]].tolist() == pytest.approx([2 - 12.7062047364, 2 + 12.7062047364])
    assert table.loc[1, ["low", "high"]].isna().all()
    assert table.loc[2, ["low", "high"]].tolist() == [2.0, 2.0]


def test_a_missing_label_is_a_group_of_its_own():
    frame = pd.DataFrame({"step": [pd.NA, pd.NA, 1], "value": [1.0, 2.0, 4.0]})
    assert summarise(frame, ["step"])["mean"].tolist() == [1.5, 4.0]


def test_a_point_is_one_line_of_a_twin():
    values = pd.Series([1.0, 3.0], index=pd.Index([7, 8], name="seed"), name="anything")
    twin = point(values, panel="Reward", arm="QAE", step=4.0)
    assert list(twin.columns) == ["panel", "arm", "step", "mean", "low", "high", "n"]
    assert twin.loc[0, ["panel", "arm", "step", "mean", "n"]].tolist() == ["Reward", "QAE", 4.0, 2.0, 2]


def test_paired_differences_are_on_the_seeds_that_both_have():
    first, second = pd.Series({1: 4.0, 2: 5.0, 3: 9.0}), pd.Series({3: 1.0, 2: 1.0})
    assert paired(first, second).to_dict() == {2: 4.0, 3: 8.0}


def test_a_scalar_over_a_label_becomes_a_curve():
    frame = pd.DataFrame(
        {
            "sweep": "profile",
            "name": ["seconds", "seconds", "seconds", "knee"],
            "rows": [8.0, 1.0, 1.0, np.nan],
            "arm": ["a", "a", "b", "a"],
            "seed": 0,
            "step": pd.array([pd.NA] * 4, dtype="Int32"),
            "value": [3.0, 2.0, 9.0, 5.0],
        }
    )
    curve = over(frame, "rows", "profile", "seconds", arm="a")
    assert curve[["step", "value"]].to_numpy().tolist() == [[1.0, 2.0], [8.0, 3.0]]


def curves(*values):
    """A part with a seed for each list of values."""
    parts = [
        pd.DataFrame({"seed": seed, "step": range(len(own)), "value": own}) for seed, own in enumerate(values)
    ]
    return pd.concat(parts, ignore_index=True)


def test_the_end_of_a_run_is_its_last_fifth():
    assert late(curves([0.0] * 9 + [2.0, 4.0]))[0] == 3.0


def test_a_level_is_reached_once_or_at_the_end():
    assert reached(curves([0.0, 0.6, 0.2, 1.0], [0.0, 0.1, 0.2, 0.3]), 0.5).tolist() == [1.0, 3.0]


def test_a_trend_is_smooth_and_a_zigzag_is_not():
    trend, zigzag = np.linspace(1, 0, 60), 0.1 * (-1.0) ** np.arange(60)
    calm, wild = roughness(curves(trend, trend + zigzag), 10)
    assert calm < 0.01 < wild


def test_a_rise_after_a_fall_is_over_the_first_value():
    fall, rise = np.linspace(2, 1, 20), np.linspace(1, 1.5, 20)
    assert rebound(curves(fall, np.concatenate([fall, rise])), 1).tolist() == pytest.approx([0.0, 0.25])
