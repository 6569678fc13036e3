"""The input format π([<EF>c</EF>, q]): the critique first, then the question (App. C, arXiv:2509.22638)."""

from __future__ import annotations

from typing import Any

OPEN, CLOSE = "<EF>", "</EF>"
FEEDBACK_TOKENS = (OPEN, CLOSE)

Prompt = str | list[dict[str, Any]]


def conditioned(question: Prompt, critique: str) -> Prompt:
    """The prompt that asks `question` under `critique`; an empty critique is a condition of its own.

    Args:
        question: Text, or chat messages of which the last is the user's; they are left as they are.
        critique: Verbal feedback.

    Raises:
        ValueError: a critique that holds a feedback token, or messages that do not end with the user's.
    """
    if OPEN in critique or CLOSE in critique:
        raise ValueError(f"a critique must not hold {OPEN} or {CLOSE}: {critique!r}")
    if isinstance(question, str):
        return f"{OPEN}{critique}{CLOSE}{question}"
    *before, last = question
    if last["role"] != "user":
        raise ValueError(f"the last message has to be the user's, not the {last['role']}'s")
    return [*before, {**last, "content": f"{OPEN}{critique}{CLOSE}{last['content']}"}]


def question_text(question: Prompt) -> str:
    """What the critic sees of a question: the text, or the last message's."""
    return question if isinstance(question, str) else str(question[-1]["content"])
