"""The study's frame at a size that tests can afford; theory and tabular records are real, training is not."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.study.configuration import configure
from common.study.jobs import Job, Record
from common.study.study import tidy
from common.tasks.opchain import LEVELS
from papers.rl_zvp.experiment import PROFILES, Config, tabular_jobs, theory_jobs, training_jobs

POINTS = (0, 2, 6, 16, 24)
BATCHES = (
    "entropy", "zero_variance", "positive_prompts", "negative_prompts", "reward", "length", "size",
    "gradient_share",
)  # fmt: skip


def training_record(job: Job) -> Record:
    """A record in the shape of a language-model run: curves with noise, different for every arm and seed."""
    key = [job.seeds[0], *map(ord, "".join(map(str, job.labels.values())))]
    rng = np.random.default_rng(key)
    scalars = {f"final/pass_at_{k}/{level}": rng.random(1) for k in (1, 8) for level in (*LEVELS, "all")}
    scalars["final/length"] = 10 + rng.random(1)
    series = {name: rng.random((1, POINTS[-1])) for name in BATCHES}
    series["curve/iteration"] = np.array([POINTS], dtype=float)
    kinds = ("entropy/connector", "entropy/result")
    for name in ("pass_at_1", *kinds):
        series[f"curve/{name}"] = rng.random((1, len(POINTS)))
    scalars |= {f"final/{name}": rng.random(1) for name in kinds}
    return Record(scalars, series)


def join(runs: Iterable[tuple[Job, Record]]) -> pd.DataFrame:
    """The tidy frame of jobs and their records, as the study makes it."""
    return tidy([record.frame(job.seeds).assign(sweep=job.sweep, **job.labels) for job, record in runs])


def make_frame(seeds: tuple[int, ...] = (0, 1, 2)) -> pd.DataFrame:
    sizes = {"tabular.seeds": len(seeds), "easy_seeds": len(seeds), "hard.seeds": len(seeds)}
    small = {"theory.policies": 10, "theory.draws": 30, "tabular.iterations": 6, "tabular.vocabulary": 5}
    config = configure(Config, PROFILES, "smoke").changed(small | sizes)
    quick = [*theory_jobs(config, seeds), *tabular_jobs(config, seeds)]
    with tempfile.TemporaryDirectory() as scratch:
        ran = [(job, job.function()(job, Path(scratch))) for job in quick]
    trained = [(job, training_record(job)) for job in training_jobs(config, seeds)]
    return join([*ran, *trained])


@pytest.fixture(scope="session")
def study_frame() -> pd.DataFrame:
    """All sweeps of the study with seeds 0, 1, 2."""
    return make_frame()
