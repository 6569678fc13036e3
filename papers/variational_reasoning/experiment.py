"""The study of variational reasoning: configuration with the paper's values, profiles as differences, jobs.

Two tiers: exact checks by enumeration (`theory`), and pocket models on Countdown. At `laptop` one job a seed
samples traces, scores them and trains the four arms of the primary claim; the other arms run at `desk`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from common.study.configuration import Settings, paper
from common.study.errors import StudyError
from common.study.jobs import Job, Scalar

CHECKS = ("bounds", "estimators", "forward_kl", "behaviour", "factors")
MAIN = "sft acc uniform shuffled"
ABLATIONS = "sft acc uniform without wrong gml lik k1 k2 k4 single single_mix mix overlap apart naive"
REVERSE = "papers.variational_reasoning.runs.proposals:reverse"
MANY = "sft acc uniform"
"""Arms of which pass@32 is measured."""
LIMITS = {"laptop": {"seconds": 900.0, "memory": 1800.0}, "desk": {"seconds": 3600.0, "memory": 1800.0}}


class Final(Settings):
    """A final model, π_θ of the paper's 1k setting: 5 epochs in batches of 16 questions (ours: sequences), K
    traces a question, answers to each trace, samples of a test question, all at one temperature.
    """

    batch: int = paper(16, "App. C, 1k")
    learning_rate: float = paper(1e-5, "App. C")
    temperature: float = paper(0.7, "App. C")
    traces: int = paper(8, "App. C")
    answers: int = paper(8, "App. C")
    samples: int = 8
    steps: int = 312


class Stages(Settings):
    """π_θ0 and q_φ: their training set, the faults of its teacher (`common.tasks.countdown.Teacher`), and
    their optimizer steps.
    """

    questions: int = paper(1000, "Sec. 4, 1k")
    steps: int = 627
    learning_rate: float = paper(1e-5, "App. C")
    slip: float = 0.25
    unsupported: float = 0.1


class Reverse(Settings):
    """Training of q_φ by the reverse KL; the paper runs none."""

    steps: int = 60
    questions: int = 32
    traces: int = 4
    rate: float = 5e-4


class Config(Settings):
    """Defaults are the paper's values where it has them.

    Attributes:
        model: ``pocket``, or the paper's, which this study cannot run.
        base_steps: Optimizer steps of a base policy (`common.tasks.countdown.warm_start`); three take turns.
        probe_questions: Whose gradients and prior traces are looked at.
        many_samples: Of a test question, for pass@k.
        draws: Random instances of the exact checks.
        seeds: Of the primary arms; `ablation_seeds` of the others.
    """

    model: str = paper("Qwen/Qwen2.5-7B-Instruct", "Sec. 4")
    final: Final = Final()
    stages: Stages = Stages()
    reverse: Reverse = Reverse()
    base_steps: int = 800
    test_questions: int = 300
    probe_questions: int = 100
    many_samples: int = 32
    draws: int = 1000
    seeds: int = 20
    ablation_seeds: int = 0


POCKET: dict[str, Any] = {
    "model": "pocket",
    "final.batch": 32,
    "final.learning_rate": 4e-3,
    "final.answers": 4,
    "final.steps": 300,
    "stages.questions": 900,
    "stages.steps": 300,
    "stages.learning_rate": 4e-3,
}
PROFILES: dict[str, dict[str, Any]] = {
    "smoke": POCKET
    | {
        "final.batch": 4,
        "final.traces": 2,
        "final.answers": 2,
        "final.samples": 2,
        "final.steps": 2,
        "stages.questions": 12,
        "stages.steps": 2,
        "reverse.steps": 1,
        "reverse.questions": 2,
        "reverse.traces": 2,
        "base_steps": 2,
        "test_questions": 6,
        "probe_questions": 4,
        "many_samples": 4,
        "seeds": 1,
        "ablation_seeds": 1,
    },
    "laptop": POCKET,
    "desk": POCKET | {"ablation_seeds": 10},
    "gpu": POCKET | {"ablation_seeds": 15},
    "paper": {},
}


def jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """Every job of the sweeps theory, main, ablations, clean and reverse.

    Raises:
        StudyError: a model of natural language, for which the study has neither traces nor verifiers.
    """
    if config.model != "pocket":
        raise StudyError(
            f"model '{config.model}' cannot run here: this study lacks the paper's traces and machines; its "
            "trainers can (see the README beside it). Use PROFILE=laptop"
        )
    return [*_theory(config, seeds), *_pocket(config, seeds)]


def _theory(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Exact checks; they draw their instances from the first seed."""
    for name in CHECKS:
        entry = f"papers.variational_reasoning.runs.theory:{name}"
        arguments: dict[str, Scalar] = {"draws": config.draws, "traces": 4}
        yield Job("theory", {"analysis": name}, entry, arguments, tuple(seeds[:1]))


def _pocket(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """One job a seed and sweep."""
    shared = _arguments(config)
    clean = {"slip": 0.0, "unsupported": 0.0}
    more = {"many": MANY, "many_samples": config.many_samples}
    reverse = {f"reverse_{name}": value for name, value in config.reverse.model_dump().items()}
    some = seeds[: config.ablation_seeds]
    training = "papers.variational_reasoning.runs.training"
    for seed in seeds[: config.seeds]:
        yield Job("main", {}, f"{training}:main", shared | {"arms": MAIN}, (seed,))
    for seed in some:
        yield Job("ablations", {}, f"{training}:ablations", shared | more | {"arms": ABLATIONS}, (seed,))
        none = {"arms": "sft acc", "many": "", "many_samples": 0}
        yield Job("clean", {}, f"{training}:ablations", shared | clean | none, (seed,))
        yield Job("reverse", {}, REVERSE, shared | reverse, (seed,))


def _arguments(config: Config) -> dict[str, Any]:
    """What all pocket jobs share."""
    stages = config.stages.model_dump()
    own = {"stage_steps": stages.pop("steps"), "stage_rate": stages.pop("learning_rate")}
    sizes = config.model_dump(include={"base_steps", "test_questions", "probe_questions"})
    return config.final.model_dump() | stages | own | sizes
