"""A cache of critiques in a JSONL file, so that a paid critic is asked once about a response."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from common.jsonlines import read_json_lines
from common.judge.critic import NO_FEEDBACK, Critic, Critique


def critique_key(question: str, response: str) -> str:
    """SHA-256 of question and response; no two pairs share a text."""
    return hashlib.sha256(json.dumps([question, response]).encode()).hexdigest()


class CachedCritic:
    """A critic whose answers are kept in a file, one JSON object a line.

    An answer is written before it is returned. A line cut off by a kill is passed over and asked again; a
    critic's failure (`NO_FEEDBACK`) is never kept. Use one file per critic and prompt of the critic.

    Args:
        critic: Asked about what the file does not hold.
        path: The file; it and its folder are made on first use.
    """

    def __init__(self, critic: Critic, path: Path) -> None:
        self.critic, self.path = critic, path
        self.critiques = _read(path)
        self.asked = 0

    def __call__(self, question: str, response: str, reference: str) -> Critique:
        """The kept critique of (question, response), or the critic's."""
        key = critique_key(question, response)
        if key in self.critiques:
            return self.critiques[key]
        self.asked += 1
        critique = self.critic(question, response, reference)
        if critique != NO_FEEDBACK:
            self.critiques[key] = critique
            self._append(key, critique)
        return critique

    def _append(self, key: str, critique: Critique) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.is_file() and self.path.read_bytes()[-1:] not in (b"\n", b"")
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("\n" if unfinished else "") + json.dumps({"key": key, **asdict(critique)}) + "\n")


def _read(path: Path) -> dict[str, Critique]:
    found: dict[str, Critique] = {}
    for line in read_json_lines(path) if path.is_file() else []:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue  # cut off by a kill, or the end of the file
        key = entry.pop("key")
        found[key] = Critique(**entry)
    return found
