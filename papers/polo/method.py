"""POLO: lead optimisation as a dialogue, learned by trajectory and by turn (arXiv:2509.21737).

PGPO adds to PPO on a trajectory's return a preference loss between the turns *inside* the trajectory: N
trajectories of T turns give N returns, but up to N T (T - 1) / 2 comparisons. The equations come first, then
the trainer, then the elites that inference restarts from. The paper's text was not available: what is not in
its abstract follows the code of the same group's next paper, and what that code does otherwise is an option.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor
from torch.nn import functional
from trl.trainer.utils import add_fused_lm_head

from common.agents.critic import gae, on_last_tokens
from common.agents.ppo import Critic
from common.agents.trainer import AgentRollout, AgentTrainer
from common.models.frozen import frozen_copy
from common.rl.companions import Companion
from common.rl.config import GroupConfig
from common.rl.rollout import Batch, Rollout, derived_generator, loss_mask
from common.rl.scoring import sequences

Mode = Literal["cumulative", "stepwise"]
Estimator = Literal["gae", "group", "none"]
Placement = Literal["trajectory", "turn"]
MODES, ESTIMATORS, PLACEMENTS = get_args(Mode), get_args(Estimator), get_args(Placement)
WEIGHTS = (0.01, 5.0)  # a success is worth 5, a gain of 2^5 - 1 = 31: without a bound it is all that counts
CHUNK = 16  # trajectories of a forward that reads hidden states

# Turn level


def implicit_scores(
    log_ratio: Float[Tensor, "B T"],
    mask: Num[Tensor, "B T"],
    turns: Int[Tensor, "B T"],
    count: int,
    beta: float = 0.05,
    mode: Mode = "cumulative",
) -> Float[Tensor, "B K"]:
    """What the policy thinks of each turn: s_t = β Σ log(π_θ / π_ref) over the policy's own tokens.

    Args:
        log_ratio: log π_θ - log π_ref of each token, in nats.
        mask: 1 on the policy's own tokens: observations never count.
        turns: Turn of each token, from 0.
        count: Turns K of the widest row; a turn without tokens scores as if it had added nothing.
        beta: β.
        mode: The tokens of turns 1..t (``"cumulative"``) or of turn t alone (``"stepwise"``).
    """
    own = log_ratio.where(mask.bool(), 0.0)
    steps = log_ratio.new_zeros(len(log_ratio), count).scatter_add(1, turns.clamp(0, count - 1), own)
    return beta * (steps.cumsum(dim=1) if mode == "cumulative" else steps)


def preference_pairs(
    rewards: Float[Tensor, "B K"], most: int = 6, zero_is_no_turn: bool = False
) -> Bool[Tensor, "B K K"]:
    """Which turn a is preferred to which turn b of the same trajectory: r_a > r_b.

    Ties give no pair, nor does a turn that a row does not have (NaN).

    Args:
        rewards: Reward of each turn.
        most: Pairs kept of a trajectory, those with the largest difference; 0 keeps all.
        zero_is_no_turn: The successor's code finds turns by their rewards and loses those of exactly 0.
    """
    if zero_is_no_turn:
        rewards = rewards.masked_fill(rewards == 0, math.nan)
    gaps = rewards[:, :, None] - rewards[:, None, :]
    pairs = gaps > 0  # false where one of them is NaN
    if not most:
        return pairs
    flat = gaps.where(pairs, -math.inf).flatten(1)
    places = flat.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return pairs & (places < most).view_as(pairs)


def lambda_weights(scores: Float[Tensor, "B K"], rewards: Float[Tensor, "B K"]) -> Float[Tensor, "B K K"]:
    """LambdaRank's weight of a pair, Δ_ab = |G(r_a) - G(r_b)| |1/D(ρ_a) - 1/D(ρ_b)|, within `WEIGHTS`.

    G(r) = 2^r - 1 and D(ρ) = log(1 + ρ), where ρ is the rank of a turn, 1 the best, by the policy's implicit
    score; without gradient. NaN where a turn is not there.
    """
    there = scores.detach().masked_fill(rewards.isnan(), -math.inf)
    ranks = there.argsort(dim=1, descending=True, stable=True).argsort(dim=1) + 1
    gains, discounts = 2.0**rewards - 1.0, 1.0 / torch.log(1.0 + ranks.to(rewards.dtype))
    gaps = [values[:, :, None] - values[:, None, :] for values in (gains, discounts)]
    return (gaps[0] * gaps[1]).abs().clamp(*WEIGHTS)


def preference_loss(
    scores: Float[Tensor, "B K"],
    rewards: Float[Tensor, "B K"],
    most: int = 6,
    weighted: bool = True,
    temperature: float = 1.0,
    zero_is_no_turn: bool = False,
) -> Float[Tensor, ""]:
    """L_pref, the mean over pairs of Δ_ab log(1 + exp(-(s_a - s_b) / temperature)); 0 if there is no pair.

    Args:
        scores: Implicit scores of the turns.
        rewards: Their rewards, NaN for turns that a row does not have.
        most: See `preference_pairs`.
        weighted: With Δ of `lambda_weights`, else 1 (the default of the successor's code).
        temperature: Of the logistic function.
        zero_is_no_turn: See `preference_pairs`.
    """
    pairs = preference_pairs(rewards, most, zero_is_no_turn)
    margins = (scores[:, :, None] - scores[:, None, :]) / temperature
    losses = functional.softplus(-margins)
    if weighted:
        losses = losses * lambda_weights(scores, rewards).where(pairs, 0.0)
    return losses.where(pairs, 0.0).sum() / pairs.sum().clamp(min=1)


def shuffled_turns(
    rewards: Float[Tensor, "B K"], generator: torch.Generator | None = None
) -> Float[Tensor, "B K"]:
    """Control: the rewards of each trajectory at other turns of it."""
    there = ~rewards.isnan()
    keys = torch.rand(rewards.shape, generator=generator).to(rewards.device).masked_fill(~there, 2.0)
    places = (~there).to(torch.int8).argsort(dim=1, stable=True)
    return torch.empty_like(rewards).scatter(1, places, rewards.gather(1, keys.argsort(dim=1)))


# Trajectory level


def placed(
    rewards: Float[Tensor, "B K"], turns: Int[Tensor, "B T"], mask: Num[Tensor, "B T"], placement: Placement
) -> Float[Tensor, "B T"]:
    """Rewards on tokens: each turn's on its last own token, or the trajectory's return on the last of all."""
    rewards = rewards.nan_to_num()
    if placement == "trajectory":
        last = turns.amax(dim=1, keepdim=True).clamp(0, rewards.shape[1] - 1)
        rewards = torch.zeros_like(rewards).scatter(1, last, rewards.sum(dim=1, keepdim=True))
    return on_last_tokens(rewards, turns, mask)


def whiten(values: Float[Tensor, "B T"], mask: Num[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Mean 0 and standard deviation 1 over the masked tokens, 0 elsewhere; 0 where all of them are equal."""
    own = mask.bool()
    count = own.sum().clamp(min=1)
    centred = (values - values.where(own, 0.0).sum() / count).where(own, 0.0)
    return centred / (centred.square().sum() / count).sqrt().clamp(min=1e-8)


def kept_trajectories(
    returns: Float[Tensor, " N"],
    size: int,
    groups: float = 0.5,
    rows: float = 0.75,
    generator: torch.Generator | None = None,
) -> Bool[Tensor, " N"]:
    """The trajectories that are learned from: the best of the groups whose returns differ most.

    A trajectory whose environment broke (NaN) is never kept. Where no group's returns differ, groups are
    drawn.

    Args:
        returns: In group order.
        size: Trajectories of a lead.
        groups: Share of the groups that is kept, by the standard deviation within; rounded up.
        rows: Share of each kept group, by return; rounded up.
        generator: For groups that are drawn, on the CPU.
    """
    table = returns.view(-1, size)
    there = ~table.isnan()
    centred = (table - table.nanmean(dim=1, keepdim=True)).where(there, 0.0)
    spread = (centred.square().sum(dim=1) / there.sum(dim=1).clamp(min=1)).sqrt()
    if not bool((spread > 0).any()):
        spread = torch.rand(len(spread), generator=generator).to(spread)
    chosen = _top(spread, groups)
    best = _top(table.masked_fill(~there, -math.inf), rows)
    return (chosen[:, None] & best & there).flatten()


def _top(values: Float[Tensor, "*B n"], share: float) -> Bool[Tensor, "*B n"]:
    places = values.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    return places < math.ceil(share * values.shape[-1])


# The trainer


@dataclass
class PGPOConfig(GroupConfig):
    """Configuration of `PGPOTrainer`; the rest is `common.rl.config.GroupConfig` and `trl.GRPOConfig`.

    The successor's code trains with ``epsilon=0.2, epsilon_high=0.28``, ``beta=0``, ``entropy_coef=0.001``.

    Attributes:
        pgpo_weight: λ_pref of the turn-level loss; with 0 it is left out.
        pgpo_beta: β of the implicit scores.
        pgpo_mode: Tokens of a turn's score, see `implicit_scores`.
        pgpo_weighted: Weigh pairs as LambdaRank does.
        pgpo_pairs: Most pairs of a trajectory; 0 is all.
        pgpo_temperature: Of the logistic function.
        pgpo_shuffled: Control: turns have each other's rewards in the turn-level loss.
        pgpo_zero_is_no_turn: The successor's code loses turns whose reward is 0.
        pgpo_estimator: ``"gae"`` with a critic; ``"group"``: GRPO's advantages, no critic; ``"none"``: the
            turn-level loss alone.
        pgpo_placement: Where GAE finds rewards: a ``"trajectory"``'s last token, or each ``"turn"``'s.
        pgpo_discount, pgpo_trace: γ and λ of GAE.
        pgpo_groups_kept, pgpo_rows_kept: Shares of `kept_trajectories`; 1 and 1 keep all.
        pgpo_critic_rate: Learning rate of the critic.
        pgpo_critic_steps: Its steps on each rollout batch.
    """

    pgpo_weight: float = field(default=0.1, metadata={"help": "Weight of the turn-level loss."})
    pgpo_beta: float = field(default=0.05, metadata={"help": "Scale of the implicit scores."})
    pgpo_mode: Mode = field(default="cumulative", metadata={"help": f"One of {', '.join(MODES)}."})
    pgpo_weighted: bool = field(default=True, metadata={"help": "Weigh pairs as LambdaRank does."})
    pgpo_pairs: int = field(default=6, metadata={"help": "Most pairs of a trajectory; 0: all."})
    pgpo_temperature: float = field(default=1.0, metadata={"help": "Of the logistic function."})
    pgpo_shuffled: bool = field(default=False, metadata={"help": "Control: rewards at other turns."})
    pgpo_zero_is_no_turn: bool = field(default=False, metadata={"help": "Lose turns of reward 0."})
    pgpo_estimator: Estimator = field(default="gae", metadata={"help": f"One of {', '.join(ESTIMATORS)}."})
    pgpo_placement: Placement = field(
        default="trajectory", metadata={"help": f"One of {', '.join(PLACEMENTS)}."}
    )
    pgpo_discount: float = field(default=0.99, metadata={"help": "Discount of GAE."})
    pgpo_trace: float = field(default=0.95, metadata={"help": "Trace of GAE."})
    pgpo_groups_kept: float = field(default=0.5, metadata={"help": "Share of groups that is kept."})
    pgpo_rows_kept: float = field(default=0.75, metadata={"help": "Share of each kept group."})
    pgpo_critic_rate: float = field(default=1e-5, metadata={"help": "Learning rate of the critic."})
    pgpo_critic_steps: int = field(default=1, metadata={"help": "Steps of the critic a rollout batch."})

    def __post_init__(self) -> None:
        super().__post_init__()
        choices = {"pgpo_mode": MODES, "pgpo_estimator": ESTIMATORS, "pgpo_placement": PLACEMENTS}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r}; choose one of {', '.join(allowed)}")
        for name in ("pgpo_groups_kept", "pgpo_rows_kept"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is a share: above 0, at most 1")
        if self.pgpo_weight < 0 or self.pgpo_pairs < 0:
            raise ValueError("pgpo_weight and pgpo_pairs must not be negative; see pgpo_shuffled")
        if self.loss_variant == "none":
            raise ValueError("the turn-level loss alone is pgpo_estimator='none'; leave loss_variant be")
        if self.pgpo_estimator != "group" and (self.row_skipping or self.skip_equal_groups):
            raise ValueError("critic and pairs see every row: leave row_skipping and skip_equal_groups off")

    @property
    def filters(self) -> bool:
        """Some trajectories are left out."""
        return self.pgpo_groups_kept < 1 or self.pgpo_rows_kept < 1


class PGPOTrainer(AgentTrainer, name="PGPO", tags=("ppo", "pgpo")):
    """`AgentTrainer` with PGPO: GAE on the trajectory's return, and the turn-level loss beside PPO's.

    With ``pgpo_weight=0``, ``pgpo_estimator="group"`` and all trajectories kept it is `AgentTrainer`, bit for
    bit. π_ref is the policy that the trainer was built with. Logs `pgpo/preference_loss`, `pgpo/pairs` (a
    trajectory), `pgpo/kept` (share of the trajectories) and `pgpo/value_loss`.

    Raises:
        ValueError: a critic with several processes.
    """

    args: PGPOConfig

    def __init__(self, model: Any, *rest: Any, **others: Any) -> None:
        super().__init__(model, *rest, **others)
        policy = self.accelerator.unwrap_model(self.model)
        self.critic: Critic | None = None
        if self.args.pgpo_estimator == "gae":
            if self.accelerator.num_processes > 1:
                raise ValueError("pgpo_estimator='gae' keeps its critic in one process; use 'group'")
            rate, steps = self.args.pgpo_critic_rate, self.args.pgpo_critic_steps
            self.critic = Critic(policy.config.hidden_size, rate, steps)
            self.critic.network.to(self.accelerator.device)
        self.reference: Any = None
        if self.args.pgpo_weight:
            self.reference = frozen_copy(policy)
            heads = ("log_probs", "entropy")  # what TRL asks of the policy
            add_fused_lm_head(self.reference, temperature=self.temperature, outputs=heads)

    def companions(self) -> Mapping[str, Companion]:
        """The critic is saved with the policy."""
        return {} if self.critic is None else {"critic": self.critic}

    def advantages(
        self, rewards: Float[Tensor, " N"], rollout: Rollout
    ) -> Float[Tensor, " B"] | Float[Tensor, "B T"]:
        """GAE's, whitened, or GRPO's; 0 for trajectories that are not kept: the mean is over the others."""
        kept = self._kept(rollout)
        if self.args.pgpo_estimator == "none":
            return torch.zeros_like(kept, dtype=torch.float32)
        values = (
            super().advantages(rewards, rollout) if self.critic is None else self._generalised(rollout, kept)
        )
        if not self.args.filters:
            return values
        tokens = rollout.mask.sum()
        share = tokens / (rollout.mask * kept[:, None]).sum().clamp(min=1)
        return values * share * (kept if values.ndim == 1 else kept[:, None])

    def loss_inputs(self, rollout: Rollout) -> dict[str, Tensor]:
        """Turns and their rewards, and the reference's log-probabilities."""
        if self.reference is None:
            return {}
        rollout = cast(AgentRollout, rollout)
        rewards = self._turn_rewards(rollout)
        if self.args.pgpo_shuffled:
            rewards = shuffled_turns(rewards, self._generator(rollout))
        kept = self._kept(rollout)
        rewards = rewards.masked_fill(~kept[:, None], math.nan)
        pairs = preference_pairs(rewards, self.args.pgpo_pairs, self.args.pgpo_zero_is_no_turn)
        self.log_metric("pgpo/pairs", pairs.sum(dim=(1, 2)).float().mean().item())
        reference = self._reference(rollout, kept)
        return {"pgpo_rewards": rewards, "pgpo_turns": rollout.turns, "pgpo_reference": reference}

    def extra_loss(
        self, log_probs: Float[Tensor, "B T"], entropies: Float[Tensor, "B T"], batch: Batch
    ) -> Float[Tensor, ""] | None:
        """λ_pref L_pref."""
        if "pgpo_rewards" not in batch:
            return super().extra_loss(log_probs, entropies, batch)
        args, rewards = self.args, batch["pgpo_rewards"]
        ratio, mask = log_probs - batch["pgpo_reference"], loss_mask(batch)
        scores = implicit_scores(
            ratio, mask, batch["pgpo_turns"], rewards.shape[1], args.pgpo_beta, args.pgpo_mode
        )
        loss = preference_loss(
            scores,
            rewards,
            args.pgpo_pairs,
            args.pgpo_weighted,
            args.pgpo_temperature,
            args.pgpo_zero_is_no_turn,
        )
        self.log_metric("pgpo/preference_loss", loss.item())
        return args.pgpo_weight * loss

    def _turn_rewards(self, rollout: Rollout) -> Float[Tensor, "B K"]:
        assert rollout.turn_rewards is not None, "episodes give a reward by turn"
        return rollout.turn_rewards

    def _generator(self, rollout: Rollout) -> torch.Generator:
        return derived_generator(self.args.seed, rollout.step, rollout.local.start)

    def _kept(self, rollout: Rollout) -> Bool[Tensor, " B"]:
        args = self.args
        if not args.filters:
            return torch.ones(len(rollout.mask), dtype=torch.bool, device=rollout.mask.device)
        shares = args.pgpo_groups_kept, args.pgpo_rows_kept
        generator = derived_generator(args.seed, rollout.step)  # the same in every process
        kept = kept_trajectories(rollout.rewards, rollout.num_generations, *shares, generator)
        self.log_metric("pgpo/kept", kept.float().mean().item())
        return kept[rollout.local]

    @torch.no_grad()
    def _reference(self, rollout: Rollout, kept: Bool[Tensor, " B"]) -> Float[Tensor, "B T"]:
        """The reference's log-probabilities of trajectories that are kept; no pair looks at the others."""
        rows = kept.nonzero()[:, 0]
        log_probs = torch.zeros(rollout.mask.shape, device=rollout.mask.device)
        if len(rows):
            log_probs[rows] = self.score(self.reference, _of_rows(rollout.batch, rows))[0].to(log_probs)
        return log_probs

    def _generalised(self, rollout: Rollout, kept: Bool[Tensor, " B"]) -> Float[Tensor, "B T"]:
        """GAE on the critic's values of the trajectories that are kept; then it learns their targets."""
        assert self.critic is not None
        args = self.args
        rows = (kept & ~rollout.rewards[rollout.local].isnan()).nonzero()[:, 0]
        advantages = torch.zeros(rollout.mask.shape, device=rollout.mask.device)
        if not len(rows):
            return advantages
        mask, states = rollout.mask[rows], self._states(_of_rows(rollout.batch, rows))
        values = self.critic.values(states, mask.shape[1])
        rewards = placed(self._turn_rewards(rollout)[rows], rollout.turns[rows], mask, args.pgpo_placement)
        own = gae(rewards.to(values), values, mask, args.pgpo_discount, args.pgpo_trace)
        self.log_metric("pgpo/value_loss", self.critic.fit(states, own + values, mask))
        advantages[rows] = whiten(own, mask)
        return advantages

    @torch.no_grad()
    def _states(self, batch: Batch) -> Float[Tensor, "B L D"]:
        """The policy's last hidden states, a few rows at a time: they stay in the processor's cache."""
        trunk = self.accelerator.unwrap_model(self.model).get_decoder()
        ids, attention, _ = sequences(batch)
        parts = zip(ids.split(CHUNK), attention.split(CHUNK), strict=True)
        return torch.cat([trunk(input_ids=i, attention_mask=a)[0].float() for i, a in parts])


def _of_rows(batch: Batch, rows: Int[Tensor, " K"]) -> Batch:
    """Some rows of a batch's sequences."""
    names = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
    return {name: batch[name][rows] for name in names}


# Inference

Design = tuple[str, ...]


@dataclass
class Elites:
    """The best admissible designs of one lead, which new trajectories may start from.

    Attributes:
        size: Most designs.
        restart: Probability of a start from an elite instead of the lead; 0 is independent restarts.
        tournament: Elites that are drawn for a start; the best of them is taken.
        merits: Improvement over the lead by design.
    """

    size: int = 20
    restart: float = 0.5
    tournament: int = 3
    merits: dict[Design, float] = field(default_factory=dict)

    def add(self, design: Sequence[str], merit: float) -> None:
        """Take a design into the pool; the worst leaves."""
        self.merits[tuple(design)] = merit
        if len(self.merits) > self.size:
            del self.merits[min(self.merits, key=self.merits.__getitem__)]

    def start(self, rng: np.random.Generator) -> Design | None:
        """Where the next trajectory starts; None is the lead."""
        if rng.random() >= self.restart or not self.merits:
            return None
        designs = list(self.merits)
        drawn = rng.choice(len(designs), size=min(self.tournament, len(designs)), replace=False)
        return max((designs[index] for index in drawn), key=self.merits.__getitem__)
