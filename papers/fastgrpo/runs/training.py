"""Real GRPO loops: with the method, with plain decoding, and with plain decoding that computes finished rows.

The method's loop can carry further drafts that learn from the same rollouts, each in its own way (`observe`).
They do not alter the rollouts, so their acceptance is compared draft against draft on the same tokens; their
time is kept apart.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, Qwen3ForCausalLM, set_seed

from common.models.recipe import ModelShape
from common.rl.config import batching
from common.speculative.networks import DraftNetwork
from common.study.jobs import Job, Record
from common.tasks import ladder
from common.tasks.ladder import Item, LadderConfig, TraceLaw
from common.tasks.ladder.warm_start import (
    PolicyRecipe,
    answer,
    decode,
    encode,
    load,
    policy_folder,
    tokenizer,
)
from papers.fastgrpo.method import FastGRPOConfig, OnlineDraftLearner
from papers.fastgrpo.runs.drafts import DraftRecipe, new_network, pretrained
from papers.fastgrpo.runs.observers import Clock, ObservedTrainer, Observer
from papers.fastgrpo.runs.replay import PUBLISHED, arms, replay

LOGGED = {
    "reward": "reward",
    "completions/mean_length": "length",
    "completions/max_length": "longest",
    "draft/used": "used",
    "rollout/acceptance_length": "tau",
    "seconds/generation": "generation",
    "seconds/learn": "learn",
    "seconds/extra": "extra",
    "seconds/rollout": "rollout",
    "draft/loss": "draft_loss",
}
GENERIC = TraceLaw(terse=1.0, corruption=0.5)
"""Traces unlike the policy's: terse only, every other digit wrong; general text beside mathematics."""
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "grpo": {},
    "dapo": {"loss_type": "dapo", "epsilon_high": 0.28, "beta": 0.0, "dynamic_sampling_rounds": 1},
    "gpg": {"beta": 0.0},
}


def recipe(config: Mapping[str, Any]) -> PolicyRecipe:
    """The warm start of a run."""
    hidden = config["hidden"]
    shape = ModelShape(hidden, config["layers"], kv_heads=2, ffn=3 * hidden, context=256, tied=True)
    return PolicyRecipe(shape, steps=config["policy_steps"])


def draft_recipe(config: Mapping[str, Any], **changes: Any) -> DraftRecipe:
    """A pre-trained draft of a run."""
    return DraftRecipe(recipe(config), steps=config["draft_steps"], **changes)


def training_items(config: Mapping[str, Any], seed: int) -> tuple[Item, ...]:
    """Prompts of a run, drawn from its seed."""
    return ladder.items(LadderConfig(seed=seed, size=config["training_prompts"]))


def arguments(config: Mapping[str, Any], seed: int, workspace: Path) -> FastGRPOConfig:
    """The arm as a trainer configuration."""
    arm = config["arm"]
    prompts, group = config["prompts"], config["group_size"]
    return FastGRPOConfig(
        output_dir=str(workspace),
        seed=seed,
        max_steps=config["iterations"],
        learning_rate=config["learning_rate"],
        lr_scheduler_type="constant",
        temperature=1.0,
        top_p=config["top_p"],
        top_k=0,
        max_completion_length=config["max_response"],
        speculation="draft" if arm == "fast" else "plain",
        early_termination=arm != "vanilla",
        c_peak=config["c_peak"],
        k_max=config["k_max"],
        l_max=config["l_max"],
        l_min=config["l_min"],
        alpha=config["alpha"],
        n_max=config["n_max"],
        draft_learning_rate=config["draft_learning_rate"],
        micro_batch_tokens=config["micro_batch_tokens"],
        logging_steps=1,
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        **{
            "loss_type": "grpo",
            "beta": config["kl_coefficient"],
            "epsilon": config["epsilon"],
            **batching(prompts, group, optimizer_steps=1),
            **VARIANTS[config["variant"]],
        },
    )


def prepare(config: Mapping[str, Any], model: PreTrainedModel, seed: int) -> None:
    """Train what is missing of the drafts that a watched loop and its replay need.

    Odd seeds start from the other end, so that two workers share the drafts instead of waiting for each
    other's.
    """
    recipes = [draft_recipe(config), draft_recipe(config, law=GENERIC)]
    recipes += [draft_recipe(config, kind=kind) for kind in PUBLISHED]
    for chosen in reversed(recipes) if seed % 2 else recipes:
        pretrained(chosen, model)


