"""The study of FastGRPO: configuration with the paper's values, profiles as differences, jobs by sweep.

Exact checks (`theory`), measurements without training (`speed`), and real GRPO loops with a replay of all
arms (`training`); at the `paper` profile the loops run on mathematics (`real`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

from pydantic import model_validator

from common.study.configuration import Settings, paper
from common.study.errors import StudyError
from common.study.jobs import Job

LIMITS = {
    "smoke": {"seconds": 300.0, "memory": 2000.0},
    "laptop": {"seconds": 900.0, "memory": 2400.0},
    "gpu": {"seconds": 7 * 86400.0, "memory": 120_000.0},
    "paper": {"seconds": 30 * 86400.0, "memory": 1_500_000.0},
}
VARIANTS = ("dapo", "gpg")


class Config(Settings):
    """Defaults are the paper's run and the official code's; what neither says carries no place.

    Attributes:
        model: Hub id, or ``ladder``: a policy taught that task on first use.
        dataset: Training problems of a hub model.
        evaluation_sets: Evaluation sets of a hub model, ``NAME=SOURCE`` with commas between.
        prompts: Prompts of a rollout batch.
        group_size: Completions per prompt, G.
        max_response: Most tokens of a response.
        learning_rate: The policy's.
        kl_coefficient: β.
        epsilon: Clip range.
        top_p: Nucleus of the rollouts.
        draft_learning_rate: The draft's.
        micro_batch_tokens: Most tokens of a batch of similar length in the update.
        c_peak: C_peak, tokens of a pass at the knee.
        k_max: Most children of a node.
        l_max: Most levels of a tree.
        l_min: Fewest levels; the paper's rule has no floor, the official code 3.
        alpha: α.
        n_max: Most tokens of a row in a verification pass.
        iterations: Rollout batches of a loop.
        training_prompts: Distinct training prompts; 0 means the whole dataset of a hub model.
        loop_seeds: Seeds of the loops and of the still control.
        vanilla_iterations: Rollout batches of the loop that computes finished rows.
        variant_seeds: Seeds of the loops with other objectives.
        variant_iterations: Rollout batches of those.
        every: Rollout batches between measurements of the drafts' acceptance.
        replay_rounds: Rollout batches that every arm decodes in the replay.
        evaluation_prompts: Held-out prompts at the end of a loop.
        speed_seeds: Repetitions of profile and static trees.
        profile_repeats: Timings of each pass.
        profile_context: Tokens behind which passes are timed.
        static_tokens: Tokens that every row writes at fixed batches.
        hidden: Width of the ladder policy.
        layers: Its layers.
        policy_steps: Steps of its supervised training.
        draft_steps: Steps of a draft's pre-training.
        draws: Random instances of an exact check.
        texts: Greedy texts compared in float64.
    """

    model: str = "Qwen/Qwen2.5-1.5B-Instruct"
    dataset: str = "openai/gsm8k"
    evaluation_sets: str = "GSM8K=openai/gsm8k"
    prompts: int = paper(4, "official code")
    group_size: int = paper(8, "official code")
    max_response: int = paper(2048, "official code")
    learning_rate: float = paper(1e-6, "official code")
    kl_coefficient: float = paper(0.04, "official code, README")
    epsilon: float = paper(0.1, "official code, README")
    top_p: float = paper(0.95, "official code")
    draft_learning_rate: float = paper(1e-4, "official code")
    micro_batch_tokens: int = paper(3072, "official code")
    c_peak: int = paper(160, "official code")
    k_max: int = paper(8, "official code")
    l_max: int = paper(5, "official code")
    l_min: int = 1
    alpha: float = paper(0.75, "official code")
    n_max: int = paper(160, "official code")
    iterations: int = 200
    training_prompts: int = 0
    loop_seeds: int = 1
    vanilla_iterations: int = 20
    variant_seeds: int = 1
    variant_iterations: int = 20
    every: int = 4
    replay_rounds: int = 2
    evaluation_prompts: int = 256
    speed_seeds: int = 4
    profile_repeats: int = 2
    profile_context: int = 32
    static_tokens: int = 24
    hidden: int = 64
    layers: int = 16
    policy_steps: int = 1600
    draft_steps: int = 400
    draws: int = 1000
    texts: int = 32

    @model_validator(mode="after")
    def _fit(self) -> Self:
        """Refuse what no loop can run.

        Raises:
            StudyError: names the field.
        """
        if min(self.iterations, self.every, self.prompts) < 1 or self.group_size < 2:
            raise StudyError("iterations, every and prompts have to be at least 1, group_size at least 2")
        return self


LADDER: dict[str, Any] = {
    "model": "ladder",
    "prompts": 8,
    "max_response": 160,
    "learning_rate": 5e-5,
    "top_p": 1.0,
    "draft_learning_rate": 2e-3,
    "c_peak": 256,
    "iterations": 10,
    "every": 3,
    "training_prompts": 400,
    "loop_seeds": 7,
    "vanilla_iterations": 3,
    "variant_seeds": 2,
    "variant_iterations": 3,
}

PROFILES: dict[str, dict[str, Any]] = {
    "smoke": LADDER
    | {
        "prompts": 2,
        "group_size": 4,
        "max_response": 12,
        "iterations": 2,
        "vanilla_iterations": 2,
        "every": 1,
        "training_prompts": 20,
        "evaluation_prompts": 4,
        "loop_seeds": 1,
        "variant_seeds": 1,
        "variant_iterations": 2,
        "speed_seeds": 1,
        "profile_repeats": 1,
        "profile_context": 4,
        "static_tokens": 4,
        "hidden": 32,
        "layers": 2,
        "policy_steps": 4,
        "draft_steps": 2,
        "texts": 8,
        "replay_rounds": 1,
    },
    "laptop": LADDER,
    "gpu": LADDER
    | {"hidden": 512, "layers": 12, "policy_steps": 2000, "iterations": 100, "loop_seeds": 5, "c_peak": 160},
    "paper": {},
}

TRAIN = "papers.fastgrpo.runs.training:train"
ENTRIES = {name: f"papers.fastgrpo.runs.theory:{name}" for name in ("lossless", "greedy", "roofline", "rule")}


def jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """Every job of the study.

    Sweeps: ``exact``; ``profile``, ``static``, ``still``; ``loops``; ``variants``. A model of the hub has
    loops alone, since the others ask for the ladder task.
    """
    settings = config.model_dump()
    if config.model != "ladder":
        return list(real_jobs(config, settings, seeds))
    return [
        *exact_jobs(settings, seeds),
        *loop_jobs(config, settings, seeds),
        *speed_jobs(config, settings, seeds),
        *variant_jobs(config, settings, seeds),
    ]


def exact_jobs(settings: dict[str, Any], seeds: Sequence[int]) -> Iterator[Job]:
    """Exact checks; each draws its instances from the first seed."""
    for name, entry in ENTRIES.items():
        yield Job("exact", {"arm": name}, entry, settings, tuple(seeds[:1]))


def speed_jobs(config: Config, settings: dict[str, Any], seeds: Sequence[int]) -> Iterator[Job]:
    """Measurements without training, a repetition per seed."""
    counts = {"profile": config.speed_seeds, "static": config.speed_seeds, "still": config.loop_seeds}
    for name, count in counts.items():
        for seed in seeds[:count]:
            yield Job(name, {"arm": name}, f"papers.fastgrpo.runs.speed:{name}", settings, (seed,))


def loop_jobs(config: Config, settings: dict[str, Any], seeds: Sequence[int]) -> Iterator[Job]:
    """GRPO with the method, with plain decoding (``et``), with finished rows computed on (``vanilla``)."""
    for seed in seeds[: config.loop_seeds]:
        for arm in ("fast", "et", "vanilla"):
            length = config.vanilla_iterations if arm == "vanilla" else config.iterations
            changes = {"arm": arm, "variant": "grpo", "iterations": length, "observe": arm == "fast"}
            evaluated = 0 if arm == "vanilla" else config.evaluation_prompts
            arguments = settings | changes | {"evaluation_prompts": evaluated, "replay": arm == "fast"}
            yield Job("loops", {"arm": arm, "variant": "grpo"}, TRAIN, arguments, (seed,))


def variant_jobs(config: Config, settings: dict[str, Any], seeds: Sequence[int]) -> Iterator[Job]:
    """Short loops of the method with other objectives."""
    for seed in seeds[: config.variant_seeds]:
        for variant in VARIANTS:
            changes = {"arm": "fast", "variant": variant, "iterations": config.variant_iterations}
            arguments = settings | changes | {"observe": False, "replay": True, "evaluation_prompts": 0}
            yield Job("variants", {"arm": "fast", "variant": variant}, TRAIN, arguments, (seed,))


def real_jobs(config: Config, settings: dict[str, Any], seeds: Sequence[int]) -> Iterator[Job]:
    """The three loops on mathematics."""
    for seed in seeds[: config.loop_seeds]:
        for arm in ("fast", "et", "vanilla"):
            length = config.vanilla_iterations if arm == "vanilla" else config.iterations
            arguments = settings | {"arm": arm, "iterations": length}
            yield Job(
                "loops",
                {"arm": arm, "variant": "grpo"},
                "papers.fastgrpo.runs.real:train",
                arguments,
                (seed,),
            )
