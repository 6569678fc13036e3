"""Days to travel on: flights by a timetable, hotels and sights that are drawn; and what can be done on them.

Flights are drawn too (`DrawnFlights`) or real (`common.tasks.travel.airline`). Everything is a function of
the number of a world, so that a day is the same for everybody who asks, whenever.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise, permutations, product
from typing import Literal, Protocol

import numpy as np

from common.tasks.travel import (
    AIRPORTS,
    FLIGHTS,
    HOTELS,
    LABELS,
    LIMITS,
    LONGEST,
    PRICES,
    SIGHTS,
    SLOTS,
    Call,
    Plan,
    Query,
)

Split = Literal["warm", "train", "test"]
FIRST: dict[Split, int] = {"warm": 0, "train": 10**6, "test": 2 * 10**6}
"""First world of a split: no two splits share one."""
LENGTHS = (0.6, 0.3, 0.1)  # of the queries see 1, 2, 3 sights
Times = tuple[int, int]
"""Two slots: departure and arrival, or open from and closed from."""


class Timetable(Protocol):
    """Where flights come from."""

    def pairs(self, world: int) -> Sequence[tuple[str, str]]:
        """Between which airports one can fly out and back with a choice, in both directions."""

    def flights(self, world: int, origin: str, destination: str) -> Sequence[Times]:
        """Departures and arrivals of a day."""


class DrawnFlights:
    """Three flights between any two of the first six airports; at most two slots long."""

    def pairs(self, world: int) -> Sequence[tuple[str, str]]:  # noqa: ARG002 - a protocol
        """All of them, on every day."""
        return list(permutations(AIRPORTS[:6], 2))

    def flights(self, world: int, origin: str, destination: str) -> list[Times]:
        """Drawn for the day."""
        dice = _dice(world, 1, origin, destination)
        leaves = [int(dice.integers(1, SLOTS - 2)) for _ in range(LABELS["O"])]
        return [(leave, min(SLOTS - 1, leave + int(dice.integers(1, 3)))) for leave in leaves]


@dataclass(frozen=True)
class Day:
    """What the tools know about a world."""

    world: int
    timetable: Timetable

    def flights(self, origin: str, destination: str) -> tuple[Times, ...]:
        """At most three flights, in an order of the day's own."""
        offered = list(self.timetable.flights(self.world, origin, destination))
        order = _dice(self.world, 2, origin, destination).permutation(len(offered))
        return tuple(offered[place] for place in order[: LABELS["O"]])

    def hotels(self, city: str) -> tuple[int, ...]:
        """Prices."""
        return tuple(_dice(self.world, 3, city).integers(1, PRICES + 1, size=LABELS["T"]).tolist())

    def sights(self, city: str) -> tuple[Times, ...]:
        """Open from, closed from."""
        dice = _dice(self.world, 4, city)
        opens = dice.integers(2, 7, size=LABELS["V"]).tolist()
        return tuple((start, min(SLOTS - 1, start + int(dice.integers(2, 5)))) for start in opens)

    def answer(self, query: Query, call: Call) -> dict[str, tuple[int, ...]]:
        """What a tool returns: label to numbers; nothing for a call that is none."""
        tool, cities = (*call[:1], "")[0], call[1:]
        known = len(cities) == (2 if tool == FLIGHTS else 1) and set(cities) <= set(AIRPORTS)
        if tool not in (FLIGHTS, HOTELS, SIGHTS) or not known:
            return {}
        found: tuple[tuple[int, ...], ...]
        if tool == HOTELS:
            found = tuple((price,) for price in self.hotels(*cities))
        else:
            found = self.flights(*cities) if tool == FLIGHTS else self.sights(*cities)
        return {f"{query.kinds(call)}{place}": numbers for place, numbers in enumerate(found)}


def _dice(world: int, kind: int, *cities: str) -> np.random.Generator:
    return np.random.default_rng([world, kind, *(AIRPORTS.index(city) for city in cities)])


# What can be done


@lru_cache(maxsize=4096)
def _tours(sights: tuple[Times, ...], count: int) -> list[tuple[tuple[str, int], ...]]:
    """All ways to see so many sights one after the other, each while it is open."""
    found = []
    for order in permutations(range(len(sights)), count):
        for slots in product(*(range(*sights[place]) for place in order)):
            if all(early < late for early, late in pairwise(slots)):
                found.append(tuple((f"V{place}", slot) for place, slot in zip(order, slots, strict=True)))
    return found


