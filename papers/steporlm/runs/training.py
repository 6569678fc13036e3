"""Rounds of a pocket policy and a pocket verifier on the optimisation problems, and what they know after."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from common.models.pocket import load_pocket
from common.models.recipe import ModelShape, Policy
from common.preference.rounds import Round, Row
from common.study.jobs import Job, Record
from common.tasks.or_models import EOS, Item, OrModelsConfig, items
from common.tasks.or_models.critiques import critique, spell_out
from common.tasks.or_models.evaluation import (
    Sampled,
    Solved,
    Trials,
    by_step,
    compact,
    judge_all,
    solve_all,
)
from common.tasks.or_models.formulation import cut
from common.tasks.or_models.warm_start import (
    CONTEXT,
    VERIFIED,
    Corpus,
    Recipe,
    completion,
    trained,
    warm_start,
)
from common.tasks.or_models.warm_start import train as fit_on
from papers.steporlm.method import CoEvolution, Rules, is_hard, score
from papers.steporlm.trainer import StepORLMConfig, StepORLMTrainer

SCENARIOS = (0, 1)  # of the policy; verifiers learn in the words of the others
TRIALS_SEED, UNITS_SEED = 101, 102  # of the made held-out solutions, the same for every arm and seed
OTHER_DIAL, OTHER_RATE = "high", 0.5  # of policy B's corpus
RULES = ("by_process", "weighting", "most", "evolves", "filter_on")


def recipe(config: Mapping[str, Any], kind: str, **corpus: Any) -> Recipe:
    """Of one of the models before the rounds."""
    own = Corpus(rate=config["rate"], dial=config["dial"], scenarios=SCENARIOS)
    base = own if kind == "policy" else VERIFIED  # verifiers know the usual errors at every dial
    data: dict[str, Any] = {"size": config["warm_solutions"]}
    if kind != "policy":
        data = {"size": config["warm_critiques"], "label_noise": config["warm_label_noise"]}
    shape = ModelShape(
        hidden=config["warm_hidden"],
        layers=config["warm_layers"],
        heads=4,
        ffn=2 * config["warm_hidden"],
        context=CONTEXT,
    )
    steps = config["warm_steps" if kind == "policy" else "warm_critic_steps"]
    return Recipe(kind, shape, replace(base, **(data | corpus)), steps)  # type: ignore[arg-type]  # one of three words


def held_out(config: Mapping[str, Any]) -> tuple[Item, ...]:
    """Problems that nothing was trained on."""
    return items(OrModelsConfig(size=config["held_problems"], split="heldout", scenarios=SCENARIOS))


def load(folder: Path) -> Policy:
    """Policy or verifier of a folder."""
    return Policy(*load_pocket(folder))


def rows_of(solutions: Sequence[Solved], samples: int) -> list[Row]:
    """Solutions as the loop's rows, with the oracle's reasons beside them."""
    return [
        {
            "problem": place // samples,
            "response": one.text,
            "steps": len(cut(one.text.split()).steps),
            "outcome": one.is_right,
            "status": "optimal" if np.isfinite(one.verdict.objective) else one.verdict.outcome,
            "reasons": list(one.reasons),
        }
        for place, one in enumerate(solutions)
    ]


@dataclass(frozen=True)
class PocketLearners:
    """The learners of `papers.steporlm.method` on hard problems.

    Attributes:
        config: Of the job.
        seed: Of its randomness.
        problems: What the rounds are about.
    """

    config: Mapping[str, Any]
    seed: int
    problems: Sequence[Item]

    def sample(self, number: int, policy: Path) -> Sequence[Row]:
        samples, heat = self.config["samples"], self.config["temperature"]
        found = solve_all(load(policy), self.problems, samples, heat, self._drawn(number, 0))
        return rows_of(found, samples)

    def judge(self, number: int, critic: Path, solutions: Sequence[Row]) -> Sequence[str]:
        verdicts = self.config.get("verdicts", "critic")
        if verdicts == "none":
            return [""] * len(solutions)
        if verdicts == "oracle":
            return [spell_out(critique(row["reasons"]).split()) for row in solutions]
        prompts = [self.problems[row["problem"]].prompt for row in solutions]
        said = judge_all(load(critic), prompts, [row["response"] for row in solutions])
        if verdicts == "shuffled":
            order = np.random.default_rng(self._drawn(number, 1)).permutation(len(said))
            said = [said[place] for place in order]
        return [spell_out(text.split()) for text in said]

    def train_policy(self, number: int, start: Path, pairs: Sequence[Row], folder: Path) -> None:
        rng = np.random.default_rng(self._drawn(number, 2))
        chosen = rng.permutation(len(pairs))[: self.config["pairs"]]
        if not len(chosen):
            shutil.copytree(start, folder)
            return
        policy = load(start)
        trainer = StepORLMTrainer(
            policy.model,
            args=self._arguments(number, folder.with_name("scratch")),
            train_dataset=Dataset.from_list([self._pair(pairs[place]) for place in sorted(chosen)]),
            processing_class=policy.tokenizer,
        )
        trainer.train()
        vars(policy.model).pop("forward", None)  # TRL wraps it
        policy.save_pretrained(folder)
        shutil.rmtree(folder.with_name("scratch"), ignore_errors=True)

    def train_critic(self, number: int, start: Path, critiques: Sequence[Row], folder: Path) -> None:
        batch = self.config["batch"]
        steps = self.config["epochs"] * (len(critiques) // batch)
        if not steps:
            shutil.copytree(start, folder)
            return
        critic = load(start)
        examples = [
            completion(f"{self.problems[row['problem']].prompt} {row['response']}", compact(row["critique"]))
            for row in critiques
        ]
        rate = self.config["critic_learning_rate"]
        own = Recipe("whole", steps=steps, batch=batch, learning_rate=rate, warmup=1)
        fit_on(critic, examples, own, self._drawn(number, 3))
        critic.save_pretrained(folder)

    def _drawn(self, number: int, use: int) -> int:
        """The seed of a use in a round."""
        return int(np.random.SeedSequence((self.seed, number, use)).generate_state(1)[0])

    def _pair(self, row: Row) -> dict[str, Any]:
        """A pair as TRL reads it; a solution that was cut off ends all the same."""
        ended = {
            name: f" {row[name]}" if row[name].endswith(EOS) else f" {row[name]} {EOS}"
            for name in ("chosen", "rejected")
        }
        return {"prompt": self.problems[row["problem"]].prompt, **ended, "weight": float(row["weight"])}

    def _arguments(self, number: int, folder: Path) -> StepORLMConfig:
        return StepORLMConfig(
            output_dir=str(folder),
            beta=self.config["beta"],
            reference_free=self.config["reference_free"],
            learning_rate=self.config["learning_rate"],
            lr_scheduler_type="constant",
            num_train_epochs=self.config["epochs"],
            per_device_train_batch_size=self.config["batch"],
            max_length=CONTEXT,
            seed=self._drawn(number, 4),
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            log_level="error",
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
        )


def hard_problems(config: Mapping[str, Any], policy: Policy, seed: int) -> list[Item]:
    """The first problems of a seed that the warm start does not always solve; easy ones fill up."""
    wanted, count = config["problems"], config["votes"]
    asked = items(OrModelsConfig(seed=seed, size=3 * wanted, scenarios=SCENARIOS))
    hard: list[Item] = []
    easy: list[Item] = []
    for start in range(0, len(asked), wanted):
        part = asked[start : start + wanted]
        votes = solve_all(policy, part, count, config["temperature"], seed + start)
        for place, item in enumerate(part):
            own = votes[place * count : (place + 1) * count]
            (hard if is_hard([one.is_right for one in own]) else easy).append(item)
        if len(hard) >= wanted:
            break
    return [*hard, *easy][:wanted]


def of_round(one: Round) -> dict[str, float]:
    """What a round sampled and trained on, and how far the two readings of the filter are apart."""
    pairs = [row for row in one.pairs if row["for"] == "policy"]
    lengths = {
        name: float(np.mean([len(row[name].split()) for row in pairs])) if pairs else np.nan
        for name in ("chosen", "rejected")
    }
    shares = [found.process for found in map(score, one.scores) if found.process is not None]
    differs = sum(row["status"] == "optimal" and not row["outcome"] for row in one.scores)
    return {
        "rollouts_right": float(np.mean([row["outcome"] for row in one.scores])),
        "rollouts_share": float(np.mean(shares)) if shares else np.nan,
        "rule_1": float(sum(row["rule"] == 1 for row in pairs)),
        "rule_2": float(sum(row["rule"] == 2 for row in pairs)),
        "kept": (len(one.pairs) - len(pairs)) / len(one.scores),
        "differs": differs / len(one.scores),
        **{f"length_{name}": value for name, value in lengths.items()},
    }


@dataclass(frozen=True)
class World:
    """What all arms of a seed share.

    Attributes:
        seed: Of the rounds' randomness.
        start: Folder of the policy and the verifier before the rounds.
        problems: What the rounds are about.
        trials: Made solutions that verifiers are measured on.
    """

    seed: int
    start: Path
    problems: Sequence[Item]
    trials: Trials

    @classmethod
    def of(cls, config: Mapping[str, Any], seed: int, folder: Path) -> World:
        """Warm starts, and the problems that are hard for the policy's."""
        for name, kind in (("policy", "policy"), ("critic", "whole")):
            shutil.copytree(trained(recipe(config, kind), seed), folder / name, dirs_exist_ok=True)
        problems = hard_problems(config, load(folder / "policy"), seed)
        return cls(seed, folder, problems, Trials.of("usual", config["held_trials"], SCENARIOS, TRIALS_SEED))

    def at(self, config: Mapping[str, Any], models: Path) -> tuple[Sampled, dict[str, float]]:
        """What the policy writes on held-out problems, and the scores of policy and verifier."""
        sampled = Sampled.of(load(models / "policy"), held_out(config), config["held_samples"])
        learns = config.get("evolves", True)  # a frozen verifier accepts what it accepted
        return sampled, sampled.scores | (self.trials.accepted(load(models / "critic")) if learns else {})


