"""The study of GTO: the paper's configuration, profiles as differences from it, jobs by sweep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from common.study.configuration import Settings, paper
from common.study.errors import StudyError
from common.study.jobs import Job, Scalar

LIMITS = {
    "smoke": {"seconds": 120.0, "memory": 1900.0},
    "laptop": {"seconds": 900.0, "memory": 1900.0},
    "desk": {"seconds": 3600.0, "memory": 4000.0},  # with SmolLM2 twice
    "gpu": {"seconds": 86400.0, "memory": 64_000.0},
}
RUNS = "papers.gto.runs"
MAIN = ("untuned", "continual", "gto", "shuffled", "flipped", "continual_time")
AGGREGATORS = ("max", "average", "node_sum")
KINDS = ("hass", "griffin")
REAL_ASSETS = ("smollm2", "humaneval", "trivia")
COMPARED = ("untuned", "continual", "gto")


class Target(Settings):
    """The model that is drafted for (`common.tasks.tridomain.warm_start.TargetRecipe`)."""

    layers: int = 16
    hidden: int = 64
    ffn: int = 192
    steps: int = 2000
    batch: int = 16
    learning_rate: float = 4e-3


class Draft(Settings):
    """Phase I (`training.DraftRecipe`); seeds share `warm_starts` drafts in turn, or (0) have one each."""

    steps: int = 200
    batch: int = 16
    learning_rate: float = 3e-3
    unroll: int = 5
    data: int = 3000
    warm_starts: int = 0


class Tree(Settings):
    """Shape of the trees.

    Attributes:
        depth: Levels.
        top_k: Children of a node and nodes of a frontier.
        budget: Draft tokens kept; the paper counts the root, 60.
    """

    depth: int = paper(7, "Sec. 4")
    top_k: int = paper(10, "Sec. 4")
    budget: int = paper(59, "Sec. 4, 60 with the root")


class Tuning(Settings):
    """Phase II of GTO.

    Attributes:
        omega: ω.
        groups: K, groups of a sequence.
        group_size: m.
        learning_rate: Peak.
        steps: Optimizer steps.
        batch: Sequences of a step.
    """

    omega: float = paper(0.5, "Sec. 4")
    groups: int = paper(16, "Sec. 4")
    group_size: int = paper(8, "Sec. 4")
    learning_rate: float = paper(5e-6, "Sec. 4")
    steps: int = paper(60_000, "Sec. 4")
    batch: int = 2


class Continual(Settings):
    """What continual token training has of its own; `time_steps` take as long as those of GTO."""

    learning_rate: float = 5e-6
    time_steps: int = 192


class Evaluation(Settings):
    """Held-out conversations per domain, those that the target itself drafts for, and prefixes of each."""

    conversations: int = 60
    ceiling: int = 7
    positions: int = 4


class Speed(Settings):
    """Wall-clock.

    Attributes:
        sps_layers, sps_steps: The small language model of speculative sampling.
        prompts: Prompts per domain.
        tokens: Of the longest completion.
        repeats: Rounds.
    """

    sps_layers: int = 2
    sps_steps: int = 300
    prompts: int = 6
    tokens: int = 48
    repeats: int = 2


class Tabular(Settings):
    """Ranks of the tabular draft, steps of its Phase II, and draws that a slope is the mean over."""

    ranks: tuple[int, ...] = (1, 2, 4)
    steps: int = 200
    draws: int = 100


class Theory(Settings):
    """Random instances of the exact checks, and pairs of trees of a seed whose order is looked at."""

    draws: int = 1000
    discordance_draws: int = 2000


class Real(Settings):
    """SmolLM2 as the target (`papers.gto.runs.real`).

    Attributes:
        code, arithmetic, chat: Prompts whose answers the draft learns from.
        tokens: Longest answer.
        draft_kept: Tokens of the draft's vocabulary.
        draft_steps, draft_batch, draft_learning_rate: Phase I.
        depth, top_k, budget: Trees.
        tuning_steps, tuning_batch, tuning_rate, groups, group_size: Phase II, of both arms.
        heldout, positions: Held-out prompts of a style, and prefixes of each answer.
        timed, new: Prompts of a style that are decoded by the clock, and tokens of each.
    """

    code: int = 132
    arithmetic: int = 200
    chat: int = 209
    tokens: int = 112
    draft_kept: int = 4096
    draft_steps: int = 400
    draft_batch: int = 12
    draft_learning_rate: float = 1e-3
    depth: int = 4
    top_k: int = 4
    budget: int = 10
    tuning_steps: int = 40
    tuning_batch: int = 2
    tuning_rate: float = 1e-4
    groups: int = 1
    group_size: int = 8
    heldout: int = 24
    positions: int = 4
    timed: int = 8
    new: int = 112


class Seeds(Settings):
    """How many seeds a sweep has.

    Attributes:
        first: Place of the first judged seed, behind those that were looked at before the profile was tuned.
        main: EAGLE-3 untuned, continual training for equal steps, GTO.
        controls: Of these, those with continual training for equal time, shuffled and flipped advantages.
        ablations: The arm without debiasing.
        tables: Aggregators and group sizes.
        inits: HASS-like and GRIFFIN-like drafts.
        speed: Wall-clock.
        tabular: The low-rank draft, and the order of random trees.
        real: Phase II on SmolLM2's draft.
        real_speed: SmolLM2 by the clock.
    """

    first: int = 0
    main: int = 5
    controls: int = 5
    ablations: int = 3
    tables: int = 2
    inits: int = 3
    speed: int = 3
    tabular: int = 12
    real: int = 0
    real_speed: int = 0


class Config(Settings):
    """Defaults are the paper's values where it gives one.

    Attributes:
        eta: η of the log-sum-exp; every arm has the trainer's, which is the same.
        shapes: Further tree shapes, "depth:top_k:budget".
        sizes: Group sizes m beside that of `tuning`.
    """

    eta: float = paper(1.0, "Sec. 4")
    target: Target = Target()
    draft: Draft = Draft()
    tree: Tree = Tree()
    tuning: Tuning = Tuning()
    continual: Continual = Continual()
    evaluation: Evaluation = Evaluation()
    speed: Speed = Speed()
    tabular: Tabular = Tabular()
    theory: Theory = Theory()
    real: Real = Real()
    seeds: Seeds = Seeds()
    shapes: str = "4:4:16,4:4:24,4:4:32,5:4:16,5:4:24,5:4:32,6:4:16,6:4:24,6:4:32,5:4:5"
    sizes: tuple[int, ...] = (4, 16, 32)


TRAINED = ("seeds.main", "seeds.controls", "seeds.ablations", "seeds.tables", "seeds.inits", "seeds.speed")
LAPTOP: dict[str, Any] = {
    "tree.depth": 5,
    "tree.top_k": 4,
    "tree.budget": 24,
    "tuning.groups": 1,
    "tuning.learning_rate": 5e-4,
    "tuning.steps": 40,
    "tuning.batch": 4,
    "continual.learning_rate": 2e-4,
}
DESK: dict[str, Any] = {
    "target.layers": 4,
    "draft.steps": 4000,
    "draft.batch": 4,
    "draft.data": 4000,
    "draft.warm_starts": 3,
    "tree.budget": 16,
    "tuning.groups": 2,
    "tuning.batch": 2,
    "tuning.steps": 1000,
    "tuning.learning_rate": 3e-4,
    "continual.learning_rate": 3e-4,
    "continual.time_steps": 3500,
    "evaluation.ceiling": 60,
    "tabular.ranks": (1, 4),
    "tabular.steps": 600,
    "tabular.draws": 200,
    **dict.fromkeys(TRAINED, 0),
    "seeds.first": 12,
    "seeds.main": 10,
    "seeds.controls": 5,
    "seeds.tabular": 30,
}
"""Phase I to its plateau and a thousand steps of Phase II: what decides, and nothing else."""
PROFILES: dict[str, dict[str, Any]] = {
    "smoke": LAPTOP
    | {
        "target.layers": 3,
        "target.ffn": 128,
        "target.steps": 4,
        "target.batch": 4,
        "draft.steps": 3,
        "draft.batch": 4,
        "draft.data": 40,
        "tree.depth": 3,
        "tree.top_k": 2,
        "tree.budget": 6,
        "tuning.steps": 2,
        "continual.time_steps": 4,
        "evaluation.conversations": 4,
        "evaluation.ceiling": 1,
        "speed.sps_steps": 2,
        "tabular.ranks": (1, 4),
        "tabular.steps": 10,
        "tabular.draws": 4,
        "theory.discordance_draws": 200,
        **dict.fromkeys(TRAINED, 0),
        "seeds.main": 1,
        "seeds.controls": 1,
        "seeds.tabular": 2,
        "shapes": "",
        "sizes": (),
    },
    "laptop": LAPTOP,
    "desk": LAPTOP | DESK,
    "gpu": LAPTOP
    | {
        "target.hidden": 256,
        "target.ffn": 768,
        "target.steps": 4000,
        "target.batch": 64,
        "draft.steps": 2000,
        "draft.data": 20_000,
        "tuning.groups": 4,
        "tuning.steps": 400,
        "tuning.batch": 8,
        "continual.time_steps": 1600,
        "evaluation.conversations": 200,
        "evaluation.ceiling": 25,
        "speed.prompts": 80,
        **dict.fromkeys(TRAINED, 10),
        "seeds.real": 3,
        "seeds.real_speed": 1,
    },
    "paper": {},
}
TABULAR = {"contexts": 8, "tokens": 4, "depth": 3, "rate_one": 0.05, "rate_two": 0.01, "restarts": 2}
"""The table, its training and the search for the best trees."""


def jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """Every job of the study.

    Sweeps: ``theory``, ``lossless``, ``tabular``; ``main`` (EAGLE-3 untuned, GTO, continual training for
    equal steps and equal time, controls of the advantages), ``aggregators``, ``sizes``, ``debias``, ``inits``
    (HASS- and GRIFFIN-like), ``oracle``, ``target``, ``speed``, ``real`` (SmolLM2).

    Raises:
        StudyError: the paper's own scale, whose data and models this package does not load.
    """
    if config.tuning.steps == Tuning().steps:
        raise StudyError(
            "the paper profile needs ShareGPT and released EAGLE-3 heads, which no job here loads; use "
            "GTOTrainer with a model of your own (papers/gto/README.md), or PROFILE=gpu"
        )
    seeds = seeds[config.seeds.first :] or seeds  # seeds that a user names are too few to skip some
    # The target comes first, so that it is trained while others do exact checks; wall-clock last, so that it
    # finds drafts on disk.
    quality = Job("target", {}, f"{RUNS}.evaluation:target_quality", _recipe(config), tuple(seeds[:1]))
    parts = (exact_jobs, main_jobs, ablation_jobs, speed_jobs, real_jobs)
    return [quality, *(job for part in parts for job in part(config, seeds))]


def main_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """The arms of the comparison; the target as its own draft; two other drafts.

    Arm by arm, so that workers train the drafts of different seeds instead of waiting for one.
    """
    for arm in MAIN:
        count = config.seeds.main if arm in COMPARED else config.seeds.controls
        for seed in seeds[:count]:
            yield _arm("main", config, arm, seed, wide=arm in COMPARED)
    arguments = _recipe(config) | {"conversations": config.evaluation.ceiling}
    yield Job("oracle", {"arm": "oracle"}, f"{RUNS}.evaluation:oracle", arguments, tuple(seeds[:1]))
    for arm in COMPARED:
        for kind in KINDS:
            for seed in seeds[: config.seeds.inits]:
                yield _arm("inits", config, arm, seed, draft_kind=kind)


def ablation_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Aggregators, group sizes (as many prefixes a step in each), and no debiasing."""
    for seed in seeds[: config.seeds.ablations]:
        yield _arm("debias", config, "no debiasing", seed, debias=False)
    own = config.tuning
    prefixes = own.batch * own.groups * own.group_size
    for seed in seeds[: config.seeds.tables]:
        for arm in AGGREGATORS:
            yield _arm("aggregators", config, arm, seed, mode=arm)
        for size in config.sizes:
            groups = max(1, prefixes // (size * own.batch))
            batch = max(1, prefixes // (size * groups))
            yield _arm("sizes", config, f"m={size}", seed, group_size=size, groups=groups, batch=batch)


def speed_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Wall-clock."""
    arguments = _recipe(config) | _phase_two(config, "gto") | config.speed.model_dump()
    arguments["continual_rate"] = config.continual.learning_rate
    for seed in seeds[: config.seeds.speed]:
        yield Job("speed", {}, f"{RUNS}.evaluation:speed", arguments, (seed,))


def real_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """SmolLM2 as the target: Phase II of both arms a seed, then decoding by the clock."""
    arguments = config.real.model_dump()
    for seed in seeds[: config.seeds.real]:
        yield Job("real", {}, f"{RUNS}.real:evaluate", arguments, (seed,), assets=REAL_ASSETS)
    for seed in seeds[: config.seeds.real_speed]:
        yield Job("real_speed", {}, f"{RUNS}.real:speed", arguments, (seed,), assets=REAL_ASSETS)


def exact_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Exact checks, drawn from the first seed; the tabular companion."""
    one, many = tuple(seeds[:1]), tuple(seeds[: config.seeds.tabular])
    for analysis in ("bounds", "monotonicity", "slack", "counterexample", "verifiers", "discordance"):
        paired = analysis == "discordance"
        draws = {"draws": config.theory.discordance_draws if paired else config.theory.draws}
        entry = f"{RUNS}.theory:{analysis}"
        yield Job("theory", {"analysis": analysis}, entry, draws, many if paired else one)
    yield Job("lossless", {}, f"{RUNS}.theory:lossless", {"prompts": 40, "tokens": 32}, one)
    steps = config.tabular.steps
    for rank in config.tabular.ranks:
        setting = {
            **TABULAR,
            "rank": rank,
            "phase_one": steps + steps // 2,
            "phase_two": steps,
            "omega": config.tuning.omega,
            "climbs": 2 * steps,
            "draws": config.tabular.draws,
        }
        yield Job("tabular", {"rank": rank}, f"{RUNS}.tabular:study", setting, many)


def _arm(sweep: str, config: Config, arm: str, seed: int, wide: bool = False, **changes: Scalar) -> Job:
    """One arm with one seed; `wide` adds other tree shapes and the greedy path."""
    arguments = {
        **_recipe(config),
        **_phase_two(config, arm),
        "arm": arm,
        "shapes": config.shapes if wide else "",
        "paths": (sweep, arm) == ("main", "untuned"),
        **changes,
    }
    labels = {"arm": arm, "kind": arguments.get("draft_kind", "eagle3")}
    return Job(sweep, labels, f"{RUNS}.evaluation:evaluate", arguments, (seed,))


def _recipe(config: Config) -> dict[str, Scalar]:
    """What is common to all arms: target, Phase I, trees, held-out set."""
    target, draft = config.target.model_dump(), config.draft.model_dump()
    shared = draft.pop("warm_starts")
    return {
        **({"warm_starts": shared} if shared else {}),
        **{f"target_{name}": value for name, value in target.items()},
        **{f"draft_{name}": value for name, value in draft.items()},
        **config.tree.model_dump(),
        "conversations": config.evaluation.conversations,
        "positions": config.evaluation.positions,
    }


def _phase_two(config: Config, arm: str) -> dict[str, Scalar]:
    """Phase II of an arm; the untuned arm has none."""
    if arm == "untuned":
        return {}
    tuning = {**config.tuning.model_dump(), "control": arm if arm in ("shuffled", "flipped") else "none"}
    if arm in ("continual", "continual_time"):
        tuning |= {"omega": 0.0, "learning_rate": config.continual.learning_rate}
    if arm == "continual_time":
        tuning["steps"] = config.continual.time_steps
    return tuning
