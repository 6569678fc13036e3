"""Dialogues of two turns from a grammar with paraphrases and synonyms: the next token is often a choice.

A user asks for one of 24 things (four requests, six topics) and names a person, a city and a day; then asks
about a dish and a colour. An answer has one to three sentences; each is one of three paraphrases, holds words
with two or three synonyms, and copies the slots.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np


def words(text: str) -> tuple[str, ...]:
    """The words of a text, split at spaces."""
    return tuple(text.split())


SLOTS: dict[str, tuple[str, ...]] = {
    "name": words("anna ben carla david emma felix grace henry iris jonas karin leo"),
    "food": words("pasta soup rice pizza salad curry bread fish tacos stew cake noodles"),
    "city": words("paris rome oslo berlin madrid lisbon vienna dublin athens prague geneva london"),
    "day": words(
        "monday tuesday wednesday thursday friday saturday sunday today tomorrow tonight easter newyear"
    ),
    "colour": words("red blue green yellow orange purple pink black white brown grey gold"),
}
TOPICS = {
    "dinner": "[table|menu]",
    "trip": "[train|hotel]",
    "gift": "[box|card]",
    "meeting": "[room|agenda]",
    "party": "[music|garden]",
    "lesson": "[book|teacher]",
}
Paraphrases = tuple[str, str, str]
REQUESTS: dict[str, tuple[str, Paraphrases]] = {
    "plan": (
        "plan a {topic} for {name} in {city} on {day}",
        (
            "we [start|begin|meet] in {city} on {day} .",
            "on {day} we [go|travel] to {city} [early|late] .",
            "{city} is [perfect|ideal] on {day} .",
        ),
    ),
    "invite": (
        "invite {name} to a {topic} in {city} on {day}",
        (
            "{name} is [welcome|invited] in {city} on {day} .",
            "[ask|tell] {name} to come to {city} on {day} .",
            "i will [write|call] {name} before {day} .",
        ),
    ),
    "change": (
        "change the {topic} of {name} in {city} to {day}",
        (
            "it [moves|shifts] to {day} in {city} .",
            "the new day is {day} [now|then] .",
            "{city} [works|fits] on {day} [too|also] .",
        ),
    ),
    "suggest": (
        "suggest a {topic} for {name} in {city} on {day}",
        (
            "try {city} on {day} [first|maybe] .",
            "{day} in {city} is [popular|quiet|perfect] .",
            "[people|locals|guests] like {city} on {day} .",
        ),
    ),
}
OPENING: Paraphrases = (
    "[sure|certainly|gladly] , i will [arrange|organise|prepare] the {topic} for {name} .",
    "the {topic} for {name} is a [great|nice|lovely] idea .",
    "[thanks|okay] , {name} will [love|enjoy] this {topic} .",
)
DETAIL: Paraphrases = (
    "the {thing} is [ready|booked|free] .",
    "i [checked|chose] the {thing} [already|now] .",
    "there is a [small|big|cosy] {thing} .",
)
FOLLOW_UP = "and what about {food} and {colour}"
ADVICE: Paraphrases = (
    "{food} is [tasty|fresh|good] and {colour} [looks|feels] [bright|warm|calm] .",
    "[yes|sure] , take {food} and something {colour} .",
    "i [like|prefer] {colour} with {food} .",
)
CLOSING: Paraphrases = (
    "have a [nice|great|lovely] {topic} .",
    "see you on {day} [then|now] .",
    "[bye|enjoy] , {name} .",
)
EXTRA = 0.5  # chance of the optional sentence of an answer
_CHOICE = re.compile(r"\[([^]]+)\]")


def vocabulary() -> tuple[str, ...]:
    """Every word of the grammar, once, in order of appearance."""
    sentences = [part for request in REQUESTS.values() for part in (request[0], *request[1])]
    sentences += [*OPENING, *DETAIL, FOLLOW_UP, *ADVICE, *CLOSING, *TOPICS.values(), *TOPICS]
    words = [word for text in sentences for word in re.sub(r"[\[\]|]", " ", text).split()]
    plain = [word for word in words if not word.startswith("{")]
    return tuple(dict.fromkeys([*plain, *(value for values in SLOTS.values() for value in values)]))


@dataclass(frozen=True)
class Dialogue:
    """What a dialogue is about.

    Attributes:
        request: Key of `REQUESTS`.
        topic: Key of `TOPICS`.
        slots: Values in the order of `SLOTS`.
    """

    request: str
    topic: str
    slots: tuple[str, ...]

    @property
    def key(self) -> str:
        """The slot combination, which decides the split."""
        return " ".join(self.slots)

    @property
    def questions(self) -> tuple[str, str]:
        """What the user says in the two turns."""
        return self._fill(REQUESTS[self.request][0]), self._fill(FOLLOW_UP)

    def _fill(self, sentence: str) -> str:
        filled = sentence.replace("{thing}", TOPICS[self.topic]).replace("{topic}", self.topic)
        return filled.format(**dict(zip(SLOTS, self.slots, strict=True)))

    def answers(
        self, rng: np.random.Generator, paraphrases: tuple[float, float, float], zipf: float
    ) -> tuple[str, str]:
        """A drawn answer for each turn; see `tridomain.TriDomainConfig` for the knobs."""

        def say(options: Paraphrases) -> str:
            chosen = self._fill(options[rng.choice(3, p=paraphrases)])
            return _CHOICE.sub(lambda found: _synonym(found[1].split("|"), rng, zipf), chosen)

        first = [say(OPENING), say(REQUESTS[self.request][1])]
        second = [say(ADVICE)]
        if rng.random() < EXTRA:
            first.append(say(DETAIL))
        if rng.random() < EXTRA:
            second.append(say(CLOSING))
        return " ".join(first), " ".join(second)


def _synonym(options: list[str], rng: np.random.Generator, zipf: float) -> str:
    weights = np.arange(1, len(options) + 1, dtype=float) ** -zipf
    return options[rng.choice(len(options), p=weights / weights.sum())]


def draw(rng: np.random.Generator, slot_values: int) -> Dialogue:
    """A dialogue whose slots take one of the first `slot_values` values each."""
    request = list(REQUESTS)[rng.integers(len(REQUESTS))]
    topic = list(TOPICS)[rng.integers(len(TOPICS))]
    return Dialogue(request, topic, tuple(values[rng.integers(slot_values)] for values in SLOTS.values()))
