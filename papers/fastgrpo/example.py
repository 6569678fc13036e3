"""What `make example` changes in the README's example: the model, the data, and every size."""

from __future__ import annotations

from pathlib import Path

from common.tasks.comparisons import write_questions

REPLACED = {
    "c_peak=0,  # measured on first use": "c_peak=32,",
    '"Qwen/Qwen2.5-1.5B-Instruct"': '"smollm2"',
    '"trl-lib/DeepMath-103K"': '"questions"',
    "prompts=4, num_generations=8, optimizer_steps=1, micro_batches=4": (
        "prompts=2, num_generations=4, optimizer_steps=1"
    ),
    "    learning_rate=1e-6": "    learning_rate=1e-5",
    "max_completion_length=2048": "max_completion_length=16",
    "num_train_epochs=1": "max_steps=6, logging_steps=1, save_strategy='no'",
    "bf16=torch.cuda.is_bf16_supported()": "bf16=True, use_cpu=True",
}
SHOWN = {
    "trainer reward": "mean reward",
    "trainer draft/loss": "loss of the draft",
    "trainer rollout/acceptance_length": "tokens accepted in a pass",
}


def prepare() -> None:
    """Write the data into the current folder."""
    write_questions(Path("questions"), 64)