def base_models(config: Mapping[str, Any], seed: int, start: Path, folder: Path) -> Path:
    """Models of an arm without a warm-up: a policy that has hardly been trained, the usual verifier."""
    short = replace(recipe(config, "policy"), steps=config["warm_base_steps"])
    for name, source in (("policy", trained(short, seed)), ("critic", start / "critic")):
        shutil.copytree(source, folder / name, dirs_exist_ok=True)
    return folder


def of_arm(world: World, config: Mapping[str, Any], begin: dict[str, float], folder: Path) -> Record:
    """The rounds of one arm; `begin` is what its models score before them."""
    learners = PocketLearners(config, world.seed, world.problems)
    loop = CoEvolution(learners, Rules(**{name: config[name] for name in RULES if name in config}))
    start = world.start
    if config.get("start") == "base":
        start = base_models(config, world.seed, start, folder / "start")
        _, begin = world.at(config, start)
    settings = {**config, "seed": world.seed}
    *between, last = loop.rounds(folder / "rounds", start, config["rounds"], settings)
    unknown = dict.fromkeys(begin, np.nan)
    points = [world.at(config, one.models)[1] if config.get("every_round") else unknown for one in between]
    sampled, end = world.at(config, last.models)
    points = [begin, *(begin | point for point in (*points, end))]
    about = [of_round(one) for one in (*between, last)]
    series = {name: [row[name] for row in table] for table in (points, about) for name in table[0]}
    return Record.of_one_seed(chosen_by(config, world, last.models, sampled), series)


