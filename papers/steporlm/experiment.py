"""The study of StepORLM: configuration with the paper's values, profiles as differences, jobs by sweep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from common.study.configuration import Settings, paper
from common.study.errors import StudyError
from common.study.jobs import Job, Scalar

LIMITS = {
    "smoke": {"seconds": 120.0, "memory": 1800.0},
    "laptop": {"seconds": 900.0, "memory": 1800.0},
    "desk": {"seconds": 1800.0, "memory": 3000.0},
    "gpu": {"seconds": 86400.0, "memory": 32_000.0},
    "paper": {"seconds": 7 * 86400.0, "memory": 64_000.0},
}
ARMS: dict[str, dict[str, Scalar]] = {
    "full": {},
    "outcome": {"by_process": False, "verdicts": "none", "evolves": False},
    "shuffled": {"verdicts": "shuffled"},
    "no_sft": {"start": "base"},
    "frozen": {"evolves": False},
    "unweighted": {"weighting": "unit"},
    "reference": {"reference_free": False},
    "oracle": {"verdicts": "oracle"},
    "inverted": {"weighting": "inverted"},
    "unfiltered": {"filter_on": "nothing"},
}
"""What an arm changes in the loop."""
COMPARED = ("full", "outcome", "shuffled")
DESK_ABLATIONS = "no_sft,frozen,unweighted,reference,oracle"
DIALS = {"none": 0.6, "usual": 0.7}
"""Kinds of errors in the warm-up corpus, and the share of its solutions that carry one; see the card."""


class Loop(Settings):
    """The rounds of one arm.

    Attributes:
        model: Policy and verifier.
        beta: β.
        rounds: Of sample, score, pairs, train.
        samples: Solutions of each problem in a round.
        votes: Of the warm start, that decide which problems are hard.
        problems: Hard ones that the rounds are about.
        learning_rate: Of the policy's AdamW.
        epochs: Of each round, policy and verifier.
        batch: Pairs, or critiques, of an optimizer step.
        pairs: Most pairs a round, drawn at random.
        most: Pairs of a problem.
        temperature: Of the solutions.
        critic_learning_rate: Of the verifier.
        reference_free: No reference in Eq. 1.
    """

    model: str = paper("Qwen/Qwen3-8B", "section 4.1")
    beta: float = paper(0.1, "section 4.1")
    rounds: int = paper(3, "section 4.1")
    samples: int = paper(4, "section 4.1")
    votes: int = paper(5, "App. F.2")
    problems: int = paper(13_000, "App. F.2, about")
    learning_rate: float = paper(7e-6, "section 4.1")
    epochs: int = paper(3, "section 4.1; App. F.4 has 2 for the warm-up")
    batch: int = paper(64, "section 4.1")
    pairs: int = 0
    most: int = 4
    temperature: float = 1.0
    critic_learning_rate: float = 7e-6
    reference_free: bool = True


class WarmStart(Settings):
    """Supervised training of policy and verifiers.

    Attributes:
        solutions: Of the policy's corpus.
        critiques: Of the verifiers' corpus.
        label_noise: Share of their verdicts on steps that are turned round.
        steps: Optimizer steps of the policy.
        critic_steps: Of each verifier.
        base_steps: Of the arm without a warm-up.
        hidden, layers: Shape of the pocket models.
    """

    solutions: int = paper(50_000, "section 3.2")
    critiques: int = 0
    label_noise: float = 0.1
    steps: int = 600
    critic_steps: int = 600
    base_steps: int = 60
    hidden: int = 96
    layers: int = 3


class Evaluation(Settings):
    """What is measured on held-out problems.

    Attributes:
        problems: Held-out problems.
        samples: One of which the verifiers pick.
        trials: Made solutions of each kind on which verifiers are measured.
        picks: Among whose solutions the full method's verifiers choose: "own", "all" (policy B's too, and
            with a discriminative verifier), or "none".
    """

    problems: int = paper(1510, "App. B, all seven benchmarks")
    samples: int = paper(4, "section 4.4")
    trials: int = 200
    picks: str = "all"


class Config(Settings):
    """Defaults are the paper's.

    Attributes:
        loop: The rounds.
        warm: The models before them.
        evaluation: What is measured.
        arms: Of `ARMS`, by comma; dial 0 has the full method and outcome-only preference.
        ablations: Further ones of the usual dial, in jobs of their own; "" for none.
        seeds: Of each arm; 0 leaves the rounds out.
        quality_seeds: Of the corpora of Table 4.
        lucky_size: Problems a family for the luck of errors.
        draws: Instances of the other exact checks.
        real_models: Models of GLPK's that two solvers solve; 0 takes all.
    """

    loop: Loop = Loop()
    warm: WarmStart = WarmStart()
    evaluation: Evaluation = Evaluation()
    arms: str = ",".join(COMPARED)
    ablations: str = ",".join(name for name in ARMS if name not in COMPARED)
    dials: str = ",".join(DIALS)
    seeds: int = 1
    quality_seeds: int = 1
    lucky_size: int = 400
    draws: int = 1000
    real_models: int = 0


POCKET: dict[str, Any] = {
    "loop.model": "pocket",
    "loop.problems": 160,
    "loop.learning_rate": 3e-5,
    "loop.critic_learning_rate": 2e-4,
    "loop.epochs": 1,
    "loop.batch": 16,
    "loop.pairs": 240,
    "warm.solutions": 10_000,
    "warm.steps": 900,
    "warm.critiques": 8000,
    "warm.critic_steps": 900,
    "evaluation.problems": 300,
    "quality_seeds": 0,
}
TINY: dict[str, Any] = {
    "loop.rounds": 1,
    "loop.problems": 6,
    "loop.pairs": 8,
    "warm.solutions": 40,
    "warm.critiques": 40,
    "warm.steps": 2,
    "warm.critic_steps": 2,
    "warm.base_steps": 1,
    "warm.hidden": 16,
    "warm.layers": 1,
    "evaluation.problems": 6,
    "evaluation.samples": 2,
    "evaluation.trials": 5,
    "arms": "full",
    "ablations": "",
    "dials": "usual",
    "lucky_size": 8,
    "real_models": 4,
}
PROFILES: dict[str, dict[str, Any]] = {
    "smoke": POCKET | TINY,
    "laptop": POCKET | {"arms": "full", "ablations": "", "dials": "usual", "evaluation.picks": "none"},
    "desk": POCKET | {"seeds": 10, "ablations": DESK_ABLATIONS, "evaluation.picks": "own"},
    "gpu": POCKET | {"seeds": 10, "quality_seeds": 10},
    "paper": {},
}
OF_DIAL_NONE = ("full", "outcome")
CORPORA = ("verified", "unverified", "again")


def jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """Every job of the study.

    Sweeps: ``loops``, ``quality``; ``lucky``, ``tours``, ``best_of``, ``gradients``, ``real_models``.
    """
    return [*loop_jobs(config, seeds), *quality_jobs(config, seeds), *theory_jobs(config, seeds)]


def theory_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Exact checks; each draws its instances from the first seed."""
    analyses: dict[str, dict[str, Scalar]] = {
        "lucky": {"size": config.lucky_size},
        "tours": {},
        "best_of": {"draws": config.draws},
        "gradients": {"draws": config.draws},
        "real_models": {"models": config.real_models, "seconds": 60},
    }
    reads = {"real_models": ("gmpl",)}
    for name, arguments in analyses.items():
        entry = f"papers.steporlm.runs.theory:{name}"
        yield Job(name, {}, entry, arguments, tuple(seeds[:1]), assets=reads.get(name, ()))


