"""EPO in the group trainer: `AgentTrainer` with one more term in the loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from common.agents.entropy_history import EntropyHistory, Reference
from common.agents.trainer import AgentTrainer
from common.rl.config import GroupConfig
from common.rl.rollout import Batch, Rollout, loss_mask
from papers.epo.method import (
    PENALTIES,
    SCHEDULES,
    Average,
    Corridor,
    Penalty,
    Schedule,
    beta_schedule,
    by_turn,
    decay_weights,
    epo_loss,
)

Decay = Literal["", "turns", "training"]


@dataclass
class EPOConfig(GroupConfig):
    """Configuration of `EPOTrainer`; the rest is `common.rl.config.GroupConfig` and `trl.GRPOConfig`."""

    epo_coefficient: float = field(default=0.001, metadata={"help": "Weight of the entropy terms."})
    epo_alpha: float = field(default=0.05, metadata={"help": "Weight of the smoothing; 0 is EPO-Base."})
    epo_kappa_low: float = field(default=0.0, metadata={"help": "Lower end of the corridor."})
    epo_kappa_high: float = field(default=2.0, metadata={"help": "Upper end of the corridor."})
    epo_gamma: float = field(default=3.0, metadata={"help": "Rate of the paper's schedule."})
    epo_schedule: Schedule = field(default="paper", metadata={"help": f"One of {', '.join(SCHEDULES)}."})
    epo_steps: int = field(default=0, metadata={"help": "RL steps of the schedule; 0: those of the run."})
    epo_penalty: Penalty = field(default="hinge", metadata={"help": f"One of {', '.join(PENALTIES)}."})
    epo_reference: Reference = field(default="global", metadata={"help": "global, or the code's per_turn."})
    epo_include_current: bool = field(default=False, metadata={"help": "Count the current batch (the code)."})
    epo_from_turn: int = field(default=0, metadata={"help": "Smooth from this turn on (the code: 25)."})
    epo_average: Average = field(default="trajectories", metadata={"help": "trajectories or tokens."})
    epo_decay: Decay = field(default="", metadata={"help": "EPO-Decay by turns or over training."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epo_coefficient < 0 or self.epo_alpha < 0:
            raise ValueError("epo_coefficient and epo_alpha must not be negative")
        if self.row_skipping and self.epo_coefficient:
            raise ValueError("EPO's bonus needs the rows without advantage too: set row_skipping=False")
        _ = self.corridor

    @property
    def corridor(self) -> Corridor:
        """κ_l, κ_r, α and the penalty."""
        return Corridor(self.epo_kappa_low, self.epo_kappa_high, self.epo_alpha, self.epo_penalty)


class EPOTrainer(AgentTrainer, name="EPO", tags=("grpo", "agents", "epo")):
    """`AgentTrainer` with EPO's loss (Eq. 6); the only change is one more term.

    The reference is that of the policy which sampled a batch, and it goes with the batch through all of its
    updates. Logs the mean entropy of the rollout (`epo/entropy`), the reference (`epo/reference`), β
    (`epo/beta`) and, at each update, the share of tokens outside the corridor (`epo/outside`).
    """

    args: EPOConfig

    def __init__(self, *args: Any, **others: Any) -> None:
        super().__init__(*args, **others)
        own = self.args
        self.history = EntropyHistory(own.epo_reference, own.epo_include_current)

    def companions(self) -> dict[str, EntropyHistory]:
        """The history, which a resumed run goes on with."""
        return {"entropy_history": self.history}

    def loss_inputs(self, rollout: Rollout) -> dict[str, Tensor]:
        """Turn and reference of each token, and the weights of the rollout's RL step."""
        if not self.args.epo_coefficient:
            return {}
        step, turns = len(self.history.means), rollout.turns
        if self.args.epo_alpha and self.model.training:
            self._remember(rollout)
        beta = beta_schedule(min(step, self._steps), self._steps, self.args.epo_schedule, self.args.epo_gamma)
        reference = self.history.at(step, turns.cpu()) if self.args.epo_alpha else None
        filled = torch.full(turns.shape, torch.nan) if reference is None else reference.float()
        self.log_metric("epo/beta", beta)
        self.log_metric("epo/reference", float(filled[turns.cpu() >= 0].mean()))
        return {
            "epo_turns": turns,
            "epo_reference": filled.to(turns.device),
            "epo_beta": torch.full((len(turns),), beta, device=turns.device),
            "epo_step": torch.full((len(turns),), step, device=turns.device),
        }

    def extra_loss(
        self,
        log_probs: Float[Tensor, "B T"],
        entropies: Float[Tensor, "B T"],
        batch: Batch,
    ) -> Float[Tensor, ""] | None:
        """Eq. 6 without the policy loss; None with λ = 0."""
        args = self.args
        if not args.epo_coefficient:
            return None
        turns, mask = batch["epo_turns"], loss_mask(batch)
        reference = self._reference(batch, turns, mask)
        if reference is not None:
            self._log_outside(entropies, reference, mask)
        return epo_loss(
            entropies,
            reference,
            turns,
            mask,
            args.epo_coefficient,
            args.corridor,
            float(batch["epo_beta"][0]),
            self._weights(batch, turns),
            args.epo_average,
        )

    def _reference(self, batch: Batch, turns: Tensor, mask: Tensor) -> Float[Tensor, "B T"] | None:
        """H̄ of each token; None before there is one, and in passes without late turns."""
        reference, own = batch["epo_reference"], mask.bool()
        late = bool(own.any()) and int(turns[own].max()) >= self.args.epo_from_turn
        return reference if late and not reference[own].isnan().any() else None

    def _weights(self, batch: Batch, turns: Tensor) -> Float[Tensor, "B T"] | None:
        """Of the bonus, for EPO-Decay."""
        if self.args.epo_decay == "turns":
            return decay_weights(turns, self.rules.turns)
        if self.args.epo_decay == "training":
            return decay_weights(batch["epo_step"], self._steps)[:, None].expand(turns.shape)
        return None

    @property
    def _steps(self) -> int:
        """K."""
        batches = self.state.max_steps / self.args.optimizer_steps_per_rollout
        return self.args.epo_steps or max(1, round(batches))

    def _remember(self, rollout: Rollout) -> None:
        """Append the mean entropy of the rollout's own tokens, over all processes, by turn or as one.

        An episode that is over has no tokens, so that it does not count.
        """
        turns, width = rollout.turns, self.rules.turns
        places = turns if self.args.epo_reference == "per_turn" else torch.zeros_like(turns)
        sums, counts = by_turn(rollout.entropies, places, rollout.mask)
        sums, counts = (torch.nn.functional.pad(each, (0, width - each.shape[1])) for each in (sums, counts))
        totals = self.sum_over_processes(torch.stack([sums.sum(dim=0), counts.sum(dim=0)])).cpu()
        means = (totals[0] / totals[1].clamp(min=1))[totals[1] > 0]
        self.history.append(means, width)
        self.log_metric("epo/entropy", float(totals[0].sum() / totals[1].sum().clamp(min=1)))

    def _log_outside(self, entropies: Tensor, reference: Tensor, mask: Tensor) -> None:
        corridor, own = self.args.corridor, mask.bool()
        outside = (entropies < corridor.low * reference) | (entropies > corridor.high * reference)
        totals = self.sum_over_processes(torch.stack([(outside & own).sum(), own.sum()]).float())
        self.log_metric("epo/outside", float(totals[0] / totals[1].clamp(min=1)))
