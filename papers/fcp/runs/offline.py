"""The arms of the study on VerbalArith: offline data, then what each arm trains on it, and its evaluation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed
from trl import SFTConfig

from common.judge.critic import Critic, Critique, score_reward
from common.judge.pool import FeedbackPool
from common.rl.config import GroupConfig, batching
from common.rl.trainer import GroupTrainer
from common.tasks.verbal_arith import MAX_RESPONSE, Attributes, Item, items, parse
from common.tasks.verbal_arith.evaluation import evaluate
from common.tasks.verbal_arith.words import LENGTH_WORDS, OPAQUE
from papers.fcp.method import FCPBootstrapTrainer, FCPConfig, FCPOfflineTrainer
from papers.fcp.runs.packing import PackedRows

Settings = Mapping[str, Any]
ONLINE_ITEMS = 1000  # of about 1,500 training questions; more rounds come back to them


@dataclass(frozen=True)
class Pair:
    """A response of the base policy, critiqued: one row of the offline data."""

    item: Item
    response: str
    critique: Critique
    attributes: Attributes


def base_responses(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, critic: Critic, settings: Settings, seed: int
) -> list[list[Pair]]:
    """Critiqued responses of the base policy, a list per training question."""
    asked = items("train", int(settings["offline_prompts"]), seed)
    samples = int(settings["offline_samples"])
    found = evaluate(model, tokenizer, asked, [item.question for item in asked], 1.0, seed, samples)
    pairs = [
        Pair(asked[i // samples], text, critic(asked[i // samples].question, text, ""), found.attributes[i])
        for i, text in enumerate(found.texts)
    ]
    return [pairs[start : start + samples] for start in range(0, len(pairs), samples)]


def one_right_one_wrong(groups: Sequence[Sequence[Pair]]) -> list[Pair]:
    """The first right and the first wrong response of each mixed question; other questions are dropped."""
    chosen = []
    for group in groups:
        right = next((pair for pair in group if pair.attributes.correct), None)
        wrong = next((pair for pair in group if not pair.attributes.correct), None)
        if right and wrong:
            chosen += [right, wrong]
    return chosen


def score_token(critique: Critique) -> str:
    """The score as one token without a meaning of its own."""
    return OPAQUE[int(critique.score)]


def supervised(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Mapping[str, Sequence[str]],
    settings: Settings,
    seed: int,
    workspace: Path,
) -> None:
    """Train in place by `FCPOfflineTrainer` on columns prompt, completion and perhaps critique."""
    set_seed(seed)
    args = SFTConfig(
        output_dir=str(workspace),
        per_device_train_batch_size=int(settings["offline_batch"]),
        num_train_epochs=float(settings["offline_epochs"]),
        learning_rate=float(settings["offline_learning_rate"]),
        lr_scheduler_type="cosine",
        warmup_steps=float(settings["offline_warmup"]),
        completion_only_loss=True,
        max_length=None,
        seed=seed,
        **quiet(),
    )
    data = Dataset.from_dict({name: list(values) for name, values in rows.items()})
    collator = PackedRows(tokenizer.pad_token_id)
    FCPOfflineTrainer(model, args, collator, data, processing_class=tokenizer).train()
    model.eval()


def device() -> str:
    """The device that the record's key names: a GPU is left alone by the profiles of a CPU."""
    return "cuda" if os.environ.get("REPRISE_DEVICE") == "cuda" else "cpu"


def quiet() -> dict[str, Any]:
    """Arguments of every trainer: float32, no files, no progress."""
    return {
        "bf16": False,
        "use_cpu": device() == "cpu",
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "log_level": "error",
    }


class Watching:
    """A critic that keeps the attributes of every response it is shown, in order."""

    def __init__(self, critic: Critic) -> None:
        self.critic = critic
        self.seen: list[Attributes] = []
        self.scores: list[float] = []
        self.lengths: list[int] = []

    def __call__(self, question: str, response: str, reference: str) -> Critique:
        """The critic's critique."""
        critique = self.critic(question, response, reference)
        self.seen.append(parse(question, response))
        self.scores.append(critique.score / 10)
        self.lengths.append(len(response.split()) + 1)
        return critique

    def curves(self, rollouts: int) -> dict[str, np.ndarray]:
        """Accuracy, score and length of the rollouts of each round, shape ``[T]`` each."""
        columns: dict[str, Sequence[float]] = {
            "accuracy": [found.correct for found in self.seen],
            "score": self.scores,
            "length": self.lengths,
        }
        return {name: np.reshape(values, (-1, rollouts)).mean(axis=1) for name, values in columns.items()}


def online(
    kind: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    critic: Critic,
    pool: FeedbackPool | None,
    settings: Settings,
    seed: int,
    workspace: Path,
    **changes: Any,
) -> dict[str, np.ndarray]:
    """Train in place: ``fcp`` by bootstrapping from `pool`, ``grpo`` on the environment's score.

    Returns:
        Curves over rounds of the rollouts, and ``loss`` over optimizer steps.
    """
    set_seed(seed)
    prompts, group = int(settings["online_prompts"]), int(settings["group_size"])
    optimizer_steps = int(changes.pop("optimizer_steps", settings["optimizer_steps"]))
    asked = items("train", min(prompts * int(settings["rounds"]), ONLINE_ITEMS), seed + 1_000_000)
    watching = Watching(critic)
    rate = "online_learning_rate" if kind == "fcp" else "grpo_learning_rate"
    shared = {
        "output_dir": str(workspace),
        **batching(prompts, group, optimizer_steps),
        "max_steps": int(settings["rounds"]) * optimizer_steps,
        "max_completion_length": MAX_RESPONSE,
        "learning_rate": float(settings[rate]),
        "lr_scheduler_type": "constant",
        "weight_decay": float(settings["weight_decay"]),
        "beta": 0.0,
        "temperature": 1.0,
        "decoder": "lean",
        "seed": seed,
        "logging_steps": 1,
        **quiet(),
    }
    columns = {"prompt": [item.question for item in asked], "reference": [str(item.answer) for item in asked]}
    if kind == "fcp":
        assert pool is not None, "bootstrapping needs praise"
        trainer: GroupTrainer = FCPBootstrapTrainer(
            model, watching, pool, FCPConfig(**{**shared, **changes}),
            Dataset.from_dict(columns), processing_class=tokenizer,
        )  # fmt: skip
    else:
        data = Dataset.from_dict({**columns, "question": columns["prompt"]})
        args = GroupConfig(**{**shared, "loss_type": "grpo", "epsilon": 0.2, **changes})
        trainer = GroupTrainer(
            model, score_reward(watching), args, train_dataset=data, processing_class=tokenizer
        )
    trainer.train()
    model.eval()
    key = "nll" if kind == "fcp" else "loss"
    losses = [entry[key] for entry in trainer.state.log_history if key in entry]
    return {**watching.curves(prompts * group), "loss": np.array(losses)}


def pools(pairs: Sequence[Pair]) -> tuple[FeedbackPool, FeedbackPool]:
    """Praise with and without words on length, from critiques that score nine or more."""
    critiques = [pair.critique for pair in pairs]
    return FeedbackPool(critiques), FeedbackPool(critiques, exclude=LENGTH_WORDS)
