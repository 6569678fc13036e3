"""Train a language model with a paper's trainer, evaluated on held-out prompts along the way.

The same code path serves a pocket Qwen3 on OpChain on a laptop and an 8B model on mathematics on a cluster; a
run's `task` and `model` make the difference. A killed job resumes from its last checkpoint, bit for bit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, set_seed

from common.models.pocket import load_policy
from common.rl.config import GroupConfig, batching
from common.rl.resume import latest_complete_checkpoint
from common.rl.run import Run
from common.rl.tasks import Task, load_task, task_class
from common.rl.trainer import GroupTrainer
from common.study.jobs import Record

LOGGED: Mapping[str, str] = {
    "entropy": "entropy",
    "entropy/positive": "entropy_positive",
    "entropy/zero": "entropy_zero",
    "entropy/negative": "entropy_negative",
    "advantages/positive": "share_positive",
    "advantages/zero": "share_zero",
    "advantages/negative": "share_negative",
    "frac_reward_zero_std": "zero_variance",
    "reward": "reward",
    "completions/mean_length": "length",
    "rollouts/generated": "rollouts_generated",
    "rollouts/kept": "rollouts_kept",
    "clip_ratio/low_mean": "clip_low",
    "clip_ratio/high_mean": "clip_high",
    "grad_norm": "grad_norm",
}
"""TRL's log key to record name."""


def unpublished(trainer: GroupTrainer) -> GroupTrainer:
    """A trainer whose checkpoints are a job's scratch: no model card, which would cite the paper's card."""
    trainer.create_model_card = lambda *_, **__: None  # type: ignore[method-assign]  # of this one trainer
    return trainer


def make_trainer(
    trainer: type[GroupTrainer],
    args: GroupConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    *callbacks: TrainerCallback,
) -> GroupTrainer:
    """A trainer of `model` on the prompts and the verifier of `task`."""
    return unpublished(
        trainer(
            model=model,
            reward_funcs=task.reward,
            args=args,
            train_dataset=task.dataset,
            processing_class=tokenizer,
            callbacks=list(callbacks),
        )
    )


def train_arm(
    run: Run,
    seed: int,
    workspace: Path,
    trainer: type[GroupTrainer],
    args: GroupConfig,
    logged: Mapping[str, str] = LOGGED,
) -> Record:
    """Train one arm with one seed.

    Args:
        run: Policy, task, budgets.
        seed: Of everything that is drawn.
        workspace: Private folder of the job, which holds checkpoints and the points of the curve.
        trainer: The method.
        args: Its configuration, built on `shared_arguments`.
        logged: Log keys to record, with their names.

    Returns:
        Scalars ``final/pass_at_1/<level>``, ``final/pass_at_<k>/<level>``, ``final/length``; series over
        rollout batches under the values of `logged`; series ``curve/...`` over the evaluation points.
    """
    set_seed(seed)
    model, tokenizer = load_policy(policy_path(run, seed))
    task = load_task(run, seed, tokenizer)
    curve = Curve(task, run, seed, workspace, tokenizer)
    training = make_trainer(trainer, args, model, tokenizer, task, curve)
    resumed = latest_complete_checkpoint(workspace) if args.exact_resume else None
    training.train(resume_from_checkpoint=resumed)
    final = curve.point(run.iterations)
    scalars = {
        f"final/{name}": value for name, value in final.items() if not name.startswith(("count", "high"))
    }
    return Record(
        {name: np.array([value]) for name, value in scalars.items()},
        {**logged_series(training.state.log_history, logged), **curve.series()},
    )


def policy_path(run: Run, seed: int) -> str:
    """What `load_policy` understands: of a policy that only the task has, or the model as it is named."""
    own = task_class(run).models
    return own[run.model](seed) if run.model in own else run.model


