"""From one number per seed to a verdict: t intervals, equivalence, order, exactness, controls, Holm.

The rules (n seeds, 5 % level):

==========  ===========================================  ==========================================
test        reproduced                                   contradicted
==========  ===========================================  ==========================================
greater m   95 % t interval of the mean above m          it lies wholly below m
less m      95 % t interval below m                      it lies wholly above m
within a b  two one-sided tests pass (90 % interval in)  95 % interval outside [a, b]
order       every adjacent paired difference above 0     one is significantly below 0 (Bonferroni)
exact       no error above the tolerance                 one is
==========  ===========================================  ==========================================

Everything else is inconclusive. The primary claim is tested at 5 %; the other sampled claims are
Holm-adjusted together (control rows are not claims and stay outside). A claim with a control also needs its
effect to exceed the control's, seed by seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from common.metrics.intervals import mean_interval
from common.study.card import Claim, Test
from common.study.errors import StudyError

LEVEL = 0.05
EXACT_MINIMUM = 1000
Outcome = Literal["reproduced", "contradicted", "inconclusive", "untested"]
Values = pd.Series | pd.DataFrame


@dataclass(frozen=True)
class Verdict:
    """The computed state of one claim.

    Attributes:
        claim: Id in the card.
        verdict: reproduced, contradicted, inconclusive or untested.
        reason: Why, in one line.
        n: Seeds (or errors, for an exact test) that decided.
        estimate: Mean of the tested quantity: the least favourable column, or the largest error.
        low: Lower end of its unadjusted 95 % t interval.
        high: Upper end.
        p: p value of the decisive direction, before adjustment.
        p_adjusted: After Holm; equal to `p` for the primary claim.
        needed_n: Seeds for 80 % power at the smallest effect of interest, if inconclusive.
    """

    claim: str
    verdict: Outcome
    reason: str
    n: int = 0
    estimate: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    p_adjusted: float = np.nan
    needed_n: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON form; NaN becomes None."""
        return {
            key: None if isinstance(value, float) and np.isnan(value) else value
            for key, value in asdict(self).items()
        }


@dataclass(frozen=True)
class _Column:
    """Sufficient statistics of one tested quantity."""

    n: int
    mean: float
    error: float

    @classmethod
    def of(cls, sample: np.ndarray) -> _Column:
        return cls(len(sample), float(sample.mean()), float(sample.std(ddof=1) / np.sqrt(len(sample))))

    def p_above(self, bound: float) -> float:
        """One-sided p value against mean <= bound; a constant sample decides by itself."""
        if self.error == 0:
            return 0.0 if self.mean > bound else 1.0
        return float(stats.t.sf((self.mean - bound) / self.error, self.n - 1))

    def p_below(self, bound: float) -> float:
        if self.error == 0:
            return 0.0 if self.mean < bound else 1.0
        return float(stats.t.cdf((self.mean - bound) / self.error, self.n - 1))


@dataclass(frozen=True)
class _Evidence:
    """p values for and against, and the column to show."""

    column: _Column
    p_for: float
    p_against: float
    sample: np.ndarray

    @property
    def p(self) -> float:
        return min(self.p_for, self.p_against, 1.0)


def judge(claims: Mapping[str, Claim], values: Mapping[str, Values]) -> dict[str, Verdict]:
    """Verdict of every claim whose values were measured.

    Args:
        claims: The card's claims.
        values: Claim id to what `report.<id>` returned: one number per seed (index: seed), or one column per
            compared arm; for an exact test, the errors.

    Raises:
        StudyError: values that the test cannot use (NaN, too few, missing columns), naming the claim.
    """
    exact = {
        name: _judge_exact(name, claims[name], values[name]) for name in values if _is_exact(claims[name])
    }
    evidence = {
        name: _weigh(name, claims[name], values[name]) for name in values if not _is_exact(claims[name])
    }
    family = [name for name in evidence if claims[name].role == "claim" and not claims[name].primary]
    adjusted = _holm({name: evidence[name].p for name in family})
    verdicts = dict(exact)
    for name, item in evidence.items():
        p_adjusted = adjusted.get(name, item.p)
        verdict = _decide(name, claims[name], item, p_adjusted)
        control = claims[name].control
        if control is not None and verdict.verdict == "reproduced":
            verdict = _against_control(verdict, claims, values, control)
        verdicts[name] = verdict
    return {name: verdicts[name] for name in values}


def _is_exact(claim: Claim) -> bool:
    return _test(claim).kind == "exact"


def _test(claim: Claim) -> Test:
    if claim.test is None:
        raise StudyError(f"claim '{claim.statement}' has no test: it is untested ({claim.untested})")
    return claim.test


def _judge_exact(name: str, claim: Claim, values: Values) -> Verdict:
    errors = np.abs(np.asarray(values, dtype=float).ravel())
    test = _test(claim)
    if not len(errors) or np.isnan(errors).any():
        raise StudyError(
            f"claim '{name}': an exact test needs errors without NaN; report.{name} returned {len(errors)}"
        )
    if not test.enumeration and len(errors) < EXACT_MINIMUM:
        raise StudyError(
            f"claim '{name}': {len(errors)} random instances; an exact test needs at least {EXACT_MINIMUM}, "
            "or 'enumeration: true' if they are all the cases"
        )
    worst, tolerance = float(errors.max()), float(test.exact or 0.0)
    passed = worst <= tolerance
    return Verdict(
        name,
        "reproduced" if passed else "contradicted",
        f"largest error {worst:.2g} {'≤' if passed else '>'} {tolerance:.2g} over {len(errors)} instances",
        n=len(errors),
        estimate=worst,
    )


