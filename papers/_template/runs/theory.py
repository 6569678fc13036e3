"""Exact checks of the paper's equations."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.study.jobs import Job, Record
from papers._template.method import reward_variance


def variance(job: Job, _workspace: Path) -> Record:
    """Entry point: the equation on a grid, and its error against the definition on random rewards.

    Config: `draws` random samples of rewards, `points` of the grid.

    Emits series ``p`` and ``variance``, shape ``[1, points]``, and ``error``, shape ``[1, draws]``.
    """
    (seed,) = job.seeds
    grid = np.linspace(0.0, 1.0, int(job.config["points"] or 0))
    rewards = np.random.default_rng(seed).integers(0, 2, (int(job.config["draws"] or 0), 16))
    error = reward_variance(rewards.mean(axis=1)) - rewards.var(axis=1)
    return Record(series={"p": grid[None], "variance": reward_variance(grid)[None], "error": error[None]})
