"""A pocket policy trained through `PGPOTrainer` on lead optimisation, one arm with one seed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from common.agents.trainer import AgentRollout
from common.models.pocket import load_policy
from common.rl.companions import Companion
from common.rl.harness import LOGGED, Curve, logged_series, shared_arguments, unpublished
from common.rl.resume import latest_complete_checkpoint
from common.rl.rollout import Batch, loss_mask
from common.rl.run import Run
from common.rl.trainer import Inputs
from common.study.errors import unknown
from common.study.jobs import Job, Record
from common.tasks.molecules.assay import Bench
from common.tasks.molecules.progress import longest_path, measured
from common.tasks.molecules.warm_start import Setting, codec, rules, warm_start, world
from papers.polo.method import Elites, PGPOConfig, PGPOTrainer
from papers.polo.runs.search import optimise

ARMS: Mapping[str, Mapping[str, Any]] = {
    "ppo": {"pgpo_weight": 0.0},
    "pgpo": {},
    "shuffle": {"pgpo_shuffled": True},
    "stepwise": {"pgpo_mode": "stepwise"},
    "unweighted": {"pgpo_weighted": False},
    "turns_only": {"pgpo_estimator": "none"},
    "unfiltered": {"pgpo_groups_kept": 1.0, "pgpo_rows_kept": 1.0},
    "dense": {"pgpo_weight": 0.0, "pgpo_placement": "turn"},
    "single": {"pgpo_weight": 0.0},
}
"""What an arm changes in the trainer's configuration; "single" is PPO on trajectories of one turn."""
POLO_LOGGED = {
    **LOGGED,
    "pgpo/preference_loss": "preference_loss",
    "pgpo/pairs": "pairs",
    "pgpo/kept": "kept",
    "pgpo/value_loss": "value_loss",
    "pgpo/cosine": "cosine",
    "pgpo/gradient_share": "gradient_share",
    "oracle/calls": "oracle_calls",
    "episodes/mean_turns": "turns",
}
SMALL = {"micro_batch_tokens": 2048, "micro_batch_gap": 16}
"""Trajectories differ in length, and those of a pocket policy are faster in batches that fit a cache."""
PROBE_EVERY = 4  # rollout batches between two looks at both gradients, which cost two backward passes


def train(job: Job, workspace: Path) -> Record:
    """Entry point: train one arm; evaluations restart from elites within each test lead's budget.

    Returns:
        Scalars ``final/<name>`` for the names of `common.tasks.molecules.progress.measured`; series over
        rollout batches under the values of `POLO_LOGGED`; series ``curve/...`` over evaluation points; of the
        last evaluation ``path/calls`` and ``path/<n>``, a SMILES as the codes of its letters, of the lead
        that was improved most often.
    """
    (seed,) = job.seeds
    config, run, setting = job.config, Run.read(job.config), job.read(Setting)
    set_seed(seed)
    model, words = load_policy(str(warm_start(config, seed)))
    held = Held(setting, config, workspace / "path.json")
    curve = Curve(held, run, seed, workspace, words)  # type: ignore[arg-type]
    trainer = build(config, seed, workspace, model, words, [curve])
    args = trainer.args
    resumed = latest_complete_checkpoint(workspace) if args.exact_resume else None
    trainer.train(resume_from_checkpoint=resumed)
    final = {f"final/{name}": np.array([value]) for name, value in curve.point(run.iterations).items()}
    series = logged_series(trainer.state.log_history, POLO_LOGGED)
    return Record(final, {**series, **curve.series(), **held.path()})


def build(
    config: Mapping[str, Any],
    seed: int,
    workspace: Path,
    model: PreTrainedModel,
    words: PreTrainedTokenizerBase,
    callbacks: list[Any],
) -> StudyTrainer:
    """The trainer of an arm: a prompt is the number of a lead."""
    setting = Setting(**{name: config[name] for name in Setting.__annotations__})
    leads, bench, turns = setting.leads("train"), setting.bench(), turns_of(config)
    trainer = StudyTrainer(
        model,
        args=arguments(config, seed, workspace),
        train_dataset=Dataset.from_dict({"prompt": [str(number) for number in range(len(leads))]}),
        processing_class=words,
        callbacks=callbacks,
        worlds=lambda prompt: world(setting.space, bench, leads, turns, int(prompt)),
        codec=codec(words),
        rules=rules(words, turns),
    )
    trainer.bench = bench
    unpublished(trainer)
    return trainer


def turns_of(config: Mapping[str, Any]) -> int:
    """Turns of a training episode: one in the arm "single", which plays as many more episodes."""
    return 1 if config["arm"] == "single" else int(config["turns"])