def _weigh(name: str, claim: Claim, values: Values) -> _Evidence:
    test = _test(claim)
    frame = values.to_frame() if isinstance(values, pd.Series) else values
    if test.order is not None:
        missing = [column for column in test.order if column not in frame]
        if missing:
            raise StudyError(
                f"claim '{name}': report.{name} returned no column {missing}; it has {list(frame)}"
            )
        ordered = frame.loc[:, list(test.order)].to_numpy(dtype=float)
        matrix = np.diff(ordered, axis=1)
    else:
        matrix = frame.to_numpy(dtype=float)
    if len(matrix) < 2 or np.isnan(matrix).any():
        raise StudyError(
            f"claim '{name}': needs at least two seeds and no NaN; report.{name} gave {matrix.shape[0]}"
        )
    columns = [_Column.of(column) for column in matrix.T]
    ups, downs = zip(*(_column_p(test, column) for column in columns), strict=True)
    worst = int(np.argmax(ups))
    return _Evidence(columns[worst], max(ups), min(downs) * len(downs), matrix[:, worst])


def _column_p(test: Test, column: _Column) -> tuple[float, float]:
    """p values of one column for and against the claim, two-sided where the interval decides."""
    if test.within is not None:
        low, high = test.within
        equivalent = max(column.p_above(low), column.p_below(high))
        return equivalent, 2 * min(column.p_below(low), column.p_above(high))
    if test.less is not None:
        return 2 * column.p_below(test.less), 2 * column.p_above(test.less)
    bound = test.greater if test.greater is not None else 0.0
    return 2 * column.p_above(bound), 2 * column.p_below(bound)


def _holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down adjustment: sorted p value i of k times (k - i), made monotone, at most 1."""
    adjusted, running = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        running = max(running, min(1.0, p * (len(p_values) - rank)))
        adjusted[name] = running
    return adjusted


def _decide(name: str, claim: Claim, item: _Evidence, p_adjusted: float) -> Verdict:
    _, low, high, _ = mean_interval(item.sample, 1 - LEVEL)
    shown = f"{item.column.mean:.3g} [{low:.3g}, {high:.3g}], n = {item.column.n}"
    verdict = Verdict(
        name, "inconclusive", shown, item.column.n, item.column.mean, low, high, item.p, p_adjusted
    )
    if p_adjusted <= LEVEL:
        return replace(verdict, verdict="reproduced" if item.p_for <= item.p_against else "contradicted")
    needed = needed_seeds(item.sample, claim.smallest_effect) if claim.smallest_effect else None
    more = f"; 80 % power at an effect of {claim.smallest_effect:g} needs n = {needed}" if needed else ""
    return replace(verdict, reason=shown + more, needed_n=needed)


def _against_control(
    verdict: Verdict, claims: Mapping[str, Claim], values: Mapping[str, Values], control: str
) -> Verdict:
    """Keep `reproduced` only if the effect exceeds the control's, seed by seed, at the 95 % level."""
    if control not in values:
        return replace(
            verdict, verdict="inconclusive", reason=f"{verdict.reason}; control {control} was not run"
        )
    claim = claims[verdict.claim]
    paired = _least_column(claim, values[verdict.claim]) - _least_column(claims[control], values[control])
    paired = paired.dropna()
    if len(paired) < 2:
        raise StudyError(f"claim '{verdict.claim}' and control '{control}' share fewer than two seeds")
    sign = -1.0 if _test(claim).less is not None else 1.0
    mean, low, _, _ = mean_interval(sign * paired.to_numpy(dtype=float), 1 - LEVEL)
    verb = "excludes" if low > 0 else "includes"
    note = f"effect - control {sign * mean:.3g}, 95 % interval {verb} 0"
    if low > 0:
        return replace(verdict, reason=f"{verdict.reason}; {note}")
    return replace(
        verdict, verdict="inconclusive", reason=f"the control shows it too ({verdict.reason}; {note})"
    )


def _least_column(claim: Claim, values: Values) -> pd.Series:
    """The effect as one number per seed: the smallest of several columns or adjacent differences."""
    if isinstance(values, pd.Series):
        return values
    test = _test(claim)
    if test.order is not None:
        return values.loc[:, list(test.order)].diff(axis=1).iloc[:, 1:].min(axis=1)
    return values.max(axis=1) if test.less is not None else values.min(axis=1)


def needed_seeds(sample: np.ndarray, effect: float, power: float = 0.8, limit: int = 100_000) -> int:
    """Smallest n at which a two-sided 5 % t test finds a mean of `effect` with the given power.

    Uses the sample's standard deviation and the noncentral t distribution; at most `limit`.
    """
    spread = float(np.std(sample, ddof=1))
    if spread == 0:
        return 2

    def reached(n: int) -> float:
        critical = stats.t.ppf(1 - LEVEL / 2, n - 1)
        return float(stats.nct.sf(critical, n - 1, effect / spread * np.sqrt(n)))

    low, high = 2, 4
    while reached(high) < power and high < limit:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) >= power else (middle, high)
    return min(2 if reached(2) >= power else high, limit)
