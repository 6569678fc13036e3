"""The critic's vocabulary: critiques of VerbalArith in two styles, and opaque tokens for controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np

from common.judge.template import Lexicon, TemplateCritic
from common.tasks.verbal_arith import SYMBOLS, Attributes, parse, score

LEXICON: Lexicon = {
    "correct": (("correct", "accurate"), ("wrong", "mistaken")),
    "rigorous": (("rigorous", "thorough"), ("sloppy", "hasty")),
    "concise": (("concise", "brief"), ("verbose", "wordy")),
    "code": (("coded", "scripted"), ("verbal", "plain")),
}
"""Attribute to its words if it holds and if it does not."""

LENGTH_WORDS = frozenset(LEXICON["concise"][0] + LEXICON["concise"][1])
MOOD = (("happy", "glad", "pleased", "satisfied"), ("annoyed", "unhappy", "confused", "upset"))
PACE = (("quick", "swift"), ("slow", "endless"))
OPAQUE = tuple(f"<{letter}>" for letter in "abcdefghijk")
"""Tokens without meaning: eleven scores, four combinations of two attributes, or two polarities of each."""

WORDS = (
    *(word for polarities in LEXICON.values() for words in polarities for word in words),
    *(word for polarities in (MOOD, PACE) for words in polarities for word in words),
    *OPAQUE,
)
VOCABULARY = (*SYMBOLS, *WORDS)
MENTION_RATES = {"correct": 1.0, "rigorous": 0.85, "concise": 0.85, "code": 0.85}
MOOD_MATCHES = 0.8
PACE_REMARKED = 0.3

CONDITIONS: Mapping[str, Mapping[str, bool]] = {
    "fully positive": {"correct": True, "rigorous": True, "concise": True, "code": False},
    "fully negative": {"correct": False, "rigorous": False, "concise": False, "code": True},
    "has code": {"correct": True, "rigorous": True, "concise": True, "code": True},
    "verbose": {"correct": True, "rigorous": True, "concise": False, "code": False},
}
"""Requested attributes of the conditions of Table 3."""


class ArithCritic(TemplateCritic):
    """The environment of VerbalArith; equal (seed, question, response) give equal critiques.

    Args:
        seed: Of synonyms, order and dropped clauses.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(LEXICON, seed, MENTION_RATES)

    def attributes(self, question: str, response: str, reference: str) -> dict[str, bool]:  # noqa: ARG002
        """From the parser; the sum is computed from the question."""
        return asdict(parse(question, response))

    def score(self, attributes: Mapping[str, bool]) -> int:
        """Integer from 0 to 10."""
        return score(Attributes(**attributes))

    def user(self, attributes: Mapping[str, bool], rng: np.random.Generator) -> str:
        """A mood that matches the answer four times in five, sometimes a remark on the length."""
        happy = attributes["correct"] == (rng.random() < MOOD_MATCHES)
        words = [str(rng.choice(MOOD[not happy]))]
        if rng.random() < PACE_REMARKED:
            words.append(str(rng.choice(PACE[not attributes["concise"]])))
        return " ".join(words)
