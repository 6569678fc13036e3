"""The study's frame with three seeds: records in the shape of real ones, different for every arm and seed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

from common.study.jobs import Job, Record
from common.study.study import tidy
from papers.fastgrpo import grid
from papers.fastgrpo.experiment import PROFILES, Config, exact_jobs, jobs
from papers.fastgrpo.report.measures import DRAFTS, NAMES, PARTS

SEEDS = (0, 1, 2)
ITERATIONS, MEASUREMENTS = 8, 3
HELDOUT = ("accuracy", "verbose", "length")


def made_up(job: Job) -> Record:
    """Positive noise under the names of a real record."""
    key = [job.seeds[0], *map(ord, "".join(map(str, (job.sweep, *job.labels.values()))))]
    rng = np.random.default_rng(key)
    series: dict[str, int] = {}
    scalars: list[str] = []
    if job.sweep in ("loops", "variants"):
        names = (*PARTS, "wall", "reward", "length", "longest", "tau")
        series = dict.fromkeys(names, 4 if job.labels["arm"] == "vanilla" else ITERATIONS)
        if job.labels["arm"] == "fast":
            scalars += [f"replay/{arm}/{name}" for arm in NAMES for name in ("seconds", "tokens", "tau")]
            scalars += ["replay/et/predicted"]
        if job.sweep == "loops" and job.labels["arm"] == "fast":
            series |= {f"acceptance/{draft}": MEASUREMENTS for draft in DRAFTS}
        scalars += [f"heldout/{name}" for name in HELDOUT]
    elif job.sweep == "still":
        series = {"acceptance/frozen": MEASUREMENTS}
    elif job.sweep == "static":
        names = ("plain", "rule", *map(str, grid.BUDGETS[1:]))
        scalars = [f"speed/{rows}/{name}" for rows in grid.BATCHES for name in names]
    else:
        scalars = list(profile_names())
    return Record(
        {name: 1.5 + rng.random(1) for name in scalars},
        {name: 1.5 + rng.random((1, steps)) for name, steps in series.items()},
    )


def profile_names() -> Iterator[str]:
    """Names of a profile's record."""
    for rows in grid.ROWS:
        yield from (f"seconds/{rows}/{n}" for n in grid.TOKENS if rows * n <= grid.LARGEST_PASS)
        yield from (f"oracle/{name}/{rows}" for name in ("tokens", "top_k", "depth"))
    yield from (f"throughput/{rows}" for rows in grid.CURVE)
    yield from (
        f"regret/{name}" for name in (*(f"alpha_{a:g}" for a in grid.ALPHAS), "floor", "static", "plain")
    )
    yield from (f"{name}/{n}/{rows}" for name in ("gain", "best") for n in grid.LAYERS for rows in (1, 8, 64))
    yield "c_peak"


@pytest.fixture(scope="session")
def study_frame() -> pd.DataFrame:
    """All sweeps with seeds 0, 1, 2; the exact checks are real but for the policy's texts."""
    config = Config(
        **PROFILES["smoke"] | {"loop_seeds": 3, "variant_seeds": 3, "speed_seeds": 3, "draws": 20}
    )
    frames = []
    for job in jobs(config, SEEDS):
        if job.labels["arm"] == "greedy":
            record = Record(series={"greedy": np.zeros((1, 16))})
        elif job.sweep == "exact":
            record = job.function()(job, None)
        else:
            record = made_up(job)
        frames.append(record.frame(job.seeds).assign(sweep=job.sweep, **job.labels))
    assert len(list(exact_jobs({}, SEEDS))) == 4
    return tidy(frames)
