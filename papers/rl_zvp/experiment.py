"""The study of RL-ZVP: configuration with the paper's values, profiles as differences, jobs by sweep.

Three tiers share one advantage function: exact checks (`runs.theory`), a tabular policy (`runs.tabular`), and
language models trained through `RLZVPTrainer` (`runs.training`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

from common.rl import run
from common.rl.run import Run, fit_to_model
from common.study.configuration import Settings, paper
from common.study.jobs import Job, Scalar, portions

LIMITS = run.LIMITS
ALPHAS = (0.05, 0.1, 0.2, 0.3, 1.0)
SEEDS_PER_JOB = 10
MIXES = {"hard": "0.05,0.05,0.40,0.50", "easy": "0.60,0.30,0.10,0.00"}
"""OpChain's levels E, M, H, X in the training prompts: mostly never solved, mostly always solved."""
SETS = (
    "Minerva=math-ai/minervamath,AMC23=math-ai/amc23,MATH500=HuggingFaceH4/MATH-500,"
    "AIME24=math-ai/aime24,AIME25=math-ai/aime25,Olympiad=Hothan/OlympiadBench"
)


class PaperRun(Run):
    """The paper's small-scale run; what the paper does not say carries no place."""

    model: str = paper("Qwen/Qwen3-1.7B-Base", "Table 6")
    task: str = "math"
    dataset: str = "nlile/hendrycks-MATH-benchmark"
    evaluation_sets: str = SETS
    learning_rate: float = paper(3e-6, "Table 6")
    batch: int = paper(4096, "Table 6, 512 prompts of 8")
    mini_batch: int = paper(256, "Table 6, 32 prompts of 8")
    group_size: int = paper(8, "Table 6")
    max_response: int = paper(4096, "Table 6")
    kl_coefficient: float = paper(0.0, "App. C")
    iterations: int = paper(42, "Table 6, 672 steps of 16 a batch")
    training_prompts: int = 0
    evaluation_samples: int = paper(8, "Table 1")
    pass_at: int = paper(8, "Table 1")
    curve_samples: int = 8
    evaluation_temperature: float = paper(1.0, "Table 6")
    evaluation_top_p: float = paper(0.7, "Table 6")
    evaluation_prompts: int = 0
    save_every: int = 16
    training_rows: int = 4
    scoring_batch: int = 4
    vllm: bool = True


class Objective(Settings):
    """What every arm is trained with.

    Attributes:
        zvp_alpha: α of RL-ZVP.
        epsilon_low: Lower clip range.
        epsilon_high: Upper clip range.
        schedule: Of the learning rate.
        warmup_steps: Of the learning rate.
    """

    zvp_alpha: float = paper(0.1, "Table 6")
    epsilon_low: float = paper(0.2, "Table 6")
    epsilon_high: float = paper(0.28, "Table 6")
    schedule: str = paper("cosine", "Table 6")
    warmup_steps: int = paper(4, "Table 6")


class Tabular(Settings):
    """Tier B.

    Attributes:
        seeds: Of each arm.
        iterations: Rollout batches.
        prompts: Prompts.
        vocabulary: Tokens V of the policy.
    """

    seeds: int = 30
    iterations: int = 20
    prompts: int = 32
    vocabulary: int = 16


class Theory(Settings):
    """Tier A.

    Attributes:
        policies: Policies that are moved over all success rates.
        draws: Random groups on which Eq. 5 is checked; half as many policies for the identities.
    """

    policies: int = 100
    draws: int = 2000


class Config(Settings):
    """Defaults are the paper's small-scale run.

    Attributes:
        run: The language-model runs (tier C) of the easy setting; the mix of OpChain stands in for its data.
        hard_dataset: Training problems of the hard setting, for ``math``.
        objective: What an arm is trained with.
        filter_rounds: Most generation rounds of a batch with dynamic sampling.
        tabular: Tier B.
        theory: Tier A.
        easy_seeds: Seeds of GRPO, RL-ZVP and the two scale-matched controls on the easy setting.
        other_seeds: Seeds of the other language-model arms.
    """

    run: PaperRun = PaperRun()
    hard_dataset: str = "BytedTsinghua-SIA/DAPO-Math-17k"
    objective: Objective = Objective()
    filter_rounds: int = 2
    tabular: Tabular = Tabular()
    theory: Theory = Theory()
    easy_seeds: int = 1
    other_seeds: int = 1

    def resolved(self) -> Self:
        """A model of the user's own at the `gpu` profile brings `ONE_GPU`."""
        return fit_to_model(self, PROFILES["gpu"], ONE_GPU)


POCKET: dict[str, Any] = {
    "run.model": "pocket",
    "run.task": "opchain",
    "run.learning_rate": 1e-4,
    "run.batch": 64,
    "run.mini_batch": 16,
    "run.max_response": 32,
    "run.iterations": 24,
    "run.evaluation_top_p": 1.0,
    "run.training_prompts": 600,
    "run.training_rows": 0,
    "run.scoring_batch": 64,
    "run.vllm": False,
    "run.evaluation_prompts": 200,
    "run.save_every": 80,
    "objective.schedule": "constant",
    "objective.warmup_steps": 0,
    "easy_seeds": 10,
    "other_seeds": 5,
}

PROFILES: dict[str, dict[str, Any]] = {
    "smoke": POCKET
    | {
        "run.iterations": 2,
        "run.batch": 32,
        "run.max_response": 16,
        "run.training_prompts": 40,
        "run.evaluation_prompts": 12,
        "easy_seeds": 1,
        "other_seeds": 1,
        "tabular.seeds": 2,
        "tabular.iterations": 8,
        "tabular.prompts": 8,
        "tabular.vocabulary": 6,
        "theory.policies": 20,
    },
    "laptop": POCKET,
    "gpu": POCKET
    | {
        "run.model": "scratch",
        "run.batch": 192,
        "run.mini_batch": 24,
        "run.max_response": 40,
        "run.iterations": 100,
    },
    "paper": {},
}

