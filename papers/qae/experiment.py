"""The study of QAE: configuration with the paper's values, profiles as differences, jobs by sweep.

Three tiers share one advantage function: exact checks (`runs.theory`), a tabular policy (`runs.tabular`), and
language models trained through `QAETrainer` (`runs.training`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from common.rl import run
from common.rl.run import Run, fit_to_model
from common.study.card import load_card
from common.study.configuration import Settings, paper
from common.study.jobs import Job, Scalar, portions

LIMITS = {**run.LIMITS, "desk": run.LIMITS["laptop"]}
EPSILON_HIGH_SWEEP = (0.20, 0.22, 0.24, 0.26, 0.28)
K_SWEEP = (0.2, 0.4, 0.6, 0.8)
BASES = ("clip_higher", "clip_cov", "kl_cov", "gspo")
SEEDS_PER_JOB = 10
DEVELOPMENT = load_card("qae").seeds.development


class PaperRun(Run):
    """The paper's own run; what the paper does not say carries no place.

    `overlong_shaping` is off: it makes rewards graded, and most zero advantages of QAE small ones.
    """

    model: str = paper("Qwen/Qwen3-8B-Base", "Sec. 5")
    task: str = "math"
    dataset: str = paper("BytedTsinghua-SIA/DAPO-Math-17k", "Sec. 5")
    evaluation_sets: str = paper("AIME25=math-ai/aime25,AIME24=math-ai/aime24,AMC23=math-ai/amc23", "Sec. 5")
    learning_rate: float = paper(1e-6, "App. B.1")
    batch: int = paper(512, "App. B.1")
    mini_batch: int = paper(32, "App. B.1")
    group_size: int = 16
    max_response: int = paper(20480, "App. B.1")
    overlong_cache: int = paper(4096, "App. B.1")
    kl_coefficient: float = paper(0.0, "Sec. 2")
    iterations: int = 300
    training_prompts: int = 0
    generation_rounds: int = 3
    evaluation_samples: int = paper(32, "Sec. 5")
    curve_samples: int = 32
    evaluation_temperature: float = paper(0.7, "Sec. 5")
    evaluation_prompts: int = 0
    save_every: int = 80
    training_rows: int = 1
    scoring_batch: int = 1
    vllm: bool = True


class Objective(Settings):
    """The knobs of QAE and of the base algorithms.

    Attributes:
        quantile_k: K of QAE.
        epsilon_low: Lower clip range.
        epsilon_high: Upper clip range (Clip-Higher).
        gspo_epsilon_low: Lower clip range of the sequence-level ratio.
        gspo_epsilon_high: Upper clip range of the sequence-level ratio.
        gspo_optimizer_steps: Optimizer steps per rollout batch of GSPO.
        clip_cov_ratio: Share of tokens that Clip-Cov drops.
        kl_cov_ratio: Share of tokens that KL-Cov penalises.
        kl_cov_coefficient: Weight of that penalty.
    """

    quantile_k: float = paper(0.4, "Sec. 6")
    epsilon_low: float = paper(0.2, "Sec. 5")
    epsilon_high: float = paper(0.28, "Sec. 5")
    gspo_epsilon_low: float = paper(3e-4, "App. B.1")
    gspo_epsilon_high: float = paper(4e-4, "App. B.1")
    gspo_optimizer_steps: int = paper(4, "App. B.1")
    clip_cov_ratio: float = 2e-4
    kl_cov_ratio: float = 2e-3
    kl_cov_coefficient: float = 1.0


class Tabular(Settings):
    """Tier B.

    Attributes:
        seeds: Of each arm.
        iterations: Rollout batches.
        prompts: Prompts.
        inner_steps: Optimizer steps per batch, μ.
        sgd_learning_rate: Step of the small-step control.
        sgd_iterations: Batches of that control.
    """

    seeds: int = 30
    iterations: int = 50
    prompts: int = 32
    inner_steps: int = 8
    sgd_learning_rate: float = 30.0
    sgd_iterations: int = 30


def numbers(text: str) -> tuple[float, ...]:
    """``"3e-4,1e-3"`` as numbers."""
    return tuple(map(float, text.split(",")))


class Long(Settings):
    """Runs in which the mean baseline's entropy moves.

    Attributes:
        learning_rates: Rates at which every arm is trained, with commas between.
        iterations: Rollout batches.
        completions: Of each batch; 0 for as many as in the other runs.
        mix: Shares of OpChain's levels E, M, H, X among the training prompts, with commas between.
        first: Place of the first judged seed, behind those that have been looked at.
        seeds: Of each arm and rate; 0 leaves the runs out.
        control_seeds: Of the permuted gate.
        search: Development seeds on which each arm's own rate is chosen, of several rates.
    """

    learning_rates: str = "1e-6"
    iterations: int = 300
    completions: int = 0
    mix: str = Run.model_fields["mix"].default
    first: int = 0
    seeds: int = 0
    control_seeds: int = 0
    search: int = 0


class Config(Settings):
    """Defaults are the paper's own run.

    Attributes:
        run: The language-model runs (tier C).
        objective: What an arm is trained with.
        grid: The runs at every learning rate.
        long: Those of the primary claim.
        tabular: Tier B.
        theory_draws: Random instances of each exact check (tier A).
        main_seeds: Seeds of the main comparison and its control.
        base_seeds: Seeds of each other base algorithm.
    """

    run: PaperRun = PaperRun()
    objective: Objective = Objective()
    grid: Long = Long()
    long: Long = Long(seeds=1, control_seeds=1)
    tabular: Tabular = Tabular()
    theory_draws: int = 1000
    main_seeds: int = 1
    base_seeds: int = 1

    def resolved(self) -> Self:
        """A model of the user's own at the `gpu` profile brings `ONE_GPU`."""
        return fit_to_model(self, PROFILES["gpu"], ONE_GPU)


