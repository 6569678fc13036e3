"""The study of ResT: configuration with the paper's values, profiles as differences, jobs by sweep.

Exact checks of the theory (`runs.theory`), warm starts and a real model as they are (`runs.probes`), pocket
policies that are trained on ToolCall-Mini (`runs.training`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from common.rl.run import Run, pocket_files
from common.study.configuration import Settings, paper
from common.study.jobs import Job

STARTS = 2  # committed base policies, which take turns
COMPARED = ("grpo", "code", "permuted", "paper", "no_thought")
"""Arms of `laptop`."""
FURTHER = ("no_curriculum", "no_schedule", "kl", "strong_kl", "plain", "dr_grpo")
"""Arms of `gpu` besides; `papers.rest.runs.training.ARMS` says what each is."""
BEST = {"no_thought": 1e-4}
"""Learning rates of pocket policies where an arm's best on development seeds is not `run.learning_rate`."""


class PaperRun(Run):
    """The released run; what neither paper nor code says carries no place."""

    model: str = "Qwen/Qwen3-4B-Instruct-2507"
    task: str = "papers.rest.runs.training:ScheduledCalls"
    dataset: str = ""
    evaluation_sets: str = ""
    learning_rate: float = paper(1e-6, "official code")
    batch: int = paper(2048, "official code, 512 prompts of 4")
    mini_batch: int = paper(256, "official code, 64 prompts of 4")
    group_size: int = paper(4, "official code")
    max_response: int = paper(2048, "official code")
    kl_coefficient: float = paper(0.0, "official code; Table A.1 tries 0.003")
    iterations: int = paper(115, "official code, 15 epochs of about 4,000 prompts")
    training_prompts: int = paper(4000, "official code")
    evaluation_samples: int = 1
    curve_samples: int = 0
    evaluation_temperature: float = paper(0.0001, "official code, API-Bank")
    evaluation_prompts: int = 0
    save_every: int = paper(15, "official code")
    training_rows: int = 4
    scoring_batch: int = 4
    vllm: bool = True


class Frozen(Settings):
    """Warm starts as they are.

    Attributes:
        seeds: Of the measurements.
        steps: Training steps that are answered.
        group: Responses to each.
        batches: Independent batches that a gradient's noise is measured over.
        heldout: Held-out steps of each level.
    """

    seeds: int = 10
    steps: int = 256
    group: int = 8
    batches: int = 128
    heldout: int = 200


class Published(Settings):
    """A real model on real tools.

    Attributes:
        seeds: Of the draw of questions and thoughts; 0 leaves it out.
        questions: Of each seed.
        thought: Tokens of a thought.
    """

    seeds: int = 0
    questions: int = 8
    thought: int = 32


class Config(Settings):
    """Defaults are the released run.

    Attributes:
        run: Training runs.
        frozen: Warm starts as they are.
        published: A real model on real tools.
        draws: Random instances of an exact check.
        seeds: Of each arm of `COMPARED`.
        further_seeds: Of each arm of `FURTHER`.
    """

    run: PaperRun = PaperRun()
    frozen: Frozen = Frozen()
    published: Published = Published()
    draws: int = 1000
    seeds: int = 1
    further_seeds: int = 1


POCKET: dict[str, Any] = {
    "run.model": "pocket",
    "run.learning_rate": 3e-4,
    "run.batch": 64,
    "run.mini_batch": 32,
    "run.group_size": 8,
    "run.max_response": 48,
    "run.iterations": 25,
    "run.training_prompts": 600,
    "run.evaluation_temperature": 0.0,
    "run.evaluation_prompts": 200,
    "run.save_every": 1000,
    "run.training_rows": 0,
    "run.scoring_batch": 64,
    "run.vllm": False,
    "frozen.seeds": 20,
    "seeds": 20,
    "further_seeds": 0,
}
PROFILES: dict[str, dict[str, Any]] = {
    "smoke": POCKET
    | {
        "run.iterations": 3,
        "run.batch": 16,
        "run.mini_batch": 8,
        "run.training_prompts": 16,
        "run.evaluation_prompts": 8,
        "frozen.seeds": 1,
        "frozen.steps": 16,
        "frozen.group": 4,
        "frozen.batches": 4,
        "frozen.heldout": 8,
        "seeds": 1,
    },
    "laptop": POCKET,
    "desk": POCKET | {"published.seeds": 10},
    "gpu": POCKET
    | {
        "run.iterations": 120,
        "run.batch": 128,
        "run.group_size": 4,
        "run.training_prompts": 4000,
        "published.seeds": 10,
        "further_seeds": 10,
    },
    "paper": {},
}


def jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """Every job of the sweeps theory, frozen, training, further and published."""
    return [
        *_theory(config, seeds),
        *_frozen(config, seeds),
        *_training(config, seeds[: config.seeds], "training", COMPARED),
        *_training(config, seeds[: config.further_seeds], "further", FURTHER),
        *_published(config, seeds),
    ]


def _theory(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Exact checks; each draws its instances from the first seed."""
    for name in ("lemma", "variance", "audit"):
        entry, own = f"papers.rest.runs.theory:{name}", {"draws": config.draws}
        yield Job("theory", {"analysis": name}, entry, own, tuple(seeds[:1]))


def _frozen(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    own = config.frozen.model_dump(exclude={"seeds"}) | {"model": config.run.model}
    for seed in seeds[: config.frozen.seeds]:
        yield Job("frozen", {}, "papers.rest.runs.probes:frozen", own, (seed,), _files(config, seed))


def _training(config: Config, seeds: Sequence[int], sweep: str, arms: Sequence[str]) -> Iterator[Job]:
    entry, own = "papers.rest.runs.training:train", config.run.model_dump()
    for seed, arm in product(seeds, arms):
        rate = BEST.get(arm, own["learning_rate"]) if config.run.model == "pocket" else own["learning_rate"]
        arguments = own | {"arm": arm, "learning_rate": rate}
        yield Job(sweep, {"arm": arm}, entry, arguments, (seed,), _files(config, seed))


def _files(config: Config, seed: int) -> tuple[str, ...]:
    """The warm start of a seed."""
    return pocket_files(seed % STARTS, "toolcall") if config.run.model == "pocket" else ()


def _published(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Real questions and tools under SmolLM2."""
    own = config.published.model_dump(exclude={"seeds"})
    for seed in seeds[: config.published.seeds]:
        assets = ("smollm2", "bfcl", "bfcl_answers")
        yield Job("published", {}, "papers.rest.runs.probes:published", own, (seed,), assets=assets)
