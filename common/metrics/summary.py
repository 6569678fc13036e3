"""A tidy frame reduced over seeds: mean, 95 % t interval, and the number of seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from common.metrics.intervals import Interval, mean_interval

ESTIMATE = ["mean", "low", "high", "n"]
TABLE_COLUMNS = ["row", "column", *ESTIMATE]
Cell = tuple[str, str, Interval]
"""Row, column and value of a table."""


def estimate(values: pd.Series) -> Interval:
    """Mean and 95 % t interval of one value per seed.

    NaN seeds are dropped (a class of responses that a seed did not have). Without two seeds there is no
    interval: its ends are NaN; without any, the mean is NaN too.
    """
    sample = values.dropna().to_numpy(dtype=float)
    if len(sample) >= 2:
        return mean_interval(sample)
    return Interval(float(sample[0]) if len(sample) else np.nan, np.nan, np.nan, len(sample))


def summarise(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """One row per group of `by` with mean, low, high (95 % t interval over seeds) and n.

    Args:
        frame: Tidy frame with one `value` per seed in each group.
        by: Grouping columns; groups keep their order of appearance.
    """
    groups = frame.groupby(list(by), sort=False, observed=True, dropna=False)["value"]
    summary = groups.agg(["mean", "std", "count"]).reset_index()
    n = summary["count"].to_numpy(dtype=float)
    with np.errstate(invalid="ignore"):
        half = stats.t.ppf(0.975, n - 1) * summary["std"] / np.sqrt(n)
    summary = summary.assign(low=summary["mean"] - half, high=summary["mean"] + half)
    return summary.rename(columns={"count": "n"})[[*by, *ESTIMATE]]


def long_table(cells: Iterable[Cell]) -> pd.DataFrame:
    """A table in long form, one line per cell: row, column, mean, low, high, n."""
    return pd.DataFrame([(row, column, *value) for row, column, value in cells], columns=TABLE_COLUMNS)
