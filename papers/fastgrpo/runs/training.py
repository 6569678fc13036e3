"""Real GRPO loops: with the method, with plain decoding, and with plain decoding that computes finished rows.

The method's loop can carry further drafts that learn from the same rollouts, each in its own way (`observe`).
They do not alter the rollouts, so their acceptance is compared draft against draft on the same tokens; their
time is kept apart.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import PreTrainedModel, set_seed

from common.rl import harness
from common.rl.advantages import group_mean, mixed_groups
from common.rl.config import batching
from common.rl.rollout import Rollout
from common.rl.run import Run
from common.speculative.clock import StepClock
from common.speculative.generate import Generation
from common.speculative.texts import Probe
from common.study.jobs import Job, Record
from common.tasks.ladder import TraceLaw
from common.tasks.ladder.evaluation import heldout, reward_of
from common.tasks.ladder.warm_start import load, policy_folder, tokenizer
from papers.fastgrpo.learner import OnlineDraftLearner
from papers.fastgrpo.method import FastGRPOConfig, FastGRPOTrainer
from papers.fastgrpo.runs.drafts import (
    PROBE_TREE,
    PUBLISHED,
    Observer,
    Part,
    draft_recipe,
    new_network,
    pretrained,
    recipe,
    replay_of_run,
    scalars,
    shuffled,
    training_items,
)

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
TIMES: Mapping[str, str] = {
    **harness.LOGGED,
    "rollout/acceptance_length": "tau",
    "seconds/generation": "generation",
    "seconds/draft": "learn",
    "seconds/rollout": "rollout",
    "step_time": "iteration",
}
"""What a loop on mathematics logs."""
GENERIC = TraceLaw(terse=1.0, corruption=0.5)
"""Traces unlike the policy's: terse only, every other digit wrong; general text beside mathematics."""
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "grpo": {},
    "dapo": {"loss_type": "dapo", "epsilon_high": 0.28, "beta": 0.0, "dynamic_sampling_rounds": 1},
    "gpg": {"beta": 0.0},
}
METHOD = (
    *("c_peak", "k_max", "l_max", "l_min", "alpha", "n_max", "draft_learning_rate"),
    *("micro_batch_tokens", "top_p", "epsilon", "learning_rate"),
)
"""Settings whose names the trainer's configuration shares."""


def method_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """What both kinds of loop tell the trainer: how an arm decodes, and what has the same name there."""
    return {
        "speculation": "draft" if config["arm"] == "fast" else "plain",
        "early_termination": config["arm"] != "vanilla",
        "loss_type": "grpo",
        "top_k": 0,
        "save_strategy": "no",
        **{name: config[name] for name in METHOD},
    }


# Loops on the ladder task


def arguments(config: Mapping[str, Any], seed: int, workspace: Path) -> FastGRPOConfig:
    """The arm as a trainer configuration."""
    variant = {"beta": config["kl_coefficient"], **VARIANTS[config["variant"]]}
    return FastGRPOConfig(
        output_dir=str(workspace),
        seed=seed,
        max_steps=config["iterations"],
        lr_scheduler_type="constant",
        temperature=1.0,
        max_completion_length=config["max_response"],
        logging_steps=1,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        **batching(config["prompts"], config["group_size"], optimizer_steps=1),
        **(method_arguments(config) | variant),
    )


def prepare(config: Mapping[str, Any], model: PreTrainedModel, seed: int) -> None:
    """Train what is missing of the drafts that a watched loop and its replay need.

    Odd seeds start from the other end, so that two workers share the drafts instead of waiting for each
    other's.
    """
    recipes = [draft_recipe(config), draft_recipe(config, law=GENERIC)]
    recipes += [draft_recipe(config, kind=kind) for kind in PUBLISHED]
    for each in reversed(recipes) if seed % 2 else recipes:
        pretrained(each, model)


def observers(config: Mapping[str, Any], model: PreTrainedModel) -> dict[str, Observer]:
    """The drafts that watch.

    Frozen, from scratch, from used rollouts only, with shuffled features; pre-trained on other traces, frozen
    and online.
    """
    own, other = draft_recipe(config), draft_recipe(config, law=GENERIC)
    networks = {name: pretrained(own, model) for name in ("frozen", "used", "shuffled")}
    networks |= {name: pretrained(other, model) for name in ("generic", "generic_frozen")}
    networks["scratch"] = new_network("two_head", model, own.seed)
    rate = config["draft_learning_rate"]
    return {
        name: Observer(
            network,
            None if name.endswith("frozen") else OnlineDraftLearner(network, rate),
            used_only=name == "used",
            shuffled=name == "shuffled",
        )
        for name, network in networks.items()
    }


def train(job: Job, workspace: Path) -> Record:
    """Entry point: one loop with one seed; the method's own loop ends with a replay of all arms.

    Emits series over iterations under the values of `LOGGED` and the seconds of every part, ``heldout/...``;
    ``acceptance`` over measurements by the column `draft`; ``replay/...`` by the column `replayed`.
    """
    (seed,) = job.seeds
    config = job.config
    model = load(policy_folder(recipe(config)))
    set_seed(seed)
    items = training_items(config, seed)
    fast, watched = config["arm"] == "fast", bool(config["observe"])
    if fast and watched:
        prepare(config, model, seed)
    watching = observers(config, model) if fast and watched else {}
    clock = StepClock(model.device)
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
    evaluation = heldout(model, config["evaluation_prompts"]) if config["evaluation_prompts"] else {}
    curves = {name: observer.curve for name, observer in trainer.observers.items() if observer.curve}
    parts: list[Part] = [
        ({"draft": name}, Record(series={"acceptance": np.array([curve])})) for name, curve in curves.items()
    ]
    if fast and config["replay"]:
        frozen = watching["frozen"].network if watched else None
        parts += replay_of_run(config, seed, model, trainer.draft.network, frozen)
    series = iterations(trainer, clock)
    del trainer, model, watching
    gc.collect()  # a trainer is a cycle of references, whose memory the next job would miss
    return replace(scalars(evaluation), series=series, parts=parts)


