"""The study of EPO: configuration with the paper's values, profiles as differences, jobs by sweep.

Three tiers: exact checks of the equations (`runs.theory`), a tabular agent on a lock of many turns
(`runs.tabular`), which carries the comparisons, and at `desk` transformers in a text game, trained by
`papers.epo.trainer` with a critic in front.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from common.study.configuration import Settings, paper
from common.study.jobs import Job, Scalar, portions
from common.tasks.text_games.simulators import RUNTIME, TEXTWORLD

COEFFICIENTS = (3e-4, 1e-3, 3e-3, 1e-2)
SEEDS_PER_JOB = 10
THEORY = {"draws": 1000, "vocabulary": 8, "turns": 50}
"""Random instances, tokens of a random policy, longest episode of the arithmetic of Prop. 6.2."""
ARMS = {
    "ppo": "PPO",
    "base": "EPO-Base",
    "epo": "EPO",
    "epo10": "EPO, alpha = 0.1",
    "epo40": "EPO, alpha = 0.4",
    "epo1": "EPO, alpha = 1",
    "working": "working corridor",
    "wide": "EPO, kappa 0.5 to 1.5",
    "narrow": "EPO, kappa 0.8 to 1.2",
    "indicator": "indicator penalty",
    "constant": "EPO W/O DW",
    "code": "EPO, the code's reference and schedule",
    "decay": "EPO-Decay, turns",
    "decay_training": "EPO-Decay, training",
    "ea": "EA",
    "random": "random tokens",
    "random_working": "random tokens, working corridor",
    "fixed": "fixed reference",
    "grpo": "GRPO",
    "grpo_base": "GRPO, EPO-Base",
    "grpo_epo": "GRPO, EPO",
}
"""Arms of the plain regime and their names; `papers.epo.runs.tabular.ARMS` says what each is."""
DECOY = ("ppo", "base", "epo", "working", "random")
TUNED = ("ppo", "base", "epo", "random")
"""Arms that are also run at the best of the rates that each of them was given on development seeds."""
SEARCHES = {"ppo": {"epo_coefficient": 0.0}, "base": {"epo_alpha": 0.0}, "epo": {}}
"""Arms of the text game, and what they change in the trainer's configuration."""
TRAINER = "papers.epo.trainer"
SHARING: dict[str, int] = {"shared": 3, "separate": 10}
"""Classes of stages that share an action's parameters; with one class a stage nothing is shared."""


class Objective(Settings):
    """The paper's values for ScienceWorld and a 7B model.

    Attributes:
        coefficient: λ.
        alpha, kappa_low, kappa_high: α, κ_l, κ_r.
        gamma: γ of the schedule.
        steps: RL steps K.
        episodes: Trajectories of a step.
    """

    coefficient: float = paper(0.001, "Table 2")
    alpha: float = paper(0.05, "Table 2")
    kappa_low: float = paper(0.0, "Table 2")
    kappa_high: float = paper(2.0, "Table 2")
    gamma: float = paper(3.0, "Table 2")
    steps: int = paper(125, "Table 2")
    episodes: int = paper(128, "official code, 16 tasks of 8")


class Tabular(Settings):
    """The agent on the lock.

    Attributes:
        seeds: Of each arm of the regime, and at the tuned rate.
        side_seeds: Of the decoy, the shared and separate parameters, and the gradient probe.
        sweep_seeds: Of each arm at each λ of the sweep.
        learning_rate: Adam's, one at which PPO shows the illness.
        tuned_rate: The best of the grid, the same for all of `TUNED`.
        inner: Optimizer steps of a batch.
        right: Warm start's probability of the right action.
        batches: Of a gradient probe.
    """

    seeds: int = 60
    side_seeds: int = 30
    sweep_seeds: int = 10
    learning_rate: float = 0.08
    tuned_rate: float = 0.01
    inner: int = 4
    right: float = 0.28
    batches: int = 64