POCKET: dict[str, Any] = {
    "run.model": "pocket",
    "run.task": "opchain",
    "run.learning_rate": 1e-4,
    "run.batch": 128,
    "run.mini_batch": 16,
    "run.max_response": 32,
    "run.overlong_cache": 0,
    "run.iterations": 24,
    "run.training_prompts": 600,
    "run.curve_samples": 16,
    "run.training_rows": 0,
    "run.scoring_batch": 128,
    "run.vllm": False,
    "run.evaluation_prompts": 200,
    "main_seeds": 10,
    "base_seeds": 5,
    "long.seeds": 0,
}

MIX = "0.0,0.0,0.7,0.3"
LONG: dict[str, Any] = {
    "grid.learning_rates": "1e-4,3e-4",
    "grid.iterations": 200,
    "grid.mix": MIX,
    "grid.seeds": 10,
    "grid.control_seeds": 5,
    "grid.search": 1,
    "long.learning_rates": "1e-4",
    "long.iterations": 200,
    "long.completions": 256,
    "long.mix": MIX,
    "long.first": 30,
    "long.seeds": 24,
    "long.control_seeds": 8,
}

PROFILES: dict[str, dict[str, Any]] = {
    "smoke": POCKET
    | {
        "run.iterations": 2,
        "run.evaluation_samples": 16,
        "run.evaluation_prompts": 12,
        "run.training_prompts": 40,
        "main_seeds": 1,
        "base_seeds": 1,
        "grid.learning_rates": "1e-3",
        "grid.iterations": 2,
        "grid.seeds": 1,
        "long.learning_rates": "1e-3",
        "long.iterations": 2,
        "long.first": 1,
        "long.seeds": 1,
        "tabular.seeds": 2,
        "tabular.iterations": 10,
        "tabular.prompts": 8,
        "tabular.sgd_iterations": 5,
    },
    "laptop": POCKET,
    "desk": POCKET | LONG,
    "gpu": POCKET
    | LONG
    | {
        "run.model": "scratch",
        "run.batch": 384,
        "run.mini_batch": 48,
        "run.max_response": 40,
        "run.iterations": 100,
        "long.completions": 768,
    },
    "paper": {},
}

ONE_GPU = {
    **run.ONE_GPU,
    "main_seeds": 1,
    "base_seeds": 1,
    "grid.seeds": 0,
    "long.seeds": 1,
    "long.learning_rates": "1e-6",
    "long.completions": 0,
}

# The tabular worlds: V tokens, length L, spread of shared and private logits, Adam's learning rate.
WORLDS: dict[str, dict[str, Any]] = {
    "hard": {"vocabulary": 16, "length": 3, "sigma_shared": 2.2, "sigma_private": 1.5, "learning_rate": 0.05},
    "broad": {"vocabulary": 6, "length": 4, "sigma_shared": 0.8, "sigma_private": 0.5, "learning_rate": 0.03},
}


def jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """Every job of the study: theory, tabular_hard, _broad and _small_steps, main, bases, rates, long."""
    return [*theory_jobs(config, seeds), *tabular_jobs(config, seeds), *training_jobs(config, seeds)]


