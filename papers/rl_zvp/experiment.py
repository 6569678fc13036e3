"""The study of RL-ZVP: configuration with the paper's values, profiles as differences, jobs by sweep.

Three tiers share one advantage function: exact theory (`theory`), a tabular policy (`simulate`, `filtering`),
and language models trained through `RLZVPTrainer` (`train`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from common.rlvr import run
from common.rlvr.run import Run, fit_to_model
from common.study.configuration import paper
from common.study.jobs import Job, Scalar

LIMITS = {
    "smoke": {"seconds": 300.0, "memory": 1800.0},
    "laptop": {"seconds": 900.0, "memory": 1800.0},
    "gpu": {"seconds": 7 * 86400.0, "memory": 120_000.0},
    "paper": {"seconds": 30 * 86400.0, "memory": 1_500_000.0},
}
ALPHAS = (0.05, 0.1, 0.2, 0.3, 1.0)
SEEDS_PER_JOB = 10
MIXES = {"hard": "0.05,0.05,0.40,0.50", "easy": "0.60,0.30,0.10,0.00"}
"""OpChain's levels E, M, H, X in the training prompts: mostly never solved, mostly always solved."""
SETS = (
    "Minerva=math-ai/minervamath,AMC23=math-ai/amc23,MATH500=HuggingFaceH4/MATH-500,"
    "AIME24=math-ai/aime24,AIME25=math-ai/aime25,Olympiad=Hothan/OlympiadBench"
)


@dataclass(frozen=True)
class Config:
    """Defaults are the paper's small-scale run; what the paper does not say carries no place.

    Attributes:
        model: Hub id, ``pocket`` (committed checkpoints) or ``scratch`` (a warm start built on first use).
        task: ``math`` or ``opchain``.
        dataset: Training problems of the easy setting, for ``math``; the mix of OpChain stands in for it.
        hard_dataset: The same for the hard setting.
        evaluation_sets: Evaluation sets of ``math``.
        zvp_alpha: α of RL-ZVP.
        epsilon_low: Lower clip range.
        epsilon_high: Upper clip range.
        kl_coefficient: Weight of the KL term to the reference.
        learning_rate: AdamW's.
        schedule: Of the learning rate.
        warmup_steps: Of the learning rate.
        batch: Completions per rollout batch.
        mini_batch: Completions per optimizer step; batch / mini_batch is μ.
        group_size: Completions per prompt, G.
        max_response: Most tokens of a response.
        iterations: Rollout batches.
        training_prompts: Distinct training prompts; 0 means the whole dataset.
        filter_rounds: Most generation rounds of a batch with dynamic sampling.
        evaluation_samples: Samples per question at the end.
        pass_at: k of the reported pass@k.
        curve_samples: Samples per question at the points of the learning curve; 0 leaves the curve out.
        evaluation_temperature: Sampling temperature of evaluations.
        evaluation_top_p: Nucleus of evaluations.
        evaluation_prompts: Held-out prompts, of each set; 0 means all.
        easy_seeds: Seeds of GRPO, RL-ZVP and the two scale-matched controls on the easy setting.
        other_seeds: Seeds of the other language-model arms.
        save_every: Optimizer steps between checkpoints.
        training_rows: Most completions per forward-backward pass; 0 is a whole mini-batch.
        scoring_batch: Rows per forward when sampled completions are scored.
        vllm: Sample rollouts with vLLM in the trainer's process.
        tabular_seeds: Seeds of each tabular arm.
        tabular_iterations: Batches of a tabular run.
        tabular_prompts: Prompts of a tabular run.
        tabular_vocabulary: Tokens V of a tabular policy.
        theory_policies: Policies that are moved over all success rates.
        theory_draws: Random groups on which Eq. 5 is checked; half as many policies for the identities.
    """

    model: str = paper("Qwen/Qwen3-1.7B-Base", "Table 6")
    task: str = "math"
    dataset: str = "nlile/hendrycks-MATH-benchmark"
    hard_dataset: str = "BytedTsinghua-SIA/DAPO-Math-17k"
    evaluation_sets: str = SETS
    zvp_alpha: float = paper(0.1, "Table 6")
    epsilon_low: float = paper(0.2, "Table 6")
    epsilon_high: float = paper(0.28, "Table 6")
    kl_coefficient: float = paper(0.0, "App. C")
    learning_rate: float = paper(3e-6, "Table 6")
    schedule: str = paper("cosine", "Table 6")
    warmup_steps: int = paper(4, "Table 6")
    batch: int = paper(4096, "Table 6, 512 prompts of 8")
    mini_batch: int = paper(256, "Table 6, 32 prompts of 8")
    group_size: int = paper(8, "Table 6")
    max_response: int = paper(4096, "Table 6")
    iterations: int = paper(42, "Table 6, 672 steps of 16 a batch")
    training_prompts: int = 0
    filter_rounds: int = 2
    evaluation_samples: int = paper(8, "Table 1")
    pass_at: int = paper(8, "Table 1")
    curve_samples: int = 8
    evaluation_temperature: float = paper(1.0, "Table 6")
    evaluation_top_p: float = paper(0.7, "Table 6")
    evaluation_prompts: int = 0
    easy_seeds: int = 1
    other_seeds: int = 1
    save_every: int = 16
    training_rows: int = 4
    scoring_batch: int = 4
    vllm: bool = True
    tabular_seeds: int = 30
    tabular_iterations: int = 20
    tabular_prompts: int = 32
    tabular_vocabulary: int = 16
    theory_policies: int = 100
    theory_draws: int = 2000

    def __post_init__(self) -> None:
        """A model of the user's own at the `gpu` profile brings `ONE_GPU`; values that were set stay."""
        fit_to_model(self, PROFILES["gpu"], ONE_GPU)


