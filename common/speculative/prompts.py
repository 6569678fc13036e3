"""Prompts of three styles for a real language model: code, arithmetic, and questions in a chat.

Code is HumanEval's, questions are the ChatterBot corpus's, both read from installed packages at run time;
sums in words are made here. A prompt is in one of two splits by its place in its source.
"""

from __future__ import annotations

import gzip
import json
from typing import Literal

import numpy as np
import yaml

from common.study.assets import verified

Split = Literal["train", "heldout"]
STYLES = ("code", "arithmetic", "chat")
HELD_OUT = 5  # one in so many
SUMS = (
    "What is {a} + {b}? Explain every step.",
    "{a} boxes hold {b} apples each. How many apples are there? Think step by step.",
    "A train covers {a} km in {b} hours. How fast is it? Show your work.",
    "Anna has {a} coins and gives {b} away. How many are left? Explain.",
    "I buy {b} pens at {a} cents each. What do I pay? Explain how you got it.",
    "Compute {a} times {b} step by step.",
)


def prompts(style: str, split: Split, count: int, seed: int = 0) -> list[str]:
    """Up to `count` different prompts of a style, in an order that the seed decides.

    Raises:
        StudyError: the package of the style is not installed, or holds another file.
    """
    every = {"code": _code, "arithmetic": _arithmetic, "chat": _chat}[style]()
    held = split == "heldout"
    mine = [text for place, text in enumerate(every) if (place % HELD_OUT == HELD_OUT - 1) == held]
    return [str(text) for text in np.random.default_rng(seed).permutation(mine)[:count]]


def _code() -> list[str]:
    with gzip.open(verified("humaneval"), "rt", encoding="utf-8") as lines:
        found = [json.loads(line)["prompt"].strip() for line in lines]
    return [f"Complete this Python function.\n\n```python\n{text}\n```" for text in found]


def _arithmetic() -> list[str]:
    pairs = np.random.default_rng(0).permutation([(a, b) for a in range(20, 100, 3) for b in range(2, 20)])
    return [form.format(a=a, b=b) for a, b in pairs for form in SUMS]


def _chat() -> list[str]:
    with verified("trivia").open(encoding="utf-8") as file:
        conversations = yaml.safe_load(file)["conversations"]
    return list(dict.fromkeys(str(questions[0]) for questions in conversations))