def theory_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Exact checks and closed forms; each draws its instances from the first seed."""
    draws = {"draws": config.theory_draws}
    tables = {"vocabulary": 5, "length": 2, "copies": 4, "k": config.objective.quantile_k}
    clips = {"epsilon_low": config.objective.epsilon_low, "epsilon_high": config.objective.epsilon_high}
    analyses: list[tuple[str, Mapping[str, Scalar]]] = [
        ("threshold_switch", {"max_group": 32, "grid": 20}),
        ("linear_mismatches", {"max_group": 32, "grid": 20}),
        ("objective_rewriting", {**draws, **tables, **clips, "noise": 0.5}),
        ("on_policy_gradients", {**draws, **tables}),
        ("entropy_safety", {**draws, "arms": 50, "points": 11, "step_size": 1e-4}),
        ("weight_curves", {"k": config.objective.quantile_k, "points": 100}),
        *(
            ("expected_coefficients", {"group_size": g, "k": config.objective.quantile_k, "points": 20})
            for g in (8, 16, 32)
        ),
        ("zero_advantage_share", {"k": config.objective.quantile_k, "points": 200}),
    ]
    for name, arguments in analyses:
        labels = {"analysis": name, "k": arguments.get("k"), "group_size": arguments.get("group_size")}
        yield Job("theory", labels, f"papers.qae.runs.theory:{name}", arguments, tuple(seeds[:1]))


def tabular_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """The tabular arms; arms of one seed share start, correct sets and sampling noise."""
    for mix in WORLDS:
        sweep = f"tabular_{mix}"
        for epsilon_high in EPSILON_HIGH_SWEEP:
            yield from _tabular(config, seeds, sweep, mix, "mean", epsilon_high=epsilon_high)
        for level in K_SWEEP if mix == "broad" else (config.objective.quantile_k,):
            yield from _tabular(config, seeds, sweep, mix, "quantile", k=level)
            yield from _tabular(config, seeds, sweep, mix, "random_gate", k=level)
        for baseline in ("b0", "b1", "pos", "neg", "inverted", "sparse_mean"):
            yield from _tabular(config, seeds, sweep, mix, baseline)
        for baseline in ("quantile", "pos", "neg"):
            yield from _tabular(config, seeds, sweep, mix, baseline, epsilon_high=0.20)
    small = {"inner_steps": 1, "optimizer": "sgd", "learning_rate": config.tabular.sgd_learning_rate}
    for baseline in ("mean", "quantile", "b0"):
        changes = small | {"iterations": config.tabular.sgd_iterations}
        yield from _tabular(config, seeds, "tabular_small_steps", "hard", baseline, **changes)


def _tabular(
    config: Config, seeds: Sequence[int], sweep: str, mix: str, baseline: str, **changes: Any
) -> Iterator[Job]:
    setting = {
        "mix": mix,
        "baseline": baseline,
        "k": config.objective.quantile_k,
        "epsilon_low": config.objective.epsilon_low,
        "epsilon_high": config.objective.epsilon_high,
        "inner_steps": config.tabular.inner_steps,
        "optimizer": "adam",
        "iterations": config.tabular.iterations,
        "prompts": config.tabular.prompts,
        "group_size": 16,
        **WORLDS[mix],
        "matched_grad_norm": False,
        **changes,
    }
    columns = ("mix", "baseline", "k", "epsilon_high", "inner_steps", "optimizer", "matched_grad_norm")
    labels = {name: setting[name] for name in columns}
    for part in portions(seeds[: config.tabular.seeds], SEEDS_PER_JOB):
        yield Job(sweep, labels, "papers.qae.runs.tabular:simulate", setting, part)


UNSEEN = {"run.curve_samples": 0}  # no figure shows the learning curves of the bases and of the control


def training_jobs(config: Config, seeds: Sequence[int]) -> Iterator[Job]:
    """Language-model runs: the main arms, the other bases, the grid of learning rates, and the long runs."""
    yield from _arms(config, seeds[: config.main_seeds], "main")
    for base in BASES[1:]:
        for seed in seeds[: config.base_seeds]:
            for baseline in ("mean", "quantile"):
                yield _training(config.changed(UNSEEN), "bases", base, baseline, seed)
    for sweep, part in (("rates", config.grid), ("long", config.long)):
        fresh = seeds[part.first :] or seeds  # of a run with few seeds, which is exploratory
        judged, search = fresh[: part.seeds], DEVELOPMENT[: part.search]
        for rate in numbers(part.learning_rates):
            changes = {"run.learning_rate": rate, "run.iterations": part.iterations, "run.mix": part.mix}
            changes["run.batch"] = part.completions or config.run.batch
            runs, labels = config.changed(changes), {"learning_rate": rate}
            yield from _arms(runs, judged, sweep, part.control_seeds, purpose="judged", **labels)
            yield from _arms(runs.changed(UNSEEN), search, sweep, None, purpose="search", **labels)


def _arms(
    config: Config, seeds: Sequence[int], sweep: str, gated: int | None = None, **labels: Scalar
) -> Iterator[Job]:
    """Mean baseline, QAE and, on the first `gated` seeds or all, the permuted gate on Clip-Higher."""
    for baseline in ("mean", "quantile"):
        for seed in seeds:
            yield _training(config, sweep, "clip_higher", baseline, seed, **labels)
    for seed in seeds[:gated]:
        yield _training(config.changed(UNSEEN), sweep, "clip_higher", "random_gate", seed, **labels)


def _training(config: Config, sweep: str, base: str, baseline: str, seed: int, **more: Scalar) -> Job:
    k, clip = config.objective.quantile_k, config.objective.epsilon_high
    arms = {"quantile_k": k, "base": base, "baseline": baseline}
    arguments = config.run.model_dump() | config.objective.model_dump() | arms
    labels: dict[str, Scalar] = {"base": base, "baseline": baseline, "k": k, "epsilon_high": clip, **more}
    run = config.run
    return Job(
        sweep, labels, "papers.qae.runs.training:train", arguments, (seed,), run.inputs(seed), run.modules
    )
