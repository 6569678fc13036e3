"""Agents that learn to find the coin, with any trainer of `common.agents.trainer`, from a warm start."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from datasets import Dataset
from transformers import set_seed

from common.agents.episodes import World
from common.agents.ppo import with_critic
from common.models.pocket import load_pocket
from common.rl.config import batching
from common.rl.harness import logged_series, unpublished
from common.study.jobs import Job, Record
from common.tasks.text_games.coin import Charged, worlds
from common.tasks.text_games.evaluation import Probe, success
from common.tasks.text_games.warm_start import (
    CODEC,
    RULES,
    CoinRecipe,
    demonstrations,
    tokenizer,
    warm_start,
)

STARTS = 3  # warm starts; a seed has one of them
PROBED = 32  # unseen worlds whose gold paths are the probe set


@dataclass(frozen=True)
class Search:
    """How an agent is trained.

    Attributes:
        steps: Rollout batches.
        episodes: Of a batch, two in each of its worlds.
        inner: Optimizer steps on a batch.
        learning_rate: AdamW's, constant.
        imitation: Optimizer steps of the warm start.
        noise: Probability of a detour in what it imitates.
        charge: What a command that does nothing costs in training, where the coin is worth 1.
        seen: Worlds to train in.
        unseen: Worlds of the test split to play afterwards.
    """

    steps: int = 40
    episodes: int = 32
    inner: int = 4
    learning_rate: float = 4e-4
    imitation: int = 100
    noise: float = 0.3
    charge: float = 0.1
    seen: int = 200
    unseen: int = 64


def train(job: Job, workspace: Path) -> Record:
    """Entry point of one arm with one seed; seeds with the same remainder by `STARTS` share a warm start.

    Config: fields of `Search`; ``trainer``, an agents' trainer as ``"package.module:Class"``, which gets a
    critic (name the module in `Job.modules`; the class says which configuration its ``args`` are); fields of
    that configuration, which the arm changes; ``logged``, a key of the trainer's log, or ``""``.

    Emits the scalar ``unseen``: success in worlds of the test split after training. Series over rollout
    batches: ``success`` (share of the batch that finds the coin), ``entropy`` (nats per token on the probe
    set, of the policy that samples the batch), and `logged`, if there is any, NaN in a batch without.
    """
    (seed,), search = job.seeds, job.read(Search)
    module, _, name = job.config["trainer"].partition(":")
    kind = getattr(import_module(module), name)
    configuration = get_type_hints(kind)["args"]
    changed = {field.name for field in fields(configuration)} & job.config.keys()
    arguments = _arguments(search, seed, workspace) | {name: job.config[name] for name in changed}
    set_seed(seed)
    recipe = CoinRecipe(steps=search.imitation, noise=search.noise, seed=seed % STARTS)
    policy, _ = load_pocket(warm_start(recipe))
    probe = Probe(demonstrations("test", PROBED, 0.0, 0), every=search.inner)
    trainer = with_critic(kind)(
        policy,
        args=configuration(**arguments),
        train_dataset=Dataset.from_dict({"prompt": [str(world) for world in worlds("train", search.seen)]}),
        processing_class=tokenizer(),
        callbacks=[probe],
        worlds=lambda prompt: World(partial(Charged, search.charge), int(prompt)),
        codec=CODEC,
        rules=RULES,
    )
    unpublished(trainer).train()
    names = {"episodes/terminated": "success"} | {name: name for name in [job.config["logged"]] if name}
    series = {name: values[0] for name, values in logged_series(trainer.state.log_history, names).items()}
    series["entropy"] = np.array(probe.means[: search.steps])
    unseen = success(policy.eval(), worlds("test", search.unseen), seed)
    return Record.of_one_seed({"unseen": unseen}, series)


def _arguments(search: Search, seed: int, workspace: Path) -> dict[str, Any]:
    """Equal across arms."""
    return {
        **batching(search.episodes // 2, 2, search.inner),
        "output_dir": str(workspace),
        "seed": seed,
        "max_steps": search.steps * search.inner,
        "learning_rate": search.learning_rate,
        "lr_scheduler_type": "constant",
        "beta": 0.0,
        "temperature": 1.0,
        "logging_steps": search.inner,
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "disable_tqdm": True,
        "log_level": "error",
    }
