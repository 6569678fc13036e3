"""The study's frame with three seeds: records in the shape of real ones, different for every arm and seed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest

from common.study.jobs import Job, Record, Scalar
from common.study.study import tidy
from papers.fastgrpo.experiment import PROFILES, Config, jobs
from papers.fastgrpo.report import SCHEDULES
from papers.fastgrpo.report.measures import DRAFTS, NAMES, PARTS, TREES

SEEDS = (0, 1, 2)
ITERATIONS, MEASUREMENTS = 8, 3
Part = tuple[dict[str, Scalar], Record]


def made_up(job: Job) -> Record:
    """Positive noise under the names and columns of a real record."""
    key = [job.seeds[0], *map(ord, "".join(map(str, (job.sweep, *job.labels.values()))))]
    rng = np.random.default_rng(key)

    def noise(*names: str, steps: int = 0) -> Record:
        if steps:
            return Record(series={name: 1.5 + rng.random((1, steps)) for name in names})
        return Record({name: 1.5 + rng.random(1) for name in names})

    def parts() -> Iterator[Part]:
        if job.sweep in ("loops", "variants") and job.labels["arm"] == "fast":
            numbers = ("replay/seconds", "replay/tokens", "replay/tau", "replay/predicted")
            yield from (({"replayed": arm}, noise(*numbers)) for arm in NAMES)
        if job.sweep == "loops" and job.labels["arm"] == "fast":
            yield from (({"draft": draft}, noise("acceptance", steps=MEASUREMENTS)) for draft in DRAFTS)
        if job.sweep == "still":
            yield {"draft": "frozen"}, noise("acceptance", steps=MEASUREMENTS)
        if job.sweep == "static":
            shapes = itertools.product((1, 8, 64), ("plain", "rule", *TREES))
            yield from (({"rows": rows, "schedule": name}, noise("speed")) for rows, name in shapes)
        if job.sweep == "profile":
            yield from profile_parts(noise)

    series, scalars = {}, {}
    if job.sweep in ("loops", "variants", "end_to_end"):
        steps = 4 if job.labels["arm"] == "vanilla" else ITERATIONS
        series = noise(*PARTS, "iteration", "reward", "length", "longest", "tau", steps=steps).series
        scalars = noise("heldout/accuracy", "heldout/verbose", "heldout/length").scalars
    return Record(scalars, series, list(parts()))


def profile_parts(noise: Callable[..., Record]) -> Iterator[Part]:
    """What the profile emits."""
    sizes = (1, 2, 4, 8, 16, 32, 64, 128)
    for rows, tokens in itertools.product(sizes, sizes):
        if rows * tokens <= 1024:
            yield {"rows": rows, "tokens": tokens}, noise("seconds")
    for rows in sizes:
        yield {"rows": rows}, noise("oracle/tokens", "oracle/top_k", "oracle/depth", "throughput")
    yield from (({"schedule": name}, noise("regret")) for name in SCHEDULES)
    for decoder, rows in itertools.product(("4", "rule"), (1, 8, 64)):
        yield {"decoder": decoder, "rows": rows}, noise("measured", "modelled")


@pytest.fixture(scope="session")
def study_frame() -> pd.DataFrame:
    """All sweeps with seeds 0, 1, 2; the exact checks are real but for the policy's texts."""
    seeds = dict.fromkeys(("loop_seeds", "end_to_end.seeds", "variant_seeds", "speed_seeds"), 3)
    config = Config().changed(PROFILES["smoke"] | seeds | {"draws": 20})
    frames = []
    for job in jobs(config, SEEDS):
        if job.labels["arm"] == "greedy":
            record = Record(series={"greedy": np.zeros((1, 16))})
        elif job.sweep == "exact":
            record = job.function()(job, None)
        else:
            record = made_up(job)
        frames.append(record.frame(job.seeds).assign(sweep=job.sweep, **job.labels))
    return tidy(frames)
