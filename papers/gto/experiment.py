"""The study of GTO: the paper's configuration, profiles as differences from it, jobs by sweep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from common.study.configuration import Settings, paper
from common.study.errors import StudyError
from common.study.jobs import Job, Scalar

LIMITS = {
    "smoke": {"seconds": 120.0, "memory": 1900.0},
    "laptop": {"seconds": 900.0, "memory": 1900.0},
    "gpu": {"seconds": 86400.0, "memory": 64_000.0},
}
EVALUATE = "papers.gto.runs.training:evaluate"
MAIN = ("untuned", "continual", "gto", "shuffled", "flipped", "continual_time")
AGGREGATORS = ("max", "average", "node_sum")
KINDS = ("hass", "griffin")
COMPARED = ("untuned", "continual", "gto")


class Config(Settings):
    """Defaults are the paper's values where it gives one.

    Attributes:
        eta: η of the log-sum-exp.
        groups: K, groups of a sequence.
        group_size: m.
        omega: ω.
        depth: Levels of the trees.
        top_k: Children of a node and nodes of a frontier.
        budget: Draft tokens kept; the paper counts the root, 60.
        gto_rate: Learning rate of GTO.
        tune_steps: Optimizer steps of Phase II.
        tune_batch: Sequences of a step.
        time_steps: Steps of the continual arm that takes as long as GTO.
        continual_rate: Learning rate of the continual arms.
        target_layers, target_hidden, target_ffn: Shape of the target.
        target_steps, target_batch, target_rate: Its training.
        sps_layers, sps_steps: The small language model of speculative sampling.
        draft_steps, draft_batch, draft_rate, draft_unroll, draft_data: Phase I.
        conversations: Held-out conversations per domain.
        positions: Prefixes of each.
        shapes: Further tree shapes, "depth:top_k:budget".
        sizes: Group sizes m beside `group_size`.
        prompts, tokens, repeats: Wall-clock: prompts per domain, longest completion, rounds.
        main_seeds, init_seeds, speed_seeds, tabular_seeds: Seeds of each sweep.
        ablation_seeds: Seeds of the arm without debiasing.
        table_seeds: Seeds of aggregators, group sizes and EAGLE.
        theory_draws, discordance_draws: Random instances of the exact checks.
        tabular_ranks: Ranks of the tabular draft.
        tabular_steps: Steps of its Phase II.
    """

    eta: float = paper(1.0, "Sec. 4")
    groups: int = paper(16, "Sec. 4")
    group_size: int = paper(8, "Sec. 4")
    omega: float = paper(0.5, "Sec. 4")
    depth: int = paper(7, "Sec. 4")
    top_k: int = paper(10, "Sec. 4")
    budget: int = paper(59, "Sec. 4, 60 with the root")
    gto_rate: float = paper(5e-6, "Sec. 4")
    tune_steps: int = paper(60_000, "Sec. 4")
    tune_batch: int = 2
    time_steps: int = 192
    continual_rate: float = 5e-6
    target_layers: int = 16
    target_hidden: int = 64
    target_ffn: int = 192
    target_steps: int = 2000
    target_batch: int = 16
    target_rate: float = 4e-3
    sps_layers: int = 2
    sps_steps: int = 300
    draft_steps: int = 200
    draft_batch: int = 16
    draft_rate: float = 3e-3
    draft_unroll: int = 5
    draft_data: int = 3000
    conversations: int = 60
    positions: int = 4
    shapes: str = "4:4:16,4:4:24,4:4:32,5:4:16,5:4:24,5:4:32,6:4:16,6:4:24,6:4:32,5:4:5"
    sizes: tuple[int, ...] = (4, 16, 32)
    prompts: int = 6
    tokens: int = 48
    repeats: int = 2
    main_seeds: int = 5
    ablation_seeds: int = 3
    table_seeds: int = 2
    init_seeds: int = 3
    speed_seeds: int = 3
    tabular_seeds: int = 12
    theory_draws: int = 1000
    discordance_draws: int = 2000
    tabular_ranks: tuple[int, ...] = (1, 2, 4)
    tabular_steps: int = 200


LAPTOP: dict[str, Any] = {
    "groups": 1,
    "depth": 5,
    "top_k": 4,
    "budget": 24,
    "gto_rate": 5e-4,
    "continual_rate": 2e-4,
    "tune_steps": 40,
    "tune_batch": 4,
}
PROFILES: dict[str, dict[str, Any]] = {
    "smoke": LAPTOP
    | {
        "depth": 3,
        "top_k": 2,
        "budget": 6,
        "tune_steps": 2,
        "time_steps": 4,
        "target_layers": 3,
        "target_hidden": 64,
        "target_ffn": 128,
        "target_steps": 4,
        "target_batch": 4,
        "sps_steps": 2,
        "draft_steps": 3,
        "draft_batch": 4,
        "draft_data": 40,
        "conversations": 4,
        "positions": 4,
        "shapes": "",
        "sizes": (),
        "main_seeds": 1,
        "ablation_seeds": 0,
        "table_seeds": 0,
        "init_seeds": 0,
        "speed_seeds": 0,
        "tabular_seeds": 2,
        "discordance_draws": 200,
        "tabular_ranks": (1, 4),
        "tabular_steps": 10,
    },
    "laptop": LAPTOP,
    "gpu": LAPTOP
    | {
        "groups": 4,
        "tune_steps": 400,
        "time_steps": 1600,
        "tune_batch": 8,
        "target_hidden": 256,
        "target_ffn": 768,
        "target_steps": 4000,
        "target_batch": 64,
        "draft_steps": 2000,
        "draft_data": 20_000,
        "conversations": 200,
        "main_seeds": 10,
        "ablation_seeds": 10,
        "table_seeds": 10,
        "init_seeds": 10,
        "speed_seeds": 10,
        "prompts": 80,
    },
    "paper": {},
}


def jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """Every job of the study.

    Sweeps: ``theory``, ``lossless``, ``tabular``; ``main`` (EAGLE-3 untuned, GTO, continual training for
    equal steps and equal time, two negative controls), ``aggregators``, ``sizes``, ``debias``, ``inits``
    (HASS- and GRIFFIN-like), ``eagle``, ``oracle``, ``target``, ``speed``.

    Raises:
        StudyError: the paper's own scale, whose data and models this package does not load.
    """
    if config.tune_steps == Config().tune_steps:
        raise StudyError(
            "the paper profile needs ShareGPT and released EAGLE-3 heads, which no job here loads; use "
            "GTOTrainer with a model of your own (papers/gto/README.md), or PROFILE=gpu"
        )
    parts = (target_jobs, exact_jobs, main_jobs, init_jobs, ablation_jobs, speed_jobs)
    return [job for part in parts for job in part(config, seeds)]


def target_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """What the target has learnt; first, so that it is trained while others do exact checks."""
    yield Job("target", {}, "papers.gto.runs.check:target", _recipe(config), tuple(seeds[:1]))


def main_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """The arms of the comparison; EAGLE as EAGLE-2 decodes it; the target as its own draft.

    Arm by arm, so that workers train the drafts of different seeds instead of waiting for one.
    """
    for arm in MAIN:
        for seed in seeds[: config.main_seeds]:
            yield _arm("main", config, arm, seed, wide=arm in COMPARED)
    for seed in seeds[: config.table_seeds]:
        yield _arm("eagle", config, "untuned", seed, draft_kind="eagle", shapes="static")
    few = {"conversations": max(1, config.conversations // 8), "positions": min(config.positions, 4)}
    arguments = {**_recipe(config), **few}
    yield Job("oracle", {"arm": "oracle"}, "papers.gto.runs.training:oracle", arguments, tuple(seeds[:1]))


def init_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Phase II from two other drafts."""
    for arm in COMPARED:
        for kind in KINDS:
            for seed in seeds[: config.init_seeds]:
                yield _arm("inits", config, arm, seed, draft_kind=kind)


