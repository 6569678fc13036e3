"""The loops on a real model: mathematics through `common.rl`, the three ways of sampling, times logged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.rl.harness import LOGGED, shared_arguments, train_arm
from common.rl.run import Run
from common.study.jobs import Job, Record
from papers.fastgrpo.method import FastGRPOConfig, FastGRPOTrainer

TIMES: Mapping[str, str] = {
    **LOGGED,
    "rollout/acceptance_length": "tau",
    "seconds/generation": "generation",
    "seconds/draft": "learn",
    "seconds/rollout": "rollout",
    "step_time": "wall",
}


def run_of(config: Mapping[str, Any]) -> Run:
    """The configuration of a loop as a run of `common.rl`."""
    batch = config["prompts"] * config["group_size"]
    return Run(
        model=config["model"],
        task="math",
        dataset=config["dataset"],
        evaluation_sets=config["evaluation_sets"],
        learning_rate=config["learning_rate"],
        batch=batch,
        mini_batch=batch,
        group_size=config["group_size"],
        max_response=config["max_response"],
        iterations=config["iterations"],
        training_prompts=config["training_prompts"],
        evaluation_samples=1,
        curve_samples=0,
        evaluation_temperature=1.0,
        evaluation_prompts=config["evaluation_prompts"],
        save_every=config["iterations"],
        training_rows=config["group_size"],
        scoring_batch=config["group_size"],
        vllm=False,
        kl_coefficient=config["kl_coefficient"],
        evaluation_top_p=config["top_p"],
        pass_at=1,
    )


def train(job: Job, workspace: Path) -> Record:
    """Entry point: one loop with one seed; see `common.rl.harness.train_arm` for the record."""
    (seed,) = job.seeds
    config = job.config
    run = run_of(config)
    return train_arm(run, seed, workspace, FastGRPOTrainer, arguments(config, run, seed, workspace), TIMES)


def arguments(config: Mapping[str, Any], run: Run, seed: int, workspace: Path) -> FastGRPOConfig:
    """The loop as a trainer configuration; a loop is timed as a whole, so none resumes."""
    shared = shared_arguments(run, seed, workspace)
    own = {"exact_resume": False, "save_strategy": "no", "decoder": "generate"}
    fields = ("c_peak", "k_max", "l_max", "l_min", "alpha", "n_max", "micro_batch_tokens", "top_p")
    return FastGRPOConfig(
        **{**shared, **own},
        **{name: config[name] for name in (*fields, "draft_learning_rate", "epsilon")},
        top_k=0,
        loss_type="grpo",
        speculation="draft" if config["arm"] == "fast" else "plain",
        early_termination=config["arm"] != "vanilla",
    )
