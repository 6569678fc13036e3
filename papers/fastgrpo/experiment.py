"""The study of FastGRPO: configuration with the paper's values, profiles as differences, jobs by sweep.

Exact checks (`theory`), measurements without training (`speed`), and real GRPO loops with a replay of all
arms (`training`); at the `paper` profile the loops run on mathematics.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

from pydantic import model_validator

from common.study.configuration import Settings, leaves, paper
from common.study.errors import StudyError
from common.study.jobs import Job

LIMITS = {
    "smoke": {"seconds": 300.0, "memory": 2000.0},
    "laptop": {"seconds": 900.0, "memory": 2400.0},
    "desk": {"seconds": 1800.0, "memory": 2400.0},
    "gpu": {"seconds": 7 * 86400.0, "memory": 120_000.0},
    "paper": {"seconds": 30 * 86400.0, "memory": 1_500_000.0},
}
VARIANTS = ("dapo", "gpg")


class Loop(Settings):
    """A GRPO loop and its policy; what neither paper nor official code says carries no place.

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
        iterations: Rollout batches.
        training_prompts: Distinct training prompts; 0 means the whole dataset of a hub model.
        every: Rollout batches between measurements of the drafts' acceptance.
        replay_rounds: Rollout batches that every arm decodes in the replay.
        evaluation_prompts: Held-out prompts at the end.
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
    iterations: int = 200
    training_prompts: int = 0
    every: int = 4
    replay_rounds: int = 2
    evaluation_prompts: int = 256

    @model_validator(mode="after")
    def _fit(self) -> Self:
        """Refuse what no loop can run.

        Raises:
            StudyError: names the field.
        """
        if min(self.iterations, self.every, self.prompts) < 1 or self.group_size < 2:
            raise StudyError("iterations, every and prompts have to be at least 1, group_size at least 2")
        return self


class Schedule(Settings):
    """The concurrency-aware rule.

    Attributes:
        c_peak: C_peak, tokens of a pass at the knee.
        k_max: Most children of a node.
        l_max: Most levels of a tree.
        l_min: Fewest levels; the paper's rule has no floor, the official code 3.
        alpha: α.
        n_max: Most tokens of a row in a verification pass.
    """

    c_peak: int = paper(160, "official code")
    k_max: int = paper(8, "official code")
    l_max: int = paper(5, "official code")
    l_min: int = 1
    alpha: float = paper(0.75, "official code")
    n_max: int = paper(160, "official code")


class Pretraining(Settings):
    """The ladder policy and its drafts before reinforcement learning.

    Attributes:
        hidden: Width of the policy.
        layers: Its layers.
        policy_steps: Steps of its supervised training.
        draft_steps: Steps of a draft's.
    """

    hidden: int = 64
    layers: int = 16
    policy_steps: int = 1600
    draft_steps: int = 400


class Speed(Settings):
    """Measurements without training.

    Attributes:
        profile_repeats: Rounds in which everything is timed, beside a first one.
        profile_context: Tokens behind which passes are timed.
        static_tokens: Tokens that every row writes at fixed batches.
    """

    profile_repeats: int = 2
    profile_context: int = 32
    static_tokens: int = 24


class EndToEnd(Settings):
    """The loops that the primary claim is about: as `Loop`, but with so few rows that a pass has room for
    trees from the first cycle, as the official code's has, and long enough to move the policy.

    Attributes:
        seeds: Of the method and of the baseline; 0 where the profile does not afford the loops.
        iterations: Rollout batches.
        prompts: Prompts of a rollout batch.
        group_size: Completions per prompt, G.
        max_response: Most tokens of a response.
        learning_rate: The policy's.
        training_prompts: Distinct training prompts.
    """

    seeds: int = 0
    iterations: int = 200
    prompts: int = 1
    group_size: int = 4
    max_response: int = 96
    learning_rate: float = 2e-4
    training_prompts: int = 4


class Config(Settings):
    """Defaults are the paper's run and the official code's.

    Attributes:
        loop: The loops.
        schedule: The method's trees.
        pretraining: What the ladder task starts from.
        speed: Measurements without training.
        end_to_end: Long loops of the method and of its baseline.
        loop_seeds: Seeds of the loops and of the still control.
        vanilla_iterations: Rollout batches of the loop that computes finished rows.
        variant_seeds: Seeds of the loops with other objectives.
        variant_iterations: Rollout batches of those.
        speed_seeds: Repetitions of profile and static trees.
        draws: Random instances of an exact check.
        texts: Greedy texts compared in float64.
    """

    loop: Loop = Loop()
    schedule: Schedule = Schedule()
    pretraining: Pretraining = Pretraining()
    speed: Speed = Speed()
    end_to_end: EndToEnd = EndToEnd()
    loop_seeds: int = 1
    vanilla_iterations: int = 20
    variant_seeds: int = 1
    variant_iterations: int = 20
    speed_seeds: int = 4
    draws: int = 1000
    texts: int = 32

    def flat(self) -> dict[str, Any]:
        """Every field under its own name, without its group's: what each job is given; the long loops' are
        theirs alone.
        """
        names = [name for name in leaves(Config) if not name.startswith("end_to_end.")]
        return {name.rpartition(".")[2]: self.value(name) for name in names}


