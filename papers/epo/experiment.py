"""The study of EPO: configuration with the paper's values, profiles as differences, jobs by sweep.

Two tiers: exact checks of the equations (`runs.theory`) and a tabular agent on a lock of many turns
(`runs.tabular`), which carries the comparisons. A text game with a pocket transformer is not built.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from common.study.configuration import Settings, paper
from common.study.jobs import Job, Scalar, portions

COEFFICIENTS = (3e-4, 1e-3, 3e-3, 1e-2)
SEEDS_PER_JOB = 10
THEORY = {"draws": 1000, "vocabulary": 8, "turns": 50}
"""Random instances, tokens of a random policy, longest episode of the arithmetic of Prop. 6.2."""
# fmt: off
ARMS = (
    "ppo", "base", "epo", "epo10", "epo40", "epo1", "working", "wide", "narrow", "indicator", "constant",
    "code", "decay", "decay_training", "ea", "random", "random_working", "fixed", "grpo", "grpo_base",
    "grpo_epo",
)
# fmt: on
"""Arms of the plain regime; `papers.epo.runs.tabular.ARMS` says what each is."""
DECOY = ("ppo", "base", "epo", "working", "random")
TUNED = ("ppo", "base", "epo", "random")
"""Arms that are also run at the best of the rates that each of them was given on development seeds."""
SHARING: dict[str, int] = {"shared": 3, "separate": 10}
"""Classes of stages that share an action's parameters; with one class a stage nothing is shared."""


class Objective(Settings):
    """The paper's values for ScienceWorld and a 7B model.

    Attributes:
        coefficient: λ.
        alpha: α.
        kappa_low: κ_l.
        kappa_high: κ_r.
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


class Config(Settings):
    """Defaults are the paper's values where it has them."""

    objective: Objective = Objective()
    tabular: Tabular = Tabular()


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
    "gpu": LOCK,
    "paper": {},
}


def jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """Every job of the sweeps theory, plain, tuned, decoy, sharing, strength and probe."""
    return [*_theory(seeds), *_tabular(config, seeds)]


def _theory(seeds: Sequence[int]) -> Iterator[Job]:
    """Exact checks; they draw their instances from the first seed."""
    for name in ("equations", "drift"):
        entry = f"papers.epo.runs.theory:{name}"
        yield Job("theory", {"analysis": name}, entry, THEORY, tuple(seeds[:1]))


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
            labels: dict[str, Scalar] = {"sharing": sharing}
            yield from _simulated(config, some, "sharing", arm, labels, classes=classes)
    for coefficient in COEFFICIENTS:
        for arm in ("base", "epo"):
            labels = {"coefficient": coefficient}
            yield from _simulated(config, few, "strength", arm, labels, coefficient=coefficient)
    arguments = _training(config) | {"batches": own.batches}
    for part in portions(some, SEEDS_PER_JOB):
        yield Job("probe", {}, "papers.epo.runs.tabular:probe", arguments, part)


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
