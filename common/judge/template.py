"""A critic that writes from a lexicon what a parser has found: one clause per attribute, random synonyms."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from common.judge.critic import Critique

Lexicon = Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
"""Attribute to the synonyms that say it holds, and those that say it does not."""


class TemplateCritic(ABC):
    """Base of template critics; a subclass parses a response and scores its attributes.

    A critique is a function of (seed, question, response): it does not depend on what was asked before.

    Args:
        lexicon: Words of the clauses. A word belongs to one attribute and polarity only.
        seed: Of synonyms, order of the clauses, and which are left out.
        kept: Probability that an attribute's clause is written; 1 for those that are not named.

    Raises:
        ValueError: a word that stands for two things, or a probability outside [0, 1].
    """

    def __init__(self, lexicon: Lexicon, seed: int, kept: Mapping[str, float] | None = None) -> None:
        words = [word for polarities in lexicon.values() for group in polarities for word in group]
        if len(set(words)) < len(words):
            twice = sorted({word for word in words if words.count(word) > 1})
            raise ValueError(f"the lexicon uses {twice} for two things")
        self.lexicon, self.seed, self.kept = lexicon, seed, dict(kept or {})
        if not all(0 <= share <= 1 for share in self.kept.values()):
            raise ValueError(f"kept has to hold probabilities; got {self.kept}")

    @abstractmethod
    def attributes(self, question: str, response: str, reference: str) -> Mapping[str, bool]:
        """What holds of a response; the keys of the lexicon."""

    @abstractmethod
    def score(self, attributes: Mapping[str, bool]) -> float:
        """0 to 10."""

    @abstractmethod
    def user(self, attributes: Mapping[str, bool], rng: np.random.Generator) -> str:
        """User-style feedback."""

    def __call__(self, question: str, response: str, reference: str) -> Critique:
        """Critique of one response."""
        found = self.attributes(question, response, reference)
        rng = np.random.default_rng([self.seed, zlib.crc32(f"{question}\n{response}".encode())])
        return Critique(
            user=self.user(found, rng),
            analysis=", ".join(f"{name}: {'yes' if holds else 'no'}" for name, holds in found.items()),
            summary=self.summary(found, rng),
            score=self.score(found),
        )

    def summary(
        self, attributes: Mapping[str, bool], rng: np.random.Generator, complete: bool = False
    ) -> str:
        """Reviewer-style clauses in random order.

        Args:
            attributes: What to say; attributes that are missing are not spoken of.
            rng: Draws order, synonyms, and the clauses that are left out.
            complete: Leave no clause out.
        """
        clauses = []
        for name in rng.permutation([name for name in self.lexicon if name in attributes]):
            words = self.lexicon[str(name)][0 if attributes[str(name)] else 1]
            word = words[rng.integers(len(words))]
            if rng.random() < self.kept.get(str(name), 1.0) or complete:
                clauses.append(word)
        return " ".join(clauses)