def iterations(trainer: ObservedTrainer, clock: StepClock) -> dict[str, Float[np.ndarray, "1 T"]]:
    """Logged values and seconds of every part, by iteration; what observers took is left out."""
    entries = [entry for entry in trainer.state.log_history if "reward" in entry]
    series = {
        name: np.array([float(entry.get(key, 0.0)) for entry in entries]) for key, name in LOGGED.items()
    }
    series["iteration"] = clock.seconds - series["extra"]
    rollout = series.pop("rollout") - series["extra"]
    series["scoring"] = rollout - series["generation"] - series["learn"]
    series["update"] = series["iteration"] - rollout
    return {name: values[None] for name, values in series.items()}


class ObservedTrainer(FastGRPOTrainer):
    """`FastGRPOTrainer` with observers, the time of every part, and GPG's advantages if asked to.

    Args:
        observers: By name; the trainer's own draft is measured as ``online``.
        every: Iterations between measurements of acceptance; 0 measures never.
        gpg: Advantages of group policy gradient (arXiv:2504.02546) in place of GRPO's.
    """

    def __init__(
        self,
        *rest: Any,
        observers: Mapping[str, Observer] | None = None,
        every: int = 0,
        gpg: bool = False,
        **others: Any,
    ) -> None:
        super().__init__(*rest, **others)
        self.observers, self.every, self.gpg = dict(observers or {}), every, gpg
        if self.learner is not None:
            self.observers["online"] = Observer(self.draft.network)
        self._iteration, self._extra = 0, 0.0

    def advantages(self, rewards: Float[Tensor, " N"], rollout: Rollout) -> Float[Tensor, " B"]:
        """GRPO's, or the centred rewards scaled by groups over mixed groups."""
        usual = super().advantages(rewards, rollout)
        if not self.gpg:
            return usual
        size = rollout.num_generations
        mixed = mixed_groups(rewards, size)
        scale = len(mixed) / mixed.sum().clamp(min=1)
        centred = rewards - group_mean(rewards, size).repeat_interleave(size)
        return (scale * centred)[rollout.local]

    def after_generation(self, generation: Generation, prompt_ids: list[list[int]]) -> None:
        """Keep the rollouts; measure every draft on them."""
        super().after_generation(generation, prompt_ids)
        begin = self.clock()
        if self.every and self._iteration % self.every == 0:
            probe = Probe.of(generation, prompt_ids)
            for observer in self.observers.values():
                observer.curve.append(probe.measure(observer.network, self.target, PROBE_TREE))
        self._iteration += 1
        self._extra += self.clock() - begin

    def teach_draft(self, mixed: Bool[Tensor, " B"]) -> float:
        """The method's step, then the observers'."""
        clocks = [self.clock()]
        loss = super().teach_draft(mixed)
        clocks.append(self.clock())
        self.log_metric("draft/used", mixed.float().mean().item())
        for observer in self.observers.values():
            if observer.learner is not None:
                self._observe(observer, mixed)
        clocks.append(self.clock())
        self.log_metric("seconds/learn", clocks[1] - clocks[0])
        self._extra += clocks[2] - clocks[1]
        return loss

    def _observe(self, observer: Observer, used: Bool[Tensor, " N"]) -> None:
        assert observer.learner is not None
        for generation, prompts in self.generations:
            rollouts = shuffled(generation, self._iteration) if observer.shuffled else generation
            with torch.enable_grad():
                observer.learner.step([rollouts], prompts, used if observer.used_only else None)

    def rollout(self, prompts: list[dict[str, Any]]) -> Rollout:
        """The method's, with the observers' time apart."""
        self._extra = 0.0
        rollout = super().rollout(prompts)
        self.log_metric("seconds/extra", self._extra)
        return rollout


# Loops on mathematics


def run_of(config: Mapping[str, Any]) -> Run:
    """The configuration of a loop as a run of `common.rl`: one optimizer step per rollout batch."""
    batch, group = config["prompts"] * config["group_size"], config["group_size"]
    own = {name: value for name, value in config.items() if name in Run.model_fields}
    return Run(
        **own,
        task="math",
        batch=batch,
        mini_batch=batch,
        training_rows=group,
        scoring_batch=group,
        evaluation_samples=1,
        pass_at=1,
        curve_samples=0,
        evaluation_temperature=1.0,
        evaluation_top_p=config["top_p"],
        save_every=config["iterations"],
        vllm=False,
    )


def mathematics_arguments(config: Mapping[str, Any], seed: int, workspace: Path) -> FastGRPOConfig:
    """The arm as a trainer configuration; a loop is timed as a whole, so none resumes."""
    own = {"exact_resume": False, "decoder": "generate"}
    shared = harness.shared_arguments(run_of(config), seed, workspace)
    return FastGRPOConfig(**(shared | method_arguments(config) | own))


def train_mathematics(job: Job, workspace: Path) -> Record:
    """Entry point: one loop with one seed; see `common.rl.harness.train_arm` for the record."""
    (seed,) = job.seeds
    args = mathematics_arguments(job.config, seed, workspace)
    return harness.train_arm(run_of(job.config), seed, workspace, FastGRPOTrainer, args, TIMES)
