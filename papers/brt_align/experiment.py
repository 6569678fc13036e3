"""The study of BRT-Align: configuration, profiles as differences, jobs by sweep.

Three tiers: exact checks of the recursion and of a tabular language (`runs.theory`), pocket models that have
read that language, whose hidden states are monitored and steered (`runs.detection`, `runs.steering`), and at
`desk` the same two on SmolLM2. The paper's γ, δ, ε, layer and sizes could not be found; all are choices here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from common.rl.run import POCKET_FILES
from common.study.configuration import Settings, paper
from common.study.jobs import Job
from common.tasks.delayed_hazard import NAME, World

MONITORS = {
    "rl": "RL-BRT-Align",
    "final": "Sample-BRT-Align",
    "future_min": "Sample-BRT-Align, least margin",
    "classifier": "classifier alone",
    "recontrol": "RE-Control",
    "recontrol_code": "RE-Control, as coded",
    "sap": "SaP",
    "probe": "linear probe",
    "bag": "bag of words",
    "prompt": "prompt only",
    "shuffled": "shuffled labels",
    "shuffled_final": "Sample, shuffled labels",
}
"""Monitors and their names; `papers.brt_align.runs.detection.DETECTORS` says what each is."""
CONTROLS = {
    "rl": "RL-BRT-Align",
    "final": "Sample-BRT-Align",
    "sap": "SaP",
    "recontrol": "RE-Control",
    "random": "random direction",
    "always": "always on",
    "classifier": "classifier alone",
    "shuffled": "shuffled labels",
}
"""Arms of steering; `papers.brt_align.runs.steering.CONTROLS` says what each is."""
LAWFUL = ("rl", "time")
"""Monitors whose lead is followed over gamma; the targets of the second stand in another order in time."""
NO_EXIT = ("rl", "random")
TIMED = ("rl", "sap", "recontrol")
REAL_MONITORS = ("rl", "final", "recontrol", "sap", "probe", "bag", "prompt", "shuffled", "shuffled_final")
REAL_CONTROLS = ("rl", "random", "always", "classifier", "shuffled")
GAMMAS = (0.8, 0.9, 0.93, 0.95, 0.99)
RADII = (0.1, 0.25, 0.5, 1.0)
"""Of balls that an arm of steering chooses from, in units of the median norm of a state."""
STORIES = ("smollm2",)
RUNS = "papers.brt_align.runs"


class Learning(Settings):
    """How values are learned.

    Attributes:
        gamma: γ of RL-BRT-Align; 0.93 allows a lead of nine tokens where margins are symmetric.
        epochs: Passes over every second state of the training rollouts.
        radii: Every arm of steering that chooses chooses from the first so many of `RADII`.
        decoding: Of all rollouts.
    """

    gamma: float = 0.93
    epochs: int = 8
    radii: int = len(RADII)
    decoding: str = paper("greedy", "method section, after reviews")


class Hazard(Settings):
    """Pocket models in the tabular language.

    Attributes:
        seeds: Of each arm.
        layer: Whose states are read; four is the one behind the final norm.
        models: Pocket models, one for each seed modulo their number.
        train, validation, test: Prompts.
        tuning: Validation prompts on which radii are chosen.
        steered: Test prompts of steering.
        timed: Prompts that are timed together.
        rounds: Of the clock.
    """

    seeds: int = 12
    layer: int = 3
    models: int = 3
    train: int = 2000
    validation: int = 300
    test: int = 700
    tuning: int = 100
    steered: int = 200
    timed: int = 32
    rounds: int = 3


class Stories(Settings):
    """SmolLM2 on openings of stories.

    Attributes:
        seeds: Of each arm; none below `desk`.
        layer: Whose states are read, of 30.
        pool: Rollouts, which all seeds share and split anew.
        tokens: Of a continuation.
        train, validation, test: Openings.
        tuning: Validation openings on which radii are chosen.
        steered: Test openings of steering.
        timed: Openings that are timed together.
        rounds: Of the clock.
    """

    seeds: int = 0
    layer: int = 20
    pool: int = 3000
    tokens: int = 32
    train: int = 2000
    validation: int = 400
    test: int = 600
    tuning: int = 30
    steered: int = 60
    timed: int = 8
    rounds: int = 2


class Config(Settings):
    """Everything."""

    draws: int = 1000
    learning: Learning = Learning()
    hazard: Hazard = Hazard()
    stories: Stories = Stories()


PROFILES: dict[str, dict[str, Any]] = {
    "smoke": {
        "learning.epochs": 1,
        "learning.radii": 1,
        "hazard.seeds": 1,
        "hazard.models": 1,
        "hazard.train": 100,
        "hazard.validation": 40,
        "hazard.test": 120,
        "hazard.tuning": 8,
        "hazard.steered": 12,
        "hazard.timed": 4,
        "hazard.rounds": 1,
    },
    "laptop": {},
    "desk": {"stories.seeds": 10},
    "gpu": {"stories.seeds": 10},
    "paper": {},
}


def jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """Every job of the sweeps: theory, those of the tabular language, and those of SmolLM2."""
    theory = {"draws": config.draws, "gammas": list(GAMMAS)}
    exact = [
        Job("theory", {"analysis": name}, f"{RUNS}.theory:{name}", theory, tuple(seeds[:1]))
        for name in ("facts", "law", "language")
    ]
    return [
        *exact,
        *_hazard(config, seeds[: config.hazard.seeds]),
        *_stories(config, seeds[: config.stories.seeds]),
    ]


def _hazard(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    own = config.hazard
    common = {"subject": "hazard", "epochs": config.learning.epochs, "layers": [own.layer, LAST]}
    split = own.model_dump(include={"train", "validation", "test"})
    steered = split | {"test": own.steered, "tuning": own.tuning} | _knobs(config)
    read = _monitors(MONITORS, config.learning.gamma)
    for seed in seeds:
        usual = common | {"model": f"{NAME}-{seed % own.models}", "escape": World().escape}
        closed = common | {"model": f"{NAME}-closed-0", "escape": 0.0}
        yield _job("detection", "detection:detect", seed, usual | split | read)
        yield _job("gamma", "detection:detect", seed, usual | split | _monitors(LAWFUL, *GAMMAS))
        yield _job("steering", "steering:steer", seed, usual | steered | {"arms": list(CONTROLS)})
        yield _job("no_exit", "steering:steer", seed, closed | steered | {"arms": list(NO_EXIT)})
        yield _job("speed", "steering:speed", seed, usual | _timed(config, own))


def _stories(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    own = config.stories
    common = {"subject": "stories", "epochs": config.learning.epochs, "layers": [own.layer, REAL_LAST]}
    common |= {"pool": own.pool, "tokens": own.tokens}
    split = own.model_dump(include={"train", "validation", "test"})
    steered = split | {"test": own.steered, "tuning": own.tuning} | _knobs(config)
    read = _monitors(REAL_MONITORS, config.learning.gamma)
    for seed in seeds:
        yield _job("stories", "detection:detect", seed, common | split | read, STORIES)
        yield _job("turns", "steering:steer", seed, common | steered | {"arms": list(REAL_CONTROLS)}, STORIES)
        yield _job("real_speed", "steering:speed", seed, common | _timed(config, own), STORIES)


LAST, REAL_LAST = 4, 30  # layers of the two models


def _timed(config: Config, own: Hazard | Stories) -> dict[str, Any]:
    sizes = {"train": 10 * own.timed, "validation": own.timed, "test": own.timed}
    return sizes | _knobs(config) | {"rounds": own.rounds, "arms": list(TIMED)}


def _knobs(config: Config) -> dict[str, Any]:
    return {"gamma": config.learning.gamma, "radii": list(RADII[: config.learning.radii])}


def _monitors(arms: Iterable[str], *gammas: float) -> dict[str, Any]:
    return {"arms": list(arms), "gammas": list(gammas)}


def _job(sweep: str, entry: str, seed: int, config: dict[str, Any], assets: tuple[str, ...] = ()) -> Job:
    model = config.get("model")
    inputs = tuple(f"common/models/pocket/{model}/{name}" for name in POCKET_FILES) if model else ()
    return Job(sweep, {}, f"{RUNS}.{entry}", config, (seed,), inputs=inputs, assets=assets)
