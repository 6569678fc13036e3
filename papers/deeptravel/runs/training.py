"""A pocket planner trained through `RARLTrainer` in the travel sandbox, one arm with one seed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from common.agents.episodes import World
from common.agents.ppo import with_critic
from common.jsonlines import read_json_lines
from common.models.pocket import load_policy
from common.models.recipe import ModelShape
from common.rl.harness import LOGGED, Curve, logged_series, shared_arguments, unpublished
from common.rl.resume import latest_complete_checkpoint
from common.rl.run import Run
from common.study.errors import unknown
from common.study.jobs import Job, Record
from common.tasks.travel.evaluation import held_out
from common.tasks.travel.sandbox import CachedTools, Flaky, Tools, TravelSandbox, schedule
from common.tasks.travel.warm_start import CODEC, CONTEXT, RULES, Recipe, trained
from common.tasks.travel.worlds import Asked, queries
from papers.deeptravel.trainer import RARLConfig, RARLTrainer

ARMS: Mapping[str, Mapping[str, Any]] = {
    "product": {},
    "trajectory": {"rarl_reward": "trajectory"},
    "permuted": {"rarl_reward": "permuted"},
    "turn": {"rarl_reward": "turn"},
    "mean": {"rarl_reward": "mean"},
    "shuffled": {"rarl_reward": "shuffled"},
    "rarl": {"rarl_replay": "failures"},
    "random": {"rarl_replay": "random"},
    "dapo": {"epsilon_high": 0.28},  # no difference while a batch has one optimizer step: the ratio is one
    "dapo_rarl": {"epsilon_high": 0.28, "rarl_replay": "failures"},
    "ppo": {},
    "ppo_rarl": {"rarl_replay": "failures"},
    "flaky": {},
}
"""What an arm changes in the trainer's configuration. The arms of PPO get a critic in front, and "flaky" has
tools without a cache."""
BATCH = "trajectory turn hallucination own stream informative replayed buffer turn_calls gated"
RARL_LOGGED = {**LOGGED, **{f"rarl/{name}": name for name in BATCH.split()}, "episodes/mean_turns": "turns"}


def train(job: Job, workspace: Path) -> Record:
    """Entry point: train one arm.

    Config: `arm`, a key of `ARMS`; fields of `common.rl.run.Run`, `Asked` and `Recipe`; `hidden`, `layers`.

    Returns:
        Scalars ``final/<name>`` for the names of `common.tasks.travel.evaluation.held_out`; series over
        rollout batches under the values of `RARL_LOGGED`; series ``curve/...`` over evaluation points;
        ``sample/before`` and ``/after``, token ids of an episode.
    """
    (seed,) = job.seeds
    config, run = job.config, Run.read(job.config)
    if config["arm"] not in ARMS:
        raise unknown("arm", config["arm"], ARMS)
    set_seed(seed)
    model, words = load_policy(str(trained(recipe_of(config), seed)))
    held = Held(recipe_of(config).asked, run, workspace)
    curve = Curve(held, run, seed, workspace, words)  # type: ignore[arg-type]
    trainer = build(config, seed, workspace, model, words, [curve])
    resumed = latest_complete_checkpoint(workspace) if trainer.args.exact_resume else None
    trainer.train(resume_from_checkpoint=resumed)
    final = {f"final/{name}": np.array([value]) for name, value in curve.point(run.iterations).items()}
    series = logged_series(trainer.state.log_history, RARL_LOGGED)
    return Record(final, {**series, **curve.series(), **held.samples()})


def recipe_of(config: Mapping[str, Any]) -> Recipe:
    """The warm start of a run; its queries all have answers."""
    asked = Asked(config["real"], config["limited"])
    shape = ModelShape(config["hidden"], config["layers"], 4, 2 * config["hidden"], CONTEXT)
    named = ("demonstrations", "lookups", "sft_steps", "sft_batch", "sft_rate")
    values = [config[name] for name in named]
    return Recipe(asked, shape, *values)


def build(
    config: Mapping[str, Any],
    seed: int,
    workspace: Path,
    model: PreTrainedModel,
    words: PreTrainedTokenizerBase,
    callbacks: list[Any],
) -> RARLTrainer:
    """The trainer of an arm: a prompt is the number of a query."""
    asked, arm = recipe_of(config).asked, config["arm"]
    stream = queries(asked, "train", config["training_prompts"], seed)
    tools: Tools = schedule(asked.timetable("train"))
    tools = Flaky(tools, np.random.default_rng([seed, 0xF1A])) if arm == "flaky" else CachedTools(tools)
    kind = with_critic(RARLTrainer) if arm.startswith("ppo") else RARLTrainer
    trainer = kind(
        model,
        args=arguments(config, seed, workspace),
        train_dataset=Dataset.from_dict({"prompt": [str(number) for number in range(len(stream))]}),
        processing_class=words,
        callbacks=callbacks,
        worlds=lambda prompt: World(lambda: TravelSandbox(stream, tools), int(prompt)),
        codec=CODEC,
        rules=RULES,
    )
    return unpublished(trainer)  # type: ignore[return-value]


def arguments(config: Mapping[str, Any], seed: int, workspace: Path) -> RARLConfig:
    """The arm as a trainer configuration."""
    own = {name: value for name, value in config.items() if name.startswith("rarl_")}
    shared = shared_arguments(Run.read(config), seed, workspace) | {"decoder": "generate", "top_k": 0}
    changed: dict[str, Any] = {"rarl_replay": "", **ARMS[config["arm"]]}
    return RARLConfig(**shared, **(own | changed), loss_type="dapo")


@dataclass(frozen=True)
class Held:
    """Held-out queries, as `common.rl.harness.Curve` evaluates on them."""

    asked: Asked
    run: Run
    workspace: Path

    def evaluate(
        self, model: PreTrainedModel, words: PreTrainedTokenizerBase, samples: int, seed: int
    ) -> dict[str, float]:
        """`held_out`, one episode a query; `samples` has no meaning here."""
        del words, samples
        values, episodes = held_out(model, self.asked, self.run.evaluation_prompts, seed)
        with (self.workspace / "samples.jsonl").open("a") as file:
            file.write(json.dumps(episodes[0].prompt + episodes[0].completion) + "\n")
        return values

    def samples(self) -> dict[str, np.ndarray]:
        """Token ids of the first query's episode, by the first and by the last policy."""
        first, *_, last, _ = read_json_lines(self.workspace / "samples.jsonl")
        pairs = {"before": first, "after": last}
        return {f"sample/{name}": np.array([json.loads(ids)]) for name, ids in pairs.items()}


def plan(job: Job, _workspace: Path) -> Record:
    """Entry point of a planner that is not trained further: `held_out` of a warm start.

    Config: as of `train`, without a trainer's.
    """
    (seed,) = job.seeds
    recipe = recipe_of(job.config)
    model, _ = load_policy(str(trained(recipe, seed)))
    return Record.of_one_seed(held_out(model, recipe.asked, job.config["evaluation_prompts"], seed)[0], {})
