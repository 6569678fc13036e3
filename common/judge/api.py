"""A critic behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import json
import os
import re
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from common.judge.critic import HIGHEST_SCORE, NO_FEEDBACK, Critique

PARTS = ("user", "analysis", "summary", "score")


class CriticUnavailableError(RuntimeError):
    """The endpoint cannot be asked at all; the message names the fix."""


class APICritic:
    """Asks a chat model for a critique as a JSON object with the keys user, analysis, summary and score.

    A failed call or an unreadable reply gives `NO_FEEDBACK` and is counted in `failures`; wrap the critic in
    `common.judge.cache.CachedCritic`, which asks again in the next run.

    Args:
        model: Name of the model at the endpoint.
        instructions: System message: what to judge and how to answer.
        base_url: Endpoint; None is OpenAI's own, or what ``OPENAI_BASE_URL`` says.
        client: A ready client (in tests); None makes one from the environment.
        options: Further arguments of the call, e.g. ``reasoning_effort``.

    Raises:
        CriticUnavailableError: the package is not installed or there is no key.
    """

    def __init__(
        self, model: str, instructions: str, base_url: str | None = None, client: Any = None, **options: Any
    ) -> None:
        self.model, self.instructions, self.options = model, instructions, options
        self.client = client if client is not None else _client(base_url)
        self.failures = 0
        self._errors = _failures()

    def __call__(self, question: str, response: str, reference: str) -> Critique:
        """Critique of one response, or `NO_FEEDBACK`."""
        content = f"Question:\n{question}\n\nReference answer:\n{reference}\n\nResponse:\n{response}"
        messages = [{"role": "system", "content": self.instructions}, {"role": "user", "content": content}]
        try:
            reply = self.client.chat.completions.create(model=self.model, messages=messages, **self.options)
            return read_critique(str(reply.choices[0].message.content))
        except self._errors:
            self.failures += 1
            return NO_FEEDBACK


def read_critique(text: str) -> Critique:
    """The JSON object in a reply, which may stand between other words or in a code fence.

    Raises:
        ValueError: no such object, a missing part, or a score outside 0 to 10.
    """
    found = re.search(r"\{.*\}", text, flags=re.DOTALL)
    if found is None:
        raise ValueError("the reply holds no JSON object")
    entry = json.loads(found.group())
    missing = [part for part in PARTS if part not in entry]
    if missing:
        raise ValueError(f"the reply lacks {missing}")
    score = float(entry["score"])
    if not 0 <= score <= HIGHEST_SCORE:
        raise ValueError(f"the score {score} is outside 0 to {HIGHEST_SCORE}")
    return Critique(str(entry["user"]), str(entry["analysis"]), str(entry["summary"]), score)


def _client(base_url: str | None) -> Any:
    if find_spec("openai") is None:
        raise CriticUnavailableError("an API critic needs the package openai: pip install openai")
    if not os.environ.get("OPENAI_API_KEY"):
        raise CriticUnavailableError(
            "an API critic needs a key: set OPENAI_API_KEY (any text for a local server with OPENAI_BASE_URL)"
        )
    return import_module("openai").OpenAI(base_url=base_url)


def _failures() -> tuple[type[Exception], ...]:
    """What an unreadable reply or a failed call raises."""
    known = (ValueError, IndexError, OSError)
    return known if find_spec("openai") is None else (*known, import_module("openai").OpenAIError)
