"""The study of online exploration: configuration, profiles as differences, jobs by sweep.

The paper is theory and reports no experiment, so no value below is the paper's; instances and sizes are ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from common.study.configuration import Settings
from common.study.jobs import Job, Scalar
from papers.rlhf_exploration.method import PROTOCOLS

LIMITS = {
    "smoke": {"seconds": 120.0, "memory": 1800.0},
    "laptop": {"seconds": 300.0, "memory": 1800.0},
    "gpu": {"seconds": 86400.0, "memory": 32_000.0},
    "paper": {"seconds": 7 * 86400.0, "memory": 32_000.0},
}
SEEDS_PER_JOB = 30
HARD_BETA = 0.15  # CE1 at which the waiting time e^(1/β)/2 is 393 rounds
COIN_BETA = 0.25
HARD_GAP = 8.0
PAIR = ("vpo", "xpo", "proposed")
LM_PROTOCOLS = ("passive", "xpo", "vpo", "proposed")
LM_INSTANCES = {"rare": 4.0, "pattern": 1.0}  # instance to the range of its reward
SIMULATE = "papers.rlhf_exploration.runs.tabular:simulate"


class Config(Settings):
    """Defaults are the largest study that one node can run.

    Attributes:
        optimism: c of α = c √T, constant within a run.
        constant_alpha: α of the sweep with a constant weight.
        ce1_betas: β of CE1.
        ce1_horizon: Rounds T.
        ce1_seeds: Seeds.
        ce2_gaps: Gaps G of CE2.
        ce2_mass: π_ref of each good arm.
        ce2_wide_mass: The same where comparisons of the good arms still happen by chance.
        ce2_beta: β of CE2.
        ce2_horizon: Rounds.
        ce2_seeds: Seeds.
        envelope_betas: β of the exponent study.
        envelope_gaps: Gaps over which the worst is taken.
        envelope_horizons: Horizons T.
        envelope_seeds: Seeds.
        random_arms: K of the random bandits, at the middle β.
        random_betas: β of the random bandits, at five arms.
        benign_betas: β of the benign bandits.
        random_horizon: Rounds.
        random_seeds: Seeds.
        lm_rounds: Rounds of the language model.
        lm_comparisons: Labels per round.
        lm_steps: Adam steps per round.
        lm_pretraining: Adam steps of the pretraining on the corpus.
        lm_length: Tokens of a response; 8 to this power are enumerated.
        lm_hidden: Width of the model.
        lm_seeds: Seeds.
        theory_draws: Random instances of the exact checks.
    """

    optimism: float = 0.3
    constant_alpha: float = 5.0
    ce1_betas: tuple[float, ...] = (1.0, 0.5, 0.33, 0.25, 0.2, 0.15)
    ce1_horizon: int = 1_000_000
    ce1_seeds: int = 100
    ce2_gaps: tuple[float, ...] = (2.0, 4.0, 6.0, 8.0, 10.0)
    ce2_mass: float = 0.001
    ce2_wide_mass: float = 0.01
    ce2_beta: float = 0.2
    ce2_horizon: int = 1_000_000
    ce2_seeds: int = 100
    envelope_betas: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)
    envelope_gaps: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4, 0.8)
    envelope_horizons: tuple[int, ...] = (100, 300, 1000, 3000, 10_000, 100_000, 1_000_000)
    envelope_seeds: int = 100
    random_arms: tuple[int, ...] = (2, 3, 5, 10, 20, 50)
    random_betas: tuple[float, ...] = (0.1, 0.3, 1.0)
    benign_betas: tuple[float, ...] = (0.5, 1.0)
    random_horizon: int = 100_000
    random_seeds: int = 100
    lm_rounds: int = 150
    lm_comparisons: int = 32
    lm_steps: int = 20
    lm_pretraining: int = 100
    lm_length: int = 3
    lm_hidden: int = 64
    lm_seeds: int = 30
    theory_draws: int = 1000


LAPTOP: dict[str, Any] = {
    "ce1_horizon": 3000,
    "ce1_seeds": 30,
    "ce2_horizon": 4000,
    "ce2_seeds": 12,
    "envelope_horizons": (100, 300, 1000, 3000, 10_000),
    "envelope_seeds": 30,
    "random_arms": (2, 3, 5, 10, 20),
    "random_horizon": 1000,
    "random_seeds": 10,
    "lm_rounds": 30,
    "lm_steps": 5,
    "lm_pretraining": 60,
    "lm_seeds": 5,
}

PROFILES: dict[str, dict[str, Any]] = {
    "smoke": LAPTOP
    | {
        "ce1_betas": (0.5, 0.15),
        "ce1_horizon": 200,
        "ce1_seeds": 2,
        "ce2_gaps": (2.0, 8.0),
        "ce2_horizon": 100,
        "ce2_seeds": 2,
        "envelope_betas": (0.3, 1.0),
        "envelope_horizons": (100, 200),
        "envelope_seeds": 2,
        "random_arms": (2, 5),
        "random_betas": (0.3, 1.0),
        "benign_betas": (1.0,),
        "random_horizon": 30,
        "random_seeds": 2,
        "lm_seeds": 0,  # torch alone takes longer to load than the rest of a smoke run
    },
    "laptop": LAPTOP,
    "gpu": LAPTOP
    | {
        "lm_rounds": 150,
        "lm_steps": 20,
        "lm_pretraining": 100,
        "lm_length": 4,
        "lm_hidden": 128,
        "lm_seeds": 10,
    },
    "paper": {},
}


def jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """Every job of the study.

    Sweeps: ``lm``; ``theory``; ``ce1``, ``ce1_constant``, ``ce2``, ``ce2_wide``; ``coin``, ``alpha0``
    (controls); ``envelope``; ``random``, ``hard_prior``, ``benign``. Jobs that need torch come first: a
    worker that loads it late looks to joblib as if it leaked memory, and is replaced.
    """
    parts = (lm_jobs, theory_jobs, ce1_jobs, ce2_jobs, control_jobs, envelope_jobs, random_jobs)
    return [job for part in parts for job in part(config, seeds)]


def theory_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Exact checks; each draws its instances from the first seed."""
    betas = ",".join(map(str, config.ce1_betas))
    gaps = ",".join(map(str, config.ce2_gaps))
    analyses: dict[str, dict[str, Scalar]] = {
        "identities": {"draws": config.theory_draws, "arms": 5},
        "horizons": {"betas": betas},
        "comparisons": {"gaps": gaps},
    }
    for name, arguments in analyses.items():
        entry = f"papers.rlhf_exploration.runs.theory:{name}"
        yield Job("theory", {"analysis": name}, entry, arguments, tuple(seeds[:1]))


