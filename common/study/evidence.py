"""What a sample says for and against a claim: p values of Student's t, by the kind of test.

A sample that cannot decide (one seed, a number that is not finite, no variance) says why instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats
from scipy.optimize import brentq
from scipy.special import stdtr

from common.statistics import Interval, is_constant, mean_interval
from common.study.entries import Claim, Test
from common.study.errors import StudyError

POWER = 0.8
SEEDS_AT_MOST = 100_000
Values = pd.Series | pd.DataFrame
"""One number per seed (index: seed), or one column per compared arm."""


@dataclass(frozen=True)
class Evidence:
    """The column that decides, and p values.

    Attributes:
        sample: One number per seed.
        p_for: Of the claim's direction, two-sided; for equivalence the larger of two one-sided ones.
        p_against: Of the opposite direction, two-sided.
        p_small: One-sided, against an effect of the smallest size of interest; 1 where that is not asked.
    """

    sample: Float[np.ndarray, " n"]
    p_for: float
    p_against: float
    p_small: float

    @property
    def p(self) -> float:
        """The smaller of both directions: what Holm adjusts."""
        return min(self.p_for, self.p_against, 1.0)

    @property
    def interval(self) -> Interval:
        """Mean and plain 95 % t interval."""
        return mean_interval(self.sample)


def effects(name: str, claim: Claim, values: Values) -> pd.DataFrame:
    """One row per seed and one column per compared arm, or per adjacent difference of an order.

    Raises:
        StudyError: the report lacks a column that an order names.
    """
    frame = values.to_frame("value") if isinstance(values, pd.Series) else values
    order = claim.test.order if claim.test else None
    if order is None:
        return frame.astype(float)
    missing = [column for column in order if column not in frame]
    if missing:
        raise StudyError(f"claim '{name}': the report has no column {missing}; it has {list(frame)}")
    return frame.loc[:, list(order)].astype(float).diff(axis=1).iloc[:, 1:]


def unusable(sample: pd.DataFrame) -> str:
    """Why a sample decides nothing; empty if it can."""
    if len(sample) < 2:
        return f"n = {len(sample)}: an interval needs two seeds"
    broken = (~np.isfinite(sample.to_numpy())).any(axis=1).sum()
    if broken:
        return f"not a finite number for {broken} of {len(sample)} seeds"
    still = [str(name) for name, column in sample.items() if is_constant(column) or column.std() == 0]
    where = f" ({', '.join(still)})" if sample.shape[1] > 1 else ""
    return f"no variance over {len(sample)} seeds{where}: an interval needs some" if still else ""


def weigh(claim: Claim, sample: pd.DataFrame) -> Evidence:
    """Evidence of all columns together.

    A claim holds if it holds in every column, so its worst one decides, and what speaks against it is
    corrected for having looked at several. A control shows the effect if any column does.
    """
    test, size = tested(claim), claim.smallest_effect
    columns = [_column(test, size, sample[name].to_numpy()) for name in sample]
    if claim.role == "control":
        return min(columns, key=lambda column: column.p_for)
    worst = max(columns, key=lambda column: column.p_for)
    against = min(column.p_against for column in columns) * len(columns)
    small = min(column.p_small for column in columns) * len(columns)
    return Evidence(worst.sample, worst.p_for, against, small)


def _column(test: Test, size: float | None, sample: Float[np.ndarray, " n"]) -> Evidence:
    if test.within is not None:
        low, high = test.within
        equivalent = max(p_above(sample, low), p_above(-sample, -high))
        return Evidence(sample, equivalent, 2 * min(p_above(-sample, -low), p_above(sample, high)), 1.0)
    up, limit = test.sign * sample, test.sign * test.bound
    small = p_above(-up, -size) if test.against_zero and size is not None else 1.0
    return Evidence(sample, 2 * p_above(up, limit), 2 * p_above(-up, -limit), small)


def p_above(sample: Float[np.ndarray, " n"], bound: float) -> float:
    """One-sided p value against a mean of at most `bound`."""
    error = sample.std(ddof=1) / np.sqrt(len(sample))
    return float(stdtr(len(sample) - 1, (bound - sample.mean()) / error))


def excess(claim: Claim, own: pd.DataFrame, control: pd.DataFrame) -> pd.DataFrame:
    """By how much a claim's effect exceeds its control's, seed by seed; both as `effects` gives them.

    Rows are those of the seeds that both have. Equal columns are compared one by one; otherwise the claim's
    least favourable one with the control's most favourable one of each seed.
    """
    sign, both = tested(claim).sign, own.index.intersection(control.index)
    up, other = sign * own.loc[both], sign * control.loc[both]
    if list(up) == list(other):
        return up - other
    return (up.min(axis=1) - other.max(axis=1)).to_frame("value")


def needed_seeds(sample: Float[np.ndarray, " n"], effect: float, level: float) -> int:
    """Smallest n at which a two-sided t test at `level` finds a mean of `effect` with 80 % power.

    Takes the sample's standard deviation for the true one; at most `SEEDS_AT_MOST`.
    """
    ratio = effect / float(sample.std(ddof=1))

    def missing(n: float) -> float:
        return POWER - float(stats.nct.sf(stats.t.ppf(1 - level / 2, n - 1), n - 1, ratio * np.sqrt(n)))

    if missing(SEEDS_AT_MOST) > 0:
        return SEEDS_AT_MOST
    return 2 if missing(2) <= 0 else ceil(brentq(missing, 2, SEEDS_AT_MOST, xtol=1e-6))


def tested(claim: Claim) -> Test:
    """The test of a claim that has one.

    Raises:
        StudyError: it has none.
    """
    if claim.test is None:
        raise StudyError(f"claim '{claim.statement}' has no test: it is untested ({claim.untested})")
    return claim.test
