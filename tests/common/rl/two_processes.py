"""What `test_distributed.py` starts once on one process and once on two: prints one JSON line per process."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from accelerate.utils import DistributedType, set_seed
from trl import GRPOConfig, GRPOTrainer

from common.rl.config import GroupConfig
from common.rl.testing import pocket_prompts, pocket_trainer, weights
from common.rl.trainer import GroupTrainer
from papers.qae.method import QAEConfig, QAETrainer
from tests.common.rl.options import chat_tokenizer, conversations

ROWS, GROUP = 24, 8  # three groups; the middle one straddles two processes of twelve rows


def completion(row: int, batch: int) -> list[int]:
    """A fixed completion of the global row, of one to four tokens."""
    return [3 + (11 * row + 5 * batch + at * at) % 29 for at in range(1 + row % 4)]


def fixed(kind):
    """The trainer class with fixed completions and a note of what its hook saw and returned."""

    class Fixed(kind):
        def _generate_single_turn(self, prompt_ids, *rest, **kwargs):
            first = self.accelerator.process_index * len(prompt_ids)
            return [completion(first + row, self._step) for row in range(len(prompt_ids))], None

        def advantages(self, rewards, batch):
            used = super().advantages(rewards, batch)
            self.notes = getattr(self, "notes", [])
            self.notes.append(
                {"rewards": rewards.tolist(), "used": used.tolist(), "first": batch.local.start}
            )
            return used

    return Fixed


def on_fixed_completions(kind, config, folder: Path, world: int, **fields) -> dict:
    """Three optimizer steps, one per rollout batch: the only case in which two processes equal one."""
    layout = {
        "per_device_train_batch_size": ROWS // world,
        "num_generations": GROUP,
        "steps_per_generation": 1,
    }
    trainer = pocket_trainer(
        fixed(kind), config, folder, max_steps=3, optim="sgd", learning_rate=0.3, **layout, **fields
    )
    trainer.train()
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {
        "notes": trainer.notes,
        "logged": list(trainer._logs["advantages"]),
        "zero": [entry["advantages/zero"] for entry in log],
        "entropy": [[entry[f"entropy/{name}"] for name in ("positive", "negative")] for entry in log],
        "weights": {name: value.flatten().tolist() for name, value in weights(trainer).items()},
        "type": str(trainer.accelerator.distributed_type),
        "world": trainer.accelerator.num_processes,
    }


def resumed_gap(folder: Path) -> float:
    """Largest difference that a stop inside a buffer leaves, with dynamic sampling and row skipping on."""
    fields = {
        "dynamic_sampling_rounds": 2,
        "row_skipping": True,
        "max_steps": 6,
        "optim": "sgd",
        "learning_rate": 0.3,
        "reward": lambda completion_ids, **_: [float(sum(ids) % 5 == 0) for ids in completion_ids],
    }
    saving = {"exact_resume": True, "save_strategy": "steps", "save_steps": 3}
    whole = pocket_trainer(GroupTrainer, GroupConfig, folder / "whole", **fields)
    whole.train()
    pocket_trainer(GroupTrainer, GroupConfig, folder / "part", **{**fields, **saving, "max_steps": 3}).train()
    resumed = pocket_trainer(GroupTrainer, GroupConfig, folder / "part", **fields, **saving)
    resumed.train(resume_from_checkpoint=True)
    generated = [
        entry["rollouts/generated"] for entry in whole.state.log_history if "rollouts/generated" in entry
    ]
    assert generated[0] > 32, generated
    ours = weights(resumed)
    return max(float((ours[name] - value).abs().max()) for name, value in weights(whole).items())


def gap_to_trl(folder: Path, **data) -> float:
    """Largest difference that our trainer makes to stock TRL's, on these data."""
    stock, ours = (
        pocket_trainer(kind, config, folder / kind.__name__, max_steps=5, **data)
        for kind, config in ((GRPOTrainer, GRPOConfig), (GroupTrainer, GroupConfig))
    )
    for trainer in (stock, ours):
        set_seed(trainer.args.seed)
        trainer.train()
    theirs = weights(stock)
    return max(float((value - theirs[name]).abs().max()) for name, value in weights(ours).items())


def main(folder: Path, world: int) -> None:
    torch.set_num_threads(1)
    rank = int(os.environ.get("RANK", "0"))
    backend = {"ddp_backend": "gloo"} if world > 1 else {}
    found = {
        "mean": on_fixed_completions(GroupTrainer, GroupConfig, folder / "mean", world, **backend),
        "qae": on_fixed_completions(QAETrainer, QAEConfig, folder / "qae", world, **backend),
    }
    if world > 1:
        assert found["mean"]["type"] == str(DistributedType.MULTI_CPU), found["mean"]["type"]
        found["gap"] = resumed_gap(folder / "resume")
        stream = pocket_prompts().to_iterable_dataset()
        found["to_trl"] = {
            "stream": gap_to_trl(folder / "stream", data=stream),
            "messages": gap_to_trl(folder / "messages", data=conversations(), tokenizer=chat_tokenizer()),
        }
    (folder / f"rank{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
