"""The critic of an environment: (question, response, reference answer) to a critique in four parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

HIGHEST_SCORE = 10

Content = str | Sequence[Mapping[str, Any]]
"""Content of a chat message: text, or blocks of which those of type ``text`` hold words."""


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


def content_text(content: Content | None) -> str:
    """The words of a message's content; a message that only calls tools has none."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(block["text"] for block in content if block["type"] == "text")


def completion_text(completion: str | Sequence[Mapping[str, Any]]) -> str:
    """Text of a completion as TRL hands it to reward functions: a string, or messages whose last counts."""
    return completion if isinstance(completion, str) else content_text(completion[-1].get("content"))


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