def train(job: Job, workspace: Path) -> Record:
    """Entry point: the rounds of every arm of a seed, which share warm starts, problems and trials.

    Config: `experiment.shared`, with `dial` and `rate` of the warm-up corpus, and `arms`: of each, what it
    changes in this config.

    Emits parts by ``arm``: series over the models of 0, 1, ... rounds, `Sampled.scores` and `accept_clean`,
    `accept_lucky`, `accept_wrong`, NaN between start and end but for arms with `every_round`; series over
    rounds, `of_round`; and what `chosen_by` gives.
    """
    (seed,), config = job.seeds, job.config
    world = World.of(config, seed, workspace / "start")
    _, begin = world.at(config, world.start)
    own = {name: value for name, value in config.items() if name != "arms"}
    return Record(
        parts=[
            ({"arm": arm}, of_arm(world, own | changes, begin, workspace / arm))
            for arm, changes in config["arms"].items()
        ]
    )


def chosen_by(config: Mapping[str, Any], world: World, end: Path, sampled: Sampled) -> dict[str, float]:
    """With `picks`, accuracy of one of several by every selector, ``best/<selector>``; with "all", also
    ``best_b/<selector>`` of policy B's solutions, and `by_step`."""
    extent = config.get("picks", "none")
    if extent == "none":
        return {}
    critics = {"initial": load(world.start / "critic"), "final": load(end / "critic")}
    if extent == "own":
        return {f"best/{name}": value for name, value in sampled.picks(critics).items()}
    prefix = load(trained(recipe(config, "prefix"), world.seed))
    other = load(trained(recipe(config, "policy", dial=OTHER_DIAL, rate=OTHER_RATE), world.seed + 1))
    others = Sampled.of(other, held_out(config), config["held_samples"])
    found = {
        f"{name}/{selector}": value
        for name, part in (("best", sampled), ("best_b", others))
        for selector, value in part.picks(critics, prefix).items()
    }
    units = OrModelsConfig(UNITS_SEED, 2 * config["held_trials"], "heldout", ("batch",), SCENARIOS)
    return found | by_step(critics["initial"], prefix, units)


def quality(job: Job, _workspace: Path) -> Record:
    """Entry point: a warm start on 1000 solutions, verified by the solver or not.

    Config: `experiment.shared`, and `corpus`: "verified", "unverified" or "again", another draw of these.
    Each seed is a draw of corpus and weights of its own.

    Returns:
        `Sampled.scores`.
    """
    (seed,), config = job.seeds, job.config
    own = recipe(config, "policy", size=min(1000, config["warm_solutions"]))
    own = replace(own, corpus=replace(own.corpus, verified=config["corpus"] == "verified"))
    shifted = seed + 10**6 * (config["corpus"] == "again")
    policy = warm_start(own, shifted)
    return Record.of_one_seed(Sampled.of(policy, held_out(config), config["held_samples"]).scores, {})
