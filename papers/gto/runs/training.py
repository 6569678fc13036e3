"""Phase II in all its arms, as recipes: what is trained, kept on disk, and evaluated."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.speculative.checkpoint import Checkpoint
from common.speculative.tree import TreePolicy
from common.study.jobs import Job, Record
from common.tasks.tridomain.warm_start import TargetRecipe
from papers.gto.method import GTOConfig, GTOTrainer
from papers.gto.runs.drafts import EAGLE_TREE, DraftRecipe, new_network, target_for, trained, training_texts
from papers.gto.runs.evaluation import Measured, heldout, measure, oracle_acceptance
from papers.gto.tree_reward import Mode

LOGGED = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "gto/reward": "reward",
    "gto/reward_std": "reward_std",
    "gto/equal_groups": "equal_groups",
    "gto/outside_clip": "outside_clip",
}
UNTUNED, CONTINUAL = "untuned", ("continual", "continual_time")


@dataclass(frozen=True)
class TuneRecipe:
    """Everything that decides a tuned draft's weights; the seed is the draft's.

    Attributes:
        draft: Where Phase II starts, and the frozen reference.
        steps: Optimizer steps.
        batch: Conversations of a step.
        learning_rate: Peak of the linear schedule.
        omega: ω; 0 is continual token training.
        groups: K.
        group_size: m.
        mode: Aggregation of branches.
        debias: Subtract the reference's reward.
        control: Negative control.
        depth, top_k, budget: Trees.
    """

    draft: DraftRecipe = field(default_factory=DraftRecipe)
    steps: int = 60
    batch: int = 4
    learning_rate: float = 2e-4
    omega: float = 0.5
    groups: int = 1
    group_size: int = 8
    mode: Mode = "lse"
    debias: bool = True
    control: str = "none"
    depth: int = 5
    top_k: int = 4
    budget: int = 24

    def arguments(self, folder: Path) -> GTOConfig:
        """As a trainer configuration."""
        return GTOConfig(
            output_dir=str(folder),
            max_steps=self.steps,
            per_device_train_batch_size=self.batch,
            learning_rate=self.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=max(1, self.steps // 20),
            adam_beta1=0.9,
            adam_beta2=0.95,
            weight_decay=0.0,
            max_grad_norm=0.5,
            seed=self.draft.seed,
            gto_omega=self.omega,
            gto_groups=self.groups,
            gto_group_size=self.group_size,
            gto_mode=self.mode,
            gto_debias=self.debias,
            gto_control=self.control,
            tree_depth=self.depth,
            tree_top_k=self.top_k,
            tree_budget=self.budget,
            unroll_steps=self.draft.unroll,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        )


@cache
def training_rows(size: int) -> list[dict[str, Tensor]]:
    """The training set as the trainer takes it."""
    return [{"ids": row.ids[0], "supervised": row.supervised[0]} for row in training_texts(size)]


def tune(recipe: TuneRecipe) -> Checkpoint:
    """Phase II."""
    target = target_for(recipe.draft.target, recipe.draft.kind)
    with tempfile.TemporaryDirectory() as folder:
        trainer = GTOTrainer(
            trained(recipe.draft), target, recipe.arguments(Path(folder)), training_rows(recipe.draft.data)
        )
        trainer.train()
    history = trainer.state.log_history
    log = {name: [entry[key] for entry in history if key in entry] for key, name in LOGGED.items()}
    return Checkpoint(trainer.model, {name: values for name, values in log.items() if values})


def tuned(recipe: TuneRecipe) -> Checkpoint:
    """The tuned draft of a recipe, trained on first use."""
    return Checkpoint.of(recipe, new_network(recipe.draft), lambda: tune(recipe))


def read_recipe(config: Mapping[str, Any], seed: int) -> TuneRecipe:
    """The recipe in a job's flat configuration: ``target_…``, ``draft_…`` and the fields of `TuneRecipe`."""

    def part(kind: type, prefix: str) -> dict[str, Any]:
        names = {item.name for item in fields(kind)}
        return {name: config[prefix + name] for name in names if prefix + name in config}

    target = TargetRecipe(**part(TargetRecipe, "target_"))
    draft = DraftRecipe(target=target, seed=seed, **part(DraftRecipe, "draft_"))
    return TuneRecipe(draft=draft, **part(TuneRecipe, ""))


def evaluate(job: Job, _workspace: Path) -> Record:
    """Entry point: one arm with one seed, evaluated at held-out prefixes.

    Config: `arm` (`untuned` is Phase I alone), the recipe (`read_recipe`), `conversations` and `positions`
    of the held-out set, `shapes` ("depth:top_k:budget,…", further tree shapes; "static" is EAGLE's), `paths`
    (Figure 2), `compare` (order of trees against the untuned draft).

    Emits what `evaluate.measure` gives; τ with suffix ``@<shape>`` for further
    shapes; Figure 2's shares; `discordant/…`; the training log.
    """
    (seed,) = job.seeds
    torch.set_num_threads(1)
    config, recipe = job.config, read_recipe(job.config, seed)
    target = target_for(recipe.draft.target, recipe.draft.kind)
    untuned = config["arm"] == UNTUNED
    found = Checkpoint(trained(recipe.draft)) if untuned else tuned(recipe)
    prefixes = heldout(int(config["conversations"]), int(config["positions"]))
    few = heldout(max(1, int(config["conversations"]) // 4), int(config["positions"]))
    policy = TreePolicy(recipe.depth, recipe.top_k, recipe.budget)
    before = trained(recipe.draft) if config["compare"] else None
    values: Measured = measure(found.network, target, prefixes, policy, bool(config["paths"]), before)
    for shape in filter(None, str(config["shapes"]).split(",")):
        tree = EAGLE_TREE if shape == "static" else TreePolicy(*map(int, shape.split(":")))
        other = measure(found.network, target, few, tree)
        values |= {f"{name}@{shape}": value for name, value in other.items()}
    series = {name: np.array([values]) for name, values in found.log.items()}
    return Record({name: np.array([value]) for name, value in values.items()}, series)


def oracle(job: Job, _workspace: Path) -> Record:
    """Entry point: what the trees of the target itself give, the ceiling for a tree shape.

    Config: as `evaluate`.
    """
    (seed,) = job.seeds
    torch.set_num_threads(1)
    recipe = read_recipe(job.config, seed)
    target = target_for(recipe.draft.target, recipe.draft.kind)
    prefixes = heldout(int(job.config["conversations"]), int(job.config["positions"]))
    values = oracle_acceptance(target, prefixes, TreePolicy(recipe.depth, recipe.top_k, recipe.budget))
    return Record({name: np.array([value]) for name, value in values.items()})
