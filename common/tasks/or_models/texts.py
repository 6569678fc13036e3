"""The words of the problems: four scenarios and three phrasings a family, one token a word."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import chain

from common.tasks.or_models.problems import Domain, Family, Parameters

PHRASINGS = 3
SCENARIOS = 4

_TEXTS: Mapping[Family, tuple[str, ...]] = {
    "mix": (
        "a {who} makes {n} kinds of {what} with profits {c} . one piece takes {A1} {first} and {A2} "
        "{second} . there are {b1} {first} and {b2} {second} . {lower} {upper} {whole} maximize the "
        "profit .",
        "{what} of {n} kinds earn {c} . the {who} has {b1} {first} and {b2} {second} ; a piece takes {A1} "
        "{first} and {A2} {second} . {whole} {lower} {upper} what is the largest profit ?",
        "how should a {who} plan ? {n} kinds of {what} need {A1} of {b1} {first} , {A2} of {b2} {second} "
        "and earn {c} . {lower} {whole} {upper} find the best profit .",
    ),
    "batch": (
        "a {who} makes {n} kinds of {what} , sold in boxes of {k} , with profits {c} a piece . one piece "
        "takes {A1} {first} and {A2} {second} . there are {b1} {first} and {b2} {second} . maximize the "
        "profit .",
        "{what} of {n} kinds earn {c} a piece . the {who} has {b1} {first} and {b2} {second} ; a piece "
        "takes {A1} {first} and {A2} {second} . each box holds {k} and only full boxes are sold . what is "
        "the largest profit ?",
        "how should a {who} plan ? {n} kinds of {what} in full boxes of {k} need {A1} of {b1} {first} , "
        "{A2} of {b2} {second} and earn {c} a piece . find the best profit .",
    ),
    "knap": (
        "a {who} can carry {b1} {unit} . {n} {what} weigh {A1} and are worth {c} . each is taken once or "
        "not at all . maximize the worth .",
        "{n} {what} with worth {c} and weight {A1} {unit} lie before a {who} who can carry {b1} . which "
        "of them are the best choice ?",
        "which {what} should a {who} take ? {n} weigh {A1} , at most {b1} {unit} in all , and bring {c} . "
        "find the largest worth .",
    ),
    "trans": (
        "two {source} hold {s1} and {s2} {what} . {n} {sink} need {d} . moving one costs {c1} from the "
        "first and {c2} from the second . only whole {what} can be moved . minimize the cost .",
        "{n} {sink} ask for {d} {what} . the first of two {source} has {s1} and ships one for {c1} , the "
        "second has {s2} and ships one for {c2} . {what} stay whole . what is the least cost ?",
        "how should two {source} serve {n} {sink} ? these need {d} whole {what} ; those have {s1} at "
        "costs {c1} and {s2} at costs {c2} . find the cheapest plan .",
    ),
    "fix": (
        "a {who} can open {n} {what} with capacities {K} {unit} . opening costs {f} and each of the "
        "{unit} costs {c} . at least {D} {unit} are needed . any fraction is allowed . minimize the cost "
        ".",
        "at least {D} {unit} are needed . the {who} has {n} {what} which cost {f} to open , {c} for one "
        "of the {unit} and give at most {K} . fractions are fine . what is the least cost ?",
        "which of {n} {what} should a {who} open ? they cost {f} at once and {c} for one of the {unit} , "
        "up to {K} . in all {D} {unit} or fractions of them are needed . find the cheapest plan .",
    ),
}
_GOODS = (
    {"who": "bakery", "what": "cakes", "first": "eggs", "second": "hours"},
    {"who": "workshop", "what": "chairs", "first": "boards", "second": "screws"},
    {"who": "studio", "what": "lamps", "first": "bulbs", "second": "wires"},
    {"who": "farm", "what": "baskets", "first": "apples", "second": "pears"},
)
_SCENARIOS: Mapping[Family, tuple[Mapping[str, str], ...]] = {
    "mix": _GOODS,
    "batch": _GOODS,
    "knap": (
        {"who": "hiker", "what": "tools", "unit": "kilos"},
        {"who": "pilot", "what": "crates", "unit": "tons"},
        {"who": "diver", "what": "coins", "unit": "ounces"},
        {"who": "thief", "what": "vases", "unit": "pounds"},
    ),
    "trans": (
        {"source": "depots", "sink": "shops", "what": "pallets"},
        {"source": "mines", "sink": "mills", "what": "trucks"},
        {"source": "ports", "sink": "towns", "what": "containers"},
        {"source": "libraries", "sink": "schools", "what": "books"},
    ),
    "fix": (
        {"who": "brewery", "what": "plants", "unit": "barrels"},
        {"who": "city", "what": "wells", "unit": "liters"},
        {"who": "grid", "what": "turbines", "unit": "watts"},
        {"who": "clinic", "what": "wards", "unit": "beds"},
    ),
}
_LOWER = ("make at least {lo} .", "no less than {lo} are ordered .", "orders ask for at least {lo} .")
_UPPER = ("sell at most {up} .", "no more than {up} are sold .", "the market takes at most {up} .")
_DIVISIBLE = {"int": "only whole {what} count .", "cont": "any fraction is allowed .", "bin": ""}


def describe(family: Family, parameters: Parameters, domain: Domain, scenario: int, phrasing: int) -> str:
    """The problem in English; lists are written as numbers in a row, ``profits 3 5 2``."""
    lists = {name: " ".join(map(str, values)) for name, values in parameters}
    slots = {
        **_SCENARIOS[family][scenario],
        **lists,
        "n": str(len(lists["d" if family == "trans" else "c"].split())),
    }
    slots["lower"] = _LOWER[phrasing].format(**slots) if "lo" in lists else ""
    slots["upper"] = _UPPER[phrasing].format(**slots) if "up" in lists else ""
    slots["whole"] = _DIVISIBLE[domain].format(**slots)
    return " ".join(_TEXTS[family][phrasing].format(**slots).split())


def _words() -> tuple[str, ...]:
    """Every word that a text can hold, sorted."""
    templates = chain(*_TEXTS.values(), _LOWER, _UPPER, _DIVISIBLE.values())
    nouns = (noun for group in _SCENARIOS.values() for scenario in group for noun in scenario.values())
    return tuple(sorted({*re.sub(r"\{\w+\}", " ", " ".join(templates)).split(), *nouns}))


WORDS = _words()