def keeps(limit: tuple[str, int] | None, arrives: int, home: int, first: int) -> bool:
    """Whether an itinerary that arrives, is back and sees something in these slots keeps a limit."""
    return limit is None or {"AB": arrives, "RB": home, "FB": first}[limit[0]] <= limit[1]


def legs(query: Query, day: Day) -> list[tuple[int, int, tuple[tuple[str, int], ...]]]:
    """Flight out, flight back and tour of every itinerary that fits, whatever the hotel."""
    there, back = query.destination, query.origin
    outward, homeward = day.flights(back, there), day.flights(there, back)
    return [
        (out, home, tour)
        for tour in _tours(day.sights(there), query.sights)
        for out, (_, arrives) in enumerate(outward)
        for home, (leaves, late) in enumerate(homeward)
        if arrives < tour[0][1] and tour[-1][1] < leaves and keeps(query.limit, arrives, late, tour[0][1])
    ]


def solutions(query: Query, day: Day) -> Iterator[Plan]:
    """Every itinerary that is right."""
    rooms = _rooms(query, day)
    for leg in legs(query, day):
        for room in rooms:
            yield _plan(query, day, leg, room)


def oracle(query: Query, day: Day, dice: np.random.Generator) -> Plan | None:
    """One of the right itineraries, all with the same probability; None where there is none."""
    fitting, rooms = legs(query, day), _rooms(query, day)
    if not fitting or not rooms:
        return None
    return _plan(query, day, fitting[dice.integers(len(fitting))], rooms[dice.integers(len(rooms))])


def _rooms(query: Query, day: Day) -> list[int]:
    return [room for room, price in enumerate(day.hotels(query.destination)) if price <= query.cap]


def _plan(query: Query, day: Day, leg: tuple[int, int, tuple[tuple[str, int], ...]], room: int) -> Plan:
    out, home, tour = leg
    there, back = query.destination, query.origin
    return Plan(
        outbound=(f"O{out}", *day.flights(back, there)[out]),
        back=(f"R{home}", *day.flights(there, back)[home]),
        hotel=(f"T{room}", day.hotels(there)[room]),
        visits=tour,
    )


def corrupted(plan: Plan, dice: np.random.Generator) -> Plan:
    """The itinerary with one number moved by one to four."""
    by = int(dice.choice([-4, -3, -2, -1, 1, 2, 3, 4]))
    out, home, (hotel, price), (first, *others) = plan.outbound, plan.back, plan.hotel, plan.visits
    return [
        replace(plan, outbound=(out[0], out[1], max(0, out[2] + by))),
        replace(plan, back=(home[0], max(0, home[1] + by), home[2])),
        replace(plan, hotel=(hotel, max(1, price + by))),
        replace(plan, visits=((first[0], max(0, first[1] + by)), *others)),
    ][dice.integers(4)]


# Queries


@dataclass(frozen=True)
class Asked:
    """Which queries are asked.

    Attributes:
        real: Flights are those of a real timetable.
        limited: Share with a limit.
        unsatisfiable: Share without an answer.
    """

    real: bool = True
    limited: float = 0.5
    unsatisfiable: float = 0.0

    def timetable(self, split: Split) -> Timetable:
        """Flights of a split; real ones of its dates."""
        if not self.real:
            return DrawnFlights()
        from common.tasks.travel.airline import RealFlights  # which needs `Times`

        return RealFlights(test=split == "test")


def queries(asked: Asked, split: Split, count: int, seed: int = 0) -> list[Query]:
    """Queries of a split, each in a world of its own; `count` of them for each seed."""
    timetable = asked.timetable(split)
    return [_drawn(asked, Day(FIRST[split] + seed * 10_000 + place, timetable)) for place in range(count)]


def _drawn(asked: Asked, day: Day) -> Query:
    dice = np.random.default_rng([day.world, 5])
    hopeless, limited = dice.random() < asked.unsatisfiable, dice.random() < asked.limited
    pairs = day.timetable.pairs(day.world)
    while True:
        origin, destination = pairs[int(dice.integers(len(pairs)))]
        sights = 1 + int(dice.choice(LONGEST, p=LENGTHS))
        query = Query(day.world, origin, destination, sights, int(dice.integers(2, PRICES + 1)))
        plan = oracle(query, day, dice)
        if hopeless and plan is None:
            return query
        if not hopeless and plan is not None:
            return replace(query, limit=_limit(plan, dice)) if limited else query


def _limit(plan: Plan, dice: np.random.Generator) -> tuple[str, int]:
    """One that this itinerary just keeps."""
    kind = LIMITS[dice.integers(len(LIMITS))]
    return kind, {"AB": plan.outbound[2], "RB": plan.back[2], "FB": plan.visits[0][1]}[kind]
