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
from common.tasks.verbal_arith import NAME

LIMITS = {
    "smoke": {"seconds": 300.0, "memory": 1800.0},
    "laptop": {"seconds": 900.0, "memory": 1800.0},
    "gpu": {"seconds": 86400.0, "memory": 64_000.0},
    "paper": {"seconds": 30 * 86400.0, "memory": 1_500_000.0},
}
MODELS = ("pocket", "scratch")


class Offline(Settings):
    """The offline stage of every supervised arm.

    Attributes:
        samples: Responses of the base policy per training question.
        prompts: Training questions.
        learning_rate: AdamW's peak.
        warmup: Share of the steps that warm up; then a cosine to 0.
        batch: Pairs per optimizer step.
        epochs: Passes over the data.
    """

    samples: int = paper(8, "Experiments")
    prompts: int = 251_000
    learning_rate: float = paper(5e-6, "Table 6")
    warmup: float = paper(0.1, "Table 6")
    batch: int = paper(512, "Table 6")
    epochs: int = paper(1, "Table 6")


class Online(Settings):
    """The online stage, of FCP+Bootstrap and of GRPO.

    Attributes:
        learning_rate: AdamW's, constant, of FCP+Bootstrap.
        grpo_learning_rate: AdamW's, constant, of GRPO.
        weight_decay: AdamW's.
        prompts: Prompts per rollout batch.
        group_size: Rollouts per prompt.
        optimizer_steps: Optimizer steps per rollout batch: 2048 prompts in mini-batches of 512.
        rounds: Rollout batches.
    """

    learning_rate: float = paper(1e-6, "Table 6")
    grpo_learning_rate: float = 1e-6
    weight_decay: float = paper(0.01, "Table 6")
    prompts: int = paper(2048, "Table 6")
    group_size: int = paper(4, "Table 6")
    optimizer_steps: int = 4
    rounds: int = 75


class Config(Settings):
    """Defaults are the paper's own run; what the paper does not say carries no place.

    Attributes:
        model: ``pocket`` (committed checkpoints), ``scratch`` (a larger base policy trained on first use), or
            the paper's, which this study cannot run.
        offline: The offline stage.
        online: The online stage.
        evaluation_prompts: Held-out questions.
        evaluation_samples: Samples per question at temperature 1; greedy answers come on top.
        main_seeds: Seeds of base, FCP, RFT, FCP+Bootstrap, self-distillation and GRPO.
        control_seeds: Seeds of the other arms and of the composition study.
        ablation_seeds: Seeds of Table 5; 0 leaves it out.
        theory_draws: Random worlds of each exact check.
    """

    model: str = paper("Qwen/Qwen2.5-7B", "Experiments")
    offline: Offline = Offline()
    online: Online = Online()
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
    "offline.prompts": 1200,
    "offline.samples": 4,
    "offline.learning_rate": 2e-3,
    "offline.batch": 16,
    "offline.epochs": 6,
    "online.learning_rate": 3e-5,
    "online.grpo_learning_rate": 3e-4,
    "online.prompts": 128,
    "online.rounds": 20,
    "evaluation_prompts": 240,
    "evaluation_samples": 2,
    "main_seeds": 10,
    "control_seeds": 5,
    "ablation_seeds": 0,
}

PROFILES: dict[str, dict[str, Any]] = {
    "smoke": POCKET
    | {
        "offline.prompts": 30,
        "offline.epochs": 1,
        "online.prompts": 4,
        "online.rounds": 2,
        "evaluation_prompts": 6,
        "main_seeds": 1,
        "control_seeds": 1,
    },
    "laptop": POCKET,
    "gpu": POCKET
    | {
        "model": "scratch",
        "offline.learning_rate": 3e-4,
        "online.learning_rate": 3e-5,
        "online.grpo_learning_rate": 1e-4,
        "online.rounds": 25,
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
            "WebInstruct), its seven benchmarks and its paid critic; its trainers can: papers/fcp/README.md. "
            "Use PROFILE=laptop or gpu here"
        )
    return [*theory_jobs(config, seeds), *training_jobs(config, seeds)]


def theory_jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """Exact checks; each draws its worlds from the first seed."""
    world: dict[str, Scalar] = {"draws": config.theory_draws, "responses": 6, "critiques": 4}
    analyses: dict[str, dict[str, Scalar]] = {
        "offline": {},
        "link_to_rl": {},
        "fixed_point": {"rounds": 10},
        "example": {"rounds": 10},
    }
    seed = tuple(seeds[:1])
    return [
        Job("theory", {"analysis": name}, f"papers.fcp.runs.theory:{name}", world | more, seed)
        for name, more in analyses.items()
    ]


def training_jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """One job per seed and sweep; arms of a seed share base policy and offline data."""
    offline = {
        "model": config.model,
        **{f"offline_{name}": value for name, value in config.offline.model_dump().items()},
        "evaluation_prompts": config.evaluation_prompts,
        "evaluation_samples": config.evaluation_samples,
    }
    online = config.online.model_dump()
    both = offline | {f"online_{name}": online.pop(name) for name in ("learning_rate", "prompts")} | online
    sweeps = {
        "main": (config.main_seeds, both),
        "controls": (config.control_seeds, offline),
        "composition": (config.control_seeds, offline),
        "ablations": (config.ablation_seeds, both),
    }
    return [
        Job(
            sweep,
            {},
            f"papers.fcp.runs.training:{sweep}",
            settings | ({"controls": index < config.control_seeds} if sweep == "main" else {}),
            (seed,),
            pocket_files(seed, NAME) if config.model == "pocket" else (),
        )
        for sweep, (count, settings) in sweeps.items()
        for index, seed in enumerate(seeds[:count])
    ]
