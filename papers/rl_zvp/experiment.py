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

LIMITS = {**run.LIMITS, "desk": run.LIMITS["laptop"]}
ALPHAS = (0.05, 0.1, 0.2, 0.3, 1.0)
SEEDS_PER_JOB = 10
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


class Hard(Settings):
    """What the hard setting of language models changes in `run`; defaults are the 8B column of Table 6.

    Attributes:
        task, dataset, mix: Prompts and verifier, as of `common.rl.run.Run`.
        learning_rate: Of the arms that `BEST` does not name.
        batch, mini_batch, group_size, max_response, iterations: Budgets, as of `Run`.
        curve_every: Rollout batches between points of the learning curve.
        seeds: Of each arm; 0 leaves the setting out.
    """

    task: str = "math"
    dataset: str = "BytedTsinghua-SIA/DAPO-Math-17k"
    mix: str = ""
    learning_rate: float = paper(1e-6, "Table 6")
    batch: int = paper(8192, "Table 6, 512 prompts of 16")
    mini_batch: int = paper(512, "Table 6, 32 prompts of 16")
    group_size: int = paper(16, "Table 6")
    max_response: int = paper(8192, "Table 6")
    iterations: int = paper(66, "Table 6, 1056 steps of 16 a batch")
    curve_every: int = 0
    seeds: int = 1


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
        run: The language-model runs (tier C) of the easy setting.
        hard: How those of the hard setting differ.
        objective: What an arm is trained with.
        filter_rounds: Most generation rounds of a batch with dynamic sampling.
        tabular: Tier B.
        theory: Tier A.
        easy_seeds: Seeds of the easy setting.
    """

    run: PaperRun = PaperRun()
    hard: Hard = Hard()
    objective: Objective = Objective()
    filter_rounds: int = 2
    tabular: Tabular = Tabular()
    theory: Theory = Theory()
    easy_seeds: int = 1

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
    "run.mix": "0.60,0.30,0.10,0.00",
    "objective.schedule": "constant",
    "objective.warmup_steps": 0,
    "easy_seeds": 5,
    "hard.task": "common.tasks.opchain_proofs.training:ProvenOpChain",
    "hard.mix": "0.05,0.00,0.05,0.90",
    "hard.batch": 256,
    "hard.mini_batch": 64,
    "hard.group_size": 8,
    "hard.max_response": 20,
    "hard.iterations": 200,
    "hard.curve_every": 25,
    "hard.seeds": 0,
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
        "hard.batch": 32,
        "hard.mini_batch": 16,
        "hard.iterations": 2,
        "hard.seeds": 1,
        "tabular.seeds": 2,
        "tabular.iterations": 8,
        "tabular.prompts": 8,
        "tabular.vocabulary": 6,
        "theory.policies": 20,
    },
    "laptop": POCKET,
    "desk": POCKET | {"hard.seeds": 10},
    "gpu": POCKET
    | {
        "run.model": "scratch",
        "run.batch": 192,
        "run.mini_batch": 24,
        "run.max_response": 40,
        "run.iterations": 100,
        "hard.seeds": 10,
    },
    "paper": {},
}

HARD_BUDGETS = ("task", "learning_rate", "batch", "mini_batch", "max_response")
ONE_GPU = {
    **run.ONE_GPU,
    "run.evaluation_samples": 8,
    "run.evaluation_top_p": 0.7,
    "objective.schedule": "constant",
    "easy_seeds": 1,
    **{f"hard.{name}": run.ONE_GPU[f"run.{name}"] for name in HARD_BUDGETS},
    "hard.group_size": 8,
    "hard.iterations": 42,
    "hard.curve_every": 0,
    "hard.seeds": 1,
}
"""What a model of the user's own changes at the `gpu` profile."""

BEST: dict[str, dict[str, Scalar]] = {
    "grpo": {"arm": "grpo", "learning_rate": 3e-4},
    "zvp": {"arm": "zvp", "learning_rate": 1e-4, "zvp_alpha": 1.0},
    "small": {"arm": "zvp", "learning_rate": 1e-4},
    "const": {"arm": "const", "learning_rate": 1e-4, "zvp_alpha": 1.0},
    "shuffle": {"arm": "shuffle", "learning_rate": 1e-4, "zvp_alpha": 1.0},
    "flip": {"arm": "flip", "learning_rate": 3e-4, "zvp_alpha": 1.0},
}
"""Arms of the hard setting, each at its best of one grid on development seeds (see the card) on OpChain;
"small" is RL-ZVP at the paper's scale."""

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

    Sweeps: ``theory``; ``tabular_easy``, ``tabular_hard``, ``filters``; ``easy``, ``proofs``.
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
    for mix in ("easy", "hard"):
        for arm in ("ds", "greso"):
            yield from _tabular(config, seeds, "filters", mix, arm, own)


def _tabular(
    config: Config, seeds: Sequence[int], sweep: str, mix: str, arm: str, alpha: float
) -> Iterator[Job]:
    setting = {
        "mix": mix,
        "arm": arm,
        "alpha": alpha,
        "prompts": config.tabular.prompts,
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
    """Language-model runs: GRPO, RL-ZVP and dynamic sampling on the easy setting, `BEST` on the hard one.

    Dynamic sampling generates at most `filter_rounds` times for a batch. With the two of the pocket profiles
    it takes half as many gradient steps as the others, so that its rollouts do not exceed theirs (DS-r).
    """
    own = config.hard.model_dump(exclude={"seeds"})
    hard = config.changed({f"run.{name}": value for name, value in own.items()})
    halved = max(1, config.run.iterations // 2)
    filtered = config.changed({"run.iterations": halved, "run.curve_samples": 0})  # no figure shows its curve
    for seed in seeds[: config.easy_seeds]:
        for arm in ("grpo", "zvp", "ds"):
            yield _training(filtered if arm == "ds" else config, "easy", arm, seed)
    for seed in seeds[: config.hard.seeds]:
        for arm in BEST:
            yield _training(hard, "proofs", arm, seed)


def _training(config: Config, sweep: str, arm: str, seed: int) -> Job:
    arguments = {**config.run.model_dump(), **config.objective.model_dump(), "arm": arm}
    if sweep == "proofs":
        pocket = config.run.model in run.OPCHAIN_MODELS
        arguments |= BEST[arm] if pocket else {"arm": BEST[arm]["arm"]}
    if arm == "ds":
        arguments["generation_rounds"] = config.filter_rounds
    mix = {"easy": "easy", "proofs": "hard"}[sweep]
    labels: dict[str, Scalar] = {"arm": arm, "mix": mix, "alpha": arguments["zvp_alpha"]}
    own = Run.read(arguments)
    return Job(
        sweep, labels, "papers.rl_zvp.runs.training:train", arguments, (seed,), own.inputs(seed), own.modules
    )
