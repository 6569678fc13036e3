"""The study: every objective on one OpChain mix with equal tuning, and what a rollout batch of each costs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.rl.run import Run
from common.study.configuration import Settings
from common.study.jobs import Job

LIMITS = {
    "smoke": {"seconds": 300.0, "memory": 1800.0},
    "laptop": {"seconds": 900.0, "memory": 1800.0},
    "gpu": {"seconds": 86400.0, "memory": 120_000.0},
    "paper": {"seconds": 86400.0, "memory": 120_000.0},
}


@dataclass(frozen=True)
class Objective:
    """A trainer with the arguments that make it this objective.

    Attributes:
        name: As its authors write it.
        source: arXiv id.
        method: Name of trainer and configuration in `papers.zoo.runs.methods`, which holds the classes.
        arguments: Fields of the trainer's configuration.
        optimizer_steps: Optimizer steps per rollout batch; 0 is the study's own number.
    """

    name: str
    source: str
    method: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    optimizer_steps: int = 0

    def changes(self, batch: int) -> dict[str, Any]:
        """What a job's configuration says of it, so that a new objective leaves the other jobs alone."""
        own = {"method": self.method, "arguments": json.dumps(self.arguments, sort_keys=True)}
        return {**own, "mini_batch": batch // self.optimizer_steps} if self.optimizer_steps else own


SYMMETRIC = {"epsilon": 0.2}
HIGHER = {"epsilon": 0.2, "epsilon_high": 0.28, "loss_type": "dapo"}
GSPO = {"epsilon": 3e-4, "epsilon_high": 4e-4, "importance_sampling_level": "sequence", "loss_type": "grpo"}
CLIP_COV = {"loss_variant": "clip_cov", "epsilon": 1.0, "epsilon_high": 1.0, "loss_type": "dapo"}
KL_COV = {**HIGHER, "loss_variant": "kl_cov"}

OBJECTIVES: dict[str, Objective] = {
    "grpo": Objective("GRPO", "2402.03300", "group", {**SYMMETRIC, "loss_type": "grpo"}),
    "dapo": Objective("DAPO", "2503.14476", "group", {**HIGHER, "dynamic_sampling_rounds": 2}),
    "dr_grpo": Objective("Dr. GRPO", "2503.20783", "dr_grpo", SYMMETRIC),
    "gspo": Objective("GSPO", "2507.18071", "group", GSPO, optimizer_steps=4),
    "clip_cov": Objective("Clip-Cov", "2505.22617", "group", CLIP_COV),
    "kl_cov": Objective("KL-Cov", "2505.22617", "group", KL_COV),
    "qae": Objective("QAE", "2509.22611", "qae", HIGHER),
    "rl_zvp": Objective("RL-ZVP", "2509.21880", "rl_zvp", HIGHER),
}
WAITING = {"fcp": Objective("FCP", "2509.22638", "fcp", optimizer_steps=4)}
"""Timed with the others, but in no comparison until there are warm starts that have read words."""
REFERENCE = "grpo"


class OpChainRun(Run):
    """One run for all objectives."""

    model: str = "pocket"
    task: str = "opchain"
    dataset: str = ""
    evaluation_sets: str = ""
    learning_rate: float = 1e-4
    batch: int = 128
    mini_batch: int = 16
    group_size: int = 16
    max_response: int = 32
    iterations: int = 20
    training_prompts: int = 600
    evaluation_samples: int = 16
    curve_samples: int = 16
    curve_every: int = 4
    evaluation_temperature: float = 1.0
    evaluation_prompts: int = 200
    save_every: int = 80
    training_rows: int = 0
    scoring_batch: int = 128
    vllm: bool = False


class Config(Settings):
    """The study has no paper whose values it could repeat.

    Attributes:
        run: The run of every objective.
        train_seeds: Seeds of each objective.
        cost_seeds: Rounds of the timing, in each of which every objective takes its turn.
        cost_iterations: Rollout batches timed per turn, after one that is not.
    """

    run: OpChainRun = OpChainRun()
    train_seeds: int = 10
    cost_seeds: int = 5
    cost_iterations: int = 3


LARGER: dict[str, Any] = {
    "run.model": "scratch",
    "run.batch": 384,
    "run.mini_batch": 48,
    "run.max_response": 40,
    "run.iterations": 100,
    "run.curve_every": 10,
}

PROFILES: dict[str, dict[str, Any]] = {
    "smoke": {
        "run.iterations": 2,
        "run.curve_every": 2,
        "run.training_prompts": 40,
        "run.evaluation_prompts": 8,
        "run.batch": 32,
        "run.max_response": 16,
        "train_seeds": 2,
        "cost_seeds": 1,
        "cost_iterations": 1,
    },
    "laptop": {},
    "gpu": LARGER,
    "paper": LARGER,
}


def jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """Sweeps ``train`` (one job per objective and seed) and ``cost`` (one job, objectives interleaved)."""
    run = config.run.model_dump()
    every = {**OBJECTIVES, **WAITING}
    changes = {name: objective.changes(config.run.batch) for name, objective in every.items()}
    training = [
        Job(
            "train",
            {"objective": name},
            "papers.zoo.runs.training:train",
            {**run, **changes[name]},
            (seed,),
            config.run.inputs(seed),
            config.run.modules,
        )
        for name in OBJECTIVES
        for seed in seeds[: config.train_seeds]
    ]
    timing = {**run, "objectives": json.dumps(changes), "timed_iterations": config.cost_iterations}
    rounds = tuple(seeds[: config.cost_seeds])
    return [
        *training,
        Job(
            "cost",
            {},
            "papers.zoo.runs.training:cost",
            timing,
            rounds,
            config.run.inputs(0),
            config.run.modules,
        ),
    ]
