"""Entry points: train an objective, and time the rollout batches of all of them side by side."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback, set_seed

from common.models.pocket import load_policy
from common.rl.config import GroupConfig
from common.rl.trainer import GroupTrainer
from common.rlvr.run import Run
from common.rlvr.tasks import build_task
from common.rlvr.train import policy_path, shared_arguments, train_arm
from common.study.jobs import Job, Record


def train(job: Job, workspace: Path) -> Record:
    """One objective with one seed; the record of `common.rlvr.train.train_arm`, and scalar ``batch``."""
    (seed,) = job.seeds
    run = Run.read(job.config)
    trainer, args = build(job.config, run, seed, workspace)
    record = train_arm(run, seed, workspace, trainer, args)
    return Record({**record.scalars, "batch": np.array([float(run.batch)])}, record.series)


def build(
    config: Mapping[str, Any], run: Run, seed: int, workspace: Path
) -> tuple[type[GroupTrainer], GroupConfig]:
    """Trainer class and arguments of an objective: those of the run, then its own.

    `config` names the pair ``PrefixTrainer``, ``PrefixConfig`` as ``method = "package.module:Prefix"`` and
    holds the fields of the configuration as JSON in ``arguments``.
    """
    module, _, prefix = str(config["method"]).partition(":")
    found = importlib.import_module(module)
    arguments = {**shared_arguments(run, seed, workspace), **json.loads(config["arguments"])}
    return getattr(found, f"{prefix}Trainer"), getattr(found, f"{prefix}Config")(**arguments)


class Stopwatch(TrainerCallback):
    """Wall time at the end of every rollout batch."""

    def __init__(self, optimizer_steps: int) -> None:
        self.optimizer_steps = optimizer_steps
        self.times: list[float] = []

    def on_step_end(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
        """Called by the trainer."""
        if state.global_step % self.optimizer_steps == 0:
            self.times.append(time.perf_counter())


def cost(job: Job, workspace: Path) -> Record:
    """Seconds per rollout batch, update included: scalar ``seconds/<objective>``, the median of a round.

    A round (seed) visits the objectives in turn, starting with another one each time, so that a change of the
    machine's speed meets them all. Times are no function of the seed: two runs of this job differ.
    """
    objectives = json.loads(str(job.config["objectives"]))
    names = list(objectives)
    seconds = {f"seconds/{name}": np.empty(len(job.seeds)) for name in names}
    for row, seed in enumerate(job.seeds):
        for name in (*names[row % len(names) :], *names[: row % len(names)]):
            config = {**job.config, **objectives[name]}
            seconds[f"seconds/{name}"][row] = _time(config, seed, workspace / f"{row}-{name}")
    return Record(seconds)


def _time(config: Mapping[str, Any], seed: int, workspace: Path) -> float:
    run = replace(Run.read(config), iterations=int(config["timed_iterations"]) + 1)
    watch = Stopwatch(run.optimizer_steps)
    set_seed(seed)
    model, tokenizer = load_policy(policy_path(run, 0))
    task = build_task(run, seed, tokenizer)
    trainer, args = build(config, run, seed, workspace)
    trainer(
        model=model,
        reward_funcs=task.reward,
        args=args,
        train_dataset=task.dataset,
        processing_class=tokenizer,
        callbacks=[watch],
    ).train()
    return float(np.median(np.diff(watch.times)))
