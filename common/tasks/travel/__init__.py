"""Travel planning with tools: words, queries, itineraries, and what a query's answer may be.

A traveller flies out and back, sleeps in a hotel and sees L sights in between, all within one timetable of
twelve slots of two hours. The policy asks for flights, hotels and sights and then writes an itinerary:

>>> PHX LGA L1 P3 NOC                                     query: from, to, sights, price cap, limit
>>> TR PHX LGA </call>  O0 H4 H5 O1 H5 H6 O2 H5 H7         outbound flights: label, departure, arrival
>>> TR LGA PHX </call>  R0 H5 H7 R1 H7 H9 R2 H9 H11        flights home
>>> HT LGA </call>      T0 P3 T1 P1 T2 P2                  hotels: label, price
>>> PO LGA </call>      V0 H6 H10 V1 H5 H9 V2 H3 H7 V3 …   sights: label, open from, closed from
>>> <ans> O2 H5 H7 T2 P2 V1 H8 R2 H9 H11 </ans>

One token a word: a label occurs once in what was read, so that a fact is copied by looking its label up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

SLOTS, PRICES, LONGEST = 12, 5, 3
# fmt: off
AIRPORTS = (
    "ATL", "BOS", "DFW", "DTW", "EWR", "IAH", "JFK", "LAS",
    "LAX", "LGA", "MCO", "MIA", "PHL", "PHX", "SEA", "SFO",
)
# fmt: on
PAD, BOS, CALL, ANSWER, END = "<pad>", "<bos>", "</call>", "<ans>", "</ans>"
FLIGHTS, HOTELS, SIGHTS = "TR", "HT", "PO"
LIMITS = ("AB", "RB", "FB")
"""Arrive there by, be back by, see something by a slot."""
NO_LIMIT = "NOC"
LABELS = {"O": 3, "R": 3, "T": 3, "V": 4}
"""Outbound flights, flights home, hotels, sights, and how many of each a tool returns."""
VOCABULARY = (
    *(PAD, BOS, CALL, ANSWER, END, FLIGHTS, HOTELS, SIGHTS, NO_LIMIT, *LIMITS, *AIRPORTS),
    *(f"H{slot}" for slot in range(SLOTS)),
    *(f"P{price}" for price in range(1, PRICES + 1)),
    *(f"L{sights}" for sights in range(1, LONGEST + 1)),
    *(f"{kind}{place}" for kind, count in LABELS.items() for place in range(count)),
)
Call = tuple[str, ...]
"""A tool and its arguments."""
Options = Mapping[str, tuple[int, ...]]
"""What a tool returned: label to numbers (slots, or a price)."""


@dataclass(frozen=True)
class Query:
    """What a traveller wants.

    Attributes:
        world: The day, which fixes everything that tools know.
        origin, destination: Airports.
        sights: L, how many to see.
        cap: Highest price of a night.
        limit: One of `LIMITS` and its slot; None is the unconstrained kind.
    """

    world: int
    origin: str
    destination: str
    sights: int
    cap: int
    limit: tuple[str, int] | None = None

    @property
    def words(self) -> list[str]:
        """As the policy reads it."""
        limit = [self.limit[0], f"H{self.limit[1]}"] if self.limit else [NO_LIMIT]
        return [self.origin, self.destination, f"L{self.sights}", f"P{self.cap}", *limit]

    @property
    def calls(self) -> tuple[Call, ...]:
        """The four calls that answer it: one for each part of an itinerary (`PARTS`)."""
        there, back = self.destination, self.origin
        return (FLIGHTS, back, there), (FLIGHTS, there, back), (HOTELS, there), (SIGHTS, there)

    def kinds(self, call: Call) -> str:
        """First letter of the labels of a call's answer; flights to where the traveller lives are R."""
        if call[0] == FLIGHTS:
            return "R" if call[-1] == self.origin else "O"
        return "T" if call[0] == HOTELS else "V"


_ITINERARY = re.compile(
    rf"{ANSWER} (O\d) H(\d+) H(\d+) (T\d) P(\d) ((?:V\d H\d+ )+)(R\d) H(\d+) H(\d+) {END}"
)
PARTS = ("outbound", "return", "hotel", "sights")
"""Parts of an itinerary, in the order of `Query.calls`."""


@dataclass(frozen=True)
class Plan:
    """An itinerary: labels with what it says about them.

    Attributes:
        outbound, back: Label, departure and arrival of a flight.
        hotel: Label and price.
        visits: Label and slot of each sight, in their order.
    """

    outbound: tuple[str, int, int]
    back: tuple[str, int, int]
    hotel: tuple[str, int]
    visits: tuple[tuple[str, int], ...]

    @property
    def words(self) -> list[str]:
        """As the policy writes it."""
        (out, *leaves), (home, *returns), (hotel, price) = self.outbound, self.back, self.hotel
        seen = [word for label, slot in self.visits for word in (label, f"H{slot}")]
        outward, homeward = ([f"H{slot}" for slot in leg] for leg in (leaves, returns))
        return [ANSWER, out, *outward, hotel, f"P{price}", *seen, home, *homeward, END]


def parse(text: str) -> Plan | None:
    """The itinerary that a text says; None where it is none."""
    found = _ITINERARY.fullmatch(text)
    if found is None:
        return None
    out, *leaves = found.group(1, 2, 3)
    home, *returns = found.group(7, 8, 9)
    seen = found.group(6).split()
    return Plan(
        outbound=(out, int(leaves[0]), int(leaves[1])),
        back=(home, int(returns[0]), int(returns[1])),
        hotel=(found.group(4), int(found.group(5))),
        visits=tuple((label, int(slot[1:])) for label, slot in zip(seen[::2], seen[1::2], strict=True)),
    )


def told(options: Options) -> Iterator[str]:
    """A tool's answer as words."""
    for label, numbers in options.items():
        unit = "P" if label[0] == "T" else "H"
        yield label
        yield from (f"{unit}{number}" for number in numbers)
