"""Tier C: a language model trained through `QAETrainer` on one base algorithm, evaluated on held-out prompts.

The same code path serves a pocket Qwen3 on OpChain on a laptop and Qwen3-8B on DAPO-Math-17k on a cluster; a
job's `task` and `model` make the difference. A killed job resumes from its last checkpoint, bit for bit.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel, TrainerCallback, set_seed

from common.models.pocket import PocketConfig, load_policy
from common.models.warmstart import WarmstartConfig, cached_warm_start
from common.rl.config import batching
from common.rl.resume import latest_complete_checkpoint
from common.study.jobs import Job, Record
from common.study.paths import store_root
from papers.qae.method import QAEConfig, QAETrainer
from papers.qae.tasks import Task, build_task

LOGGED = {
    "entropy": "entropy",
    "entropy/positive": "entropy_positive",
    "entropy/zero": "entropy_zero",
    "entropy/negative": "entropy_negative",
    "advantages/positive": "share_positive",
    "advantages/zero": "share_zero",
    "advantages/negative": "share_negative",
    "advantages/hard_groups": "hard_groups",
    "reward": "reward",
    "completions/mean_length": "length",
    "rollouts/generated": "rollouts_generated",
    "rollouts/kept": "rollouts_kept",
    "clip_ratio/low_mean": "clip_low",
    "clip_ratio/high_mean": "clip_high",
    "grad_norm": "grad_norm",
}
"""TRL's log key to record name."""

CURVE = (0.0, 20 / 300, 80 / 300, 200 / 300, 1.0)
"""Evaluation points as shares of the training: start, the paper's snapshots (steps 20, 80, 200 of 300), end.
"""

SCRATCH = WarmstartConfig(PocketConfig(hidden=512, layers=8, heads=8, ffn=2048), learning_rate=5e-4)
"""Warm start of the `gpu` profile: about 34 M parameters, trained on first use."""


@dataclass(frozen=True)
class Run:
    """The config of a tier C job: the arm, and the fields of `papers.qae.experiment.Config`.

    Attributes:
        base: clip_higher, clip_cov, kl_cov or gspo.
        baseline: mean, quantile or random_gate.
    """

    base: str
    baseline: str
    model: str
    task: str
    dataset: str
    evaluation_sets: str
    quantile_k: float
    epsilon_low: float
    epsilon_high: float
    gspo_epsilon_low: float
    gspo_epsilon_high: float
    gspo_optimizer_steps: int
    clip_cov_ratio: float
    kl_cov_ratio: float
    kl_cov_coefficient: float
    kl_coefficient: float
    learning_rate: float
    batch: int
    mini_batch: int
    group_size: int
    max_response: int
    overlong_cache: int
    overlong_shaping: bool
    iterations: int
    training_prompts: int
    generation_rounds: int
    evaluation_samples: int
    curve_samples: int
    evaluation_temperature: float
    evaluation_prompts: int
    evaluation_tokens: int
    save_every: int
    training_rows: int
    scoring_batch: int
    vllm: bool

    @property
    def optimizer_steps(self) -> int:
        """Optimizer steps on one rollout batch, μ."""
        return self.gspo_optimizer_steps if self.base == "gspo" else self.batch // self.mini_batch

    @property
    def micro_batches(self) -> int:
        """Forward-backward passes per optimizer step of one process."""
        rows = self.batch // self.optimizer_steps
        return math.ceil(rows / self.training_rows) if self.training_rows else 1

    @property
    def points(self) -> list[int]:
        """Rollout batches after which the policy is evaluated: the curve's, or the last one alone."""
        if not self.curve_samples:
            return [self.iterations]
        return sorted({round(share * self.iterations) for share in CURVE})


def train(job: Job, workspace: Path) -> Record:
    """Entry point of tier C: train one arm with one seed, evaluate along the way.

    Returns:
        Scalars ``final/pass_at_1/<level>``, ``final/pass_at_16/<level>``, ``final/length``; series over
        rollout batches under the values of `LOGGED`; series ``curve/...`` over the evaluation points.
    """
    (seed,) = job.seeds
    run = Run(**{field.name: job.config[field.name] for field in fields(Run)})  # type: ignore[arg-type]
    set_seed(seed)
    model, tokenizer = load_policy(_policy_path(run, seed))
    task = build_task(run, seed, tokenizer)
    curve = Curve(task, run, seed, workspace, tokenizer)
    trainer = QAETrainer(
        model=model,
        reward_funcs=task.reward,
        args=training_arguments(run, seed, workspace),
        train_dataset=task.dataset,
        processing_class=tokenizer,
        callbacks=[curve],
    )
    trainer.train(resume_from_checkpoint=latest_complete_checkpoint(workspace))
    final = curve.point(run.iterations)
    scalars = {
        f"final/{name}": value for name, value in final.items() if not name.startswith(("count", "high"))
    }
    return Record(
        {name: np.array([value]) for name, value in scalars.items()},
        {**logged_series(trainer.state.log_history), **curve.series()},
    )


def _policy_path(run: Run, seed: int) -> str:
    if run.model == "pocket":
        return f"opchain-{seed % 3}"
    if run.model == "scratch":
        return str(cached_warm_start(SCRATCH, seed % 3, store_root().parent / "models"))
    return run.model


