"""The study of POLO: configuration with the paper's values, profiles as differences, jobs by sweep.

The paper's text was not available; places name the code of the same group's next paper, which keeps the
environment and the loss (`code`), or the abstract.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import rdkit

from common.rl import run
from common.rl.run import Run
from common.study.configuration import Settings, paper
from common.study.jobs import Job, Scalar

LIMITS = {**run.LIMITS, "desk": run.LIMITS["laptop"]}
CODE = "successor's code"


class PaperRun(Run):
    """The budgets of a run; what neither the abstract nor the code says carries no place."""

    model: str = paper("Qwen/Qwen2.5-3B-Instruct", f"{CODE}, default")
    task: str = "lead optimisation"
    dataset: str = ""
    evaluation_sets: str = ""
    learning_rate: float = paper(1e-6, CODE)
    batch: int = paper(2048, f"{CODE}, 128 leads of 16")
    mini_batch: int = paper(32, CODE)
    group_size: int = paper(16, CODE)
    max_response: int = paper(4096, CODE)
    kl_coefficient: float = paper(0.0, CODE)
    iterations: int = paper(100, CODE)
    training_prompts: int = paper(128, CODE)
    evaluation_samples: int = 1
    curve_samples: int = 1
    evaluation_temperature: float = paper(0.5, CODE)
    evaluation_prompts: int = paper(200, CODE)
    save_every: int = 16
    training_rows: int = 4
    scoring_batch: int = 4
    vllm: bool = True


class Objective(Settings):
    """What every arm is trained with: fields of `papers.polo.method.PGPOConfig` and PPO's.

    Attributes:
        epsilon_low, epsilon_high: Clip range.
        entropy_coef: Weight of the entropy.
    """

    pgpo_weight: float = paper(0.1, CODE)
    pgpo_beta: float = paper(0.05, CODE)
    pgpo_pairs: int = paper(6, CODE)
    pgpo_temperature: float = paper(1.0, CODE)
    pgpo_discount: float = paper(0.99, CODE)
    pgpo_trace: float = paper(0.95, CODE)
    pgpo_groups_kept: float = paper(0.5, CODE)
    pgpo_rows_kept: float = paper(0.75, CODE)
    pgpo_critic_rate: float = paper(1e-5, CODE)
    pgpo_critic_steps: int = 1
    epsilon_low: float = paper(0.2, CODE)
    epsilon_high: float = paper(0.28, CODE)
    entropy_coef: float = paper(0.001, CODE)


class Leads(Settings):
    """Where leads come from (`common.tasks.molecules.warm_start.Setting`) and how much each may cost.

    Attributes:
        world: ``moses``, side chains of real leads, or ``templates``, the space made by hand.
        task: A task of `common.tasks.molecules.goals`.
        train_leads, test_leads: Leads of each split.
        hardness: Fewest calls of local search to a witness.
        turns: Of a trajectory.
        budget: Oracle calls of each test lead.
        restart: Probability of a start from an elite, at inference.
    """

    world: str = "moses"
    task: str = "qed"
    train_leads: int = paper(128, CODE)
    test_leads: int = paper(200, CODE)
    hardness: int = 0
    turns: int = paper(5, CODE)
    budget: int = paper(500, "abstract")
    restart: float = 0.5


class Tuning(Settings):
    """The warm start (`common.tasks.molecules.warm_start.Recipe`); the paper's values were not found."""

    demonstrations: int = 800
    improving: float = 0.25
    sft_steps: int = 300
    sft_batch: int = 32
    sft_rate: float = 3e-3
    hidden: int = 96
    layers: int = 3


class Config(Settings):
    """Defaults are the paper's.

    Attributes:
        run: Budgets of training.
        objective: What every arm is trained with.
        leads: The world.
        tuning: The warm start.
        arms: Arms that are trained, with commas between.
        seeds: Of each arm.
        draws: Random trajectories of the exact checks.
    """

    run: PaperRun = PaperRun()
    objective: Objective = Objective()
    leads: Leads = Leads()
    tuning: Tuning = Tuning()
    arms: str = "ppo,pgpo,shuffle"
    seeds: int = 10
    draws: int = 2000


MAIN = "ppo,pgpo,shuffle"
POCKET: dict[str, Any] = {
    "run.model": "pocket",
    "run.learning_rate": 3e-4,
    "run.batch": 128,
    "run.mini_batch": 64,
    "run.group_size": 8,
    "run.iterations": 24,
    "run.curve_samples": 0,
    "run.training_rows": 0,
    "run.scoring_batch": 64,
    "run.vllm": False,
    "run.save_every": 20,
    "objective.pgpo_weight": 0.5,
    "objective.pgpo_beta": 0.1,
    "objective.pgpo_critic_rate": 1e-2,
    "objective.pgpo_critic_steps": 8,
    "leads.task": "qed_hard",
    "leads.train_leads": 96,
    "leads.test_leads": 48,
    "leads.hardness": 8,
    "leads.budget": 10,
    "tuning.improving": 0.0,
}
PROFILES: dict[str, dict[str, Any]] = {
    "smoke": POCKET
    | {
        "run.batch": 16,
        "run.mini_batch": 8,
        "run.group_size": 4,
        "run.iterations": 2,
        "leads.world": "templates",
        "leads.task": "qed",
        "leads.train_leads": 4,
        "leads.test_leads": 4,
        "leads.hardness": 0,
        "leads.turns": 3,
        "leads.budget": 10,
        "tuning.demonstrations": 120,
        "tuning.sft_steps": 150,
        "tuning.hidden": 32,
        "tuning.layers": 1,
        "seeds": 1,
        "draws": 1000,
    },
    "laptop": POCKET,
    "desk": POCKET
    | {
        "run.iterations": 40,
        "arms": f"{MAIN},stepwise,unweighted,turns_only,dense,single",
        "seeds": 12,
    },
    "gpu": POCKET | {"run.iterations": 100, "leads.train_leads": 128, "leads.budget": 500},
    "paper": {},
}


def jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """Every job of the study.

    Sweeps: ``theory``; ``inference``, searches and the warm start; ``training``.
    """
    return [*theory_jobs(config, seeds), *inference_jobs(config, seeds), *training_jobs(config, seeds)]


def theory_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Exact checks; each draws its instances from the first seed."""
    for name in ("pairs", "invariance", "locality"):
        entry = f"papers.polo.runs.theory:{name}"
        yield Job("theory", {"analysis": name}, entry, {"draws": config.draws}, tuple(seeds[:1]))


def inference_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """The warm start with and without restarts, and searches without a policy, at the same budget."""
    for seed in seeds[: config.seeds]:
        entry = "papers.polo.runs.search:methods"
        yield Job("inference", {}, entry, shared(config), (seed,), assets=assets(config))


def training_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """The arms of a seed share warm start, leads and budgets."""
    for seed in seeds[: config.seeds]:
        for arm in config.arms.split(","):
            labels: dict[str, Scalar] = {"arm": arm}
            given = {**shared(config), **config.run.model_dump(), **config.objective.model_dump(), "arm": arm}
            given["task"] = config.leads.task  # the run's own names a task of one turn
            entry = "papers.polo.runs.training:train"
            yield Job("training", labels, entry, given, (seed,), assets=assets(config))


def shared(config: Config) -> dict[str, Any]:
    """World and warm start; RDKit's version belongs to the scores."""
    return {**config.leads.model_dump(), **config.tuning.model_dump(), "rdkit": rdkit.__version__}


def assets(config: Config) -> tuple[str, ...]:
    """What the leads are read from."""
    return ("moses", "moses_scaffolds") if config.leads.world == "moses" else ()
