"""The query language of reports: from the tidy frame of records to numbers per seed, curves and tables.

A frame has the columns sweep, labels, seed, name, step, value. `rows` selects one arm; `final`, `after` and
`average` reduce its curve to one number per seed; `curve`, `points` and `long_table` summarise over seeds
for figures and tables.

A series over policies has a step 0 (the start) and a step t after t iterations; a series over batches has a
step t for the batch that the policy after t iterations sampled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from common.statistics import Interval, mean_interval
from common.study.errors import StudyError

ESTIMATE = ["mean", "low", "high", "n"]
TABLE_COLUMNS = ["row", "column", *ESTIMATE]
Errors = Float[np.ndarray, " N"]
"""What an exact claim measures: one error per instance."""

# Selecting an arm


def rows(frame: pd.DataFrame, sweep: str, name: str, **labels: Any) -> pd.DataFrame:
    """Values `name` of one arm: columns seed, step, value, sorted, whatever the order of the frame.

    Args:
        frame: Tidy frame of the study.
        sweep: Sweep to look in; the same arm may stand in two.
        name: Name of the scalar or series.
        labels: Values of the label columns that single the arm out.

    Raises:
        StudyError: no such record, or more than one arm fits.
    """
    part = frame
    for label, wanted in {"name": name, "sweep": sweep, **labels}.items():  # the name leaves the fewest rows
        part = part[(part[label] == wanted).to_numpy(dtype=bool, na_value=False)]
    part = part[["seed", "step", "value"]].sort_values(["seed", "step"], ignore_index=True)
    asked = f"'{name}' of sweep '{sweep}' with {labels}"
    if part.empty:
        raise StudyError(f"this run has no record of {asked}")
    if part.duplicated(["seed", "step"]).any():
        raise StudyError(f"more than one arm has {asked}; give more labels")
    return part


def scalar(frame: pd.DataFrame, sweep: str, name: str, **labels: Any) -> pd.Series:
    """A scalar of one arm, one value per seed."""
    return rows(frame, sweep, name, **labels).set_index("seed")["value"]


def over(frame: pd.DataFrame, label: str, sweep: str, name: str, **labels: Any) -> pd.DataFrame:
    """A scalar of one arm over a numeric label, which becomes the step; columns and errors as of `rows`."""
    part = frame[(frame["name"] == name).to_numpy()]
    return rows(part.assign(step=part[label]), sweep, name, **labels).astype({"step": float})


def values(frame: pd.DataFrame, sweep: str, *names: str, **labels: Any) -> Float[np.ndarray, " N"]:
    """The values of several records of one arm, one record after the other."""
    return np.concatenate([rows(frame, sweep, name, **labels)["value"].to_numpy() for name in names])


def levels(frame: pd.DataFrame, sweep: str, label: str) -> list[float]:
    """Values of a numeric label in a sweep, rising."""
    return sorted(frame.loc[frame["sweep"] == sweep, label].dropna().unique().tolist())


def learning_curve(frame: pd.DataFrame, sweep: str, name: str, **labels: Any) -> pd.DataFrame:
    """`rows` of a trained arm (`common.rl.harness`); the steps of a ``curve/`` series become iterations."""
    part = rows(frame, sweep, name, **labels)
    if not name.startswith("curve/"):
        return part
    positions = rows(frame, sweep, "curve/iteration", **labels)
    joined = part.merge(positions, on=["seed", "step"], suffixes=("", "_point"), validate="one_to_one")
    return joined.assign(step=joined["value_point"])[["seed", "step", "value"]]


# From a curve to one number per seed


def final(part: pd.DataFrame) -> pd.Series:
    """Last value of each seed."""
    return after(part, int(part["step"].max()))


def after(part: pd.DataFrame, iterations: int) -> pd.Series:
    """Value of each seed after so many iterations; empty if the run was shorter."""
    chosen = part[part["step"] == iterations]
    return chosen.set_index("seed")["value"]


def average(part: pd.DataFrame, share: float = 1.0) -> pd.Series:
    """Mean of each seed over the first `share` of its iterations, the start left out."""
    last = max(1, int(share * int(part["step"].max())))
    chosen = part[(part["step"] >= 1) & (part["step"] <= last)]
    return chosen.groupby("seed")["value"].mean()


def late(part: pd.DataFrame, share: float = 0.2) -> pd.Series:
    """Mean of each seed over the last `share` of its steps."""
    start = part["step"].max() * (1 - share)
    return part[part["step"] > start].groupby("seed")["value"].mean()


def reached(part: pd.DataFrame, level: float) -> pd.Series:
    """First step at which each seed's value is `level` or more; the last one where it never is."""
    table = part.pivot_table(index="seed", columns="step", values="value")
    there = (table >= level).to_numpy()
    first = np.where(there.any(axis=1), there.argmax(axis=1), table.shape[1] - 1)
    return pd.Series(table.columns.to_numpy()[first].astype(float), index=table.index)


