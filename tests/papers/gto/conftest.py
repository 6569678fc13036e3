"""A random tiny target with drafts, in float64, and a frame of the study with invented training records."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from common.models.recipe import ModelShape, build_model
from common.speculative.networks import Eagle3Network
from common.speculative.target import Target
from common.study.jobs import Job, Record
from common.study.study import tidy
from common.tasks.tridomain import DOMAINS, TriDomainConfig, items
from common.tasks.tridomain.warm_start import texts, tokenizer
from papers.gto.experiment import PROFILES, Config, Seeds, exact_jobs, jobs
from papers.gto.report.measures import DECODERS

SHAPE = ModelShape(hidden=32, layers=3, heads=2, kv_heads=1, head_dim=16, ffn=64, context=512, tied=True)
FAST = ("theory", "tabular", "lossless")


@pytest.fixture(scope="session")
def target() -> Target:
    model = build_model(SHAPE, tokenizer(), seed=0).double().requires_grad_(False)
    for weight in model.parameters():
        weight *= 3.0  # a random model's choices are almost uniform otherwise
    return Target(model, (0, 1, 2))


def new_draft(target: Target, seed: int = 0) -> Eagle3Network:
    torch.manual_seed(seed)
    return Eagle3Network(target.model).double()


@pytest.fixture
def draft(target) -> Eagle3Network:
    return new_draft(target)


@pytest.fixture(scope="session")
def batch():
    return texts(items(TriDomainConfig(size=3)))


def noise(rng: np.random.Generator, names: Iterable[str]) -> Record:
    return Record({name: 1 + rng.random(1) for name in names})


def invented(job: Job) -> Record:
    """A record in the shape of a trained arm: noise, different for every job."""
    rng = np.random.default_rng([job.seeds[0], *map(ord, job.sweep + str(job.labels))])
    kinds = ("tau1", "tau0", "chain1", "chain0", "pruned", "agrees")
    places = (*DOMAINS, "all")
    names = [f"{kind}/{place}" for kind in kinds for place in places]
    for shape in filter(None, str(job.config.get("shapes", "")).split(",")):
        names += [f"{kind}/{place}@{shape}" for kind in kinds[:2] for place in places]
    parts = []
    if job.sweep == "target":
        names = [f"{k}/{d}" for k in ("accuracy", "entropy", "verified") for d in DOMAINS] + ["parameters"]
    if job.sweep == "speed":
        decoded = [
            f"{kind}{t}/{place}" for kind in ("speed", "sr", "tau") for t in (0, 1) for place in places
        ]
        parts = [({"arm": arm}, noise(rng, decoded)) for arm in DECODERS]
        names = []
    logged = ("grad_norm", "loss", "reward", "equal_groups", "outside_clip", "lowered")
    series = {name: rng.random((1, 8)) for name in logged}
    return Record(noise(rng, names).scalars, series, parts)


def join(runs: Iterable[tuple[Job, Record]]) -> pd.DataFrame:
    """The tidy frame of jobs and their records, as the study makes it."""
    return tidy([record.frame(job.seeds).assign(sweep=job.sweep, **job.labels) for job, record in runs])


@pytest.fixture(scope="session")
def study_frame() -> pd.DataFrame:
    """All sweeps of the laptop profile, exact ones computed and trained ones invented, few seeds."""
    few = {f"seeds.{sweep}": 3 for sweep in Seeds.model_fields}
    small = {"tabular.steps": 6, "theory.discordance_draws": 100}
    config = Config().changed(PROFILES["laptop"] | few | small)
    seeds = tuple(range(3))
    exact = [(job, job.function()(job, Path())) for job in exact_jobs(config, seeds)]
    trained = [(job, invented(job)) for job in jobs(config, seeds) if job.sweep not in FAST]
    return join([*exact, *trained])
