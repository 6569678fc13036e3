"""The study of MoT-G: configuration with the paper's values, profiles as differences, jobs by sweep.

Exact checks of one mixture step (`runs.theory`); pocket policies on graphs, where a walk has a choice
("reach"), where it has none ("determined"), and on Reasoning Gym's colourings (`runs.training`); and a real
language model that reads mixtures without training (`runs.soft`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from common.rl import run
from common.rl.run import Run, pocket_files
from common.study.configuration import Settings, paper
from common.study.jobs import Job, Scalar
from common.tasks import graph_color

LIMITS = {**run.LIMITS, "desk": {"seconds": 3600.0, "memory": 4000.0}}
TASKS = {
    "reach": "common.tasks.reach.training:Reach",
    "determined": "common.tasks.reach.training:Determined",
    "color": "common.tasks.graph_color.training:GraphColor",
}
ARMS = ("vanilla", "different", "corrected", "dirichlet", "shuffled", "visible", "hot")
"""Arms on reach; `papers.mot_g.runs.training.ARMS` says what each is."""
DETERMINED = ("vanilla", "different")
COLORED = ("vanilla", "different", "visible")
HALVES = ("vanilla", "different")
"""Arms that are also run with half as many chains."""
HEATED = ("vanilla", "dirichlet", "top_k")
"""Arms at the high temperature."""
WIDE = 8  # candidates of the arm with many
CANDIDATES = (1, 2, 4, 8)
"""k of the mixtures without training."""
HEAT = 1.3
BONUS = 0.01  # of GRPO with an entropy bonus
RATES: dict[str, float] = {"vanilla": 1e-3, "hot": 1e-3, "bonus": 1e-3, "shuffled": 1e-4}
COLOR_RATES: dict[str, float] = {"vanilla": 1e-3, "visible": 1e-3}
"""Learning rates of arms that are best at another than the run's (see the card), on walks and colourings."""


class PaperRun(Run):
    """The run of the paper; what it does not say carries no place."""

    model: str = paper("Qwen/Qwen2.5-1.5B-Instruct", "abstract, official code")
    task: str = TASKS["reach"]
    dataset: str = ""
    evaluation_sets: str = ""
    learning_rate: float = paper(5e-6, "official code")
    batch: int = paper(40, "official code, one question of 10 chains, 4 accumulated")
    mini_batch: int = 40
    group_size: int = paper(10, "official code")
    max_response: int = paper(1024, "official code")
    iterations: int = paper(1000, "official code")
    training_prompts: int = paper(9900, "official code, 99 % of 10,000")
    evaluation_samples: int = paper(10, "official code, one a chain")
    curve_samples: int = 1
    evaluation_temperature: float = paper(0.9, "official code")
    evaluation_prompts: int = paper(100, "official code")
    save_every: int = 50
    training_rows: int = 10
    scoring_batch: int = 10
    vllm: bool = False
    kl_coefficient: float = paper(0.1, "official code")
    curve_every: int = paper(50, "official code")


class Thought(Settings):
    """How thoughts are made.

    Attributes:
        tokens: k.
        temperature: τ of rollouts and evaluations.
        hot: τ of GRPO at the entropy of Different Tokens.
    """

    tokens: int = paper(2, "official code")
    temperature: float = paper(0.9, "official code")
    hot: float = 1.3


class Theory(Settings):
    """Exact checks.

    Attributes:
        draws: Random instances.
        vocabulary: Tokens.
        seeds: Of the surrogates' comparison, a tenth of the instances each.
    """

    draws: int = 1000
    vocabulary: int = 5
    seeds: int = 30


class Soft(Settings):
    """Mixtures that SmolLM2 reads.

    Attributes:
        prompts: Openings of stories, by seed.
        tokens: Of a continuation.
        seeds: 0 leaves them out.
    """

    prompts: int = 8
    tokens: int = 24
    seeds: int = 0


class Config(Settings):
    """Defaults are the paper's values where it has them.

    Attributes:
        run: The training runs.
        thought: How thoughts are made.
        theory: Exact checks.
        soft: Mixtures without training.
        seeds: Of each arm; 0 trains none, as the paper's model is not run here.
        side_seeds: Of the arms with half the chains, at the high temperature and of many candidates; 0
            leaves them out.
        color_seeds: Of each arm on graph colouring.
    """

    run: PaperRun = PaperRun()
    thought: Thought = Thought()
    theory: Theory = Theory()
    soft: Soft = Soft()
    seeds: int = 0
    side_seeds: int = 0
    color_seeds: int = 0


