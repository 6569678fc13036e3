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
from common.preference import selection
from common.preference.critique import Critique, parse
from common.preference.rounds import Round, Row
from common.study.jobs import Job, Record
from common.tasks.or_models import EOS, Item, OrModelsConfig, items
from common.tasks.or_models.corruption import corrupt
from common.tasks.or_models.critiques import EXPLANATIONS, critique, spell_out
from common.tasks.or_models.evaluation import (
    Solved,
    Trials,
    accepts,
    correct_steps,
    judge_all,
    read_all,
    solve_all,
    solved,
)
from common.tasks.or_models.formulation import cut, formulations
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
from papers.steporlm.method import CoEvolution, Rules, is_hard
from papers.steporlm.trainer import StepORLMConfig, StepORLMTrainer

SCENARIOS = (0, 1)  # of the policy; verifiers learn in the words of the others
REASON_OF = {text: reason for reason, text in EXPLANATIONS.items()}
TRIALS_SEED, UNITS_SEED = 101, 102  # of the made held-out solutions, the same for every arm and seed
OTHER_DIAL, OTHER_RATE = "high", 0.5  # of policy B's corpus
RULES = ("by_process", "weighting", "most", "evolves", "filter_on")
SELECTORS = ("none", "majority", "solver", "discriminative", "initial", "final", "oracle")


def recipe(config: Mapping[str, Any], kind: str, **corpus: Any) -> Recipe:
    """Of one of the models before the rounds."""
    base = VERIFIED if kind != "policy" else Corpus(rate=config["rate"], scenarios=SCENARIOS)
    size = config["warm_solutions" if kind == "policy" else "warm_critiques"]
    shape = ModelShape(
        hidden=config["warm_hidden"],
        layers=config["warm_layers"],
        heads=4,
        ffn=2 * config["warm_hidden"],
        context=CONTEXT,
    )
    own = replace(base, **{"size": size, "dial": config["dial"], **corpus})
    return Recipe(kind, shape, own, config["warm_steps"])  # type: ignore[arg-type]  # one of three words


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


def compact(text: str) -> str:
    """A critique as the verifier writes it, from its lines; an error without a reason stays without.

    Raises:
        ValueError: no critique.
    """
    found = parse(text, text.count("STEP "))
    if not isinstance(found, Critique):
        raise ValueError(found.reason)
    said = zip(found.steps, found.explanations, strict=True)
    verdicts = ["CORRECT" if correct else f"INCORRECT {REASON_OF.get(why, '')}" for correct, why in said]
    steps = (f"STEP {number} {verdict}".strip() for number, verdict in enumerate(verdicts, start=1))
    return " ".join([*steps, EOS])


def hard_problems(config: Mapping[str, Any], policy: Policy, seed: int) -> list[Item]:
    """The first problems of a seed that the warm start does not always solve; easy ones fill up."""
    asked = items(OrModelsConfig(seed=seed, size=3 * config["problems"], scenarios=SCENARIOS))
    votes = solve_all(policy, asked, config["votes"], config["temperature"], seed)
    count = config["votes"]
    is_hard_one = [
        is_hard([one.is_right for one in votes[place * count : (place + 1) * count]])
        for place in range(len(asked))
    ]
    order = np.argsort(~np.array(is_hard_one), kind="stable")[: config["problems"]]
    return [asked[place] for place in order]


