"""One training run on verifiable rewards: the group `run` of a study's configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from common.study.configuration import Settings
from common.study.errors import StudyError, unknown

TASKS: Mapping[str, str] = {
    "opchain": "common.tasks.opchain.training:OpChain",
    "math": "common.tasks.math_answers.training:Math",
}
"""Short names of tasks. Their modules are in the key of every training job, because they are spelt here."""

OPCHAIN_MODELS = ("pocket", "scratch")
"""Models that know OpChain only: the committed checkpoints, and a larger warm start built on first use."""

POCKET_FILES = (
    "model.safetensors",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)

CURVE = (0.0, 20 / 300, 80 / 300, 200 / 300, 1.0)
"""Evaluation points of the learning curve as shares of the training."""

MATH_SETS = "AIME25=math-ai/aime25,AIME24=math-ai/aime24,AMC23=math-ai/amc23"
"""Evaluation sets of mathematics, ``NAME=SOURCE`` with commas between."""

LIMITS: Mapping[str, Mapping[str, float]] = {
    "smoke": {"seconds": 300.0, "memory": 1800.0},
    "laptop": {"seconds": 900.0, "memory": 1800.0},
    "gpu": {"seconds": 7 * 86400.0, "memory": 120_000.0},
    "paper": {"seconds": 30 * 86400.0, "memory": 1_500_000.0},
}
"""Seconds and MiB of a job, by profile, of a study that trains pocket models on a laptop."""

ONE_GPU: Mapping[str, Any] = {
    "run.task": "math",
    "run.learning_rate": 1e-6,
    "run.batch": 128,
    "run.mini_batch": 16,
    "run.max_response": 1536,
    "run.training_prompts": 0,
    "run.evaluation_sets": f"{MATH_SETS},MATH500=HuggingFaceH4/MATH-500",
    "run.evaluation_samples": 16,
    "run.evaluation_prompts": 100,
    "run.training_rows": 2,
    "run.scoring_batch": 4,
}
"""What a model of the user's own changes at the `gpu` profile: about 0.5 to 1.5 B parameters on one GPU of
80 GB, without vLLM."""


class Run(Settings):
    """Everything about a run but the method: policy, task, budgets, evaluation.

    Attributes:
        model: Hub id, folder, ``pocket`` (committed checkpoints) or ``scratch`` (built on first use).
        task: A name of `TASKS`, or a class as ``package.module:Class`` (`common.rl.tasks.Task`).
        dataset: Training problems of ``math``: hub id, folder, or JSONL file with ``problem`` and ``answer``.
        evaluation_sets: Evaluation sets of ``math``, ``NAME=SOURCE`` with commas between.
        learning_rate: AdamW's, constant.
        batch: Completions per rollout batch.
        mini_batch: Completions per optimizer step; batch / mini_batch is μ.
        group_size: Completions per prompt, G.
        max_response: Most tokens of a response.
        iterations: Rollout batches.
        training_prompts: Distinct training prompts; 0 means the whole dataset.
        evaluation_samples: Samples per question at the end.
        curve_samples: Samples per question at the points of the learning curve; 0 leaves the curve out.
        evaluation_temperature: Sampling temperature of evaluations.
        evaluation_prompts: Held-out prompts, of each set; 0 means all.
        save_every: Optimizer steps between checkpoints.
        training_rows: Most completions per forward-backward pass; 0 is a whole mini-batch.
        scoring_batch: Rows per forward when sampled completions are scored.
        vllm: Sample rollouts with vLLM in the trainer's process.
        generation_rounds: Most generation rounds per batch with dynamic sampling, the first included.
        kl_coefficient: Weight of the KL term to the reference.
        overlong_cache: Length over which the soft length penalty ramps up.
        overlong_shaping: Add that penalty to the rewards of ``math``.
        evaluation_tokens: Most tokens in the key-value cache of an evaluation of ``math``.
        evaluation_top_p: Nucleus of the evaluation's sampling.
        pass_at: The k of the reported pass@k beside pass@1.
        curve_every: Rollout batches between the points of the learning curve; 0 is `CURVE`.
        mix: Shares of OpChain's levels E, M, H, X among the training prompts, with commas between.
    """

    model: str
    task: str
    dataset: str
    evaluation_sets: str
    learning_rate: float
    batch: int
    mini_batch: int
    group_size: int
    max_response: int
    iterations: int
    training_prompts: int
    evaluation_samples: int
    curve_samples: int
    evaluation_temperature: float
    evaluation_prompts: int
    save_every: int
    training_rows: int
    scoring_batch: int
    vllm: bool
    generation_rounds: int = 1
    kl_coefficient: float = 0.0
    overlong_cache: int = 0
    overlong_shaping: bool = False
    evaluation_tokens: int = 131072
    evaluation_top_p: float = 1.0
    pass_at: int = 16
    curve_every: int = 0
    mix: str = "0.20,0.30,0.35,0.15"

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Run:
        """The run that a job's configuration describes; other entries of it are the paper's own."""
        return cls(**{name: value for name, value in config.items() if name in cls.model_fields})

    @property
    def optimizer_steps(self) -> int:
        """Optimizer steps on one rollout batch, μ."""
        return self.batch // self.mini_batch

    @property
    def micro_batches(self) -> int:
        """Forward-backward passes per optimizer step of one process."""
        return math.ceil(self.mini_batch / self.training_rows) if self.training_rows else 1

    @property
    def points(self) -> list[int]:
        """Rollout batches after which the policy is evaluated: the curve's, or the last one alone."""
        if not self.curve_samples:
            return [self.iterations]
        if self.curve_every:
            return sorted({*range(0, self.iterations, self.curve_every), self.iterations})
        return sorted({round(share * self.iterations) for share in CURVE})

    @property
    def task_entry(self) -> str:
        """The class of the task as ``module:Class``.

        Raises:
            StudyError: the task is neither a name of `TASKS` nor such a class.
        """
        if ":" not in self.task and self.task not in TASKS:
            raise unknown("task", self.task, TASKS, "or a class of this repository, as package.module:Class")
        return TASKS.get(self.task, self.task)

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules that the run loads by name and that a job has to name (`Job.modules`).

        Those of `TASKS` are no part of it; every job that trains reaches them through this module.
        """
        return () if self.task in TASKS else (self.task_entry.partition(":")[0],)

    def inputs(self, seed: int) -> tuple[str, ...]:
        """Files that a run reads, whose content is part of a record's key: checkpoints, local data."""
        files = pocket_files(seed) if self.model == "pocket" else ()
        sources = [self.dataset, *(part.partition("=")[2] for part in self.evaluation_sets.split(","))]
        return (
            *files,
            *(str(Path(source).absolute()) for source in sources if source.endswith(".jsonl")),
        )