def ce1_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Two arms at every β: all protocols with α = c √T, the three main ones with a constant α."""
    chosen = seeds[: config.ce1_seeds]
    for beta in config.ce1_betas:
        setting = _ce1(config, beta)
        for protocol in PROTOCOLS:
            yield from _bandit("ce1", setting, protocol, chosen)
        for protocol in PAIR:
            yield from _bandit("ce1_constant", setting | {"alpha": config.constant_alpha}, protocol, chosen)


def ce2_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Three arms at every gap: all protocols; two of them also where π_ref plays the good arms more."""
    chosen = seeds[: config.ce2_seeds]
    for gap in config.ce2_gaps:
        for protocol in PROTOCOLS:
            yield from _bandit("ce2", _ce2(config, gap), protocol, chosen)
        for protocol in ("xpo", "proposed"):
            setting = _ce2(config, gap) | {"mass": config.ce2_wide_mass}
            yield from _bandit("ce2_wide", setting, protocol, chosen)


def control_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Labels from a fair coin, and protocols without a bonus."""
    for protocol in PROTOCOLS:
        coin = _ce1(config, COIN_BETA) | {"coin": True}
        yield from _bandit("coin", coin, protocol, seeds[: config.ce1_seeds])
    for protocol in ("proposed", "ablation_a", "ablation_b", "xpo"):
        for setting, count in (
            (_ce1(config, HARD_BETA), config.ce1_seeds),
            (_ce2(config, HARD_GAP), config.ce2_seeds),
        ):
            yield from _bandit("alpha0", setting | {"alpha": 0.0}, protocol, seeds[:count])


def envelope_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Regret at several horizons over several gaps; α depends on the horizon, so each is a run of its own."""
    chosen = tuple(seeds[: config.envelope_seeds])
    for beta in config.envelope_betas:
        for protocol in PAIR:
            for horizon in config.envelope_horizons:
                setting = {
                    "beta": beta,
                    "protocol": protocol,
                    "horizon": horizon,
                    "alpha": config.optimism * horizon**0.5,
                    "gaps": ",".join(map(str, config.envelope_gaps)),
                }
                labels: dict[str, Scalar] = {"protocol": protocol, "beta": beta, "horizon": horizon}
                for part in _parts(chosen):
                    entry = "papers.rlhf_exploration.runs.tabular:envelope"
                    yield Job("envelope", labels, entry, setting, part)


