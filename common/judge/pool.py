"""The pool of positive critiques that test-time conditions and rollouts are drawn from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Set

import numpy as np

from common.judge.critic import Critique

NOTHING = "(?!)"  # a pattern that matches nowhere


class FeedbackPool:
    """Summaries (or user feedback) of critiques with a high score.

    The scalar score selects the pool; it is in no gradient.

    Args:
        critiques: Candidates; equal texts stay, so that a draw follows their frequency.
        threshold: Lowest score of a member.
        exclude: Words or phrases of which a member holds none (case aside), e.g. those that speak of length.
            They are found beside punctuation too, but not inside a longer word.
        part: ``summary`` or ``user``.

    Raises:
        ValueError: no critique qualifies.
    """

    def __init__(
        self,
        critiques: Iterable[Critique],
        threshold: float = 9,
        exclude: Set[str] = frozenset(),
        part: str = "summary",
    ) -> None:
        texts = [str(getattr(critique, part)) for critique in critiques if critique.score >= threshold]
        banned = re.compile(
            "|".join(_whole(word) for word in sorted(exclude) if word) or NOTHING, re.IGNORECASE
        )
        self.texts = [text for text in texts if text and not banned.search(text)]
        if not self.texts:
            raise ValueError(
                f"no critique scores {threshold} or more without the words {sorted(exclude)}: lower the "
                "threshold or critique more responses"
            )

    def __len__(self) -> int:
        return len(self.texts)

    def draw(self, rng: np.random.Generator, count: int) -> list[str]:
        """`count` independent draws."""
        return [self.texts[index] for index in rng.integers(len(self.texts), size=count)]


def _whole(word: str) -> str:
    """A pattern for `word` between characters that are neither letters nor digits."""
    return rf"(?<![^\W_]){re.escape(word)}(?![^\W_])"