POCKET: dict[str, Any] = {
    "run.model": "pocket",
    "run.learning_rate": 3e-4,
    "run.batch": 64,
    "run.mini_batch": 64,
    "run.group_size": 8,
    "run.max_response": 8,
    "run.iterations": 60,
    "run.training_prompts": 1000,
    "run.evaluation_samples": 4,
    "run.curve_samples": 2,
    "run.evaluation_prompts": 200,
    "run.save_every": 200,
    "run.training_rows": 0,
    "run.scoring_batch": 64,
    "run.kl_coefficient": 0.02,
    "run.curve_every": 15,
    "seeds": 20,
}
PROFILES: dict[str, dict[str, Any]] = {
    "smoke": POCKET
    | {
        "run.iterations": 2,
        "run.batch": 16,
        "run.mini_batch": 16,
        "run.group_size": 4,
        "run.training_prompts": 40,
        "run.evaluation_prompts": 20,
        "run.curve_every": 2,
        "theory.seeds": 2,
        "seeds": 1,
    },
    "laptop": POCKET,
    "desk": POCKET | {"side_seeds": 20, "color_seeds": 10, "soft.seeds": 5},
    "gpu": POCKET | {"side_seeds": 10},
    "paper": {},
}


def jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """Sweeps theory, bias, reach, determined; and halves, heated, warm, wide, bonus, color, soft."""
    return [
        *_theory(config, seeds),
        *_training(config, seeds),
        *_sides(config, seeds),
        *_soft(config, seeds[: config.soft.seeds]),
    ]


def _theory(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Exact checks; the first two draw their instances from the first seed."""
    own = config.theory
    arguments: dict[str, Scalar] = {"draws": own.draws, "vocabulary": own.vocabulary}
    for name in ("moments", "draws"):
        yield Job("theory", {"analysis": name}, f"papers.mot_g.runs.theory:{name}", arguments, (seeds[0],))
    entry = "papers.mot_g.runs.theory:surrogates"
    yield Job("theory", {"analysis": "bias"}, entry, arguments, (seeds[0],))
    some = {**arguments, "draws": own.draws // 10}
    yield Job("bias", {"analysis": "bias"}, entry, some, tuple(seeds[: own.seeds]))


def _training(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """The arms of each task; those of one seed share prompts and base policy."""
    for seed in seeds[: config.seeds]:
        for arm in ARMS:
            yield _trained(config, "reach", "reach", arm, seed)
        for arm in DETERMINED:
            yield _trained(config, "determined", "determined", arm, seed)
    color = config.changed({"run.max_response": graph_color.MAX_RESPONSE})
    for seed in seeds[: config.color_seeds]:
        for arm in COLORED:
            yield _trained(color, "color", "color", arm, seed)


def _sides(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """What `laptop` has no room for, on reach."""
    half = config.changed({"run.group_size": config.run.group_size // 2})
    half = half.changed({"run.batch": config.run.batch // 2, "run.mini_batch": config.run.batch // 2})
    for seed in seeds[: config.side_seeds]:
        for arm in HALVES:
            yield _trained(half, "halves", "reach", arm, seed)
        for arm in HEATED:
            yield _trained(config, "heated", "reach", arm, seed, temperature=HEAT)
        yield _trained(config, "wide", "reach", "different", seed, tokens=WIDE)
        yield _trained(config, "warm", "reach", "top_k", seed)
        yield _trained(config, "bonus", "reach", "bonus", seed, entropy_bonus=BONUS)


def _soft(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    arguments = {
        **config.soft.model_dump(include={"prompts", "tokens"}),
        "candidates": list(CANDIDATES),
        "temperature": config.thought.temperature,
    }
    for seed in seeds:
        yield Job("soft", {}, "papers.mot_g.runs.soft:stories", arguments, (seed,), assets=("smollm2",))


def _trained(config: Config, sweep: str, task: str, arm: str, seed: int, **changes: Scalar) -> Job:
    temperature = config.thought.hot if arm == "hot" else config.thought.temperature
    rates, assets = (COLOR_RATES, graph_color.ASSETS) if task == "color" else (RATES, ())
    own = config.run.changed({"task": TASKS[task], "learning_rate": rates.get(arm, config.run.learning_rate)})
    arguments = {
        **own.model_dump(),
        "arm": arm,
        "tokens": config.thought.tokens,
        "temperature": temperature,
        "entropy_bonus": 0.0,
        **changes,
    }
    files = pocket_files(0, "reach") if own.model == "pocket" else own.inputs(seed)
    if task == "color":  # its base policy is no committed file
        files = ()
    entry = "papers.mot_g.runs.training:train"
    return Job(sweep, {"arm": arm}, entry, arguments, (seed,), files, own.modules, assets)
