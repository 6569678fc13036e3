"""Premises: does a run show what the method cures, and was the treatment delivered?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from common.statistics import Interval
from common.study.entries import Claim, Premise, Test
from common.study.frame import estimate

NOWHERE = Interval(np.nan, np.nan, np.nan, 0)
State = Literal["met", "not met", "not measured"]


@dataclass(frozen=True)
class Check:
    """The computed state of one premise.

    Attributes:
        premise: Id in the card.
        state: Met where the mean over seeds lies where the card wants it; one that this run does not measure
            is not met either, and has a word of its own.
        value: Mean with its 95 % t interval, which is for display; NaN if it was not measured.
        reason: Why, in one line.
    """

    premise: str
    state: State
    value: Interval
    reason: str

    @property
    def met(self) -> bool:
        """Whether claims may rest on it."""
        return self.state == "met"

    def as_dict(self) -> dict[str, Any]:
        """JSON form; NaN becomes None."""
        value = {key: None if np.isnan(number) else number for key, number in self.value._asdict().items()}
        return {**asdict(self), "value": value}


def check(name: str, premise: Premise, values: pd.Series) -> Check:
    """Whether a premise is met; a number that is not finite, or none at all, meets nothing."""
    sample = values.to_numpy(dtype=float)
    if not len(sample) or not np.isfinite(sample).all():
        broken = (~np.isfinite(sample)).sum()
        what = f"not a finite number for {broken} of {len(sample)} seeds" if len(sample) else "no seeds"
        return Check(name, "not met", NOWHERE, what)
    value, wanted = estimate(values), bound(premise.test)
    met = _holds(premise.test, value.estimate)
    reason = f"{value.estimate:.3g}, {'as wanted' if met else 'wanted'} {wanted}"
    return Check(name, "met" if met else "not met", value, reason)


def unmeasured(name: str, reason: str) -> Check:
    """A premise that this run does not measure."""
    return Check(name, "not measured", NOWHERE, reason)


FAILED: dict[State, str] = {"not met": "failed", "not measured": "not measured"}


def failures(claim: Claim, checks: Mapping[str, Check]) -> str:
    """The premises of a claim that are not met, with their values; empty if all are."""
    own = [checks.get(name, unmeasured(name, "this run does not have it")) for name in claim.premises]
    return "; ".join(
        f"premise {item.premise} {FAILED[item.state]}: {item.reason}" for item in own if not item.met
    )


def bound(test: Test) -> str:
    """The threshold as people read it, e.g. ``> 0.2``."""
    if test.within is not None:
        return f"in [{test.within[0]:g}, {test.within[1]:g}]"
    return f"< {test.less:g}" if test.less is not None else f"> {test.greater:g}"


def _holds(test: Test, mean: float) -> bool:
    if test.within is not None:
        return test.within[0] <= mean <= test.within[1]
    return test.sign * mean > test.sign * test.bound