class TextGame(Settings):
    """The transformers in the text game.

    Attributes:
        seeds: Of each arm; none below `desk`.
        epo_coefficient: λ; all else as of `common.tasks.text_games.training.Search`.
    """

    seeds: int = 0
    epo_coefficient: float = 0.01
    steps: int = 80
    learning_rate: float = 4e-4
    imitation: int = 100
    charge: float = 0.1


class Config(Settings):
    """Defaults are the paper's values where it has them."""

    objective: Objective = Objective()
    tabular: Tabular = Tabular()
    text_game: TextGame = TextGame()


LOCK: dict[str, Any] = {"objective.steps": 100, "objective.episodes": 32}
PROFILES: dict[str, dict[str, Any]] = {
    "smoke": LOCK
    | {
        "objective.steps": 6,
        "tabular.seeds": 2,
        "tabular.side_seeds": 2,
        "tabular.sweep_seeds": 1,
        "tabular.batches": 3,
    },
    "laptop": LOCK,
    "desk": LOCK | {"text_game.seeds": 10},
    "gpu": LOCK,
    "paper": {},
}


def jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """Every job of the sweeps theory, plain, tuned, decoy, sharing, strength, probe and text_game."""
    checks = [
        Job("theory", {"analysis": name}, f"papers.epo.runs.theory:{name}", THEORY, tuple(seeds[:1]))
        for name in ("equations", "drift")
    ]
    return [*checks, *_tabular(config, seeds), *_searches(config.text_game, seeds)]


def _tabular(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Tabular arms; those of one seed share lock and random numbers."""
    own = config.tabular
    all_seeds, some, few = (seeds[:n] for n in (own.seeds, own.side_seeds, own.sweep_seeds))
    for arm in ARMS:
        yield from _simulated(config, all_seeds, "plain", arm)
    for arm in TUNED:
        yield from _simulated(config, all_seeds, "tuned", arm, learning_rate=own.tuned_rate)
    for arm in DECOY:
        yield from _simulated(config, some, "decoy", arm, regime="decoy")
    for sharing, classes in SHARING.items():
        for arm in ("base", "decay"):
            yield from _simulated(config, some, "sharing", arm, {"sharing": sharing}, classes=classes)
    for value in COEFFICIENTS:
        for arm in ("base", "epo"):
            yield from _simulated(config, few, "strength", arm, {"coefficient": value}, coefficient=value)
    arguments = _training(config) | {"batches": own.batches}
    for part in portions(some, SEEDS_PER_JOB):
        yield Job("probe", {}, "papers.epo.runs.tabular:probe", arguments, part)


def _searches(own: TextGame, seeds: Sequence[int]) -> Iterator[Job]:
    """Arms in the text game; those of one seed share warm start, worlds and random numbers."""
    shared = own.model_dump(exclude={"seeds"}) | {"trainer": f"{TRAINER}:EPOTrainer", "logged": "epo/outside"}
    job = partial(Job, "text_game", entry="common.tasks.text_games.training:train", modules=(TRAINER,))
    for arm, changes in SEARCHES.items():
        for seed in seeds[: own.seeds]:
            yield job({"arm": arm}, config=shared | changes, seeds=(seed,), assets=(*RUNTIME, TEXTWORLD))


def _simulated(
    config: Config,
    seeds: Sequence[int],
    sweep: str,
    arm: str,
    labels: dict[str, Scalar] | None = None,
    **changes: Scalar,
) -> Iterator[Job]:
    arguments = {**_training(config), "arm": arm, **changes}
    for part in portions(seeds, SEEDS_PER_JOB):
        yield Job(sweep, {"arm": arm, **(labels or {})}, "papers.epo.runs.tabular:simulate", arguments, part)


def _training(config: Config) -> dict[str, Scalar]:
    """Arguments that all tabular jobs share."""
    own = config.objective.model_dump(include={"steps", "episodes", "coefficient"})
    return own | config.tabular.model_dump(include={"learning_rate", "inner", "right"})
