"""What `make example` changes in the README's example: the model, the data, and every size."""

from __future__ import annotations

import json
import re
from pathlib import Path

from common.judge.critic import Critique
from common.tasks.comparisons import pairs

REPLACED = {
    '"Qwen/Qwen2.5-0.5B"': '"smollm2"',
    "from common.judge.api import APICritic": "from papers.fcp.example import NumberCritic",
    'APICritic("gpt-5-nano", ask, reasoning_effort="minimal")': "NumberCritic()",
    '{"bf16": torch.cuda.is_bf16_supported(), "num_train_epochs": 1}': (
        '{"bf16": True, "use_cpu": True, "max_steps": 6, "logging_steps": 1, "save_strategy": "no"}'
    ),
    "prompts=64, num_generations=4, optimizer_steps=4": "prompts=4, num_generations=4, optimizer_steps=2",
    "learning_rate=5e-6": "learning_rate=2e-5",
    "learning_rate=1e-6": "learning_rate=1e-5",
    "max_completion_length=1024": "max_completion_length=8",
    "max_prompt_tokens=1024": "max_prompt_tokens=64",
}
SHOWN = {"first loss": "loss, offline", "trainer loss": "loss, online"}


class NumberCritic:
    """Praises a response whose first number is the reference; it needs no service."""

    def __call__(self, question: str, response: str, reference: str) -> Critique:
        """Critique of one response."""
        found = re.search(r"\d+", response)
        if found is None:
            return Critique("", "", "there is no number in it", 0)
        right = found.group() == reference
        return Critique("", "", "the number is right" if right else "the number is wrong", 10 if right else 2)


def prepare() -> None:
    """Write right and wrong answers into the current folder."""
    rows = [
        {
            "prompt": f"Which is larger, {a} or {b}? Answer:",
            "completion": f" {answer}",
            "reference": str(max(a, b)),
        }
        for a, b in pairs(32)
        for answer in (a, b)
    ]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
