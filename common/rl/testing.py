"""What the tests of every trainer need: a pocket policy, a deterministic reward, short trainings, bitwise
comparison.

A paper's own tests start here: its trainer with the method switched off has to equal stock `GRPOTrainer` bit
for bit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from trl import GRPOConfig, GRPOTrainer

from common.models.pocket import build_tokenizer
from common.models.recipe import ModelShape, build_model
from common.rl.rollout import Rollout

VOCABULARY = ("<pad>", "<bos>", "<eos>", *(f"w{index}" for index in range(29)))

NEUTRAL: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "disable_dropout": True,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
    "log_level": "error",
    "logging_steps": 1,
    "per_device_train_batch_size": 4,
    "num_generations": 4,
    "steps_per_generation": 4,
    "max_completion_length": 6,
    "max_steps": 20,
    "learning_rate": 1e-2,
    "lr_scheduler_type": "constant",
    "seed": 0,
}
"""Fields of the configuration: CPU, float32, four optimizer steps on four groups of four completions."""


def divisible_by_three(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """1 for a completion whose ids sum to a multiple of three: about a third of random completions."""
    return [float(sum(ids) % 3 == 0) for ids in completion_ids]


def pocket_tokenizer() -> PreTrainedTokenizerBase:
    """Tokenizer of the 32 tokens of `VOCABULARY`."""
    return build_tokenizer(VOCABULARY, "<pad>", "<bos>", "<eos>")


def pocket_prompts(count: int = 12) -> Dataset:
    """Prompts of two to four tokens, so that some of them are padded."""
    rows = [[f"w{(7 * row + at) % 29}" for at in range(1 + row % 3)] for row in range(count)]
    return Dataset.from_dict({"prompt": [" ".join(["<bos>", *row]) for row in rows]})


def pocket_trainer(
    kind: type[GRPOTrainer],
    config: type[GRPOConfig],
    output_dir: str | Path,
    *,
    reward: Any = divisible_by_three,
    data: Dataset | None = None,
    evaluated: Dataset | None = None,
    model: Any = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    **fields: Any,
) -> GRPOTrainer:
    """A trainer of `model`, by default a freshly initialised policy of about 4,000 parameters; equal
    arguments give equal runs.
    """
    tokenizer = tokenizer or pocket_tokenizer()
    shape = ModelShape(hidden=16, layers=1, heads=2, ffn=32)
    return kind(
        model=build_model(shape, tokenizer, seed=0) if model is None else model,
        reward_funcs=reward,
        args=config(**{**NEUTRAL, "output_dir": str(output_dir), **fields}),
        train_dataset=pocket_prompts() if data is None else data,
        eval_dataset=evaluated,
        processing_class=tokenizer,
    )


def rollout_of(
    rewards: Tensor, num_generations: int, mask: Tensor | None = None, local: slice = slice(None)
) -> Rollout:
    """What an advantage rule sees of gathered rewards [N]: completions of the local rows, by default of one
    token; it cannot score them.
    """
    rows = len(rewards[local])
    mask = torch.ones(rows, 1, dtype=torch.long) if mask is None else mask
    batch = {"completion_ids": torch.zeros_like(mask), "completion_mask": mask}
    return Rollout(batch, rewards, num_generations, local, step=0, score=_no_scores)


def _no_scores() -> NoReturn:
    raise NotImplementedError("these completions were not sampled from a policy")


def weights(trainer: Any) -> dict[str, Tensor]:
    """A copy of the policy's parameters."""
    return {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}


def timeless_log(trainer: GRPOTrainer) -> list[dict[str, Any]]:
    """The log's entries without wall-clock times and without the summary at the end."""
    entries = [entry for entry in trainer.state.log_history if "train_runtime" not in entry]
    clocks = ("step_time", "runtime", "per_second")
    return [{name: value for name, value in entry.items() if not name.endswith(clocks)} for entry in entries]


def assert_bitwise(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    """Same names, same bits.

    Raises:
        AssertionError: names a tensor that differs, and by how much.
    """
    if left.keys() != right.keys():
        raise AssertionError(f"different names: {sorted(left.keys() ^ right.keys())}")
    for name, value in left.items():
        if not torch.equal(value, right[name]):
            raise AssertionError(f"{name} differs by {float((value - right[name]).abs().max())}")
