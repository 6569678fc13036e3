"""The critic of an environment: (question, response, reference answer) to a critique in four parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

HIGHEST_SCORE = 10


@dataclass(frozen=True)
class Critique:
    """Feedback on one response.

    Attributes:
        user: What a user without technical interest would say, one to three sentences.
        analysis: The response along the critic's dimensions.
        summary: What a reviewer would say in general terms: neither what is wrong nor how to mend it.
        score: 0 to 10.
    """

    user: str
    analysis: str
    summary: str
    score: float


NO_FEEDBACK = Critique(user="", analysis="", summary="", score=5)
"""Stands for a critic that failed: an empty condition and the middle of the scale."""


class Critic(Protocol):
    """Maps a response to a critique. The reference answer is the critic's alone, never the policy's."""

    def __call__(self, question: str, response: str, reference: str) -> Critique:
        """Critique of one response."""
        ...


def completion_text(completion: str | Sequence[dict[str, Any]]) -> str:
    """Text of a completion as TRL hands it to reward functions: a string, or one assistant message."""
    return completion if isinstance(completion, str) else str(completion[-1]["content"])


def score_reward(critic: Critic) -> Callable[..., list[float]]:
    """The critic's score over ten as a reward function for TRL.

    The dataset needs the columns ``question`` and ``reference``, both text.
    """

    def critic_score(
        completions: Sequence[Any], question: Sequence[str], reference: Sequence[str], **_: Any
    ) -> list[float]:
        rows = zip(question, completions, reference, strict=True)
        return [critic(q, completion_text(text), r).score / HIGHEST_SCORE for q, text, r in rows]

    return critic_score
