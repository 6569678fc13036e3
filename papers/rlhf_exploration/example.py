"""What `make example` changes in the README's example: the model, the prompts, and every size."""

from __future__ import annotations

import json
from pathlib import Path

REPLACED = {
    '"Qwen/Qwen2.5-0.5B-Instruct"': '"smollm2"',
    '"trl-lib/ultrafeedback-prompt"': '"json", data_files="prompts.jsonl"',
    "learning_rate=1e-6": 'learning_rate=1e-5, use_cpu=True, report_to="none"',
    "max_steps=4": "max_steps=2, per_device_train_batch_size=2",
    "torch.cuda.is_bf16_supported()": "False",
    "config, 10, 32, max_new_tokens=64": "config, 6, 4, max_new_tokens=16",
}
SHOWN = {"history loss": "loss", "history rewards/margins": "margin of the reward"}
TOPICS = (
    "autumn",
    "bread",
    "the moon",
    "a good night's sleep",
    "chess",
    "rivers",
    "glass",
    "the number seven",
)


def prepare() -> None:
    """Write prompts into the current folder."""
    rows = [{"prompt": [{"role": "user", "content": f"Tell me about {topic}."}]} for topic in TOPICS]
    Path("prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
