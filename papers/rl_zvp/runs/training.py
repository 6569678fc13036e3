"""Tier C: a language model trained through `RLZVPTrainer`, one arm with one seed (see `common.rl`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from common.rl.harness import LOGGED, shared_arguments, train_arm
from common.rl.rollout import Batch, Rollout, loss_mask
from common.rl.run import Run
from common.study.errors import unknown
from common.study.jobs import Job, Record
from papers.rl_zvp.method import VARIANTS, RLZVPConfig, RLZVPTrainer

ZVP_LOGGED: Mapping[str, str] = {
    **LOGGED,
    "zvp/positive": "positive_prompts",
    "zvp/negative": "negative_prompts",
    "zvp/size": "size",
    "zvp/size_mixed": "size_mixed",
    "zvp/gradient_share": "gradient_share",
}
PROBE_EVERY = 5
"""Rollout batches between two measurements of the gradient's parts, which cost two backward passes."""


def train(job: Job, workspace: Path) -> Record:
    """Entry point of tier C; see `common.rl.harness.train_arm` for the record."""
    (seed,) = job.seeds
    args = training_arguments(job.config, seed, workspace)
    return train_arm(Run.read(job.config), seed, workspace, ProbedTrainer, args, ZVP_LOGGED)


def training_arguments(config: Mapping[str, Any], seed: int, workspace: Path) -> RLZVPConfig:
    """The arm as a trainer configuration; "ds" is GRPO, and the run's `generation_rounds` make it dynamic
    sampling.

    Row skipping changes no gradient beyond rounding.

    Raises:
        StudyError: unknown arm.
    """
    variants = {**VARIANTS, "ds": VARIANTS["grpo"]}
    if config["arm"] not in variants:
        raise unknown("arm", config["arm"], variants)
    shared = shared_arguments(Run.read(config), seed, workspace)
    schedule = {"lr_scheduler_type": config["schedule"], "warmup_steps": config["warmup_steps"]}
    return RLZVPConfig(
        **{**shared, **schedule},
        **{f"zvp_{name}": value for name, value in asdict(variants[config["arm"]]).items()},
        zvp_alpha=config["zvp_alpha"],
        epsilon=config["epsilon_low"],
        epsilon_high=config["epsilon_high"],
        loss_type="dapo",
        row_skipping=True,
    )


class ProbedTrainer(RLZVPTrainer):
    """`RLZVPTrainer` that logs how much of the gradient comes from zero-variance groups.

    `zvp/gradient_share` is |g_0| / (|g_0| + |g_1|) for the parts of the policy gradient that zero-variance
    and mixed groups give, at the first update of every fifth rollout batch, where all importance ratios are
    1. Training is not touched.
    """

    def loss_inputs(self, rollout: Rollout) -> dict[str, Tensor]:
        """The signs of each row beside what the method needs."""
        return super().loss_inputs(rollout) | {"signs": self._signs(rollout)}

    def extra_loss(
        self, log_probs: Float[Tensor, "B T"], entropies: Float[Tensor, "B T"], batch: Batch
    ) -> Float[Tensor, ""] | None:
        """No term; the measurement alone."""
        batches, update = divmod(self.state.global_step, self.args.steps_per_generation or 1)
        if self.args.uses_zero_variance and self.model.training and update == 0 == batches % PROBE_EVERY:
            advantages = batch["advantages"].expand_as(log_probs) * loss_mask(batch)
            own = (batch["signs"] != 0)[:, None]
            parts = [self._norm((log_probs * advantages * part).sum()) for part in (own, ~own)]
            self.log_metric("zvp/gradient_share", parts[0] / max(sum(parts), 1e-30))
        return super().extra_loss(log_probs, entropies, batch)

    def _norm(self, objective: Float[Tensor, ""]) -> float:
        """Norm of a scalar's gradient over all weights."""
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        parts = torch.autograd.grad(objective, weights, retain_graph=True, allow_unused=True)
        return float(torch.stack([part.norm() for part in parts if part is not None]).norm())