def shared_arguments(run: Run, seed: int, workspace: Path) -> dict[str, Any]:
    """Trainer arguments of a run, equal across its arms.

    The device is the one that the record's key names, so a GPU is left alone by the profiles of a CPU.
    """
    accelerated = os.environ.get("REPRISE_DEVICE") == "cuda"
    prompts = run.batch // run.group_size
    return {
        "output_dir": str(workspace),
        **batching(prompts, run.group_size, run.optimizer_steps, micro_batches=run.micro_batches),
        **_decoding(run, accelerated),
        "seed": seed,
        "max_steps": run.iterations * run.optimizer_steps,
        "max_completion_length": run.max_response,
        "learning_rate": run.learning_rate,
        "lr_scheduler_type": "constant",
        "beta": run.kl_coefficient,
        "temperature": 1.0,
        "dynamic_sampling_rounds": run.generation_rounds - 1,
        "exact_resume": True,
        "save_steps": run.save_every,
        "save_total_limit": 2,
        "logging_steps": run.optimizer_steps,
        "scoring_batch_size": run.scoring_batch,
        "bf16": accelerated,
        "use_cpu": not accelerated,
        "report_to": "none",
        "disable_tqdm": True,
        "log_level": "error",
    }


def _decoding(run: Run, accelerated: bool) -> dict[str, Any]:
    """The sampler of the rollouts: vLLM in the trainer's own process, or the lean decoder."""
    if not run.vllm:
        return {"decoder": "lean", "gradient_checkpointing": False}
    if not accelerated or find_spec("vllm") is None:
        raise ValueError(
            "vllm=true needs a GPU and vLLM: pip install vllm, or run without it (--set vllm=false)"
        )
    return {
        "decoder": "generate",
        "use_vllm": True,
        "vllm_mode": "colocate",
        "gradient_checkpointing": True,
    }


class Curve(TrainerCallback):
    """Evaluates the policy at the points of the learning curve; each point is kept in the workspace.

    Evaluation draws from generators of its own, so training does not depend on it, and a resumed job finds
    the points it has passed.

    Args:
        offset: Rollout batches of the run that were spent before this training began.
    """

    def __init__(
        self, task: Task, run: Run, seed: int, workspace: Path, tokenizer: Any, offset: int = 0
    ) -> None:
        self.task, self.run, self.seed, self.workspace, self.tokenizer = task, run, seed, workspace, tokenizer
        self.offset = offset

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:  # noqa: ARG002
        """The warm start, unless a resumed run has it."""
        if state.global_step == 0:
            self.measure(others["model"], self.offset)

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:  # noqa: ARG002
        """A point after the last optimizer step of its rollout batch."""
        iteration, rest = divmod(state.global_step, self.run.optimizer_steps)
        if rest == 0:
            self.measure(others["model"], self.offset + iteration)

    def measure(self, model: PreTrainedModel, iteration: int) -> None:
        """Evaluate the policy after `iteration` rollout batches, if the curve has a point there."""
        if iteration not in self.run.points:
            return
        last = iteration == self.run.iterations
        samples = self.run.evaluation_samples if last else self.run.curve_samples
        training = model.training
        model.eval()
        values = self.task.evaluate(model, self.tokenizer, samples, seed=self.seed * 1_000_003 + iteration)
        model.train(training)
        self._file(iteration).write_text(json.dumps(values))

    def _file(self, iteration: int) -> Path:
        return self.workspace / f"curve-{iteration}.json"

    def point(self, iteration: int) -> dict[str, float]:
        """pass@1, pass@k, length and token statistics of the policy after `iteration` rollout batches."""
        return json.loads(self._file(iteration).read_text())

    def series(self) -> dict[str, np.ndarray]:
        """The curve, shape ``[1, C]`` per name, with ``curve/iteration``."""
        points = [self.point(iteration) for iteration in self.run.points]
        series = {"curve/iteration": np.array([self.run.points], dtype=np.float64)}
        for name in points[0]:
            if not name.startswith("pass_at") or name.endswith("/all"):
                values = [point[name] for point in points]
                series[f"curve/{name.removesuffix('/all')}"] = np.array([values])
        return series


def logged_series(history: list[dict[str, Any]], logged: Mapping[str, str] = LOGGED) -> dict[str, np.ndarray]:
    """TRL's log as series over rollout batches; a value that was not defined in a batch is NaN."""
    entries = [entry for entry in history if "reward" in entry]
    series = {}
    for key, name in logged.items():
        values = [entry.get(key) for entry in entries]
        if any(value is not None for value in values):
            series[name] = np.array([[np.nan if value is None else float(value) for value in values]])
    return series
