"""Entry points: train an objective, and time the rollout batches of all of them side by side."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from transformers import set_seed

from common.models.pocket import load_policy
from common.rl.config import GroupConfig
from common.rl.harness import policy_path, shared_arguments, train_arm, unpublished
from common.rl.run import Run
from common.rl.tasks import load_task
from common.rl.trainer import GroupTrainer
from common.study.jobs import Job, Record
from papers.zoo.clock import Stopwatch


def train(job: Job, workspace: Path) -> Record:
    """One objective with one seed; the record of its `train_arm`, and scalar ``batch``.

    That is `common.rl.harness.train_arm`, unless the module of the method has one of its own: a method with a
    stage before the online one.
    """
    (seed,) = job.seeds
    run = Run.read(job.config)
    trainer, args = build(job.config, run, seed, workspace)
    record = getattr(_module(job.config), "train_arm", train_arm)(run, seed, workspace, trainer, args)
    return Record({**record.scalars, "batch": np.array([float(run.batch)])}, record.series)


def build(
    config: Mapping[str, Any], run: Run, seed: int, workspace: Path
) -> tuple[type[GroupTrainer], GroupConfig]:
    """Trainer class and arguments of an objective: those of the run, then its own.

    `config` names the pair ``PrefixTrainer``, ``PrefixConfig`` as ``method = "package.module:Prefix"`` and
    holds the fields of the configuration as JSON in ``arguments``.
    """
    prefix = str(config["method"]).partition(":")[2]
    found = _module(config)
    arguments = {**shared_arguments(run, seed, workspace), **json.loads(config["arguments"])}
    return getattr(found, f"{prefix}Trainer"), getattr(found, f"{prefix}Config")(**arguments)


def _module(config: Mapping[str, Any]) -> ModuleType:
    return importlib.import_module(str(config["method"]).partition(":")[0])


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
    run = Run.read(config)
    timed = run.changed({"iterations": int(config["timed_iterations"]) + 1})
    trainer, args = build(config, timed, seed, workspace)
    clock = getattr(_module(config), "seconds_per_batch", seconds_per_batch)
    return float(clock(run, timed, seed, workspace, trainer, args))


def seconds_per_batch(
    run: Run,  # noqa: ARG001
    timed: Run,
    seed: int,
    workspace: Path,  # noqa: ARG001
    trainer: type[GroupTrainer],
    args: GroupConfig,
) -> float:
    """Median seconds per rollout batch of `timed`, a short run that stands for the whole `run`."""
    watch = Stopwatch(timed.optimizer_steps)
    set_seed(seed)
    model, tokenizer = load_policy(policy_path(timed, 0))
    task = load_task(timed, seed, tokenizer)
    timing = trainer(
        model=model,
        reward_funcs=task.reward,
        args=args,
        train_dataset=task.dataset,
        processing_class=tokenizer,
        callbacks=[watch],
    )
    unpublished(timing).train()
    return watch.seconds
