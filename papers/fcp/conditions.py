"""The input format π([<EF>c</EF>, q]): the critique first, then the question (App. C, arXiv:2509.22638)."""

from __future__ import annotations

from typing import Any

from common.judge.critic import Content, content_text

OPEN, CLOSE = "<EF>", "</EF>"
FEEDBACK_TOKENS = (OPEN, CLOSE)

Prompt = str | list[dict[str, Any]]


def conditioned(question: Prompt, critique: str) -> Prompt:
    """The prompt that asks `question` under `critique`; an empty critique is a condition of its own.

    Args:
        question: Text, or chat messages of which the last is the user's, as text or content blocks; left as
            they are.
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
    return [*before, {**last, "content": _preceded(last["content"], f"{OPEN}{critique}{CLOSE}")}]


def _preceded(content: Content, text: str) -> Content:
    """A message's content with `text` before its first words; blocks without words stay where they are."""
    if isinstance(content, str):
        return text + content
    blocks = list(content)
    first = next((place for place, block in enumerate(blocks) if block["type"] == "text"), len(blocks))
    words = blocks[first]["text"] if first < len(blocks) else ""
    return [*blocks[:first], {"type": "text", "text": text + words}, *blocks[first + 1 :]]


def question_text(question: Prompt) -> str:
    """What the critic sees of a question: the text, or the words of the last message."""
    return question if isinstance(question, str) else content_text(question[-1]["content"])
