"""Tier C: a language model trained through `QAETrainer` on one base algorithm (see `common.rl`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.rl.harness import LOGGED, shared_arguments, train_arm
from common.rl.run import Run
from common.study.errors import unknown
from common.study.jobs import Job, Record
from papers.qae.method import QAEConfig, QAETrainer

ArmConfig = Mapping[str, Any]
"""The config of a job: the fields of `Run`, the arm (`base`, `baseline`) and its knobs."""


def train(job: Job, workspace: Path) -> Record:
    """Entry point of tier C: one arm with one seed; see `common.rl.harness.train_arm` for the record."""
    (seed,) = job.seeds
    run = run_of(job.config)
    args = training_arguments(job.config, seed, workspace)
    return train_arm(
        run, seed, workspace, QAETrainer, args, {**LOGGED, "advantages/hard_groups": "hard_groups"}
    )


def run_of(config: ArmConfig) -> Run:
    """The run of an arm; GSPO has its own number of optimizer steps per rollout batch."""
    run = Run.read(config)
    if config["base"] == "gspo":
        run = run.changed({"mini_batch": run.batch // config["gspo_optimizer_steps"]})
    return run


def training_arguments(config: ArmConfig, seed: int, workspace: Path) -> QAEConfig:
    """The arm as a trainer configuration; everything but base and baseline is equal across arms."""
    return QAEConfig(
        **shared_arguments(run_of(config), seed, workspace),
        **base_arguments(config),
        **baseline_arguments(config),
    )


def base_arguments(config: ArmConfig) -> dict[str, Any]:
    """Loss of the base algorithm, with its authors' values.

    Row skipping changes no gradient beyond rounding; the covariance losses need every row.
    """
    clips = {"epsilon": config["epsilon_low"], "epsilon_high": config["epsilon_high"]}
    open_range = {"epsilon": 1.0, "epsilon_high": 1.0}
    sequence_clips = {"epsilon": config["gspo_epsilon_low"], "epsilon_high": config["gspo_epsilon_high"]}
    sequence_level = {"importance_sampling_level": "sequence", "loss_type": "grpo"}
    knobs = {name: config[name] for name in ("clip_cov_ratio", "kl_cov_ratio", "kl_cov_coefficient")}
    bases: dict[str, dict[str, Any]] = {
        "clip_higher": {**clips, "row_skipping": True},
        "clip_cov": {**open_range, "loss_variant": "clip_cov"},
        "kl_cov": {**clips, "loss_variant": "kl_cov"},
        "gspo": {**sequence_clips, **sequence_level, "row_skipping": True},
    }
    if config["base"] not in bases:
        raise unknown("base algorithm", config["base"], bases)
    return {"loss_type": "dapo", **knobs, **bases[config["base"]]}


def baseline_arguments(config: ArmConfig) -> dict[str, Any]:
    """The advantage baseline: the only thing that differs between two arms of one base."""
    k = config["quantile_k"]
    baselines = {
        "mean": {"quantile_k": None},
        "quantile": {"quantile_k": k},
        "random_gate": {"quantile_k": k, "advantage_mask": "random_gate"},
    }
    if config["baseline"] not in baselines:
        raise unknown("baseline", config["baseline"], baselines)
    return baselines[config["baseline"]]