def by_step(whole: Policy, prefix: Policy, size: int) -> dict[str, float]:
    """Accuracy of both verifiers on the unit that `batch` declares and on its numbers, half of them wrong."""
    config = OrModelsConfig(UNITS_SEED, 2 * size, "heldout", ("batch",), SCENARIOS)
    rng, scores = np.random.default_rng(UNITS_SEED), {}
    for name, step, kinds in (("later", 2, ("wrong unit",)), ("local", 1, ("wrong coefficient",))):
        made = []
        for place, item in enumerate(items(config)):
            drawn = corrupt(item, rng, kinds) if place % 2 else None
            text = drawn.formulation.text if drawn else formulations(item)[place // 2 % 2].text
            made.append(solved(item, text))
        truth = np.array([one.reasons[step] is None for one in made])
        said = zip(read_all(whole, made), truth.tolist(), strict=True)  # no critique is a wrong verdict
        right = [one is not None and one.steps[step] == is_correct for one, is_correct in said]
        chances = correct_steps(prefix, [one.item.prompt for one in made], [one.text for one in made])
        scores[f"{name}_whole"] = float(np.mean(right))
        scores[f"{name}_prefix"] = float(((chances[:, step] > 0.5) == truth).mean())
    return scores


def measured(config: Mapping[str, Any], policy: Policy) -> tuple[dict[str, float], list[Solved]]:
    """Held-out scores, greedy and sampled, and the samples."""
    asked = items(OrModelsConfig(size=config["held_problems"], split="heldout", scenarios=SCENARIOS))
    greedy = solve_all(policy, asked, 1, 0.0, 0)
    sampled = solve_all(policy, asked, config["held_samples"], 1.0, 0)
    right = [one for one in sampled if one.is_right]
    return {
        "pass_at_1": float(np.mean([one.is_right for one in greedy])),
        "process_pass": float(np.mean([one.is_right and one.is_clean for one in greedy])),
        "right": len(right) / len(sampled),
        "lucky": float(np.mean([one.is_lucky for one in right])) if right else np.nan,
        "greedy_lucky": float(np.mean([one.is_lucky for one in greedy])),
    }, sampled


def picks(
    sampled: Sequence[Solved], samples: int, critics: Mapping[str, Policy], prefix: Policy
) -> dict[str, float]:
    """Accuracy of one of several solutions by every selector of `SELECTORS`."""

    def table(values: Any) -> np.ndarray:
        return np.reshape(np.array(values), (-1, samples))

    right = table([one.is_right for one in sampled])
    objectives = table([one.verdict.objective for one in sampled])
    answers = [[None if np.isnan(value) else round(value, 6) for value in row] for row in objectives.tolist()]
    chances = correct_steps(prefix, [one.item.prompt for one in sampled], [one.text for one in sampled])
    lowest = np.where(np.isnan(chances).any(axis=1), -1.0, chances.min(axis=1))
    chosen = {
        "none": np.zeros(len(right), dtype=np.int64),
        "majority": selection.majority(answers),
        "solver": selection.first_accepted(~np.isnan(objectives)),
        "discriminative": selection.highest(table(lowest)),
        "oracle": selection.oracle(right),
        **{
            name: selection.first_accepted(table(accepts(critic, sampled)))
            for name, critic in critics.items()
        },
    }
    return {name: selection.accuracy(right, chosen[name]) for name in SELECTORS}


def of_round(one: Round) -> dict[str, float]:
    """What a round trained on, and how far the two readings of the filter are apart."""
    pairs = [row for row in one.pairs if row["for"] == "policy"]
    lengths = {
        name: float(np.mean([len(row[name].split()) for row in pairs])) if pairs else np.nan
        for name in ("chosen", "rejected")
    }
    differs = sum(row["status"] == "optimal" and not row["outcome"] for row in one.scores)
    return {
        "rule_1": float(sum(row["rule"] == 1 for row in pairs)),
        "rule_2": float(sum(row["rule"] == 2 for row in pairs)),
        "kept": (len(one.pairs) - len(pairs)) / len(one.scores),
        "differs": differs / len(one.scores),
        **{f"length_{name}": value for name, value in lengths.items()},
    }


def train(job: Job, workspace: Path) -> Record:
    """Entry point: the rounds of one arm.

    Config: `experiment.shared`, with `dial` and `rate` of the warm-up corpus, what `experiment.ARMS` changes,
    and `picks`, whether verifiers choose among solutions.

    Returns:
        Series over the models of 0, 1, ... rounds: `measured`, and `accept_clean`, `accept_lucky`,
        `accept_wrong`. Series over rounds: `of_round`. Scalars with `picks`: ``best/<selector>``,
        ``best_b/<selector>`` of policy B, and `by_step`.
    """
    (seed,), config = job.seeds, job.config
    policy = recipe(config, "policy")
    if config.get("start") == "base":
        policy = replace(policy, steps=config["warm_base_steps"])
    start = workspace / "start"
    for name, own in (("policy", policy), ("critic", recipe(config, "whole"))):
        shutil.copytree(trained(own, seed), start / name, dirs_exist_ok=True)
    warm = load(trained(recipe(config, "policy"), seed))  # every arm of a seed has the same problems
    learners = PocketLearners(config, seed, hard_problems(config, warm, seed))
    loop = CoEvolution(learners, Rules(**{name: config[name] for name in RULES if name in config}))
    trials = Trials.of(config["dial"], config["held_trials"], SCENARIOS, TRIALS_SEED)
    settings = {**config, "seed": seed}
    over_rounds = list(loop.rounds(workspace / "rounds", start, config["rounds"], settings))
    points: list[dict[str, float]] = []
    sampled: list[Solved] = []
    for folder in (start, *(one.models for one in over_rounds)):
        scores, sampled = measured(config, load(folder / "policy"))
        points.append(scores | trials.accepted(load(folder / "critic")))
    series = {name: [point[name] for point in points] for name in points[0]}
    rounds = [of_round(one) for one in over_rounds]
    series |= {name: [one[name] for one in rounds] for name in rounds[0]}
    chosen = chosen_by(config, seed, start, over_rounds[-1].models, sampled) if config["picks"] else {}
    return Record.of_one_seed(chosen, series)


def chosen_by(
    config: Mapping[str, Any], seed: int, start: Path, end: Path, sampled: Sequence[Solved]
) -> dict[str, float]:
    """Best of several by every selector for the final policy and for policy B, and verdicts by step."""
    critics = {"initial": load(start / "critic"), "final": load(end / "critic")}
    prefix = load(trained(recipe(config, "prefix"), seed))
    other = load(trained(recipe(config, "policy", dial=OTHER_DIAL, rate=OTHER_RATE), seed + 1))
    _, others = measured(config, other)
    found: dict[str, float] = {}
    for name, part in (("best", sampled), ("best_b", others)):
        scores = picks(part, config["held_samples"], critics, prefix)
        found |= {f"{name}/{selector}": value for selector, value in scores.items()}
    return found | by_step(critics["initial"], prefix, config["held_trials"])


def quality(job: Job, _workspace: Path) -> Record:
    """Entry point: a warm start on 1000 solutions, verified by the solver or not.

    Config: `experiment.shared`, and `corpus`: "verified", "unverified" or "again", another draw of these.
    Each seed is a draw of corpus and weights of its own.

    Returns:
        `measured`.
    """
    (seed,), config = job.seeds, job.config
    own = recipe(config, "policy", size=min(1000, config["warm_solutions"]))
    own = replace(own, corpus=replace(own.corpus, verified=config["corpus"] == "verified"))
    shifted = seed + 10**6 * (config["corpus"] == "again")
    scores, _ = measured(config, warm_start(own, shifted))
    return Record.of_one_seed(scores, {})