def arguments(config: Mapping[str, Any], seed: int, workspace: Path) -> PGPOConfig:
    """The arm as a trainer configuration.

    Raises:
        StudyError: unknown arm.
    """
    if config["arm"] not in ARMS:
        raise unknown("arm", config["arm"], ARMS)
    run = Run.read(config)
    if config["arm"] == "single":
        more = int(config["turns"])
        run = run.changed({"batch": run.batch * more, "mini_batch": run.mini_batch * more})
    own = {name: value for name, value in config.items() if name.startswith("pgpo_")}
    shared = shared_arguments(run, seed, workspace) | {"decoder": "generate", "top_k": 0}
    shared |= SMALL if run.model == "pocket" else {}
    return PGPOConfig(
        **shared,
        **(own | dict(ARMS[config["arm"]])),
        epsilon=config["epsilon_low"],
        epsilon_high=config["epsilon_high"],
        entropy_coef=config["entropy_coef"],
        loss_type="dapo",
    )


@dataclass(frozen=True)
class Held:
    """Held-out leads, as `common.rl.harness.Curve` evaluates on them."""

    setting: Setting
    config: Mapping[str, Any]
    file: Path

    def evaluate(
        self, model: PreTrainedModel, words: PreTrainedTokenizerBase, samples: int, seed: int
    ) -> dict[str, float]:
        """`measured` on the test leads; `samples` has no meaning here, a lead's budget has."""
        del samples
        budget, turns = self.setting.budget, int(self.config["turns"])
        leads, bench = self.setting.leads("test"), self.setting.bench(budget)
        elites = Elites(restart=float(self.config["restart"]))
        progress = optimise(model, words, self.setting, leads, bench, turns, elites, seed)
        self.file.write_text(json.dumps(longest_path(progress, leads)))
        return measured(progress, budget)

    def path(self) -> dict[str, np.ndarray]:
        """The path of the last evaluation, in numbers."""
        calls, texts = zip(*json.loads(self.file.read_text()), strict=True)
        codes = {f"path/{number}": np.array([[*map(ord, text)]]) for number, text in enumerate(texts)}
        return {"path/calls": np.array([calls]), **codes}


class Assays:
    """The training's oracle calls in a checkpoint, so that a run which was cut counts none twice."""

    network = None

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def state_dict(self) -> dict[str, Any]:
        """Everything that was scored."""
        return self.bench.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from it."""
        self.bench.restore(state)


class StudyTrainer(PGPOTrainer):
    """`PGPOTrainer` that counts oracle calls and compares both gradients; training is not touched.

    Logs ``oracle/calls`` so far, and at the first update of every fourth rollout batch, where all importance
    ratios are 1, ``pgpo/cosine`` of ∇L_traj and ∇L_pref and ``pgpo/gradient_share``, |λ∇L_pref| over the sum
    of both norms.
    """

    bench: Bench

    def companions(self) -> Mapping[str, Companion]:
        """The assays beside the critic."""
        return {**super().companions(), "assays": Assays(self.bench)}

    def rollout(self, prompts: Inputs) -> AgentRollout:
        """Count the calls."""
        rollout = super().rollout(prompts)
        self.log_metric("oracle/calls", float(self.bench.calls))
        return rollout

    def extra_loss(
        self, log_probs: Float[Tensor, "B T"], entropies: Float[Tensor, "B T"], batch: Batch
    ) -> Float[Tensor, ""] | None:
        """The method's term, measured."""
        loss = super().extra_loss(log_probs, entropies, batch)
        batches, update = divmod(self.state.global_step, self.args.steps_per_generation or 1)
        if loss is not None and self.model.training and update == 0 == batches % PROBE_EVERY:
            self._probe(log_probs, loss, batch)
        return loss

    def _probe(self, log_probs: Float[Tensor, "B T"], loss: Float[Tensor, ""], batch: Batch) -> None:
        advantages, mask = batch["advantages"], loss_mask(batch)
        advantages = advantages if advantages.ndim == 2 else advantages[:, None]
        tokens = batch["num_items_in_batch"] / (self.args.steps_per_generation or 1)
        outer = -(log_probs * advantages * mask).sum() / tokens
        first, second = (self._gradient(part) for part in (outer, loss))
        norms = first.norm(), second.norm()
        self.log_metric("pgpo/gradient_share", float(norms[1] / (norms[0] + norms[1]).clamp(min=1e-30)))
        if min(norms) > 0:
            self.log_metric("pgpo/cosine", float(first @ second / (norms[0] * norms[1])))

    def _gradient(self, objective: Float[Tensor, ""]) -> Float[Tensor, " P"]:
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        parts = torch.autograd.grad(objective, weights, retain_graph=True, allow_unused=True)
        zipped = zip(parts, weights, strict=True)
        return torch.cat([(torch.zeros_like(w) if part is None else part).flatten() for part, w in zipped])