def training_arguments(run: Run, seed: int, workspace: Path) -> QAEConfig:
    """The arm as a trainer configuration; everything but base and baseline is equal across arms.

    The device is the one that the record's key names, so a GPU is left alone by the profiles of a CPU.
    """
    accelerated = os.environ.get("REPRISE_DEVICE") == "cuda"
    prompts = run.batch // run.group_size
    return QAEConfig(
        output_dir=str(workspace),
        **batching(prompts, run.group_size, run.optimizer_steps, micro_batches=run.micro_batches),
        **decoding_arguments(run, accelerated),
        **base_arguments(run),
        **baseline_arguments(run),
        seed=seed,
        max_steps=run.iterations * run.optimizer_steps,
        max_completion_length=run.max_response,
        learning_rate=run.learning_rate,
        lr_scheduler_type="constant",
        beta=run.kl_coefficient,
        temperature=1.0,
        dynamic_sampling_rounds=run.generation_rounds - 1,
        exact_resume=True,
        save_steps=run.save_every,
        save_total_limit=2,
        logging_steps=run.optimizer_steps,
        scoring_batch_size=run.scoring_batch,
        bf16=accelerated,
        use_cpu=not accelerated,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
    )


def decoding_arguments(run: Run, accelerated: bool) -> dict[str, Any]:
    """The sampler of the rollouts: vLLM in the trainer's own process, or the lean decoder.

    Raises:
        ValueError: vLLM is asked for but not there.
    """
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


def base_arguments(run: Run) -> dict[str, Any]:
    """Loss of the base algorithm, with its authors' values.

    Row skipping changes no gradient beyond rounding; the covariance losses need every row.
    """
    clips = {"epsilon": run.epsilon_low, "epsilon_high": run.epsilon_high}
    match run.base:
        case "clip_higher":
            return {**clips, "loss_type": "dapo", "row_skipping": True}
        case "clip_cov":
            return {
                "loss_type": "dapo",
                "loss_variant": "clip_cov",
                "clip_cov_ratio": run.clip_cov_ratio,
                "epsilon": 1.0,
                "epsilon_high": 1.0,
                "dual_clip": 10.0,
            }
        case "kl_cov":
            return {
                **clips,
                "loss_type": "dapo",
                "loss_variant": "kl_cov",
                "kl_cov_ratio": run.kl_cov_ratio,
                "kl_cov_coefficient": run.kl_cov_coefficient,
            }
        case "gspo":
            return {
                "loss_type": "grpo",
                "importance_sampling_level": "sequence",
                "epsilon": run.gspo_epsilon_low,
                "epsilon_high": run.gspo_epsilon_high,
                "row_skipping": True,
            }
    raise ValueError(f"unknown base algorithm '{run.base}'; choose clip_higher, clip_cov, kl_cov or gspo")


def baseline_arguments(run: Run) -> dict[str, Any]:
    """The advantage baseline: the only thing that differs between two arms of one base."""
    match run.baseline:
        case "mean":
            return {"quantile_k": None}
        case "quantile":
            return {"quantile_k": run.quantile_k}
        case "random_gate":
            return {"quantile_k": run.quantile_k, "advantage_mask": "random_gate"}
    raise ValueError(f"unknown baseline '{run.baseline}'; choose mean, quantile or random_gate")


class Curve(TrainerCallback):
    """Evaluates the policy at the points of the learning curve; each point is kept in the workspace.

    Evaluation draws from generators of its own, so training does not depend on it, and a resumed job finds
    the points it has passed.
    """

    def __init__(self, task: Task, run: Run, seed: int, workspace: Path, tokenizer: Any) -> None:
        self.task, self.run, self.seed, self.workspace, self.tokenizer = task, run, seed, workspace, tokenizer

    def on_train_begin(self, _args: Any, state: Any, *_: Any, model: Any = None, **__: Any) -> None:
        """The warm start, unless a resumed run has it."""
        if state.global_step == 0 and 0 in self.run.points:
            self._measure(model, 0)

    def on_step_end(self, _args: Any, state: Any, *_: Any, model: Any = None, **__: Any) -> None:
        """A point after the last optimizer step of its rollout batch."""
        iteration, rest = divmod(state.global_step, self.run.optimizer_steps)
        if rest == 0 and iteration in self.run.points:
            self._measure(model, iteration)

    def _measure(self, model: PreTrainedModel, iteration: int) -> None:
        last = iteration == self.run.iterations
        samples = self.run.evaluation_samples if last else self.run.curve_samples
        training = model.training
        model.eval()
        values = self.task.evaluate(model, self.tokenizer, samples, seed=self.seed * 1_000_003 + iteration)
        model.train(training)
        np.savez(self._file(iteration), **{name: np.float64(value) for name, value in values.items()})

    def _file(self, iteration: int) -> Path:
        return self.workspace / f"curve-{iteration}.npz"

    def point(self, iteration: int) -> dict[str, float]:
        """pass@1, pass@16, length and token statistics of the policy after `iteration` rollout batches."""
        return {name: float(value) for name, value in np.load(self._file(iteration)).items()}

    def series(self) -> dict[str, np.ndarray]:
        """The curve, shape ``[1, C]`` per name, with ``curve/iteration``."""
        points = [self.point(iteration) for iteration in self.run.points]
        series = {"curve/iteration": np.array([self.run.points], dtype=np.float64)}
        for name in points[0]:
            if not name.startswith("pass_at") or name.endswith("/all"):
                values = [point[name] for point in points]
                series[f"curve/{name.removesuffix('/all')}"] = np.array([values])
        return series


def logged_series(history: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """TRL's log as series over rollout batches; a value that was not defined in a batch is NaN."""
    entries = [entry for entry in history if "reward" in entry]
    series = {}
    for key, name in LOGGED.items():
        values = [entry.get(key) for entry in entries]
        if any(value is not None for value in values):
            series[name] = np.array([[np.nan if value is None else float(value) for value in values]])
    return series