def ablation_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Aggregators, group sizes (as many prefixes a step in each), and no debiasing."""
    for seed in seeds[: config.ablation_seeds]:
        yield _arm("debias", config, "no debiasing", seed, debias=False)
    for seed in seeds[: config.table_seeds]:
        for arm in AGGREGATORS:
            yield _arm("aggregators", config, arm, seed, mode=arm)
        for size in config.sizes:
            prefixes = config.tune_batch * config.groups * config.group_size
            groups = max(1, prefixes // (size * config.tune_batch))
            batch = max(1, prefixes // (size * groups))
            yield _arm("sizes", config, f"m={size}", seed, group_size=size, groups=groups, batch=batch)


def speed_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Wall-clock; last of those that train, so that it finds drafts on disk."""
    arguments = {
        **_recipe(config),
        **_phase_two(config, "gto"),
        "continual_rate": config.continual_rate,
        "sps_layers": config.sps_layers,
        "sps_steps": config.sps_steps,
        "prompts": config.prompts,
        "tokens": config.tokens,
        "repeats": config.repeats,
    }
    for seed in seeds[: config.speed_seeds]:
        yield Job("speed", {}, "papers.gto.runs.speed:measure", arguments, (seed,))


def exact_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Exact checks, drawn from the first seed; the tabular companion."""
    for analysis in ("bounds", "monotonicity", "slack", "counterexample", "verifiers"):
        arguments = {"draws": config.theory_draws}
        labels = {"analysis": analysis}
        yield Job("theory", labels, f"papers.gto.runs.theory:{analysis}", arguments, tuple(seeds[:1]))
    chosen = tuple(seeds[: config.tabular_seeds])
    drawn = {"draws": config.discordance_draws}
    yield Job("theory", {"analysis": "discordance"}, "papers.gto.runs.theory:discordance", drawn, chosen)
    yield Job(
        "lossless", {}, "papers.gto.runs.lossless:greedy", {"prompts": 40, "tokens": 32}, tuple(seeds[:1])
    )
    for rank in config.tabular_ranks:
        setting: dict[str, Scalar] = {
            "contexts": 8,
            "tokens": 4,
            "depth": 3,
            "rank": rank,
            "phase_one": config.tabular_steps + config.tabular_steps // 2,
            "phase_two": config.tabular_steps,
            "rate_one": 0.05,
            "rate_two": 0.01,
            "omega": config.omega,
            "climbs": 2 * config.tabular_steps,
            "restarts": 2,
        }
        yield Job("tabular", {"rank": rank}, "papers.gto.runs.tabular:study", setting, chosen)


def _arm(sweep: str, config: Config, arm: str, seed: int, wide: bool = False, **changes: Scalar) -> Job:
    """One arm with one seed; `wide` adds other tree shapes and the greedy path."""
    arguments = {
        **_recipe(config),
        **_phase_two(config, arm),
        "arm": arm,
        "shapes": config.shapes if wide else "",
        "paths": sweep == "main" and arm in (*COMPARED, "shuffled"),
        "compare": (sweep, arm) == ("main", "gto"),
        **changes,
    }
    labels = {"arm": arm, "kind": arguments.get("draft_kind", "eagle3")}
    return Job(sweep, labels, EVALUATE, arguments, (seed,))


def _recipe(config: Config) -> dict[str, Scalar]:
    """What is common to all arms: target, Phase I, trees, held-out set."""
    return {
        "target_layers": config.target_layers,
        "target_hidden": config.target_hidden,
        "target_ffn": config.target_ffn,
        "target_steps": config.target_steps,
        "target_batch": config.target_batch,
        "target_learning_rate": config.target_rate,
        "draft_steps": config.draft_steps,
        "draft_batch": config.draft_batch,
        "draft_learning_rate": config.draft_rate,
        "draft_unroll": config.draft_unroll,
        "draft_data": config.draft_data,
        "depth": config.depth,
        "top_k": config.top_k,
        "budget": config.budget,
        "conversations": config.conversations,
        "positions": config.positions,
    }


def _phase_two(config: Config, arm: str) -> Mapping[str, Scalar]:
    """Phase II of an arm; the untuned arm has none."""
    if arm == "untuned":
        return {}
    continual = arm.startswith("continual")
    return {
        "steps": config.time_steps if arm == "continual_time" else config.tune_steps,
        "batch": config.tune_batch,
        "learning_rate": config.continual_rate if continual else config.gto_rate,
        "omega": 0.0 if continual else config.omega,
        "groups": config.groups,
        "group_size": config.group_size,
        "control": arm if arm in ("shuffled", "flipped") else "none",
    }
