"""Exact verifiers of itineraries: is it feasible, and does it say what the tools have said?

The first looks at query and itinerary alone, the second at what was returned in this very episode; neither
knows what the other knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from common.tasks.travel import PARTS, Call, Options, Plan, Query, parse
from common.tasks.travel.worlds import keeps

Seen = Mapping[Call, Options]
"""What the tools have returned in an episode, by call."""


def feasible(query: Query, plan: Plan) -> bool:
    """R_traj: price, number of sights, order in time, and the limit, as the itinerary states them."""
    (_, leaves, arrives), (_, departs, home) = plan.outbound, plan.back
    slots = [slot for _, slot in plan.visits]
    order = [leaves, arrives, *slots, departs, home]
    return (
        plan.hotel[1] <= query.cap
        and len({label for label, _ in plan.visits}) == len(slots) == query.sights
        and all(early < late for early, late in pairwise(order))
        and keeps(query.limit, arrives, home, slots[0])
    )


def supported(part: int, query: Query, plan: Plan, seen: Seen) -> bool:
    """R_turn of one part of `PARTS`: what it states is what the tool has returned for its call here.

    A fact that nobody has asked for is not supported, even if it happens to be true.
    """
    options = seen.get(query.calls[part], {})
    if PARTS[part] == "sights":
        return all(label in options and slot in range(*options[label]) for label, slot in plan.visits)
    label, *numbers = (plan.outbound, plan.back, plan.hotel)[part]
    return options.get(str(label)) == tuple(numbers)


@dataclass(frozen=True)
class Verdict:
    """What verifiers say about an answer.

    Attributes:
        reward: r.
        trajectory: R_traj.
        turns: R_turn by part, as far as it was looked at; nothing of a text that is no itinerary.
        well_formed: It is an itinerary.
    """

    reward: float = 0.0
    trajectory: bool = False
    turns: tuple[bool, ...] = ()
    well_formed: bool = False

    @property
    def consistent(self) -> bool:
        """Every part is supported."""
        return len(self.turns) == len(PARTS) and all(self.turns)


FAILED = Verdict()
Judge = Callable[[Query, str, Seen], Verdict]
"""(query, text of the answer, what the tools have returned) -> verdict."""


def judge(query: Query, text: str, seen: Seen) -> Verdict:
    """Both verifiers in full; the reward is 1 where all agree."""
    plan = parse(text)
    if plan is None:
        return FAILED
    turns = tuple(supported(part, query, plan, seen) for part in range(len(PARTS)))
    trajectory = feasible(query, plan)
    return Verdict(float(trajectory and all(turns)), trajectory, turns, well_formed=True)


def share(verdicts: Sequence[Verdict], part: int) -> float:
    """Of the itineraries, those in which a part is supported; NaN without any."""
    looked = [verdict.turns[part] for verdict in verdicts if len(verdict.turns) > part]
    return sum(looked) / len(looked) if looked else float("nan")
