"""The study of DeepTravel: configuration with the paper's values, profiles as differences, jobs by sweep.

Three tiers: exact checks (`runs.theory`), a tabular policy for the claims on replay (`runs.tabular`), and a
pocket transformer in the travel sandbox (`runs.training`). The paper's text was not available; places name
the referees' reports.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from common.rl import run
from common.rl.run import Run
from common.study.configuration import Settings, paper
from common.study.jobs import Job, Scalar, portions
from common.tasks.travel.airline import ASSET
from papers.deeptravel.runs.tabular import ARMS as REPLAYS
from papers.deeptravel.runs.tabular import REGIMES
from papers.deeptravel.runs.theory import STREAMS

LIMITS = {**run.LIMITS, "desk": {"seconds": 3600.0, "memory": 3600.0}}  # for the larger cold start
REFEREES = "referee reports"
SEEDS_PER_JOB = 30
MAIN = "product,trajectory,permuted"
JUDGED_STEP = 45  # at which C3 is judged, in runs of any length


class PaperRun(Run):
    """The budgets of a run; what neither the abstract nor the reports say carries no place."""

    model: str = paper("Qwen/Qwen3-8B", REFEREES)
    task: str = "travel planning"
    dataset: str = ""
    evaluation_sets: str = ""
    learning_rate: float = 1e-6
    batch: int = 512
    mini_batch: int = 512
    group_size: int = paper(8, REFEREES)
    max_response: int = 8192
    iterations: int = 100
    training_prompts: int = 4096
    evaluation_samples: int = 1
    curve_samples: int = 1
    evaluation_temperature: float = 1.0
    evaluation_prompts: int = paper(6000, REFEREES)
    save_every: int = 10
    training_rows: int = 4
    scoring_batch: int = 4
    vllm: bool = True


class Objective(Settings):
    """Fields of `papers.deeptravel.trainer.RARLConfig`; the paper's values were not found."""

    rarl_every: int = 2
    rarl_share: float = 0.5
    rarl_admit: float = 0.0
    rarl_evict: float = 0.5
    rarl_tries: int = 6
    rarl_capacity: int = 512


class Sandbox(Settings):
    """Queries (`common.tasks.travel.worlds.Asked`).

    Attributes:
        real: Flights of a real timetable.
        limited: Share of the queries with a limit.
    """

    real: bool = True
    limited: float = 0.5


class ColdStart(Settings):
    """The warm start (`common.tasks.travel.warm_start.Recipe`).

    Attributes:
        demonstrations: Of the oracle; the paper's are distilled from DeepSeek-R1.
        larger: Width of the planner that is ten times larger.
        larger_layers: Its layers.
    """

    demonstrations: int = paper(1000, REFEREES)
    lookups: int = 150
    sft_steps: int = 450
    sft_batch: int = 32
    sft_rate: float = 3e-3
    hidden: int = 96
    layers: int = 3
    larger: int = 256
    larger_layers: int = 4


class Tabular(Settings):
    """The policy in a table (`papers.deeptravel.runs.tabular.Training`), and C7's processes.

    Attributes:
        batches: Of a training.
        process: Batches of a process in which nothing is learned.
    """

    seeds: int = 30
    batches: int = 150
    process: int = 400


class Config(Settings):
    """Defaults are the paper's.

    Attributes:
        arms: Arms that are trained, with commas between.
        planners: Warm starts that are evaluated alone: ``base`` and ``larger``.
        control_world: Arms that are trained with drawn flights too.
        seeds: Of each arm.
        draws: Itineraries of the exact check.
    """

    run: PaperRun = PaperRun()
    objective: Objective = Objective()
    sandbox: Sandbox = Sandbox()
    cold_start: ColdStart = ColdStart()
    tabular: Tabular = Tabular()
    arms: str = MAIN
    planners: str = ""
    control_world: str = ""
    seeds: int = 10
    draws: int = 1200


