"""Dynamic sampling: replace groups whose rewards are all equal by groups of further prompts
(arXiv:2503.14476).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

Batch = dict[str, Any]

ROW_KEYS_LEFT = ("prompt_ids", "prompt_mask")
"""Tensors of a rollout batch that are padded on the left; every other one is padded on the right."""


class PromptStream:
    """Endless shuffled prompt indices, private to dynamic sampling; its whole state is the integer `drawn`.

    Every process draws the same indices and takes its own share, so `drawn` is equal everywhere.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self.drawn = 0

    def draw(self, count: int) -> list[int]:
        """The next `count` indices; each pass over the data is a fresh permutation."""
        positions = range(self.drawn, self.drawn + count)
        self.drawn += count
        passes = {epoch: self._permutation(epoch) for epoch in {at // self.size for at in positions}}
        return [int(passes[at // self.size][at % self.size]) for at in positions]

    def _permutation(self, epoch: int) -> Int[np.ndarray, " n"]:
        return np.random.default_rng([self.seed, epoch]).permutation(self.size)


@dataclass(frozen=True)
class Collected:
    """A rollout batch filled by dynamic sampling.

    Attributes:
        batch: TRL's rollout batch of this process, the groups with a signal first.
        rewards: Its rewards, one column per reward function.
        informative: Rows whose group holds different rewards; the others have to get advantage 0.
        rounds: Generation rounds used, the first one included.
    """

    batch: Batch
    rewards: Float[Tensor, "B F"]
    informative: Bool[Tensor, " B"]
    rounds: int


def collect(
    generate: Callable[[Any], tuple[Batch, Float[Tensor, "B F"]]],
    first: Any,
    extra: Callable[[], Any],
    missing_anywhere: Callable[[int], int],
    mixed: Callable[[Float[Tensor, "B F"]], Bool[Tensor, " Q"]],
    *,
    num_generations: int,
    max_extra_rounds: int,
    pad_token_id: int,
) -> Collected:
    """Generate until this process and all others have their quota of mixed groups, or the rounds are used up.

    Args:
        generate: Maps prompts to a rollout batch and its rewards per function, both of this process in group
            order.
        first: Prompts of the first round; its number of groups is the quota.
        extra: Draws the prompts of a further round.
        missing_anywhere: Sums the number of missing groups over processes, so that all agree on another
            round.
        mixed: Which groups hold different rewards.
        num_generations: Group size G.
        max_extra_rounds: Cap; what is missing then is filled with groups of equal rewards.
        pad_token_id: Fills token columns that one round has and another has not.
    """
    batches: list[Batch] = []
    rewards: list[Tensor] = []
    signal: list[bool] = []
    quota = 0
    for number in range(max_extra_rounds + 1):
        batch, scores = generate(first if number == 0 else extra())
        batches.append(batch)
        rewards.append(scores)
        signal += mixed(scores).tolist()
        quota = quota or len(signal)
        if missing_anywhere(max(0, quota - sum(signal))) == 0:
            break
    chosen = choose_groups(signal, quota)
    rows = torch.tensor([group * num_generations + row for group in chosen for row in range(num_generations)])
    rows = rows.to(rewards[0].device)
    informative = torch.tensor([signal[group] for group in chosen], device=rows.device)
    return Collected(
        batch={name: values[rows] for name, values in concatenate(batches, pad_token_id).items()},
        rewards=torch.cat(rewards)[rows],
        informative=informative.repeat_interleave(num_generations),
        rounds=len(batches),
    )


def choose_groups(signal: Sequence[bool], quota: int) -> list[int]:
    """The first `quota` groups that carry a signal; if there are fewer, the first of the others follow."""
    return sorted(range(len(signal)), key=lambda group: not signal[group])[:quota]


def concatenate(batches: Sequence[Batch], pad_token_id: int) -> Batch:
    """One batch from several: rows one after the other, columns padded to the widest; scalars are left out.

    Raises:
        ValueError: a value that is not a tensor (multimodal inputs are not supported).
    """
    merged = {}
    for name, like in batches[0].items():
        if not isinstance(like, Tensor):
            raise ValueError(
                f"dynamic sampling handles text batches only, but '{name}' is a {type(like).__name__}"
            )
        if like.ndim:
            pad_value = pad_token_id if name.endswith("_ids") else 0
            merged[name] = _stack_rows([batch[name] for batch in batches], name in ROW_KEYS_LEFT, pad_value)
    return merged


def _stack_rows(parts: Sequence[Tensor], left: bool, pad_value: int) -> Tensor:
    if parts[0].ndim == 1:
        return torch.cat(list(parts))
    width = max(part.shape[1] for part in parts)
    gaps = [width - part.shape[1] for part in parts]
    return torch.cat(
        [
            functional.pad(part, (gap, 0) if left else (0, gap), value=pad_value)
            for part, gap in zip(parts, gaps, strict=True)
        ]
    )