ONE_GPU = {
    **run.ONE_GPU,
    "run.evaluation_samples": 8,
    "run.evaluation_top_p": 0.7,
    "objective.schedule": "constant",
    "easy_seeds": 1,
    "other_seeds": 1,
}
"""What a model of the user's own changes at the `gpu` profile."""

TABULAR: dict[str, Any] = {
    "inner_steps": 4,
    "learning_rate": 0.03,
    "length": 3,
    "sigma_shared": 2.2,
    "sigma_private": 1.0,
}
"""The tabular world and its optimizer."""

ABLATIONS = ("no_negative", "no_positive", "unit")
CONTROLS = ("const", "shuffle", "alpha", "sym", "constant_max", "flip")


def jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """Every job of the study.

    Sweeps: ``theory``; ``tabular_easy``, ``tabular_hard``, ``tabular_unsolvable``, ``filters``; ``easy``,
    ``hard``.
    """
    return [*theory_jobs(config, seeds), *tabular_jobs(config, seeds), *training_jobs(config, seeds)]


def theory_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Exact checks; each draws its instances from the first seed."""
    analyses: dict[str, dict[str, Scalar]] = {
        "identities": {"policies": config.theory.draws // 2, "vocabulary": 3, "length": 3},
        "halves": {"policies": config.theory.policies, "vocabulary": 3, "length": 3},
        "advantage_rules": {
            "draws": config.theory.draws,
            "group_size": 8,
            "length": 6,
            "alpha": config.objective.zvp_alpha,
        },
    }
    for name, arguments in analyses.items():
        yield Job(
            "theory", {"analysis": name}, f"papers.rl_zvp.runs.theory:{name}", arguments, tuple(seeds[:1])
        )


def tabular_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """The tabular arms; arms of one seed share start, correct sets and sampling noise."""
    own = config.objective.zvp_alpha
    for mix in ("easy", "hard"):
        for arm in ("grpo", "zvp", *ABLATIONS, *CONTROLS):
            yield from _tabular(config, seeds, f"tabular_{mix}", mix, arm, own)
        for alpha in ALPHAS:
            if alpha != own:
                yield from _tabular(config, seeds, f"tabular_{mix}", mix, "zvp", alpha)
    for alpha in ALPHAS:
        if alpha != own:
            yield from _tabular(config, seeds, "tabular_hard", "hard", "const", alpha)
    for arm in ("grpo", "zvp", "no_negative", "constant_max"):
        yield from _tabular(config, seeds, "tabular_unsolvable", "unsolvable", arm, own)
    for mix in ("easy", "hard"):
        for arm in ("ds", "greso"):
            yield from _tabular(config, seeds, "filters", mix, arm, own)


def _tabular(
    config: Config, seeds: Sequence[int], sweep: str, mix: str, arm: str, alpha: float
) -> Iterator[Job]:
    unsolvable = config.tabular.prompts // 4 if mix == "unsolvable" else 0
    setting = {
        "mix": mix,
        "arm": arm,
        "alpha": alpha,
        "prompts": config.tabular.prompts + unsolvable,
        "group_size": 8,
        "iterations": config.tabular.iterations,
        "epsilon_low": config.objective.epsilon_low,
        "epsilon_high": config.objective.epsilon_high,
        "vocabulary": config.tabular.vocabulary,
        **TABULAR,
    }
    labels: dict[str, Scalar] = {"mix": mix, "arm": arm, "alpha": alpha}
    entry = "simulate_filter" if sweep == "filters" else "simulate"
    for part in portions(seeds[: config.tabular.seeds], SEEDS_PER_JOB):
        yield Job(sweep, labels, f"papers.rl_zvp.runs.tabular:{entry}", setting, part)


def training_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Language-model runs on both settings: GRPO, RL-ZVP, two controls on the easy one, dynamic sampling.

    Dynamic sampling generates at most `filter_rounds` times for a batch. With the two of the pocket profiles
    it takes half as many gradient steps as the others, so that its rollouts do not exceed theirs (DS-r).
    """
    quiet = config.changed({"run.curve_samples": 0})  # no figure shows the curves of controls and filters
    filtered = quiet.changed({"run.iterations": max(1, config.run.iterations // 2)})
    for seed in seeds[: config.easy_seeds]:
        for arm in ("grpo", "zvp", "const", "shuffle"):
            yield _training(config if arm in ("grpo", "zvp") else quiet, "easy", arm, seed)
    for seed in seeds[: config.other_seeds]:
        for arm in ("grpo", "zvp"):
            yield _training(config, "hard", arm, seed)
        for sweep in ("easy", "hard"):
            yield _training(filtered, sweep, "ds", seed)


def _training(config: Config, sweep: str, arm: str, seed: int) -> Job:
    arguments = {
        **config.run.model_dump(),
        **config.objective.model_dump(),
        "arm": arm,
        "dataset": config.hard_dataset if sweep == "hard" else config.run.dataset,
        "mix": MIXES[sweep],
        "generation_rounds": config.filter_rounds if arm == "ds" else 1,
    }
    labels: dict[str, Scalar] = {"arm": arm, "mix": sweep, "alpha": config.objective.zvp_alpha}
    run = Run.read(arguments)
    return Job(
        sweep, labels, "papers.rl_zvp.runs.training:train", arguments, (seed,), run.inputs(seed), run.modules
    )
