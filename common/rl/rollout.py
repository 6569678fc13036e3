"""What an advantage rule may look at: the local part of one rollout batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.rl.advantages import merge_equal

Scores = tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]


@dataclass(frozen=True)
class Rollout:
    """Completions of this process, before TRL shuffles them.

    Attributes:
        prompt_ids: Left-padded prompts.
        prompt_mask: 1 on the prompts' tokens.
        completion_ids: Right-padded completions.
        mask: 1 on the tokens that count in the loss.
        num_generations: Group size G; completions of a prompt stand next to each other.
        local: This process's rows among the gathered N, so that ``rewards[local]`` belongs to
            `completion_ids`.
        step: Forward-backward passes done so far; with the seed it identifies the batch.
        score: Computes log-probabilities and entropies (nats) of the completions' tokens under the policy
            that sampled them; called at most once.
        recorded_log_probs: Those log-probabilities if TRL has computed them already.
        reward_sizes: Sum of the absolute summands of each of the gathered rewards.
    """

    prompt_ids: Int[Tensor, "B P"]
    prompt_mask: Int[Tensor, "B P"]
    completion_ids: Int[Tensor, "B T"]
    mask: Int[Tensor, "B T"]
    num_generations: int
    local: slice
    step: int
    score: Callable[[], Scores]
    recorded_log_probs: Float[Tensor, "B T"] | None = None
    reward_sizes: Float[Tensor, " N"] | None = None

    def merged(self, rewards: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """The gathered rewards for a rule that compares them: equal where only rounding differs."""
        return merge_equal(rewards, self.num_generations, self.reward_sizes)

    @cached_property
    def old_log_probs(self) -> Float[Tensor, "B T"]:
        """Log-probability of each token under the sampling policy; costs a forward pass if not recorded."""
        return self._scores[0] if self.recorded_log_probs is None else self.recorded_log_probs

    @cached_property
    def entropies(self) -> Float[Tensor, "B T"]:
        """Entropy (nats) of the sampling policy at each token; the first use costs a forward pass."""
        return self._scores[1]

    @cached_property
    def _scores(self) -> Scores:
        return self.score()


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