def random_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Random bandits over K and over β, with a broad and with a misplaced π_ref; and benign ones."""
    chosen, middle = seeds[: config.random_seeds], 0.3
    cells = {(arms, middle) for arms in config.random_arms} | {(5, beta) for beta in config.random_betas}
    shared = {"horizon": config.random_horizon, "alpha": config.optimism * config.random_horizon**0.5}
    for arms, beta in sorted(cells):
        for kind in ("random", "hard_prior"):
            setting = {**shared, "instance": kind, "arms": arms, "beta": beta}
            for protocol in PAIR:
                yield from _bandit(kind, setting, protocol, chosen)
    for beta in config.benign_betas:
        setting = {**shared, "instance": "benign", "arms": 5, "beta": beta}
        for protocol in (*PAIR, "passive"):
            yield from _bandit("benign", setting, protocol, chosen)


def lm_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """The enumerated language model, and a table of logits in its place."""
    shared = {
        "beta": 0.2,
        "alpha": config.optimism * (config.lm_rounds * config.lm_comparisons) ** 0.5,
        "rounds": config.lm_rounds,
        "comparisons": config.lm_comparisons,
        "steps": config.lm_steps,
        "pretraining": config.lm_pretraining,
        "length": config.lm_length,
        "hidden": config.lm_hidden,
        "learning_rate": 1e-3,
        "table_learning_rate": 0.1,
    }
    for policy in ("model", "table"):
        for instance, scale in LM_INSTANCES.items():
            for protocol in LM_PROTOCOLS:
                labels = {"instance": instance, "protocol": protocol, "policy": policy}
                for seed in seeds[: config.lm_seeds]:
                    setting = {**shared, **labels, "scale": scale}
                    yield Job("lm", labels, "papers.rlhf_exploration.runs.training:train", setting, (seed,))


def _ce1(config: Config, beta: float) -> dict[str, Scalar]:
    horizon = config.ce1_horizon
    alpha = config.optimism * horizon**0.5
    return {"instance": "ce1", "beta": beta, "gap": 1.0, "horizon": horizon, "alpha": alpha}


def _ce2(config: Config, gap: float) -> dict[str, Scalar]:
    horizon = config.ce2_horizon
    shared = {"mass": config.ce2_mass, "horizon": horizon, "alpha": config.optimism * horizon**0.5}
    return {"instance": "ce2", "beta": config.ce2_beta, "gap": gap, **shared}


def _bandit(sweep: str, setting: Mapping[str, Scalar], protocol: str, seeds: Sequence[int]) -> Iterator[Job]:
    arguments = {"coin": False, **setting, "protocol": protocol}
    labels = {
        name: arguments.get(name) for name in ("instance", "protocol", "beta", "gap", "arms", "horizon")
    }
    for part in _parts(seeds):
        yield Job(sweep, labels, SIMULATE, arguments, part)


def _parts(seeds: Sequence[int]) -> Iterator[tuple[int, ...]]:
    for start in range(0, len(seeds), SEEDS_PER_JOB):
        yield tuple(seeds[start : start + SEEDS_PER_JOB])
