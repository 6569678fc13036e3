"""Entry points: train an objective, and time the rollout batches of all of them side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.rl.config import GroupConfig
from common.rl.harness import shared_arguments
from common.rl.run import Run
from common.study.jobs import Job, Record
from papers.zoo.runs.methods import METHODS, Method


def train(job: Job, workspace: Path) -> Record:
    """One objective with one seed; the record of its `train_arm`, and scalar ``batch``."""
    (seed,) = job.seeds
    run = Run.read(job.config)
    method, args = build(job.config, run, seed, workspace)
    record = method.train_arm(run, seed, workspace, method.trainer, args)
    return Record({**record.scalars, "batch": np.array([float(run.batch)])}, record.series)


def build(config: Mapping[str, Any], run: Run, seed: int, workspace: Path) -> tuple[Method, GroupConfig]:
    """Trainer and arguments of an objective: those of the run, then its own, ``arguments`` as JSON."""
    method = METHODS[config["method"]]
    arguments = {**shared_arguments(run, seed, workspace), **json.loads(config["arguments"])}
    return method, method.config(**arguments)


def cost(job: Job, workspace: Path) -> Record:
    """Seconds per rollout batch, update included: scalar ``seconds`` by ``objective``, the median of a round.

    A round (seed) visits the objectives in turn, starting with another one each time, so that a change of the
    machine's speed meets them all. Times are no function of the seed: two runs of this job differ.
    """
    objectives = json.loads(str(job.config["objectives"]))
    names = list(objectives)
    seconds = {name: np.empty(len(job.seeds)) for name in names}
    for row, seed in enumerate(job.seeds):
        for name in (*names[row % len(names) :], *names[: row % len(names)]):
            config = {**job.config, **objectives[name]}
            seconds[name][row] = _time(config, seed, workspace / f"{row}-{name}")
    return Record(parts=[({"objective": name}, Record({"seconds": own})) for name, own in seconds.items()])


def _time(config: Mapping[str, Any], seed: int, workspace: Path) -> float:
    run = Run.read(config)
    timed = run.changed({"iterations": int(config["timed_iterations"]) + 1})
    method, args = build(config, timed, seed, workspace)
    return method.seconds_per_batch(run, timed, seed, workspace, method.trainer, args)
