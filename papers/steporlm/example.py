"""What `make example` changes in the README's example: the model, the data, and every size."""

from __future__ import annotations

import json
from pathlib import Path

from common.preference.critique import render
from common.tasks.comparisons import pairs
from papers.steporlm.method import Rules, policy_rows

REPLACED = {
    '"Qwen/Qwen3-8B"': '"smollm2"',
    "learning_rate=7e-6": "learning_rate=2e-5",
    "max_length=8192": "max_length=96",
    "num_train_epochs=3": (
        "max_steps=8, logging_steps=1, save_strategy='no', bf16=False, use_cpu=True,"
        " gradient_checkpointing=False, lr_scheduler_type='constant'"
    ),
}
SHOWN = {"trainer loss": "loss", "trainer rewards/margins": "margin of the pairs, times β"}


def prepare() -> None:
    """Write pairs of Algorithm 1: answers in two steps, right, right by luck and wrong."""
    questions = [(f"Which is larger, {a} or {b}?", max(a, b), min(a, b)) for a, b in pairs(16)]
    scored = [
        {"problem": place, "response": text, "steps": 2, "outcome": outcome, "critique": render(steps)}
        for place, (_, larger, smaller) in enumerate(questions)
        for text, outcome, steps in (
            (f" I compare the tens, then the ones. It is {larger}.", True, (True, True)),
            (f" I take the one that I like. It is {larger}.", True, (False, True)),
            (f" I compare the tens, then the ones. It is {smaller}.", False, (True, False)),
        )
    ]
    rows = [
        {
            "prompt": questions[row["problem"]][0],
            **{name: row[name] for name in ("chosen", "rejected", "weight")},
        }
        for row in policy_rows(scored, Rules())
    ]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
