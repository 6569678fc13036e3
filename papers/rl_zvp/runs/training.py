"""Tier C: a language model trained through `RLZVPTrainer`, one arm with one seed (see `common.rl`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.rl.harness import LOGGED, shared_arguments, train_arm
from common.rl.run import Run
from common.study.errors import unknown
from common.study.jobs import Job, Record
from papers.rl_zvp.method import VARIANTS, RLZVPConfig, RLZVPTrainer

ZVP_LOGGED: Mapping[str, str] = {
    **LOGGED,
    "zvp/positive": "positive_prompts",
    "zvp/negative": "negative_prompts",
    "zvp/size": "size",
    "zvp/size_mixed": "size_mixed",
}


def train(job: Job, workspace: Path) -> Record:
    """Entry point of tier C; see `common.rl.harness.train_arm` for the record."""
    (seed,) = job.seeds
    args = training_arguments(job.config, seed, workspace)
    return train_arm(Run.read(job.config), seed, workspace, RLZVPTrainer, args, ZVP_LOGGED)


def training_arguments(config: Mapping[str, Any], seed: int, workspace: Path) -> RLZVPConfig:
    """The arm as a trainer configuration; "ds" is GRPO, and the run's `generation_rounds` make it dynamic
    sampling.

    Row skipping changes no gradient beyond rounding.

    Raises:
        StudyError: unknown arm.
    """
    variants = {**VARIANTS, "ds": VARIANTS["grpo"]}
    if config["arm"] not in variants:
        raise unknown("arm", config["arm"], variants)
    shared = shared_arguments(Run.read(config), seed, workspace)
    schedule = {"lr_scheduler_type": config["schedule"], "warmup_steps": config["warmup_steps"]}
    return RLZVPConfig(
        **{**shared, **schedule},
        **{f"zvp_{name}": value for name, value in asdict(variants[config["arm"]]).items()},
        zvp_alpha=config["zvp_alpha"],
        epsilon=config["epsilon_low"],
        epsilon_high=config["epsilon_high"],
        loss_type="dapo",
        row_skipping=True,
    )