POCKET: dict[str, Any] = {
    "run.model": "pocket",
    "run.learning_rate": 2e-4,
    "run.batch": 64,
    "run.mini_batch": 64,
    "run.iterations": 45,
    "run.curve_every": 45,
    "run.training_prompts": 360,
    "run.evaluation_prompts": 256,
    "run.training_rows": 0,
    "run.scoring_batch": 64,
    "run.save_every": 100,
    "run.vllm": False,
    "cold_start.demonstrations": 6000,
}
PROFILES: dict[str, dict[str, Any]] = {
    "smoke": POCKET
    | {
        "run.batch": 16,
        "run.mini_batch": 16,
        "run.group_size": 4,
        "run.iterations": 2,
        "run.curve_every": 2,
        "run.training_prompts": 8,
        "run.evaluation_prompts": 8,
        "sandbox.real": False,
        "cold_start.demonstrations": 64,
        "cold_start.lookups": 5,
        "cold_start.sft_steps": 15,
        "cold_start.hidden": 32,
        "cold_start.layers": 1,
        "tabular.seeds": 2,
        "tabular.batches": 20,
        "tabular.process": 20,
        "arms": "product",
        "seeds": 1,
    },
    "laptop": POCKET,
    "desk": POCKET
    | {
        "run.iterations": 80,
        "run.training_prompts": 640,
        "arms": f"{MAIN},shuffled,turn,mean,rarl,random,ppo,ppo_rarl,flaky",
        "planners": "base,larger",
        "control_world": MAIN,
    },
    "gpu": POCKET | {"run.iterations": 200, "run.training_prompts": 1600},
    "paper": {},
}


def jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """Every job of the sweeps theory, process, replay, training, drawn and planners."""
    return [
        *_theory(config, seeds),
        *_replay(config.tabular, seeds),
        *_training(config, seeds, "training", config.arms, config.sandbox.real),
        *_training(config, seeds, "drawn", config.control_world, False),
        *_planners(config, seeds),
    ]


def _theory(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Exact checks, and processes without learning."""
    given: dict[str, Scalar] = {"draws": config.draws, "group": 8}
    for name in ("reward", "groups"):
        entry = f"papers.deeptravel.runs.theory:{name}"
        yield Job("theory", {"analysis": name}, entry, given, tuple(seeds[:1]))
    own = config.objective
    given |= {
        "every": own.rarl_every,
        "share": own.rarl_share,
        "batches": config.tabular.process,
        "queries": 16,
    }
    for stream in STREAMS:
        for arm, tries in {"failures": own.rarl_tries, "kept": 0, "random": own.rarl_tries}.items():
            kind = "random" if arm == "random" else "failures"
            arguments = {**given, "stream": stream, "kind": kind, "tries": tries}
            labels: dict[str, Scalar] = {"stream": stream, "arm": arm}
            for part in portions(seeds[: config.tabular.seeds], SEEDS_PER_JOB):
                yield Job("process", labels, "papers.deeptravel.runs.theory:steady", arguments, part)


def _replay(own: Tabular, seeds: Sequence[int]) -> Iterator[Job]:
    """Tabular arms; those of one seed share queries and their first pass rates."""
    for regime in REGIMES:
        for arm in REPLAYS:
            labels: dict[str, Scalar] = {"regime": regime, "arm": arm}
            for part in portions(seeds[: own.seeds], SEEDS_PER_JOB):
                given = {"batches": own.batches, **labels}
                yield Job("replay", labels, "papers.deeptravel.runs.tabular:simulate", given, part)


def _training(config: Config, seeds: Sequence[int], sweep: str, arms: str, real: bool) -> Iterator[Job]:
    """The arms of a seed share warm start, queries and random numbers."""
    for seed in seeds[: config.seeds]:
        for arm in filter(None, arms.split(",")):
            given = {**planner(config), **config.run.model_dump(), **config.objective.model_dump()}
            given |= {"arm": arm, "real": real}
            entry = "papers.deeptravel.runs.training:train"
            yield Job(sweep, {"arm": arm}, entry, given, (seed,), assets=assets(real))


def _planners(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Warm starts alone: the base, and one that is ten times larger."""
    own = config.cold_start
    sizes = {"base": {}, "larger": {"hidden": own.larger, "layers": own.larger_layers}}
    for name in filter(None, config.planners.split(",")):
        given = planner(config) | sizes[name] | {"evaluation_prompts": config.run.evaluation_prompts}
        for seed in seeds[: config.seeds]:
            entry = "papers.deeptravel.runs.training:plan"
            yield Job("planners", {"arm": name}, entry, given, (seed,), assets=assets(config.sandbox.real))


def planner(config: Config) -> dict[str, Any]:
    """Queries and warm start of a run."""
    return config.sandbox.model_dump() | config.cold_start.model_dump(exclude={"larger", "larger_layers"})


def assets(real: bool) -> tuple[str, ...]:
    """What the flights are read from."""
    return (ASSET,) if real else ()
