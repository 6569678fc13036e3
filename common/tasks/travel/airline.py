"""Real flights: the airline database of tau2-bench (MIT), read where the package `inspect-evals` puts it.

A day is a date on which the database says when each flight left and landed. Hours become slots of two; a
flight that lands in the slot in which it left counts as landing in the next. Flights past midnight are left
out, and so are pairs of airports without three flights in both directions on that date.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Sequence
from functools import cache

from common.study.assets import verified
from common.tasks.travel import LABELS, SLOTS
from common.tasks.travel.worlds import Times

ASSET = "tau2_airline"
TEST_DATES = 4
"""The last dates are for held-out queries."""
Flights = dict[tuple[str, str], list[Times]]


@cache
def timetable() -> dict[str, Flights]:
    """Flights that have landed, by date.

    Raises:
        StudyError: the asset is not installed, or is another file.
    """
    with gzip.open(verified(ASSET), "rt") as file:
        flights = json.load(file)["flights"]
    days: dict[str, Flights] = defaultdict(lambda: defaultdict(list))
    for flight in flights.values():
        for date, told in flight["dates"].items():
            if told["status"] == "landed" and (times := _slots(date, told)):
                days[date][flight["origin"], flight["destination"]].append(times)
    return {date: dict(days[date]) for date in sorted(days)}


def _slots(date: str, told: dict[str, str]) -> Times | None:
    """Slots of a flight; None if it does not both leave and land on the date."""
    times = [told["actual_departure_time_est"], told["actual_arrival_time_est"]]
    if not all(time.startswith(date) for time in times):
        return None
    leaves, lands = (int(time[11:13]) // 2 for time in times)
    lands = max(leaves + 1, lands)
    return (leaves, lands) if lands < SLOTS else None


class RealFlights:
    """A timetable; worlds take the dates of their side in turn.

    Args:
        test: The last dates, which no other world has.
    """

    def __init__(self, test: bool) -> None:
        days = [day for day in timetable().values() if _choices(day)]
        self._days = days[-TEST_DATES:] if test else days[:-TEST_DATES]

    def pairs(self, world: int) -> Sequence[tuple[str, str]]:
        """Those with three flights or more in both directions."""
        return _choices(self._day(world))

    def flights(self, world: int, origin: str, destination: str) -> Sequence[Times]:
        """Of the date."""
        return self._day(world).get((origin, destination), [])

    def _day(self, world: int) -> Flights:
        return self._days[world % len(self._days)]


def _choices(day: Flights) -> list[tuple[str, str]]:
    least = LABELS["O"]
    return [pair for pair, found in day.items() if min(len(found), len(day.get(pair[::-1], ()))) >= least]
