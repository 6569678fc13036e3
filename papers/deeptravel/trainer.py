"""Replay-augmented RL in the group trainer: `AgentTrainer` that asks failed queries again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from common.agents.trainer import AgentRollout, AgentTrainer
from common.rl.advantages import group_mean, mixed_groups
from common.rl.companions import Companion
from common.rl.config import GroupConfig
from common.rl.rollout import Rollout
from common.rl.trainer import Inputs
from common.tasks.travel.verification import FAILED, Verdict
from papers.deeptravel.method import KINDS, REPLAYS, Kind, Replay, ReplayBuffer, rewards_of, turn_calls


@dataclass
class RARLConfig(GroupConfig):
    """Configuration of `RARLTrainer`; the rest is `common.rl.config.GroupConfig` and `trl.GRPOConfig`."""

    rarl_reward: Kind = field(default="product", metadata={"help": f"One of {', '.join(KINDS)}."})
    rarl_replay: Replay = field(default="failures", metadata={"help": "failures, random, solved, or ''."})
    rarl_every: int = field(default=2, metadata={"help": "Rollout batches from replay to replay."})
    rarl_share: float = field(default=0.5, metadata={"help": "Largest share of a batch's queries replayed."})
    rarl_admit: float = field(default=0.0, metadata={"help": "Mean reward up to which a query has failed."})
    rarl_evict: float = field(default=0.5, metadata={"help": "Mean reward at which a replay succeeds."})
    rarl_tries: int = field(default=6, metadata={"help": "Replays of a query at most; 0: no limit."})
    rarl_capacity: int = field(default=512, metadata={"help": "Queries in the buffer at most."})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in {"rarl_reward": KINDS, "rarl_replay": REPLAYS}.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r}; choose one of {', '.join(allowed)}")
        if not 0 <= self.rarl_share <= 1 or self.rarl_every < 1:
            raise ValueError("rarl_share is a share, and rarl_every at least 1")


class RARLTrainer(AgentTrainer, name="DeepTravel", tags=("grpo", "agents", "rarl")):
    """`AgentTrainer` with replay of failed queries, at query level: the policy of the moment rolls them out.

    Every `rarl_every`-th batch has up to `rarl_share` of its queries from the buffer in the place of the
    stream's. With ``rarl_replay=""`` and ``rarl_reward="product"`` it is `AgentTrainer` bit for bit. An
    environment tells its `Verdict` in the last step's ``info["verdict"]``, complete for other rewards than
    the product.

    Logs ``rarl/…`` of a batch: ``trajectory``, ``turn`` and ``hallucination`` (of the itineraries), ``own``
    (the reward that is trained on), ``stream`` (mean product without replays, which lower the plain mean by
    construction), ``informative`` (groups whose rewards differ), ``replayed`` (share of the groups),
    ``buffer``, ``turn_calls`` (with early exit) and ``gated`` (saved by R_traj = 0), each by trajectory.

    Raises:
        ValueError: several processes, whose buffers would part.
    """

    args: RARLConfig

    def __init__(self, *rest: Any, **others: Any) -> None:
        super().__init__(*rest, **others)
        own = self.args
        if self.accelerator.num_processes > 1 and (own.rarl_replay or own.rarl_reward != "product"):
            raise ValueError("replay and other rewards than the product run in one process")
        self.buffer = ReplayBuffer(
            own.rarl_replay, own.rarl_admit, own.rarl_evict, own.rarl_tries, own.rarl_capacity
        )

    def companions(self) -> dict[str, Companion]:
        """The buffer, which a resumed run goes on with."""
        return {**super().companions(), **({"replay": self.buffer} if self.args.rarl_replay else {})}

    def rollout(self, prompts: Inputs) -> AgentRollout:
        """Rollouts of the stream's queries, some of which a replay has replaced."""
        replaying = bool(self.args.rarl_replay) and self.model.training
        replays = self._replays(prompts) if replaying else []
        prompts = [*replays, *prompts[len(replays) :]]
        rollout = super().rollout(prompts)
        size = rollout.num_generations
        means = group_mean(rollout.rewards, size)
        if replaying:
            for query, mean in zip(prompts[::size], means.tolist(), strict=True):
                self.buffer.update(query["prompt"], mean)
        self._log_batch(rollout, means, len(replays) // size)
        return rollout

    def advantages(
        self, rewards: Float[Tensor, " N"], rollout: Rollout
    ) -> Float[Tensor, " B"] | Float[Tensor, "B T"]:
        """The parent's, of the reward that is trained on."""
        if self.args.rarl_reward != "product":
            assert isinstance(rollout, AgentRollout)
            dice = np.random.default_rng([self.args.seed, rollout.step, 1])
            own = rewards_of(verdicts(rollout), self.args.rarl_reward, rollout.num_generations, dice)
            rewards = torch.from_numpy(own).to(rewards).masked_fill(rewards.isnan(), torch.nan)
        used = rewards.nan_to_num()
        self.log_metric("rarl/own", float(used.mean()))
        self.log_metric("rarl/informative", float(mixed_groups(used, rollout.num_generations).float().mean()))
        return super().advantages(rewards, rollout)

    def _replays(self, prompts: Inputs) -> Inputs:
        """Rows of the buffer's queries, which stand in front of the batch in the place of the stream's."""
        args, size = self.args, self.num_generations
        batch = self.passes_done // args.passes_per_rollout
        if (batch + 1) % args.rarl_every:
            return []
        dice = np.random.default_rng([args.seed, self.passes_done, 0])
        drawn = self.buffer.draw(int(args.rarl_share * (len(prompts) // size)), dice)
        return [
            {**row, "prompt": query}
            for place, query in enumerate(drawn)
            for row in prompts[place * size : (place + 1) * size]
        ]

    def _log_batch(self, rollout: AgentRollout, means: Float[Tensor, " Q"], replays: int) -> None:
        found = verdicts(rollout)
        formed = [verdict for verdict in found if verdict.well_formed]
        consistent = sum(verdict.consistent for verdict in formed) / max(1, len(formed))
        stream = means[replays:].tolist()
        numbers = {
            "trajectory": np.mean([verdict.trajectory for verdict in found]),
            "turn": np.mean([verdict.consistent for verdict in found]),
            "hallucination": 1 - consistent if formed else np.nan,
            "stream": np.mean(stream) if stream else np.nan,
            "replayed": replays / len(means),
            "buffer": len(self.buffer.items),
            "turn_calls": np.mean([turn_calls(verdict) for verdict in found]),
            "gated": np.mean([0 if each.trajectory else len(each.turns) for each in found]),
        }
        for name, number in numbers.items():
            self.log_metric(f"rarl/{name}", float(number))


def verdicts(rollout: AgentRollout) -> Sequence[Verdict]:
    """Of a rollout's episodes; one that was cut off has failed."""
    return [each.info.get("verdict", FAILED) for each in rollout.trajectories]