def observers(config: Mapping[str, Any], model: PreTrainedModel) -> dict[str, Observer]:
    """The drafts that watch.

    Frozen, from scratch, from used rollouts only, with shuffled features; pre-trained on other traces, frozen
    and online.
    """
    rate = config["draft_learning_rate"]
    known = draft_recipe(config)
    other = draft_recipe(config, law=GENERIC)
    networks = {name: pretrained(known, model) for name in ("frozen", "used", "shuffled")}
    networks |= {name: pretrained(other, model) for name in ("generic", "generic_frozen")}
    networks["scratch"] = new_network("two_head", model, known.seed)
    found = {name: Observer(network, OnlineDraftLearner(network, rate)) for name, network in networks.items()}
    found["frozen"].learner = found["generic_frozen"].learner = None
    found["used"].used_only = found["shuffled"].shuffled = True
    return found


def train(job: Job, workspace: Path) -> Record:
    """Entry point: one loop with one seed; the method's own loop ends with a replay of all arms."""
    (seed,) = job.seeds
    config = job.config
    model = load(policy_folder(recipe(config)))
    set_seed(seed)
    items = training_items(config, seed)
    fast, watched = config["arm"] == "fast", bool(config["observe"])
    if fast and watched:
        prepare(config, model, seed)
    watching = observers(config, model) if fast and watched else {}
    clock = Clock()
    trainer = ObservedTrainer(
        model=model,
        reward_funcs=reward_of(items),
        args=arguments(config, seed, workspace),
        train_dataset=Dataset.from_dict(
            {"prompt": [item.prompt for item in items], "index": range(len(items))}
        ),
        processing_class=tokenizer(),
        callbacks=[clock],
        observers=watching,
        every=config["every"] if fast else 0,
        gpg=config["variant"] == "gpg",
        **({"draft": pretrained(draft_recipe(config), model)} if fast else {}),
    )
    trainer.train()
    scalars: dict[str, float] = {}
    if config["evaluation_prompts"]:
        scalars |= heldout(model, config["evaluation_prompts"])
    if fast and config["replay"]:
        scalars |= replayed(config, seed, trainer, model)
    series = measured(trainer, clock)
    del trainer, model, watching
    gc.collect()  # a trainer is a cycle of references, whose memory the next job would miss
    return Record(
        {name: np.array([value]) for name, value in scalars.items()},
        {name: np.asarray(values, dtype=float)[None] for name, values in series.items()},
    )


def reward_of(items: tuple[Item, ...]) -> Any:
    """The task's reward as TRL calls it; token ids are places in the vocabulary."""

    def reward(completion_ids: list[list[int]], index: list[int], **_: Any) -> list[float]:
        return [
            ladder.reward(decode(ids), items[place]) for ids, place in zip(completion_ids, index, strict=True)
        ]

    return reward


def heldout(model: Qwen3ForCausalLM, count: int) -> dict[str, float]:
    """Greedy accuracy, dialect and length on held-out sums."""
    found = answer(model, ladder.items(ladder.HELDOUT)[:count])
    return {
        "heldout/accuracy": float(found.correct.mean()),
        "heldout/verbose": float(found.verbose.mean()),
        "heldout/length": float(found.length.mean()),
    }


def replayed(
    config: Mapping[str, Any], seed: int, trainer: ObservedTrainer, model: PreTrainedModel
) -> dict[str, float]:
    """All arms on the prompts of further iterations."""
    chosen = arms(config["c_peak"])
    if not config["observe"]:
        chosen = {name: chosen[name] for name in ("vanilla", "et", "fast")}
    drafts: dict[str, DraftNetwork] = {"online": trainer.draft.network}
    for kind in PUBLISHED:
        if any(arm.draft == kind for arm in chosen.values()):
            drafts[kind] = pretrained(draft_recipe(config, kind=kind), model)
    if "frozen" in trainer.observers:
        drafts["frozen"] = trainer.observers["frozen"].network
        drafts["random"] = new_network("two_head", model, seed)
    fresh = training_items(config, seed + 500_000)[: config["replay_rounds"] * config["prompts"]]
    prompts = [encode(item.prompt) for item in fresh]
    rounds = [prompts[start : start + config["prompts"]] for start in range(0, len(fresh), config["prompts"])]
    found = replay(chosen, model, drafts, rounds, config["group_size"], seed, config["max_response"])
    return {f"replay/{name}": value for name, value in found.items()}


def measured(trainer: ObservedTrainer, clock: Clock) -> dict[str, list[float] | np.ndarray]:
    """Logged values per iteration, seconds of every part, and the curves of the drafts."""
    entries = [entry for entry in trainer.state.log_history if "reward" in entry]
    series: dict[str, Any] = {
        name: np.array([float(entry.get(key, 0.0)) for entry in entries]) for key, name in LOGGED.items()
    }
    series["wall"] = clock.seconds - series["extra"]
    rollout = series.pop("rollout") - series["extra"]
    series["scoring"] = rollout - series["generation"] - series["learn"]
    series["update"] = series["wall"] - rollout
    for name, observer in trainer.observers.items():
        if observer.curve:
            series[f"acceptance/{name}"] = observer.curve
    return series
