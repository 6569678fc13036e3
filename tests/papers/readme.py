"""Runs the example of a paper's README as it stands, on a tiny model and data in the place of hub names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.models.pocket import build_tokenizer
from common.models.recipe import ModelShape, build_model
from common.study.example import execute

ANSWERS = tuple(f"${number}$" for number in range(8))
CHAT = "<bos>{% for message in messages %} {{ message.content }}{% endfor %}"


def run_example(slug: str, names: Mapping[str, str | Path]) -> dict[str, Any]:
    """Execute the example in the current folder with each of the `names` replaced; its variables.

    Raises:
        ValueError: the example does not hold a name.
    """
    return execute(slug, {f'"{name}"': repr(str(replacement)) for name, replacement in names.items()})


def tiny_policy(folder: Path) -> Path:
    """A saved chat model of the words ``w0`` … ``w7`` and the `ANSWERS`, whose completions are short."""
    words = ("<pad>", "<bos>", "<eos>", *(f"w{number}" for number in range(8)), *ANSWERS)
    tokenizer = build_tokenizer(words, "<pad>", "<bos>", "<eos>")
    tokenizer.chat_template = CHAT
    model = build_model(ModelShape(hidden=16, layers=1, heads=2, ffn=32), tokenizer, seed=0)
    model.generation_config.eos_token_id = [2, *range(3, 11)]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_questions(folder: Path, count: int) -> Path:
    """A data set with columns ``prompt`` (messages) and ``solution``, as `load_dataset` reads a folder."""
    folder.mkdir()
    rows = [
        {
            "prompt": [{"role": "user", "content": f"w{row % 8} w{row // 8 % 8}"}],
            "solution": ANSWERS[row % len(ANSWERS)],
        }
        for row in range(count)
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
