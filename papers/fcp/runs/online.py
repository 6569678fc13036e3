"""The online stage: bootstrapping from praise, and GRPO on the same environment's score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from common.judge.critic import HIGHEST_SCORE, Critic, Critique, score_reward
from common.judge.pool import FeedbackPool
from common.rl.config import GroupConfig, batching
from common.rl.trainer import GroupTrainer
from common.tasks.verbal_arith import MAX_RESPONSE, items, parse
from papers.fcp.method import FCPBootstrapTrainer, FCPConfig
from papers.fcp.runs.offline import Settings, trainer_basics

QUESTIONS = 1000  # of about 1,500 training questions; more rounds come back to them


class RecordingCritic:
    """A critic that keeps accuracy, score and length of every response that it judges, in order."""

    def __init__(self, critic: Critic) -> None:
        self.critic = critic
        self.columns: dict[str, list[float]] = {"accuracy": [], "score": [], "length": []}

    def __call__(self, question: str, response: str, reference: str) -> Critique:
        """The critic's critique."""
        critique = self.critic(question, response, reference)
        self.columns["accuracy"].append(parse(question, response).correct)
        self.columns["score"].append(critique.score / HIGHEST_SCORE)
        self.columns["length"].append(len(response.split()) + 1)
        return critique

    def curves(self, rollouts: int) -> dict[str, np.ndarray]:
        """Means over the `rollouts` responses of each round, shape ``[T]`` each."""
        return {
            name: np.reshape(values, (-1, rollouts)).mean(axis=1) for name, values in self.columns.items()
        }


def train_online(
    kind: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    critic: Critic,
    pool: FeedbackPool,
    settings: Settings,
    seed: int,
    workspace: Path,
    **changes: Any,
) -> dict[str, np.ndarray]:
    """Train in place: ``fcp`` by bootstrapping from `pool`, ``grpo`` on the environment's score.

    Args:
        changes: Fields of the trainer's configuration, and ``optimizer_steps``, that differ from `settings`.

    Returns:
        Curves over rounds of the rollouts, and ``loss`` over optimizer steps.
    """
    set_seed(seed)
    prompts, group, rounds = (settings[name] for name in ("online_prompts", "group_size", "rounds"))
    optimizer_steps = changes.pop("optimizer_steps", settings["optimizer_steps"])
    recorder = RecordingCritic(critic)
    shared = {
        "output_dir": str(workspace),
        **batching(prompts, group, optimizer_steps),
        "max_steps": rounds * optimizer_steps,
        "max_completion_length": MAX_RESPONSE,
        "learning_rate": settings["online_learning_rate" if kind == "fcp" else "grpo_learning_rate"],
        "lr_scheduler_type": "constant",
        "weight_decay": settings["weight_decay"],
        "beta": 0.0,
        "temperature": 1.0,
        "decoder": "lean",
        "seed": seed,
        "logging_steps": 1,
        **trainer_basics(),
        **changes,
    }
    questions = items("train", min(prompts * rounds, QUESTIONS), seed + 1_000_000)
    columns = {
        "prompt": [item.question for item in questions],
        "reference": [str(item.answer) for item in questions],
    }
    trainer: GroupTrainer
    if kind == "fcp":
        data = Dataset.from_dict(columns)
        args = FCPConfig(**shared)
        trainer = FCPBootstrapTrainer(model, recorder, pool, args, data, processing_class=tokenizer)
    else:
        data = Dataset.from_dict({**columns, "question": columns["prompt"]})
        trainer = GroupTrainer(
            model,
            score_reward(recorder),
            GroupConfig(**{"loss_type": "grpo", "epsilon": 0.2, **shared}),
            train_dataset=data,
            processing_class=tokenizer,
        )
    trainer.train()
    model.eval()
    loss = "nll" if kind == "fcp" else "loss"
    losses = [entry[loss] for entry in trainer.state.log_history if loss in entry]
    return {**recorder.curves(prompts * group), "loss": np.array(losses)}
