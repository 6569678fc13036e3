"""Which of two numbers is larger, as chat questions for a small pretrained language model.

A 135 M model that was not tuned for it gets about one answer in five right, so that four answers to a
question often differ in reward; sums of one digit it hardly ever gets.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

RULE = "Answer with the larger number as $\\boxed{n}$."
SHOWN = ((3, 8), (9, 4))  # answered in the prompt


def pairs(count: int, seed: int = 0) -> list[tuple[int, int]]:
    """Two different numbers of two digits each, `count` times."""
    rng = np.random.default_rng(seed)
    drawn = (rng.choice(np.arange(10, 100), size=2, replace=False) for _ in range(count))
    return [(int(a), int(b)) for a, b in drawn]


def questions(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows with ``prompt`` (messages: a rule, two answered questions, the question) and ``solution``."""
    drawn = pairs(count, seed)
    return [{"prompt": [*_shown(), _ask(a, b)], "solution": f"${max(a, b)}$"} for a, b in drawn]


def write_questions(folder: Path, count: int, seed: int = 0) -> None:
    """`questions` as ``train.jsonl`` in a new folder, which `load_dataset` reads by the folder's name."""
    folder.mkdir()
    rows = [json.dumps(row) + "\n" for row in questions(count, seed)]
    (folder / "train.jsonl").write_text("".join(rows))


def _shown() -> list[dict[str, str]]:
    answered = [(_ask(a, b), {"role": "assistant", "content": f"$\\boxed{{{max(a, b)}}}$"}) for a, b in SHOWN]
    return [{"role": "system", "content": RULE}, *(message for pair in answered for message in pair)]


def _ask(a: int, b: int) -> dict[str, str]:
    return {"role": "user", "content": f"Which is larger, {a} or {b}?"}
