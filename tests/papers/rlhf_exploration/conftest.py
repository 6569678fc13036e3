"""The study's frame at a size that tests can afford; the language-model records are made up in its shape."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.study.jobs import Job, Record
from common.study.study import tidy
from papers.rlhf_exploration.experiment import PROFILES, Config, jobs

CHANGES = {
    "ce1.betas": (0.5, 0.33, 0.25, 0.2, 0.15),
    "ce2.gaps": (2.0, 4.0, 8.0, 10.0),
    "ce1.horizon": 60,
    "ce2.horizon": 20,
    "envelope.horizons": (20, 40),
    "random.horizon": 20,
    "lm_seeds": 2,
}


def learned(job: Job) -> Record:
    """A record in the shape of a language-model run, different for every arm and seed."""
    rng = np.random.default_rng([job.seeds[0], *map(ord, "".join(map(str, job.labels.values())))])
    regret = np.r_[0.0, rng.random(3).cumsum()]
    scalars = {"total": regret[-1:], "half": regret[1:2], "first": regret[1:2], "last": regret[1:2]}
    return Record(scalars, {"regret": regret[None], "distance": rng.random((1, 4))})


@pytest.fixture(scope="session")
def study_frame() -> pd.DataFrame:
    """All sweeps of the study, two seeds each."""
    config = Config().changed(PROFILES["smoke"] | CHANGES)
    parts = []
    with tempfile.TemporaryDirectory() as scratch:
        for job in jobs(config, (0, 1)):
            record = learned(job) if job.sweep == "lm" else job.function()(job, Path(scratch))
            parts.append(record.frame(job.seeds).assign(sweep=job.sweep, **job.labels))
    return tidy(parts)
