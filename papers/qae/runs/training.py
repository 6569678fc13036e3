"""Tier C: a language model trained through `QAETrainer` on one base algorithm (see `common.rl`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.rl.harness import LOGGED, shared_arguments, train_arm
from common.rl.run import Run
from common.study.jobs import Job, Record
from papers.qae.method import QAEConfig, QAETrainer

Settings = Mapping[str, Any]
"""The config of a job: the fields of `Run`, the arm (`base`, `baseline`) and its knobs."""


def train(job: Job, workspace: Path) -> Record:
    """Entry point of tier C: one arm with one seed; see `common.rl.harness.train_arm` for the record."""
    (seed,) = job.seeds
    run = run_of(job.config)
    args = training_arguments(job.config, seed, workspace)
    return train_arm(
        run, seed, workspace, QAETrainer, args, {**LOGGED, "advantages/hard_groups": "hard_groups"}
    )


def run_of(config: Settings) -> Run:
    """The run of an arm; GSPO has its own number of optimizer steps per rollout batch."""
    run = Run.read(config)
    if config["base"] == "gspo":
        run = run.changed({"mini_batch": run.batch // config["gspo_optimizer_steps"]})
    return run


def training_arguments(config: Settings, seed: int, workspace: Path) -> QAEConfig:
    """The arm as a trainer configuration; everything but base and baseline is equal across arms."""
    return QAEConfig(
        **shared_arguments(run_of(config), seed, workspace),
        **base_arguments(config),
        **baseline_arguments(config),
    )


def base_arguments(config: Settings) -> dict[str, Any]:
    """Loss of the base algorithm, with its authors' values.

    Row skipping changes no gradient beyond rounding; the covariance losses need every row.
    """
    clips = {"epsilon": config["epsilon_low"], "epsilon_high": config["epsilon_high"]}
    match config["base"]:
        case "clip_higher":
            return {**clips, "loss_type": "dapo", "row_skipping": True}
        case "clip_cov":
            return {
                "loss_type": "dapo",
                "loss_variant": "clip_cov",
                "clip_cov_ratio": config["clip_cov_ratio"],
                "epsilon": 1.0,
                "epsilon_high": 1.0,
            }
        case "kl_cov":
            return {
                **clips,
                "loss_type": "dapo",
                "loss_variant": "kl_cov",
                "kl_cov_ratio": config["kl_cov_ratio"],
                "kl_cov_coefficient": config["kl_cov_coefficient"],
            }
        case "gspo":
            return {
                "loss_type": "grpo",
                "importance_sampling_level": "sequence",
                "epsilon": config["gspo_epsilon_low"],
                "epsilon_high": config["gspo_epsilon_high"],
                "row_skipping": True,
            }
    raise ValueError(
        f"unknown base algorithm '{config['base']}'; choose clip_higher, clip_cov, kl_cov or gspo"
    )


def baseline_arguments(config: Settings) -> dict[str, Any]:
    """The advantage baseline: the only thing that differs between two arms of one base."""
    match config["baseline"]:
        case "mean":
            return {"quantile_k": None}
        case "quantile":
            return {"quantile_k": config["quantile_k"]}
        case "random_gate":
            return {"quantile_k": config["quantile_k"], "advantage_mask": "random_gate"}
    raise ValueError(f"unknown baseline '{config['baseline']}'; choose mean, quantile or random_gate")
