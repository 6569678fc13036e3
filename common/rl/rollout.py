"""What a method may look at after sampling: the local part of one rollout batch, turn by turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from common.rl.advantages import merge_equal, mixed_groups

Batch = dict[str, Any]
"""TRL's batch: tensors by name, one row per completion, and a few scalars."""
Scores = tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]


@dataclass(frozen=True)
class Rollout:
    """Completions of this process with everybody's rewards, before TRL shuffles them.

    Attributes:
        batch: The completions as TRL batches them: ``prompt_ids`` (padded left), ``completion_ids`` (padded
            right), their masks, and what else its loss reads.
        rewards: Weighted rewards of all processes in group order, NaN where no reward function applied; the
            reward of a trajectory where there are several turns.
        num_generations: Group size G; completions of a prompt stand next to each other.
        local: This process's rows among the gathered N, so that ``rewards[local]`` belongs to
            `completion_ids`.
        step: Forward-backward passes done so far; with the seed it identifies the batch.
        score: Computes log-probabilities and entropies (nats) of the completions' tokens under the policy
            that sampled them; called at most once.
        reward_sizes: Sum of the absolute summands of each of the gathered rewards.
        silent: Rows of this process that get advantage 0 whatever the rule says: those that no reward
            function scored, and fillers of dynamic sampling.
        turn_rewards: Rewards by turn, NaN for turns that a row does not have; None if the environment gives
            none.
    """

    batch: Batch
    rewards: Float[Tensor, " N"]
    num_generations: int
    local: slice
    step: int
    score: Callable[[], Scores]
    reward_sizes: Float[Tensor, " N"] | None = None
    silent: Bool[Tensor, " B"] | None = None
    turn_rewards: Float[Tensor, "B K"] | None = None

    @property
    def prompt_ids(self) -> Int[Tensor, "B P"]:
        """Left-padded prompts."""
        return self.batch["prompt_ids"]

    @property
    def prompt_mask(self) -> Int[Tensor, "B P"]:
        """1 on the prompts' tokens."""
        return self.batch["prompt_mask"]

    @property
    def completion_ids(self) -> Int[Tensor, "B T"]:
        """Right-padded completions: what the policy and its environment have written after the prompt."""
        return self.batch["completion_ids"]

    @property
    def mask(self) -> Int[Tensor, "B T"]:
        """1 on the tokens that count in the loss: the policy's own."""
        return loss_mask(self.batch)

    @property
    def observations(self) -> Bool[Tensor, "B T"]:
        """The tokens that a tool or an environment has written."""
        return self.batch["completion_mask"].bool() & ~self.mask.bool()

    @property
    def turns(self) -> Int[Tensor, "B T"]:
        """Turn of each token, counted from 0: a run of the policy's tokens, and the observation that answers
        it. -1 on padding.
        """
        own = self.mask.bool()
        starts = own & ~functional.pad(own, (1, 0))[:, :-1]
        ids = (starts.cumsum(dim=1) - 1).clamp(min=0)
        return ids.masked_fill(self.batch["completion_mask"] == 0, -1)

    @property
    def mixed(self) -> Bool[Tensor, " B"]:
        """Rows of this process whose group holds rewards that differ by more than rounding."""
        groups = mixed_groups(self.merged(self.rewards), self.num_generations)
        return groups.repeat_interleave(self.num_generations)[self.local]

    def merged(self, rewards: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """The gathered rewards for a rule that compares them: equal where only rounding differs."""
        return merge_equal(rewards, self.num_generations, self.reward_sizes)

    def under(self, prompt_ids: Int[Tensor, "B P"], prompt_mask: Int[Tensor, "B P"]) -> Rollout:
        """The same completions after other prompts: what an update conditions on in place of what was
        sampled under.
        """
        return replace(self, batch={**self.batch, "prompt_ids": prompt_ids, "prompt_mask": prompt_mask})

    @cached_property
    def old_log_probs(self) -> Float[Tensor, "B T"]:
        """Log-probability of each token under the sampling policy; costs a forward pass if not recorded."""
        recorded = self.batch.get("old_per_token_logps")
        return self._scores[0] if recorded is None else recorded

    @cached_property
    def entropies(self) -> Float[Tensor, "B T"]:
        """Entropy (nats) of the sampling policy at each token; the first use costs a forward pass."""
        return self._scores[1]

    @cached_property
    def _scores(self) -> Scores:
        return self.score()


def loss_mask(batch: Batch) -> Int[Tensor, "B T"]:
    """1 on the completion tokens that count in the loss (not those that a tool wrote)."""
    mask = batch["completion_mask"]
    return mask * batch["tool_mask"] if "tool_mask" in batch else mask


def weighted_rewards(per_function: Float[Tensor, "N F"], weights: Float[Tensor, " F"]) -> Float[Tensor, " N"]:
    """Weighted sum over reward functions; a function's NaN counts as 0, a row of NaN only stays NaN."""
    total = (per_function * weights.to(per_function.device)).nansum(dim=1)
    return total.masked_fill(per_function.isnan().all(dim=1), float("nan"))


def reward_sizes(per_function: Float[Tensor, "N F"], weights: Float[Tensor, " F"]) -> Float[Tensor, " N"]:
    """Sum of the absolute weighted rewards, the size that bounds the rounding error of `weighted_rewards`."""
    return (per_function * weights.to(per_function.device)).abs().nansum(dim=1)


def derived_generator(*keys: int) -> torch.Generator:
    """A CPU generator that depends on `keys` alone (non-negative, such as seed, step, process)."""
    (state,) = np.random.SeedSequence(keys).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state >> 1))
