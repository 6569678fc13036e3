"""The study of online exploration: configuration, profiles as differences, jobs by sweep.

The paper is theory and reports no experiment, so no value below is the paper's; instances and sizes are ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
COLUMNS = ("instance", "protocol", "beta", "gap", "arms", "horizon")  # of the frame, that tell bandits apart
MANY_PROTOCOLS = ("proposed", "passive", "uniform", "pairs")
LM_PROTOCOLS = ("passive", "xpo", "vpo", "proposed")
LM_INSTANCES = {"rare": 4.0, "pattern": 1.0}  # instance to the range of its reward


class Bandits(Settings):
    """Runs of `horizon` rounds on one family of bandits, so many `seeds` of each protocol."""

    horizon: int = 1_000_000
    seeds: int = 100


class CE1(Bandits):
    """Two arms whose gap is 1, where comparisons are misaligned, at KL weights `betas`."""

    betas: tuple[float, ...] = (1.0, 0.5, 0.33, 0.25, 0.2, 0.15)


class CE2(Bandits):
    """Three arms, where comparisons are saturated, at several `gaps` and one `beta`.

    π_ref plays each good arm with `mass`; with `wide_mass` comparisons of both still happen by chance.
    """

    gaps: tuple[float, ...] = (2.0, 4.0, 6.0, 8.0, 10.0)
    beta: float = 0.2
    mass: float = 0.001
    wide_mass: float = 0.01


class Envelope(Settings):
    """The exponent study on CE1: each of the `horizons` is a run, the worst is taken over `gaps`."""

    betas: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)
    gaps: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4, 0.8)
    horizons: tuple[int, ...] = (100, 300, 1000, 3000, 10_000, 100_000, 1_000_000)
    seeds: int = 100


class RandomBandits(Bandits):
    """Random instances: several `arms` at the middle β, five at `betas`; benign ones at `benign_betas`."""

    horizon: int = 100_000
    arms: tuple[int, ...] = (2, 3, 5, 10, 20, 50)
    betas: tuple[float, ...] = (0.1, 0.3, 1.0)
    benign_betas: tuple[float, ...] = (0.5, 1.0)


class ManyArms(Bandits):
    """Two good arms, of rewards `gap` and `gap` - 1, among so many `arms`; π_ref is uniform."""

    horizon: int = 100_000
    arms: tuple[int, ...] = (3, 10, 30, 100)
    gap: float = 8.0
    beta: float = 0.2


class Learner(Settings):
    """The learned policies: `pretraining` steps on the corpus, then `steps` after each round of comparisons.

    Responses have `length` tokens, 8 to this power in all; a table of logits may stand in the model's place.
    """

    beta: float = 0.2
    rounds: int = 150
    comparisons: int = 32
    steps: int = 20
    pretraining: int = 100
    length: int = 3
    hidden: int = 64
    learning_rate: float = 1e-3
    table_learning_rate: float = 0.1


class Config(Settings):
    """Defaults are the largest study that one node can run.

    Attributes:
        optimism: c of α = c √T, constant within a run.
        constant_alpha: α of the sweep with a constant weight.
        ce1, ce2, envelope, random, many: The bandits.
        lm: The language model.
        lm_seeds: Seeds of each of its arms.
        theory_draws: Random instances of the exact checks.
    """

    optimism: float = 0.3
    constant_alpha: float = 5.0
    ce1: CE1 = CE1()
    ce2: CE2 = CE2()
    envelope: Envelope = Envelope()
    random: RandomBandits = RandomBandits()
    many: ManyArms = ManyArms()
    lm: Learner = Learner()
    lm_seeds: int = 30
    theory_draws: int = 1000

    def alpha(self, horizon: int) -> float:
        """α of a run of so many comparisons."""
        return self.optimism * horizon**0.5


LAPTOP: dict[str, Any] = {
    "ce1.horizon": 3000,
    "ce1.seeds": 30,
    "ce2.horizon": 4000,
    "ce2.seeds": 12,
    "envelope.horizons": (100, 300, 1000, 3000, 10_000),
    "envelope.seeds": 30,
    "random.arms": (2, 3, 5, 10, 20),
    "random.horizon": 1000,
    "random.seeds": 10,
    "many.horizon": 2000,
    "many.seeds": 30,
    "lm.rounds": 30,
    "lm.steps": 5,
    "lm.pretraining": 60,
    "lm_seeds": 5,
}

PROFILES: dict[str, dict[str, Any]] = {
    "smoke": LAPTOP
    | {
        "ce1.betas": (0.5, 0.15),
        "ce1.horizon": 200,
        "ce1.seeds": 2,
        "ce2.gaps": (2.0, 8.0),
        "ce2.horizon": 100,
        "ce2.seeds": 2,
        "envelope.betas": (0.3, 1.0),
        "envelope.horizons": (100, 200),
        "envelope.seeds": 2,
        "random.arms": (2, 5),
        "random.betas": (0.3, 1.0),
        "random.benign_betas": (1.0,),
        "random.horizon": 30,
        "random.seeds": 2,
        "many.arms": (3, 100),
        "many.horizon": 30,
        "many.seeds": 2,
        "lm_seeds": 0,  # torch alone takes longer to load than the rest of a smoke run
    },
    "laptop": LAPTOP,
    "gpu": LAPTOP
    | {
        "lm.rounds": 150,
        "lm.steps": 20,
        "lm.pretraining": 100,
        "lm.length": 4,
        "lm.hidden": 128,
        "lm_seeds": 10,
    },
    "paper": {},
}


def jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """Every job of the study.

    Sweeps: ``lm``; ``theory``; ``ce1``, ``ce1_constant``, ``ce2``, ``ce2_wide``; ``coin``, ``alpha0``
    (controls); ``envelope``; ``random``, ``hard_prior``, ``benign``; ``many``. Jobs that need torch come
    first: a worker that loads it late looks to joblib as if it leaked memory, and is replaced.
    """
    parts = (lm_jobs, theory_jobs, hard_jobs, control_jobs, envelope_jobs, random_jobs, many_jobs)
    return [job for part in parts for job in part(config, seeds)]


def lm_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """The enumerated language model, and a table of logits in its place."""
    shared = config.lm.model_dump() | {"alpha": config.alpha(config.lm.rounds * config.lm.comparisons)}
    for policy in ("model", "table"):
        for instance, scale in LM_INSTANCES.items():
            for protocol in LM_PROTOCOLS:
                labels = {"instance": instance, "protocol": protocol, "policy": policy}
                arguments = {**shared, **labels, "scale": scale}
                for seed in seeds[: config.lm_seeds]:
                    yield Job("lm", labels, "papers.rlhf_exploration.runs.training:train", arguments, (seed,))


def theory_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Exact checks; each draws its instances from the first seed."""
    analyses: dict[str, dict[str, Scalar]] = {
        "identities": {"draws": config.theory_draws, "arms": 5},
        "horizons": {"betas": _listed(config.ce1.betas)},
        "comparisons": {"gaps": _listed(config.ce2.gaps)},
    }
    for name, arguments in analyses.items():
        entry = f"papers.rlhf_exploration.runs.theory:{name}"
        yield Job("theory", {"analysis": name}, entry, arguments, tuple(seeds[:1]))


