"""Drafts as recipes, trained on first use and kept: Phase I of every kind, Phase II of every arm."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from common.models.recipe import fit
from common.speculative.checkpoint import Checkpoint
from common.speculative.networks import DraftNetwork
from common.speculative.pretraining import NETWORKS, Kind, new_network, token_loss
from common.speculative.target import Target
from common.speculative.tree import TreePolicy
from common.tasks.tridomain import items
from common.tasks.tridomain.warm_start import TargetRecipe, corpus, load, texts
from papers.gto.method import GTOConfig, GTOTrainer, collate
from papers.gto.tree_reward import Mode

DATA_SEED = 3_000_000
LOGGED = ("grad_norm", "gto/loss", "gto/reward", "gto/equal_groups", "gto/outside_clip", "gto/lowered")


@dataclass(frozen=True)
class DraftRecipe:
    """Everything that decides the weights of a draft after Phase I.

    Attributes:
        target: The model to draft for.
        kind: Network and loss.
        steps: AdamW steps on a cosine schedule.
        batch: Conversations of a step.
        learning_rate: Peak.
        unroll: Steps of training-time test of EAGLE-3.
        data: Conversations of the training set, the same for every seed.
        seed: Of the initial weights and of the order of the data.
    """

    target: TargetRecipe = field(default_factory=TargetRecipe)
    kind: Kind = "eagle3"
    steps: int = 200
    batch: int = 16
    learning_rate: float = 3e-3
    unroll: int = 5
    data: int = 3000
    seed: int = 0

    def empty(self) -> DraftNetwork:
        """The draft before training."""
        return new_network(NETWORKS[self.kind], target_for(self.target, self.kind).model, self.seed)


@dataclass(frozen=True)
class TuneRecipe:
    """Everything that decides a tuned draft's weights.

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
        seed: Of the order of the data and of the groups.
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
    seed: int = 0

    @property
    def tree(self) -> TreePolicy:
        """Shape of the trees."""
        return TreePolicy(self.depth, self.top_k, self.budget)

    def trainer(self, folder: Path) -> GTOTrainer:
        """The trainer of Phase II, on the draft of Phase I."""
        args = GTOConfig(
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
            seed=self.seed,
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
            dataloader_pin_memory=False,
        )
        draft, target = trained(self.draft), target_for(self.draft.target, self.draft.kind)
        return GTOTrainer(draft, target, args, training_rows(self.draft.data))


@cache
def target_for(recipe: TargetRecipe, kind: Kind) -> Target:
    """The frozen target with the taps of a kind of draft."""
    return Target(load(recipe), NETWORKS[kind].taps(recipe.layers))


@cache
def training_rows(size: int) -> list[dict[str, Tensor]]:
    """The training set of both phases, a conversation a row, as `collate` takes them."""
    rows = [texts([item]) for item in items(corpus(DATA_SEED, size))]
    return [{"ids": row.ids[0], "supervised": row.supervised[0]} for row in rows]


def train(recipe: DraftRecipe) -> DraftNetwork:
    """Phase I."""
    target, network = target_for(recipe.target, recipe.kind), recipe.empty()
    rows, order = training_rows(recipe.data), np.random.default_rng(recipe.seed)
    epochs = recipe.steps * recipe.batch // recipe.data + 1
    places = np.concatenate([order.permutation(recipe.data) for _ in range(epochs)])

    def loss(step: int) -> Tensor:
        batch = collate([rows[i] for i in places[step * recipe.batch : (step + 1) * recipe.batch]])
        return token_loss(recipe.kind, network, target, **batch, steps=recipe.unroll)

    fit(network.parameters(), loss, recipe.steps, recipe.learning_rate)
    return network


def trained(recipe: DraftRecipe) -> DraftNetwork:
    """The draft of Phase I."""
    return Checkpoint.of(recipe, recipe.empty(), lambda: Checkpoint(train(recipe))).network


def tune(recipe: TuneRecipe) -> Checkpoint:
    """Phase II."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = recipe.trainer(Path(folder))
        trainer.train()
    history = trainer.state.log_history
    log = {key: [entry[key] for entry in history if key in entry] for key in LOGGED}
    return Checkpoint(trainer.model, {key.removeprefix("gto/"): log[key] for key in LOGGED if log[key]})


def tuned(recipe: TuneRecipe) -> Checkpoint:
    """The draft of Phase II with its training log."""
    return Checkpoint.of(recipe, recipe.draft.empty(), lambda: tune(recipe))


def read_recipe(config: Mapping[str, Any], seed: int) -> TuneRecipe:
    """The recipe in a job's flat configuration: ``target_…``, ``draft_…`` and the fields of `TuneRecipe`.

    With `warm_starts` seeds share so many drafts of Phase I in turn; else each has its own.
    """

    def part(kind: type, prefix: str = "") -> dict[str, Any]:
        names = {item.name for item in fields(kind)}
        return {name: config[prefix + name] for name in names if prefix + name in config}

    target, shared = TargetRecipe(**part(TargetRecipe, "target_")), config.get("warm_starts", 0)
    # Those of judged seeds are not those of development seeds, which lie in another thousand.
    first = seed // 1000 * 1000 + seed % shared if shared else seed
    draft = DraftRecipe(target=target, seed=first, **part(DraftRecipe, "draft_"))
    return TuneRecipe(draft=draft, seed=seed, **part(TuneRecipe))
