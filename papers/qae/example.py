"""What `make example` changes in the README's example: the model, the data, and every size."""

from __future__ import annotations

from pathlib import Path

from common.tasks.comparisons import write_questions

REPLACED = {
    '"Qwen/Qwen3-0.6B-Base"': '"smollm2"',
    '"trl-lib/DeepMath-103K"': '"questions"',
    "prompts=32, num_generations=16, optimizer_steps=16, micro_batches=8": (
        "prompts=2, num_generations=4, optimizer_steps=2"
    ),
    "learning_rate=1e-6": "learning_rate=1e-5",
    "max_completion_length=4096": "max_completion_length=16",
    "num_train_epochs=1": "max_steps=6, logging_steps=1, save_strategy='no'",
    "bf16=torch.cuda.is_bf16_supported()": "bf16=True, use_cpu=True",
}
SHOWN = {"trainer reward": "mean reward", "trainer loss": "loss", "trainer entropy": "token entropy (nats)"}


def prepare() -> None:
    """Write the data into the current folder."""
    write_questions(Path("questions"), 64)