def hard_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """CE1 at every β, also with a constant α; CE2 at every gap, also where π_ref plays the good arms more."""
    few, fewer = seeds[: config.ce1.seeds], seeds[: config.ce2.seeds]
    for beta in config.ce1.betas:
        setting = _ce1(config, beta)
        yield from _runs(config, "ce1", setting, PROTOCOLS, few)
        yield from _runs(config, "ce1_constant", setting | {"alpha": config.constant_alpha}, PAIR, few)
    for gap in config.ce2.gaps:
        setting = _ce2(config, gap)
        yield from _runs(config, "ce2", setting, PROTOCOLS, fewer)
        wide = setting | {"mass": config.ce2.wide_mass}
        yield from _runs(config, "ce2_wide", wide, ("xpo", "proposed"), fewer)


def control_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Labels from a fair coin, and protocols without a bonus."""
    few, fewer = seeds[: config.ce1.seeds], seeds[: config.ce2.seeds]
    yield from _runs(config, "coin", _ce1(config, COIN_BETA) | {"coin": True}, PROTOCOLS, few)
    for protocol in ("proposed", "ablation_a", "ablation_b", "xpo"):
        for setting, part in ((_ce1(config, HARD_BETA), few), (_ce2(config, HARD_GAP), fewer)):
            yield from _runs(config, "alpha0", setting | {"alpha": 0.0}, (protocol,), part)


def envelope_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Regret at several horizons over several gaps; α depends on the horizon, so each is a run of its own."""
    entry, gaps = "papers.rlhf_exploration.runs.tabular:envelope", _listed(config.envelope.gaps)
    for beta in config.envelope.betas:
        for protocol in PAIR:
            for horizon in config.envelope.horizons:
                labels: dict[str, Scalar] = {"protocol": protocol, "beta": beta, "horizon": horizon}
                arguments = labels | {"alpha": config.alpha(horizon), "gaps": gaps}
                for part in _parts(seeds[: config.envelope.seeds]):
                    yield Job("envelope", labels, entry, arguments, part)


