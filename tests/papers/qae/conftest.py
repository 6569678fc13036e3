"""The study's frame at a size that tests can afford; theory and tabular records are real, training is not."""

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.study.configuration import configure
from common.study.jobs import Job, Record
from common.study.study import tidy
from common.tasks.opchain import LEVELS, VOCABULARY
from papers.qae.experiment import LONG, PROFILES, Config, tabular_jobs, theory_jobs, training_jobs

TOKENS = tuple(token for token in VOCABULARY if not token.startswith("<"))
POINTS = (0, 2, 8, 20, 30)
BATCHES = (
    "entropy", "entropy_positive", "entropy_zero", "entropy_negative", "share_positive", "share_zero",
    "share_negative", "reward", "length", "rollouts_generated", "rollouts_kept", "grad_norm", "clip_high",
    "zero_variance",
)  # fmt: skip


def training_record(job: Job) -> Record:
    """A record in the shape of a language-model run: curves with noise, different for every arm and seed."""
    key = [job.seeds[0], *map(ord, "".join(map(str, job.labels.values())))]
    rng = np.random.default_rng(key)
    scalars = {f"final/pass_at_{k}/{level}": rng.random(1) for k in (1, 16) for level in (*LEVELS, "all")}
    scalars["final/length"] = 10 + rng.random(1)
    series = {name: rng.random((1, POINTS[-1])) for name in BATCHES}
    if job.labels["baseline"] != "mean":
        series["hard_groups"] = rng.random((1, POINTS[-1]))
    curve = {"iteration": np.array(POINTS, dtype=float)}
    curve |= {name: rng.random(len(POINTS)) for name in ("pass_at_1", "pass_at_16", "length")}
    curve |= {f"count/{token}": 3 * rng.random(len(POINTS)) for token in TOKENS}
    shares = rng.dirichlet(np.ones(len(TOKENS)), size=len(POINTS)).T
    curve |= {f"high_entropy/{token}": share for token, share in zip(TOKENS, shares, strict=True)}
    return Record(scalars, series | {f"curve/{name}": values[None] for name, values in curve.items()})


def join(runs: Iterable[tuple[Job, Record]]) -> pd.DataFrame:
    """The tidy frame of jobs and their records, as the study makes it."""
    return tidy([record.frame(job.seeds).assign(sweep=job.sweep, **job.labels) for job, record in runs])


def shrunk(job: Job) -> Job:
    """The job on a smaller tree of sequences, or with smaller groups to enumerate."""
    smaller = {"max_group": 5} if "threshold" in job.entry else {}
    if job.sweep.startswith("tabular"):
        smaller = {"vocabulary": 5, "length": 3}
    return replace(job, config={**job.config, **smaller})


def make_frame(seeds: tuple[int, ...] = (0, 1, 2), fresh: tuple[int, ...] = (3, 4, 5)) -> pd.DataFrame:
    small = {"tabular.iterations": 16, "tabular.prompts": 4, "tabular.sgd_iterations": 4, "theory_draws": 20}
    sizes = {"tabular.seeds": len(seeds), "main_seeds": len(seeds), "base_seeds": 2}
    grid = {"grid.seeds": len(seeds), "grid.control_seeds": 2}
    long = {"long.first": len(seeds), "long.seeds": len(fresh), "long.control_seeds": 2}
    config = configure(Config, PROFILES, "smoke").changed(small | sizes | LONG | grid | long)
    quick = [shrunk(job) for job in (*theory_jobs(config, seeds), *tabular_jobs(config, seeds))]
    with tempfile.TemporaryDirectory() as scratch:
        ran = [(job, job.function()(job, Path(scratch))) for job in quick]
    return join([*ran, *((job, training_record(job)) for job in training_jobs(config, (*seeds, *fresh)))])


@pytest.fixture(scope="session")
def study_frame() -> pd.DataFrame:
    """All sweeps of the study with seeds 0, 1, 2."""
    return make_frame()