def roughness(part: pd.DataFrame, window: int) -> pd.Series:
    """Standard deviation of each seed's step-to-step change, without a running mean of `window` steps."""
    curves = _by_seed(part)
    rest = curves - curves.rolling(window, center=True, min_periods=1).mean()
    return rest.diff().std()


def rebound(part: pd.DataFrame, window: int) -> pd.Series:
    """Highest rise of each seed's curve after a fall, smoothed over `window` steps, over its first value."""
    curves = _by_seed(part).rolling(window, min_periods=1).mean()
    return (curves - curves.cummin()).max() / curves.iloc[0]


def _by_seed(part: pd.DataFrame) -> pd.DataFrame:
    return part.pivot_table(index="step", columns="seed", values="value")


def paired(first: pd.Series, second: pd.Series) -> pd.Series:
    """Difference on the seeds that both arms were run on; a seed without a number in one of them is NaN."""
    both = first.index.intersection(second.index)
    return first[both] - second[both]


# Over seeds


def estimate(values: pd.Series) -> Interval:
    """Mean and 95 % t interval of one value per seed.

    NaN seeds are dropped (a class of responses that a seed did not have). Without two seeds there is no
    interval: its ends are NaN; without any, the mean is NaN too.
    """
    sample = values.dropna().to_numpy(dtype=float)
    if len(sample) >= 2:
        return mean_interval(sample)
    return Interval(float(sample[0]) if len(sample) else np.nan, np.nan, np.nan, len(sample))


def exact(value: float) -> Interval:
    """A computed value: no interval, no seeds."""
    return Interval(float(value), np.nan, np.nan, 0)


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


# Tables and data twins of figures


def long_table(cells: Iterable[tuple[str, str, Interval]]) -> pd.DataFrame:
    """A table in long form, one line per cell: row, column, mean, low, high, n."""
    return pd.DataFrame([(row, column, *value) for row, column, value in cells], columns=TABLE_COLUMNS)


def curve(part: pd.DataFrame, **labels: str) -> pd.DataFrame:
    """An arm's mean curve over seeds, with the given labels as leading columns."""
    summary = summarise(part, ["step"]).sort_values("step")
    return summary.assign(**labels)[[*labels, *summary.columns]]


def point(values: pd.Series, **labels: str | float) -> pd.DataFrame:
    """One number per seed as a line of a twin, with the given labels as leading columns."""
    return summarise(values.reset_index(name="value").assign(**labels), list(labels))


def points(cells: Iterable[tuple[str, str, Interval]]) -> pd.DataFrame:
    """A twin without a horizontal axis, one line per panel and arm: panel, arm, mean, low, high, n."""
    return pd.DataFrame(
        [(panel, arm, *value) for panel, arm, value in cells], columns=["panel", "arm", *ESTIMATE]
    )


def stacked(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Parts of a twin, one below the other."""
    return pd.concat(list(parts), ignore_index=True)
