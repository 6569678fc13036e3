"""The objectives: one line each. A later paper joins by adding its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SYMMETRIC = {"epsilon": 0.2}
HIGHER = {"epsilon": 0.2, "epsilon_high": 0.28, "loss_type": "dapo"}
SEAM, QAE, ZVP = "common.rl.trainer:Group", "papers.qae.method:QAE", "papers.rl_zvp.method:RLZVP"


@dataclass(frozen=True)
class Objective:
    """A trainer with the arguments that make it this objective.

    Attributes:
        name: As its authors write it.
        source: arXiv id.
        method: ``package.module:Prefix`` of a pair ``PrefixTrainer`` and ``PrefixConfig``.
        arguments: Fields of the configuration.
        optimizer_steps: Optimizer steps per rollout batch; 0 is the study's own number.
    """

    name: str
    source: str
    method: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    optimizer_steps: int = 0

    @property
    def module(self) -> str:
        """Module of the trainer."""
        return self.method.partition(":")[0]

    def changes(self, batch: int) -> dict[str, Any]:
        """What a job's configuration says of it, so that a new objective leaves the other jobs alone."""
        told = {"method": self.method, "arguments": json.dumps(self.arguments, sort_keys=True)}
        return {**told, "mini_batch": batch // self.optimizer_steps} if self.optimizer_steps else told


GSPO = {"epsilon": 3e-4, "epsilon_high": 4e-4, "importance_sampling_level": "sequence", "loss_type": "grpo"}
CLIP_COV = {"loss_variant": "clip_cov", "epsilon": 1.0, "epsilon_high": 1.0, "loss_type": "dapo"}
KL_COV = {**HIGHER, "loss_variant": "kl_cov"}

OBJECTIVES: dict[str, Objective] = {
    "grpo": Objective("GRPO", "2402.03300", SEAM, {**SYMMETRIC, "loss_type": "grpo"}),
    "dapo": Objective("DAPO", "2503.14476", SEAM, {**HIGHER, "dynamic_sampling_rounds": 2}),
    "dr_grpo": Objective("Dr. GRPO", "2503.20783", "papers.zoo.method:DrGRPO", SYMMETRIC),
    "gspo": Objective("GSPO", "2507.18071", SEAM, GSPO, optimizer_steps=4),
    "clip_cov": Objective("Clip-Cov", "2505.22617", SEAM, CLIP_COV),
    "kl_cov": Objective("KL-Cov", "2505.22617", SEAM, KL_COV),
    "qae": Objective("QAE", "2509.22611", QAE, HIGHER),
    "rl_zvp": Objective("RL-ZVP", "2509.21880", ZVP, HIGHER),
    "fcp": Objective("FCP", "2509.22638", "papers.zoo.runs.fcp:FCP", optimizer_steps=4),
}
REFERENCE = "grpo"
