"""The study: every objective on one OpChain mix with equal tuning, and what a rollout batch of each costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from common.rl.run import Run
from common.study.configuration import Settings
from common.study.jobs import Job
from papers.zoo.objectives import OBJECTIVES

LIMITS = {
    "smoke": {"seconds": 300.0, "memory": 1800.0},
    "laptop": {"seconds": 900.0, "memory": 1800.0},
    "gpu": {"seconds": 86400.0, "memory": 120_000.0},
    "paper": {"seconds": 86400.0, "memory": 120_000.0},
}


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
    changes = {name: objective.changes(config.run.batch) for name, objective in OBJECTIVES.items()}
    found = [
        Job(
            "train",
            {"objective": name},
            "papers.zoo.train:train",
            {**run, **changes[name]},
            (seed,),
            config.run.inputs(seed),
            (*config.run.modules, objective.module),
        )
        for name, objective in OBJECTIVES.items()
        for seed in seeds[: config.train_seeds]
    ]
    timed = {**run, "objectives": json.dumps(changes), "timed_iterations": config.cost_iterations}
    modules = (*config.run.modules, *sorted({objective.module for objective in OBJECTIVES.values()}))
    rounds = tuple(seeds[: config.cost_seeds])
    return [*found, Job("cost", {}, "papers.zoo.train:cost", timed, rounds, config.run.inputs(0), modules)]