def random_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Random bandits over K and over β, with a broad and with a misplaced π_ref; and benign ones."""
    group, some, middle = config.random, seeds[: config.random.seeds], 0.3
    for arms, beta in sorted({(k, middle) for k in group.arms} | {(5, beta) for beta in group.betas}):
        for kind in ("random", "hard_prior"):
            setting = {"instance": kind, "arms": arms, "beta": beta, "horizon": group.horizon}
            yield from _runs(config, kind, setting, PAIR, some)
    for beta in group.benign_betas:
        setting = {"instance": "benign", "arms": 5, "beta": beta, "horizon": group.horizon}
        yield from _runs(config, "benign", setting, (*PAIR, "passive"), some)


def many_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Two good arms among few and among many."""
    group = config.many
    shared = {"gap": group.gap, "beta": group.beta, "horizon": group.horizon}
    for arms in group.arms:
        for protocol in MANY_PROTOCOLS:
            labels: dict[str, Scalar] = {"protocol": protocol, "arms": arms, **shared}
            arguments = labels | {"alpha": config.alpha(group.horizon)}
            for part in _parts(seeds[: group.seeds]):
                yield Job("many", labels, "papers.rlhf_exploration.runs.many_arms:simulate", arguments, part)


def _ce1(config: Config, beta: float) -> dict[str, Scalar]:
    return {"instance": "ce1", "beta": beta, "gap": 1.0, "horizon": config.ce1.horizon}


def _ce2(config: Config, gap: float) -> dict[str, Scalar]:
    group = config.ce2
    return {"instance": "ce2", "beta": group.beta, "gap": gap, "mass": group.mass, "horizon": group.horizon}


def _runs(
    config: Config, sweep: str, setting: Mapping[str, Any], protocols: Iterable[str], seeds: Sequence[int]
) -> Iterator[Job]:
    """Jobs of several protocols on one bandit; α = c √T unless the setting holds one."""
    alpha = config.alpha(setting["horizon"])
    for protocol in protocols:
        arguments = {"coin": False, "alpha": alpha, **setting, "protocol": protocol}
        labels = {name: arguments.get(name) for name in COLUMNS}
        for part in _parts(seeds):
            yield Job(sweep, labels, "papers.rlhf_exploration.runs.tabular:simulate", arguments, part)


def _parts(seeds: Sequence[int]) -> Iterator[tuple[int, ...]]:
    for start in range(0, len(seeds), SEEDS_PER_JOB):
        yield tuple(seeds[start : start + SEEDS_PER_JOB])


def _listed(numbers: Iterable[float]) -> str:
    return ",".join(map(str, numbers))
