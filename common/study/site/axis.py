"""Where an effect, zero and the paper's number stand on an axis of a line's height."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

WIDTH, MARGIN = 160, 6


@dataclass(frozen=True)
class Axis:
    """Horizontal positions in pixels, from 0 to `WIDTH`.

    Attributes:
        zero: No effect.
        low: Lower end of the interval.
        estimate: The effect.
        high: Upper end.
        paper: The paper's number; None where it has none in the unit of ours.
    """

    zero: float
    low: float
    estimate: float
    high: float
    paper: float | None


def axis(entry: Mapping[str, Any]) -> Axis | None:
    """The axis of an entry of ``claims.json``; None where it has no interval."""
    ours, paper = _numbers(entry, "low", "estimate", "high"), _numbers(entry, "effect")
    if entry.get("integrity") or len(ours) < 3:
        return None
    shown = [0.0, *ours, *paper]
    start, span = min(shown), (max(shown) - min(shown)) or 1.0
    low, estimate, high, zero, *reported = (
        round(MARGIN + (WIDTH - 2 * MARGIN) * (value - start) / span, 1) for value in (*ours, 0.0, *paper)
    )
    return Axis(zero, low, estimate, high, reported[0] if reported else None)


def _numbers(entry: Mapping[str, Any], *names: str) -> list[float]:
    """Those of an entry's fields that are finite numbers."""
    values = [entry.get(name) for name in names]
    return [float(value) for value in values if isinstance(value, int | float) and isfinite(value)]
