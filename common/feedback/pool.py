"""The pool of positive critiques that test-time conditions and rollouts are drawn from."""

from __future__ import annotations

from collections.abc import Iterable, Set

import numpy as np

from common.feedback.critic import Critique


class FeedbackPool:
    """Summaries (or user feedback) of critiques with a high score.

    The scalar score selects the pool; it is in no gradient.

    Args:
        critiques: Candidates; equal texts stay, so that a draw follows their frequency.
        threshold: Lowest score of a member.
        exclude: Words of which a member holds none (case aside), e.g. those that speak of length.
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
        banned = {word.lower() for word in exclude}
        self.texts = [text for text in texts if text and banned.isdisjoint(text.lower().split())]
        if not self.texts:
            raise ValueError(
                f"no critique scores {threshold} or more without the words {sorted(banned)}: lower the "
                "threshold or critique more responses"
            )

    def __len__(self) -> int:
        return len(self.texts)

    def draw(self, rng: np.random.Generator, count: int) -> list[str]:
        """`count` independent draws."""
        return [self.texts[index] for index in rng.integers(len(self.texts), size=count)]