def loop_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """The rounds of all arms of a dial, a seed a job: they share warm starts and problems.

    Raises:
        StudyError: another model than the pocket's, or an unknown arm.
    """
    own = seeds[: config.seeds]
    if own and config.loop.model != "pocket":
        raise StudyError(
            f"MODEL={config.loop.model}: the rounds run on pocket models; for real ones take "
            "papers.steporlm.CoEvolution with StepORLMTrainer, as the README shows"
        )
    for dial in config.dials.split(","):
        for names in groups_of(config, dial):
            arms = {name: changes_of(config, dial, name) for name in names}
            arguments = shared(config) | {"dial": dial, "rate": DIALS[dial], "arms": arms}
            for seed in own:
                yield Job("loops", {"dial": dial}, "papers.steporlm.runs.training:train", arguments, (seed,))


def groups_of(config: Config, dial: str) -> list[list[str]]:
    """Arms of a dial, those of one job together.

    Raises:
        StudyError: an unknown arm or dial.
    """
    compared, ablations = config.arms.split(","), [name for name in config.ablations.split(",") if name]
    if dial not in DIALS or not {*compared, *ablations} <= set(ARMS):
        names = ",".join([*compared, *ablations])
        raise StudyError(f"no arms '{names}' at dial '{dial}'; arms: {', '.join(ARMS)}")
    if dial == "none":
        compared, ablations = [name for name in compared if name in OF_DIAL_NONE], []
    return [group for group in (compared, ablations) if group]


def changes_of(config: Config, dial: str, arm: str) -> dict[str, Scalar]:
    """What an arm of a dial changes; of the usual dial's full method more is measured."""
    closely: dict[str, Scalar] = {"every_round": True, "picks": config.evaluation.picks}
    return ARMS[arm] | (closely if (dial, arm) == ("usual", "full") else {})


def quality_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Warm starts on verified and unverified solutions."""
    for corpus in CORPORA:
        arguments = shared(config) | {"corpus": corpus, "dial": "usual", "rate": DIALS["usual"]}
        for seed in seeds[: config.quality_seeds]:
            yield Job("quality", {"arm": corpus}, "papers.steporlm.runs.training:quality", arguments, (seed,))


def shared(config: Config) -> dict[str, Any]:
    """Arguments of every job that trains."""
    groups = {"": config.loop, "warm_": config.warm, "held_": config.evaluation}
    return {
        f"{prefix}{name}": value
        for prefix, group in groups.items()
        for name, value in group.model_dump().items()
    }
