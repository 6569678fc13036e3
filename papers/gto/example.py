"""What `make example` changes in the README's example: the model, the data, and every size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

REPLACED = {
    '"Qwen/Qwen3-1.7B"': '"smollm2"',
    '"max_grad_norm": 0.5': (
        '"max_grad_norm": 0.5, "logging_steps": 1, "save_strategy": "no", "use_cpu": True, "gto_groups": 2, '
        '"gto_group_size": 4, "tree_depth": 3, "tree_top_k": 4, "tree_budget": 12, "unroll_steps": 3, '
        '"per_device_train_batch_size": 4'
    ),
    "learning_rate=1e-4, num_train_epochs=20": "learning_rate=1e-3, max_steps=16",
    "learning_rate=5e-6": "learning_rate=5e-5, max_steps=6",
}
SHOWN = {
    "first loss": "loss, Phase I",
    "trainer loss": "loss, Phase II",
    "trainer gto/reward": "reward of a tree",
}
TOPICS = ("rain", "bread", "bees", "maps", "glass", "rivers", "music", "clocks")


def prepare() -> None:
    """Write texts of the target's own into the current folder, one a line, as drafts are trained on."""
    import torch

    from common.models.pretrained import load_smollm2

    model: Any
    tokenizer: Any
    model, tokenizer = load_smollm2(torch.bfloat16)
    chats = [[{"role": "user", "content": f"Tell me about {topic} in two sentences."}] for topic in TOPICS]
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    torch.manual_seed(0)
    texts = model.generate(**batch, do_sample=True, top_k=0, min_new_tokens=40, max_new_tokens=40)
    answers = tokenizer.batch_decode(texts[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    lines = [" ".join(answer.split()) + "\n" for answer in answers]
    Path("conversations.txt").write_text("".join(lines))