def pocket_files(seed: int, family: str = "opchain") -> tuple[str, ...]:
    """All that loading a seed's committed warm start reads; three checkpoints of a family take turns."""
    folder = f"common/models/pocket/{family}-{seed % 3}"
    return tuple(f"{folder}/{name}" for name in POCKET_FILES)


class _Trained(Protocol):
    @property
    def run(self) -> Run: ...

    def changed(self, changes: Mapping[str, Any]) -> Self: ...

    def value(self, name: str) -> Any: ...


C = TypeVar("C", bound=_Trained)


def fit_to_model(config: C, gpu: Mapping[str, Any], one_gpu: Mapping[str, Any]) -> C:
    """A configuration of OpChain with the user's own model gets what that model needs; others stay.

    A field changes only if it still has the value of the `gpu` profile, so what the user set stands.

    Args:
        config: Settings with a group `run`.
        gpu: The paper's `gpu` profile.
        one_gpu: The changes, usually `ONE_GPU` and the numbers of seeds.

    Raises:
        StudyError: the math task with a model that knows the words of OpChain only.
    """
    run = config.run
    if run.model in OPCHAIN_MODELS:
        if run.task == "math":
            raise StudyError(f"task=math needs a language model: set MODEL, '{run.model}' knows OpChain only")
        return config
    if run.task != "opchain":
        return config
    paper = type(config)()
    return config.changed(
        {
            name: value
            for name, value in one_gpu.items()
            if config.value(name) == gpu.get(name, paper.value(name))
        }
    )
