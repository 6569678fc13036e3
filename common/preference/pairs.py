"""From scored responses to weighted pairs: the outcome decides, then the process, then nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations


@dataclass(frozen=True)
class Score:
    """What is known of a response.

    Attributes:
        outcome: Whether its answer is right.
        process: Share of its steps that a verifier found correct; None where it gave no verdict.
    """

    outcome: bool
    process: float | None = None


@dataclass(frozen=True)
class Pair:
    """Response `chosen` is preferred to `rejected`, both numbers within their problem, with a weight."""

    chosen: int
    rejected: int
    weight: float


def prefer(scores: Sequence[Score], first: int, second: int, by_process: bool = True) -> Pair | None:
    """Algorithm 1 of arXiv:2509.22558: weight 1 for the right outcome against a wrong one, else Δ process.

    Args:
        scores: Of the responses to one problem.
        first: A response.
        second: Another one.
        by_process: Break ties of the outcome.

    Returns:
        None where neither tells them apart.
    """
    one, other = scores[first], scores[second]
    if one.outcome != other.outcome:
        return Pair(first, second, 1.0) if one.outcome else Pair(second, first, 1.0)
    if not by_process or one.process is None or other.process is None or one.process == other.process:
        return None
    lead = one.process - other.process
    return Pair(first, second, lead) if lead > 0 else Pair(second, first, -lead)


def build_pairs(scores: Sequence[Score], most: int | None = None, by_process: bool = True) -> list[Pair]:
    """Pairs of responses to one problem, the heaviest first, at most `most`; ties in the order of numbers."""
    found = (prefer(scores, *both, by_process) for both in combinations(range(len(scores)), 2))
    ranked = sorted((pair for pair in found if pair is not None), key=lambda pair: -pair.weight)
    return ranked[:most]