LADDER: dict[str, Any] = {
    "loop.model": "ladder",
    "loop.prompts": 8,
    "loop.max_response": 160,
    "loop.learning_rate": 5e-5,
    "loop.top_p": 1.0,
    "loop.draft_learning_rate": 2e-3,
    "loop.iterations": 10,
    "loop.every": 3,
    "loop.training_prompts": 400,
    "schedule.c_peak": 12,
    "loop_seeds": 7,
    "vanilla_iterations": 3,
    "variant_seeds": 2,
    "variant_iterations": 3,
}

PROFILES: dict[str, dict[str, Any]] = {
    "smoke": LADDER
    | {
        "loop.prompts": 2,
        "loop.group_size": 4,
        "loop.max_response": 12,
        "loop.iterations": 2,
        "loop.every": 1,
        "loop.training_prompts": 20,
        "loop.evaluation_prompts": 4,
        "loop.replay_rounds": 1,
        "pretraining.hidden": 32,
        "pretraining.layers": 2,
        "pretraining.policy_steps": 4,
        "pretraining.draft_steps": 2,
        "speed.profile_repeats": 0,
        "speed.profile_context": 4,
        "speed.static_tokens": 4,
        "end_to_end.seeds": 1,
        "end_to_end.iterations": 4,
        "end_to_end.max_response": 12,
        "loop_seeds": 1,
        "vanilla_iterations": 2,
        "variant_seeds": 1,
        "variant_iterations": 2,
        "speed_seeds": 1,
        "texts": 8,
    },
    "laptop": LADDER,
    "desk": LADDER | {"end_to_end.seeds": 8},
    "gpu": LADDER
    | {
        "loop.iterations": 100,
        "schedule.c_peak": 160,
        "pretraining.hidden": 512,
        "pretraining.layers": 12,
        "pretraining.policy_steps": 2000,
        "loop_seeds": 5,
    },
    "paper": {},
}


def jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """Every job of the study.

    Sweeps: ``exact``; ``loops``; ``end_to_end``; ``profile``, ``static``, ``still``; ``variants``. A model of
    the hub has loops alone, since the others ask for the ladder task.
    """
    if config.loop.model != "ladder":
        return list(real_jobs(config, seeds))
    kinds = (exact_jobs, loop_jobs, end_to_end_jobs, speed_jobs, variant_jobs)
    return [job for kind in kinds for job in kind(config, seeds)]


def exact_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Exact checks; each draws its instances from the first seed."""
    for name in ("lossless", "greedy", "roofline", "rule"):
        entry = f"papers.fastgrpo.runs.theory:{name}"
        yield Job("exact", {"arm": name}, entry, config.flat(), tuple(seeds[:1]))


def speed_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Measurements without training, a repetition per seed."""
    counts = {"profile": config.speed_seeds, "static": config.speed_seeds, "still": config.loop_seeds}
    for name, count in counts.items():
        for seed in seeds[:count]:
            yield Job(name, {"arm": name}, f"papers.fastgrpo.runs.speed:{name}", config.flat(), (seed,))


def loop_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """GRPO with the method, with plain decoding (``et``), with finished rows computed on (``vanilla``)."""
    for seed in seeds[: config.loop_seeds]:
        for arm in ("fast", "et", "vanilla"):
            changes: dict[str, Any] = {"variant": "grpo", "observe": arm == "fast", "replay": arm == "fast"}
            if arm == "vanilla":
                changes["evaluation_prompts"] = 0
            yield _loop(config, "loops", "train", arm, seed, **changes)


def end_to_end_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Long loops of the method and of plain decoding, which nothing watches, on the last seeds."""
    long = config.end_to_end
    changes = {name: getattr(long, name) for name in EndToEnd.model_fields if name != "seeds"}
    quiet = {"variant": "grpo", "observe": False, "replay": False, "evaluation_prompts": 0}
    for seed in seeds[max(0, len(seeds) - long.seeds) :]:
        for arm in ("fast", "et"):
            yield _loop(config, "end_to_end", "train", arm, seed, **changes, **quiet)


def variant_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Short loops of the method with other objectives."""
    for seed in seeds[: config.variant_seeds]:
        for variant in VARIANTS:
            changes = {"variant": variant, "observe": False, "replay": True, "evaluation_prompts": 0}
            length = config.variant_iterations
            yield _loop(config, "variants", "train", "fast", seed, iterations=length, **changes)


def real_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """The three loops on mathematics."""
    for seed in seeds[: config.loop_seeds]:
        for arm in ("fast", "et", "vanilla"):
            yield _loop(config, "loops", "train_mathematics", arm, seed)


def _loop(config: Config, sweep: str, entry: str, arm: str, seed: int, **changes: Any) -> Job:
    length = config.vanilla_iterations if arm == "vanilla" else config.loop.iterations
    arguments = config.flat() | {"arm": arm, "iterations": length} | changes
    labels = {"arm": arm, "variant": changes.get("variant", "grpo")}
    return Job(sweep, labels, f"papers.fastgrpo.runs.training:{entry}", arguments, (seed,))