POCKET: dict[str, Any] = {
    "model": "pocket",
    "task": "opchain",
    "learning_rate": 1e-4,
    "schedule": "constant",
    "warmup_steps": 0,
    "batch": 64,
    "mini_batch": 16,
    "max_response": 32,
    "iterations": 24,
    "evaluation_top_p": 1.0,
    "training_prompts": 600,
    "training_rows": 0,
    "scoring_batch": 64,
    "vllm": False,
    "evaluation_prompts": 200,
    "easy_seeds": 10,
    "other_seeds": 5,
    "save_every": 80,
}

PROFILES: dict[str, dict[str, Any]] = {
    "smoke": POCKET
    | {
        "iterations": 2,
        "batch": 32,
        "max_response": 16,
        "training_prompts": 40,
        "evaluation_prompts": 12,
        "easy_seeds": 1,
        "other_seeds": 1,
        "tabular_seeds": 2,
        "tabular_iterations": 8,
        "tabular_prompts": 8,
        "tabular_vocabulary": 6,
        "theory_policies": 20,
    },
    "laptop": POCKET,
    "gpu": POCKET
    | {"model": "scratch", "batch": 192, "mini_batch": 24, "max_response": 40, "iterations": 100},
    "paper": {},
}

ONE_GPU = {
    **run.ONE_GPU,
    "schedule": "constant",
    "evaluation_samples": 8,
    "evaluation_top_p": 0.7,
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
        "identities": {"policies": config.theory_draws // 2, "vocabulary": 3, "length": 3},
        "halves": {"policies": config.theory_policies, "vocabulary": 3, "length": 3},
        "advantage_rules": {
            "draws": config.theory_draws,
            "group_size": 8,
            "length": 6,
            "alpha": config.zvp_alpha,
        },
    }
    for name, arguments in analyses.items():
        yield Job("theory", {"analysis": name}, f"papers.rl_zvp.theory:{name}", arguments, tuple(seeds[:1]))


def tabular_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """The tabular arms; arms of one seed share start, correct sets and sampling noise."""
    for mix in ("easy", "hard"):
        for arm in ("grpo", "zvp", *ABLATIONS, *CONTROLS):
            yield from _tabular(config, seeds, f"tabular_{mix}", mix, arm, config.zvp_alpha)
        for alpha in ALPHAS:
            if alpha != config.zvp_alpha:
                yield from _tabular(config, seeds, f"tabular_{mix}", mix, "zvp", alpha)
    for alpha in ALPHAS:
        if alpha != config.zvp_alpha:
            yield from _tabular(config, seeds, "tabular_hard", "hard", "const", alpha)
    for arm in ("grpo", "zvp", "no_negative", "constant_max"):
        yield from _tabular(config, seeds, "tabular_unsolvable", "unsolvable", arm, config.zvp_alpha)
    for mix in ("easy", "hard"):
        for arm in ("ds", "greso"):
            yield from _tabular(config, seeds, "filters", mix, arm, config.zvp_alpha)


def _tabular(
    config: Config, seeds: Sequence[int], sweep: str, mix: str, arm: str, alpha: float
) -> Iterator[Job]:
    unsolvable = config.tabular_prompts // 4 if mix == "unsolvable" else 0
    setting = {
        "mix": mix,
        "arm": arm,
        "alpha": alpha,
        "prompts": config.tabular_prompts + unsolvable,
        "group_size": 8,
        "iterations": config.tabular_iterations,
        "epsilon_low": config.epsilon_low,
        "epsilon_high": config.epsilon_high,
        "vocabulary": config.tabular_vocabulary,
        **TABULAR,
    }
    labels: dict[str, Scalar] = {"mix": mix, "arm": arm, "alpha": alpha}
    module = "filtering" if sweep == "filters" else "simulate"
    chosen = seeds[: config.tabular_seeds]
    for start in range(0, len(chosen), SEEDS_PER_JOB):
        part = tuple(chosen[start : start + SEEDS_PER_JOB])
        yield Job(sweep, labels, f"papers.rl_zvp.{module}:simulate", setting, part)


def training_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Language-model runs on both settings: GRPO, RL-ZVP, two controls on the easy one, dynamic sampling.

    Dynamic sampling generates at most `filter_rounds` times for a batch. With the two of the pocket profiles
    it takes half as many gradient steps as the others, so that its rollouts do not exceed theirs (DS-r).
    """
    quiet = replace(config, curve_samples=0)  # no figure shows the curves of controls and filters
    filtered = replace(quiet, iterations=max(1, config.iterations // 2))
    for seed in seeds[: config.easy_seeds]:
        for arm in ("grpo", "zvp", "const", "shuffle"):
            yield _training(config if arm in ("grpo", "zvp") else quiet, "easy", arm, seed)
    for seed in seeds[: config.other_seeds]:
        for arm in ("grpo", "zvp"):
            yield _training(config, "hard", arm, seed)
        for sweep in ("easy", "hard"):
            yield _training(filtered, sweep, "ds", seed)


def _training(config: Config, sweep: str, arm: str, seed: int) -> Job:
    outside = ("theory_", "tabular_", "easy_seeds", "other_seeds", "hard_dataset", "filter_rounds")
    settings = {name: value for name, value in asdict(config).items() if not name.startswith(outside)}
    arguments = {
        **settings,
        "arm": arm,
        "dataset": config.hard_dataset if sweep == "hard" else config.dataset,
        "mix": MIXES[sweep],
        "generation_rounds": config.filter_rounds if arm == "ds" else 1,
    }
    labels: dict[str, Scalar] = {"arm": arm, "mix": sweep, "alpha": config.zvp_alpha}
    return Job(
        sweep, labels, "papers.rl_zvp.train:train", arguments, (seed,), Run.read(arguments).inputs(seed)
    )
