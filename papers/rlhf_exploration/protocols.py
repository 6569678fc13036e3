"""The compared algorithms as pairs: which policy calibrates the bonus, and who meets π_t in a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Bonus = Literal["none", "fixed", "prev"]
Partner = Literal["self", "ref", "prev", "uniform", "extremes"]


@dataclass(frozen=True)
class Protocol:
    """One algorithm.

    Attributes:
        bonus: π_cal of the bonus: a fixed policy, the previous iterate π_{t-1}, or no bonus at all.
        partner: The second response: from π_t itself, π_ref, π_{t-1}, or uniform. "extremes" draws a batch of
            four from π_t and compares its best with its worst by the fitted reward.
    """

    bonus: Bonus
    partner: Partner


PROTOCOLS = {
    "proposed": Protocol("prev", "prev"),
    "xpo": Protocol("fixed", "ref"),
    "vpo": Protocol("fixed", "self"),
    "selm": Protocol("fixed", "extremes"),
    "ablation_a": Protocol("prev", "self"),
    "ablation_b": Protocol("fixed", "prev"),
    "uniform": Protocol("fixed", "uniform"),
    "passive": Protocol("none", "self"),
}
