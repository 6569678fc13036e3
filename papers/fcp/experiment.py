"""The study of FCP: configuration with the paper's values, profiles as differences, jobs by sweep.

Two tiers: exact checks on random worlds (`theory`), and policies on VerbalArith (`train`) whose environment
writes critiques from templates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from pydantic import model_validator

from common.rl.run import pocket_files
from common.study.configuration import Settings, paper
from common.study.errors import StudyError
from common.study.jobs import Job, Scalar

LIMITS = {
    "smoke": {"seconds": 300.0, "memory": 1800.0},
    "laptop": {"seconds": 900.0, "memory": 1800.0},
    "gpu": {"seconds": 86400.0, "memory": 64_000.0},
    "paper": {"seconds": 30 * 86400.0, "memory": 1_500_000.0},
}
PREFIX = "verbal-arith"
MODELS = ("pocket", "scratch")


class Config(Settings):
    """Defaults are the paper's own run; what the paper does not say carries no place.

    Attributes:
        model: ``pocket`` (committed checkpoints), ``scratch`` (a larger base policy trained on first use), or
            the paper's, which this study cannot run.
        offline_samples: Responses of the base policy per training question.
        offline_prompts: Training questions of the offline stage.
        offline_learning_rate: AdamW's peak, offline.
        offline_warmup: Share of the offline steps that warm up; then a cosine to 0.
        offline_batch: Pairs per optimizer step.
        offline_epochs: Passes over the offline data.
        online_learning_rate: AdamW's, constant, of FCP+Bootstrap.
        grpo_learning_rate: The same of GRPO.
        weight_decay: Of the online stage.
        online_prompts: Prompts per rollout batch.
        group_size: Rollouts per prompt.
        optimizer_steps: Optimizer steps per rollout batch: 2048 prompts in mini-batches of 512.
        rounds: Rollout batches.
        evaluation_prompts: Held-out questions.
        evaluation_samples: Samples per question at temperature 1; greedy answers come on top.
        main_seeds: Seeds of base, FCP, RFT, FCP+Bootstrap and GRPO.
        control_seeds: Seeds of the other arms and of the composition study.
        ablation_seeds: Seeds of Table 5; 0 leaves it out.
        theory_draws: Random worlds of each exact check.
    """

    model: str = paper("Qwen/Qwen2.5-7B", "Experiments")
    offline_samples: int = paper(8, "Experiments")
    offline_prompts: int = 251_000
    offline_learning_rate: float = paper(5e-6, "Table 6")
    offline_warmup: float = paper(0.1, "Table 6")
    offline_batch: int = paper(512, "Table 6")
    offline_epochs: int = paper(1, "Table 6")
    online_learning_rate: float = paper(1e-6, "Table 6")
    grpo_learning_rate: float = 1e-6
    weight_decay: float = paper(0.01, "Table 6")
    online_prompts: int = paper(2048, "Table 6")
    group_size: int = paper(4, "Table 6")
    optimizer_steps: int = 4
    rounds: int = 75
    evaluation_prompts: int = 500
    evaluation_samples: int = 4
    main_seeds: int = 1
    control_seeds: int = 1
    ablation_seeds: int = 1
    theory_draws: int = 1000

    @model_validator(mode="after")
    def _fit(self) -> Self:
        """Refuse the values that no job could run."""
        if self.control_seeds > self.main_seeds:
            raise StudyError(
                f"control_seeds={self.control_seeds} must not exceed main_seeds={self.main_seeds}"
            )
        return self


POCKET: dict[str, Any] = {
    "model": "pocket",
    "offline_prompts": 1200,
    "offline_samples": 4,
    "offline_learning_rate": 2e-3,
    "offline_batch": 16,
    "offline_epochs": 6,
    "online_learning_rate": 3e-5,
    "grpo_learning_rate": 5e-4,
    "online_prompts": 64,
    "rounds": 12,
    "evaluation_prompts": 120,
    "main_seeds": 10,
    "control_seeds": 5,
    "ablation_seeds": 0,
}

PROFILES: dict[str, dict[str, Any]] = {
    "smoke": POCKET
    | {
        "offline_prompts": 30,
        "offline_epochs": 1,
        "online_prompts": 4,
        "rounds": 2,
        "evaluation_prompts": 6,
        "evaluation_samples": 2,
        "main_seeds": 1,
        "control_seeds": 1,
    },
    "laptop": POCKET,
    "gpu": POCKET
    | {
        "model": "scratch",
        "offline_learning_rate": 3e-4,
        "online_learning_rate": 3e-5,
        "grpo_learning_rate": 1e-4,
        "online_prompts": 128,
        "rounds": 25,
        "control_seeds": 10,
        "ablation_seeds": 10,
    },
    "paper": {},
}


def jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """Every job of the study. Sweeps: ``theory``, ``main``, ``controls``, ``composition``, ``ablations``.

    Raises:
        StudyError: a model of natural language, for which the study lacks data and a critic.
    """
    if config.model not in MODELS:
        raise StudyError(
            f"model '{config.model}' cannot run in this study, which lacks the paper's prompts (Big-Math, "
            "WebInstruct), its seven benchmarks and its paid critic. The trainers run on such a model: see "
            "papers/fcp/README.md, with common.judge.api as the critic. Use PROFILE=laptop or gpu here"
        )
    return [*theory_jobs(config, seeds), *training_jobs(config, seeds)]


def theory_jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """Exact checks; each draws its worlds from the first seed."""
    world = {"draws": config.theory_draws, "responses": 6, "critiques": 4}
    analyses: dict[str, dict[str, Scalar]] = {
        "offline": {},
        "link_to_rl": {},
        "fixed_point": {"rounds": 10},
        "example": {"rounds": 10},
    }
    return [
        Job(
            "theory",
            {"analysis": name},
            f"papers.fcp.runs.theory:{name}",
            {**world, **more},
            tuple(seeds[:1]),
        )
        for name, more in analyses.items()
    ]


def training_jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """One job per seed and sweep; arms of a seed share base policy and offline data."""
    counts = {
        "main": config.main_seeds,
        "controls": config.control_seeds,
        "composition": config.control_seeds,
        "ablations": config.ablation_seeds,
    }
    found = []
    for sweep, count in counts.items():
        for index, seed in enumerate(seeds[:count]):
            extra: dict[str, Scalar] = {"controls": index < config.control_seeds} if sweep == "main" else {}
            found.append(_training(config, sweep, seed, extra))
    return found


def _training(config: Config, sweep: str, seed: int, extra: dict[str, Scalar]) -> Job:
    outside = ("theory_draws", "main_seeds", "control_seeds", "ablation_seeds")
    online = ("online_", "grpo_", "weight_decay", "group_size", "optimizer_steps", "rounds")
    names = [name for name in type(config).model_fields if name not in outside]
    if sweep in ("controls", "composition"):
        names = [name for name in names if not name.startswith(online)]
    arguments = {name: getattr(config, name) for name in names} | extra
    inputs = pocket_files(seed, PREFIX) if config.model == "pocket" else ()
    return Job(sweep, {}, f"papers.fcp.runs.training:{sweep}", arguments, (seed,), inputs)
