"""SmolLM2 as a target: GTO and continual training from one EAGLE-3 draft of it, and decoding by the clock."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from common.speculative.networks import DraftNetwork
from common.speculative.real import RealDraftRecipe, TextRecipe, smollm2, texts, trained, within
from common.speculative.real_evaluation import acceptance, own_copy, race
from common.speculative.reduced import ReducedEagle3Network, unroll_reduced
from common.speculative.texts import TextReading
from common.speculative.tree import TreePolicy
from common.speculative.unroll import eagle3_loss
from common.study.jobs import Job, Record
from papers.gto.method import GTOConfig, GTOTrainer

ARMS = {"continual": 0.0, "gto": 0.5}
"""Arms of Phase II and their ω."""


class ReducedTrainer(GTOTrainer):
    """The trainer for a draft vocabulary; its trees and paths hold no other tokens as it is."""

    def token_loss(
        self, model: DraftNetwork, text: TextReading, supervised: Bool[Tensor, "B T"]
    ) -> Float[Tensor, ""]:
        """The token loss among the kept tokens."""
        assert isinstance(model, ReducedEagle3Network)
        counted = supervised & within(text.logits, model.kept)
        logits = text.logits[..., model.kept]
        unrolled = unroll_reduced(model, text.ids, text.features, logits, counted, self.args.unroll_steps)
        return eagle3_loss(unrolled, self.args.unroll_decay)


def recipe(config: Mapping[str, Any]) -> RealDraftRecipe:
    """Phase I in a job's flat configuration; every seed starts from its draft."""
    names = ("kept", "steps", "batch", "learning_rate")
    counts = {name: config[name] for name in ("code", "arithmetic", "chat", "tokens")}
    return RealDraftRecipe(TextRecipe(**counts), **{name: config[f"draft_{name}"] for name in names})


def policy(config: Mapping[str, Any]) -> TreePolicy:
    """Shape of the trees."""
    return TreePolicy(config["depth"], config["top_k"], config["budget"])


def evaluate(job: Job, _workspace: Path) -> Record:
    """Entry point: Phase II of both arms with one seed, evaluated on held-out texts; parts by `arm`.

    Config: Phase I (`recipe`); `depth`, `top_k`, `budget` of the trees; `tuning_steps`, `tuning_batch`,
    `tuning_rate`, `groups`, `group_size`; `heldout` prompts of a style, and `positions` of each.

    Emits ``tau0/<style>`` (greedy) and ``tau1/<style>`` (temperature 1), exact, and ``…/all``.
    """
    torch.set_num_threads(1)
    config, (seed,) = job.config, job.seeds
    draft = trained(recipe(config)).network
    arms = {"untuned": draft} | {arm: tune(draft, config, seed, omega) for arm, omega in ARMS.items()}
    measures = policy(config), config["heldout"], config["tokens"], config["positions"]
    parts = [({"arm": arm}, _record(acceptance(network, *measures))) for arm, network in arms.items()]
    return Record(parts=parts)


def tune(draft: DraftNetwork, config: Mapping[str, Any], seed: int, omega: float) -> DraftNetwork:
    """Phase II on a copy; weights in float32, products in bfloat16."""
    network, rows = own_copy(draft), texts(recipe(config).texts).rows()
    with tempfile.TemporaryDirectory() as folder:
        args = GTOConfig(
            output_dir=folder,
            max_steps=config["tuning_steps"],
            per_device_train_batch_size=config["tuning_batch"],
            learning_rate=config["tuning_rate"],
            warmup_steps=max(1, config["tuning_steps"] // 20),
            weight_decay=0.0,
            max_grad_norm=0.5,
            seed=seed,
            bf16=True,
            use_cpu=True,
            gto_omega=omega,
            gto_groups=config["groups"],
            gto_group_size=config["group_size"],
            tree_depth=config["depth"],
            tree_top_k=config["top_k"],
            tree_budget=config["budget"],
            unroll_steps=RealDraftRecipe.unroll,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        ReducedTrainer(network, smollm2(torch.float32), args, rows).train()
    return network


def _record(values: Mapping[str, float]) -> Record:
    return Record({name: np.array([float(value)]) for name, value in values.items()})


def speed(job: Job, _workspace: Path) -> Record:
    """Entry point: one row, greedy, bfloat16, one thread; decoders in turn, prompt by prompt.

    Config: as `evaluate`, and `timed` prompts of a style, `new` tokens of each.

    Emits parts by `decoder`, the measures of `race`.
    """
    torch.set_num_threads(1)
    config, target, (seed,) = job.config, smollm2(), job.seeds
    network = trained(recipe(config)).network.to(target.dtype)
    found = race(target, network, policy(config), config["timed"], config["new"], seed)
    return Record(parts=[({"decoder": name}, _record(values)) for name, values in found.items()])
