"""The trainer: TRL's DPO with a weight per pair and, as Eq. 1 is printed, no reference."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.preference.weighted import WeightedDPOConfig, WeightedDPOTrainer
from common.rl.citation import Named


@dataclass
class StepORLMConfig(WeightedDPOConfig):
    """TRL's configuration with the paper's β, and no reference.

    Attributes:
        reference_free: As printed; False is weighted DPO against the policy of the round before.
        beta: β.
    """

    reference_free: bool = field(default=True, metadata={"help": "Leave the reference out (Eq. 1)."})
    beta: float = field(default=0.1, metadata={"help": "β of Eq. 1."})


class StepORLMTrainer(Named, WeightedDPOTrainer, name="StepORLM", tags=("dpo", "steporlm")):
    """`WeightedDPOTrainer` on pairs of `papers.steporlm.method.policy_rows`."""

    args: StepORLMConfig
