"""What `test_drafts_of_a_run.py` starts on two processes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from common.rl.testing import pocket_trainer
from papers.fastgrpo.method import FastGRPOConfig, FastGRPOTrainer


def main(folder: Path) -> None:
    """Train with a draft from random weights; write its weights before and after, and the schedule's knee."""
    torch.set_num_threads(1)
    trainer = pocket_trainer(
        FastGRPOTrainer,
        FastGRPOConfig,
        folder / "run",
        max_steps=4,
        steps_per_generation=2,
        ddp_backend="gloo",
        train_draft_on="used",
        save_strategy="steps",
        save_steps=4,
        c_peak=0,
    )
    assert trainer.accelerator.num_processes == 2
    network = trainer.draft.network
    before = torch.cat([weight.flatten() for weight in network.parameters()]).tolist()
    trainer.train()
    after = torch.cat([weight.flatten() for weight in network.parameters()]).tolist()
    rank = trainer.accelerator.process_index
    found = {"before": before, "after": after, "c_peak": trainer.c_peak, "rollouts": _texts(trainer)}
    (folder / f"rank{rank}.json").write_text(json.dumps(found))


def _texts(trainer: FastGRPOTrainer) -> list[list[int]]:
    return [tokens.tolist() for generation, _ in trainer.generations for tokens in generation.tokens]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
