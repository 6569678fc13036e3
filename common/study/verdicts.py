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
from jaxtyping import Float
from scipy import stats

from common.statistics import LEVEL, ROUNDING, holm, is_constant, mean_interval, needed_seeds
from common.study.card import Claim, Test
from common.study.errors import StudyError

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
    """Sufficient statistics of one tested quantity; the standard error of a constant one is 0."""

    n: int
    mean: float
    error: float

    @classmethod
    def of(cls, sample: np.ndarray) -> _Column:
        error = 0.0 if is_constant(sample) else float(sample.std(ddof=1) / np.sqrt(len(sample)))
        return cls(len(sample), float(sample.mean()), error)

    def p_above(self, bound: float) -> float:
        """One-sided p value against mean <= bound; a constant sample decides by itself."""
        if self.error == 0:
            return 0.0 if self._beyond(bound) > 0 else 1.0
        return float(stats.t.sf((self.mean - bound) / self.error, self.n - 1))

    def p_below(self, bound: float) -> float:
        """One-sided p value against mean >= bound."""
        if self.error == 0:
            return 0.0 if self._beyond(bound) < 0 else 1.0
        return float(stats.t.cdf((self.mean - bound) / self.error, self.n - 1))

    def _beyond(self, bound: float) -> float:
        """Distance to a bound, 0 within rounding: three seeds of 0.1 + 0.2 do not exceed 0.3."""
        distance = self.mean - bound
        return 0.0 if abs(distance) <= ROUNDING * max(abs(self.mean), abs(bound)) else distance


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
        values: Claim id to what the report measured: one number per seed (index: seed), or one column per
            compared arm; for an exact test, the errors.

    Returns:
        Verdicts in the order of `values`. Values that decide nothing (one seed, a number that is not finite)
        leave their own claim inconclusive, and no other.

    Raises:
        StudyError: values that the test cannot read (missing columns, too few instances), naming the claim.
    """
    exact = [name for name in values if _test(claims[name]).kind == "exact"]
    verdicts = {name: _judge_exact(name, claims[name], values[name]) for name in exact}
    matrices = {name: _matrix(name, claims[name], values[name]) for name in values if name not in exact}
    unusable = {name: reason for name, matrix in matrices.items() if (reason := _unusable(matrix))}
    evidence = {name: _weigh(claims[name], matrices[name]) for name in matrices if name not in unusable}
    family = [name for name in evidence if claims[name].role == "claim" and not claims[name].primary]
    adjusted = holm({name: evidence[name].p for name in family})
    for name, reason in unusable.items():
        verdicts[name] = Verdict(name, "inconclusive", reason, n=len(matrices[name]))
    for name, item in evidence.items():
        verdicts[name] = _decide(name, claims[name], item, adjusted.get(name, item.p))
    compared = {
        name: _against_control(verdict, claims, values, verdicts) for name, verdict in verdicts.items()
    }
    return {name: compared[name] for name in values}


def _test(claim: Claim) -> Test:
    if claim.test is None:
        raise StudyError(f"claim '{claim.statement}' has no test: it is untested ({claim.untested})")
    return claim.test


def _judge_exact(name: str, claim: Claim, values: Values) -> Verdict:
    errors = np.abs(np.asarray(values, dtype=float).ravel())
    test = _test(claim)
    if not test.enumeration and len(errors) < EXACT_MINIMUM:
        raise StudyError(
            f"claim '{name}': {len(errors)} random instances; an exact test needs at least {EXACT_MINIMUM}, "
            "or 'enumeration: true' if they are all the cases"
        )
    if not len(errors):
        raise StudyError(f"claim '{name}': the report returned no error to judge")
    if not np.isfinite(errors).all():
        reason = f"{(~np.isfinite(errors)).sum()} of {len(errors)} errors are not finite"
        return Verdict(name, "inconclusive", reason, n=len(errors))
    worst, tolerance = float(errors.max()), float(test.exact or 0.0)
    passed = worst <= tolerance
    return Verdict(
        name,
        "reproduced" if passed else "contradicted",
        f"largest error {worst:.2g} {'≤' if passed else '>'} {tolerance:.2g} over {len(errors)} instances",
        n=len(errors),
        estimate=worst,
    )


def _matrix(name: str, claim: Claim, values: Values) -> Float[np.ndarray, "n columns"]:
    """One row per seed; one column per compared arm, or per adjacent difference of an order."""
    frame = values.to_frame() if isinstance(values, pd.Series) else values
    order = _test(claim).order
    if order is None:
        return frame.to_numpy(dtype=float)
    missing = [column for column in order if column not in frame]
    if missing:
        raise StudyError(f"claim '{name}': the report has no column {missing}; it has {list(frame)}")
    return np.diff(frame.loc[:, list(order)].to_numpy(dtype=float), axis=1)


def _unusable(matrix: Float[np.ndarray, "n columns"]) -> str:
    """Why a sample decides nothing; empty if it can."""
    if len(matrix) < 2:
        return f"n = {len(matrix)}: an interval needs two seeds"
    rows = (~np.isfinite(matrix)).any(axis=1).sum()
    return f"not a finite number for {rows} of {len(matrix)} seeds" if rows else ""


def _weigh(claim: Claim, matrix: Float[np.ndarray, "n columns"]) -> _Evidence:
    columns = [_Column.of(column) for column in matrix.T]
    ups, downs = zip(*(_column_p(_test(claim), column) for column in columns), strict=True)
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
    verdict: Verdict,
    claims: Mapping[str, Claim],
    values: Mapping[str, Values],
    verdicts: Mapping[str, Verdict],
) -> Verdict:
    """Keep `reproduced` only if the effect exceeds the control's, seed by seed, at the 95 % level.

    An identity is kept only if its control does not hold too.
    """
    claim = claims[verdict.claim]
    control = claim.control
    if control is None or verdict.verdict != "reproduced":
        return verdict
    if control not in verdicts:
        return _undecided(verdict, f"{verdict.reason}; control {control} was not run")
    if _test(claim).kind == "exact":
        holds = verdicts[control].verdict != "contradicted"
        shared = f"the control holds too ({verdict.reason}; {control}: {verdicts[control].reason})"
        return _undecided(verdict, shared) if holds else verdict
    difference = _least_column(claim, values[verdict.claim]) - _least_column(claims[control], values[control])
    paired = difference.dropna().to_numpy(dtype=float)
    if reason := _unusable(paired[:, None]):
        return _undecided(verdict, f"{verdict.reason}; against control {control}: {reason}")
    sign = -1.0 if _test(claim).less is not None else 1.0
    mean, low, _, _ = mean_interval(sign * paired, 1 - LEVEL)
    verb = "excludes" if low > 0 else "includes"
    note = f"effect - control {sign * mean:.3g}, 95 % interval {verb} 0"
    if low > 0:
        return replace(verdict, reason=f"{verdict.reason}; {note}")
    return _undecided(verdict, f"the control shows it too ({verdict.reason}; {note})")


def _undecided(verdict: Verdict, reason: str) -> Verdict:
    return replace(verdict, verdict="inconclusive", reason=reason)


def _least_column(claim: Claim, values: Values) -> pd.Series:
    """The effect as one number per seed: the smallest of several columns or adjacent differences."""
    if isinstance(values, pd.Series):
        return values
    test = _test(claim)
    if test.order is not None:
        return values.loc[:, list(test.order)].diff(axis=1).iloc[:, 1:].min(axis=1)
    return values.max(axis=1) if test.less is not None else values.min(axis=1)
