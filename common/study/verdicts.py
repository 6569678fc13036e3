"""From one number per seed to a verdict: premises, t intervals, equivalence, exactness, controls, Holm.

The verdicts of ``greater: m`` (``less`` is its mirror image), tried in this order; the first that holds
stands. Delta is the smallest effect of interest.

============  ==============================================================================================
untested      the claim needs a profile or sweeps that have not run
cannot tell   one of its premises is not met: the run says nothing about it
contradicted  the 95 % interval lies wholly on the other side of m
reproduced    it lies beyond m, and that of the paired difference to each control lies beyond 0
not specific  it lies beyond m, and that difference does not exclude 0
no effect     m is 0, and the 90 % interval lies below delta: an effect of interest is excluded at 5 %
inconclusive  none of these; the reason names the number of seeds that would decide
============  ==============================================================================================

``within`` is reproduced if the 90 % interval lies inside and contradicted if the 95 % interval lies outside;
``order`` needs every adjacent paired difference; ``exact`` compares the largest error with a tolerance.
The primary claim is tested at 5 %, the paper's other empirical claims are Holm-adjusted together; controls
and our own questions have plain intervals. A sample without variance, with a number that is not finite or of
a single seed decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from common.statistics import LEVEL, holm, mean_interval
from common.study.card import Card
from common.study.entries import Claim, Outcome, Test
from common.study.errors import StudyError
from common.study.evidence import Evidence, Values, effects, excess, needed_seeds, tested, unusable, weigh
from common.study.premises import Check, failures

EXACT_MINIMUM = 1000


@dataclass(frozen=True)
class Verdict:
    """The computed state of one claim.

    Attributes:
        claim: Id in the card.
        verdict: One of `common.study.entries.OUTCOMES`.
        reason: Why, in one line.
        n: Seeds (or errors, for an exact test) that decided.
        estimate: Mean of the tested quantity: the least favourable column (a control's most favourable), or
            the largest error.
        low: Lower end of its unadjusted 95 % t interval.
        high: Upper end.
        p: p value of the decisive direction, before adjustment.
        p_adjusted: After Holm; equal to `p` outside the family.
        needed_n: Seeds for 80 % power at the adjusted level, if inconclusive.
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


def judge(
    card: Card,
    values: Mapping[str, Values],
    checks: Mapping[str, Check] | None = None,
    planned: Mapping[str, Set[int]] | None = None,
) -> dict[str, Verdict]:
    """Verdict of every claim whose values were measured.

    Args:
        card: The paper's card.
        values: Claim id to what the report measured: one number per seed (index: seed), or one column per
            compared arm; for an exact test, the errors.
        checks: The premises by id; a premise that is not there is not met.
        planned: Claim id to the seeds that the run planned for it. A claim that lacks one of them is not
            decided. Without a plan, a claim and its controls need the same seeds; with one, a control that
            was planned on fewer is compared on those.

    Returns:
        Verdicts in the order of `values`. Values that decide nothing leave their own claim inconclusive, and
        no other.

    Raises:
        StudyError: values that the test cannot read (missing columns, too few instances), naming the claim.
    """
    return _Judgement(card, values, checks or {}, planned).verdicts()


class _Judgement:
    """The claims of one card on one set of values."""

    def __init__(
        self,
        card: Card,
        values: Mapping[str, Values],
        checks: Mapping[str, Check],
        planned: Mapping[str, Set[int]] | None,
    ) -> None:
        self.card, self.values, self.planned = card, values, planned
        claims = {name: card.claims[name] for name in values}
        self.doubts = {name: failures(claim, checks) for name, claim in claims.items()}
        self.exact = [name for name, claim in claims.items() if claim.test and claim.test.kind == "exact"]
        self.samples = {
            name: effects(name, claim, values[name])
            for name, claim in claims.items()
            if name not in self.exact
        }
        self.gaps = {name: self._lost(name) or unusable(sample) for name, sample in self.samples.items()}
        self.evidence = {
            name: weigh(claims[name], sample) for name, sample in self.samples.items() if not self.gaps[name]
        }
        family = [
            name
            for name in self.evidence
            if claims[name].empirical and not claims[name].primary and not self.doubts[name]
        ]
        p_values = {name: self.evidence[name].p for name in family}
        self.adjusted = holm(p_values)
        ranked = sorted(family, key=lambda name: p_values[name])
        self.levels = {name: LEVEL / (len(ranked) - rank) for rank, name in enumerate(ranked)}

    def verdicts(self) -> dict[str, Verdict]:
        plain = {name: self._alone(name) for name in self.values}
        return {name: self._in_doubt(self._against_controls(plain[name], plain)) for name in plain}

    def _alone(self, name: str) -> Verdict:
        """The verdict without premises and controls."""
        claim = self.card.claims[name]
        if name in self.exact:
            return _judge_exact(name, claim, self.values[name])
        if self.gaps[name]:
            return Verdict(name, "inconclusive", self.gaps[name], n=len(self.samples[name]))
        evidence = self.evidence[name]
        adjusted = self.adjusted.get(name, evidence.p)
        return _decide(name, claim, evidence, adjusted, self.levels.get(name, LEVEL))

    def _in_doubt(self, verdict: Verdict) -> Verdict:
        doubt = self.doubts[verdict.claim]
        return replace(verdict, verdict="cannot tell", reason=doubt, needed_n=None) if doubt else verdict

    def _against_controls(self, verdict: Verdict, plain: Mapping[str, Verdict]) -> Verdict:
        """Keep `reproduced` only where every control stays behind, seed by seed, at the 95 % level."""
        claim = self.card.claims[verdict.claim]
        compared = claim.role == "claim" and claim.test is not None and claim.test.kind != "within"
        if verdict.verdict != "reproduced" or not compared:
            return verdict
        notes, shared = [], False
        for control in self.card.controls(verdict.claim):
            if control not in plain:
                return replace(
                    verdict, verdict="inconclusive", reason=f"{verdict.reason}; control {control} was not run"
                )
            gap = self._gap(verdict.claim, control)
            if gap:
                reason = f"{verdict.reason}; against control {control}: {gap}"
                return replace(verdict, verdict="inconclusive", reason=reason)
            exceeds, note = self._exceeds(verdict.claim, control, plain)
            notes.append(note)
            shared |= not exceeds
        reason = "; ".join([verdict.reason, *notes])
        return replace(verdict, verdict="not specific" if shared else "reproduced", reason=reason)

    def _lost(self, name: str) -> str:
        """The planned seeds that a sample lacks; empty if it has them all."""
        wanted = (self.planned or {}).get(name, frozenset())
        lost = sorted(wanted - set(self.samples[name].index))
        return f"seeds {', '.join(map(str, lost))} were planned and have no number" if lost else ""

    def _gap(self, name: str, control: str) -> str:
        """Why a claim and its control cannot be compared; no seed that one lacks is dropped silently."""
        if name in self.exact:
            return ""
        own, other = self.samples[name].index, self.samples[control].index
        lacking = sorted(set(own) ^ set(other))
        if lacking and self.planned is None:
            return f"one of both lacks seeds {', '.join(map(str, lacking))}"
        return self._lost(control) or unusable(self._excess(name, control))

    def _excess(self, name: str, control: str) -> pd.DataFrame:
        return excess(self.card.claims[name], self.samples[name], self.samples[control])

    def _exceeds(self, name: str, control: str, plain: Mapping[str, Verdict]) -> tuple[bool, str]:
        """Whether the effect exceeds a control's in every column; an identity: whether the control fails."""
        if name in self.exact:
            fails = plain[control].verdict == "contradicted"
            return fails, f"{control} {'does not hold' if fails else 'holds too'}: {plain[control].reason}"
        difference = self._excess(name, control)
        intervals = [mean_interval(difference[column]) for column in difference]
        least = min(intervals, key=lambda interval: interval.low)
        sign = "excludes" if least.low > 0 else "includes"
        return least.low > 0, f"effect - {control} {_shown(*least)}, {sign} 0"


def _judge_exact(name: str, claim: Claim, values: Values) -> Verdict:
    errors = np.abs(np.asarray(values, dtype=float).ravel())
    test = tested(claim)
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


def _decide(name: str, claim: Claim, evidence: Evidence, p_adjusted: float, level: float) -> Verdict:
    mean, low, high, n = evidence.interval
    size = claim.smallest_effect
    verdict = Verdict(
        name, "inconclusive", _shown(mean, low, high, n), n, mean, low, high, evidence.p, p_adjusted
    )
    if p_adjusted <= LEVEL and evidence.p_against < evidence.p_for:
        return replace(verdict, verdict="contradicted")
    if p_adjusted <= LEVEL:
        small = size is not None and tested(claim).against_zero and abs(mean) < size
        note = f"; small: below {size:g}, the smallest effect of interest" if small else ""
        return replace(verdict, verdict="reproduced", reason=verdict.reason + note)
    if evidence.p_small <= LEVEL:
        note = f"; an effect of {size:g} or more is excluded at 5 %"
        return replace(verdict, verdict="no effect", reason=verdict.reason + note)
    alone = f"; p = {evidence.p:.2g}, after Holm {p_adjusted:.2g}" if evidence.p <= LEVEL else ""
    if size is None:
        return replace(verdict, reason=verdict.reason + alone)
    aim = f"an effect of {size:g}"
    needed = needed_seeds(evidence.sample, size, level)
    if needed <= n:  # so many seeds find an effect of interest; what this run saw is smaller than that
        aim, needed = "the effect seen", needed_seeds(evidence.sample, _distance(tested(claim), mean), level)
    note = f"; 80 % power at {aim} needs n = {needed}"
    return replace(verdict, reason=verdict.reason + alone + note, needed_n=needed)


def _distance(test: Test, mean: float) -> float:
    """From a mean to the nearest value at which the verdict turns."""
    if test.within is not None:
        return min(abs(mean - end) for end in test.within)
    return abs(mean - test.bound)


def _shown(mean: float, low: float, high: float, n: int) -> str:
    return f"{mean:.3g} [{low:.3g}, {high:.3g}], n = {n}"
