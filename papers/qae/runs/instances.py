"""Groups, tabular policies and bandits on which `theory` checks the paper's statements.

Axes: D instances, Y sequences, T tokens, V vocabulary, X prefixes, G responses of a group, A arms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def compositions(size: int) -> Float[Tensor, " N"]:
    """Rewards of size + 1 groups in group order: the n-th group has its first n responses correct."""
    return (torch.arange(size) < torch.arange(size + 1)[:, None]).double().flatten()


def sequence_groups(
    rng: np.random.Generator, draws: int, sequences: int, copies: int
) -> tuple[Int[Tensor, "D Y"], Int[Tensor, "D Y"]]:
    """How often each sequence is in a group of sequences · copies responses, and whether it is correct (0/1).

    Every sequence occurs, and some are correct and some wrong. After `draws` random instances come the
    boundary ones, in which every sequence occurs `copies` times and 1, 2, ... sequences are correct.
    """
    counts = 1 + rng.multinomial(sequences * (copies - 1), rng.dirichlet(np.ones(sequences), size=draws))
    ranks = rng.permuted(np.tile(np.arange(sequences), (draws, 1)), axis=1)
    correct = ranks < rng.integers(1, sequences, size=(draws, 1))
    boundary = np.arange(sequences) < np.arange(1, sequences)[:, None]
    counts = np.concatenate([counts, np.full(boundary.shape, copies)])
    return torch.from_numpy(counts), torch.from_numpy(np.concatenate([correct, boundary]).astype(np.int64))


def logit_shapes(draws: int, vocabulary: int, length: int) -> list[tuple[int, int, int]]:
    """Shapes [D, X, V] of the next-token logits behind every prefix, one for each position."""
    return [(draws, vocabulary**t, vocabulary) for t in range(length)]


def sequence_log_ratios(
    counts: Int[Tensor, "D Y"], changes: Sequence[Float[Tensor, "D X V"]]
) -> Float[Tensor, "D Y T"]:
    """Token log-ratios log π_θ - log π_old of every sequence.

    π_old is the autoregressive policy whose sequence probabilities are proportional to `counts`; π_θ adds
    `changes`, one tensor per position, to its logits.
    """
    columns = []
    for change in changes:
        prefixes = counts.reshape(*change.shape, -1).sum(dim=3).double()
        old = (prefixes / prefixes.sum(dim=2, keepdim=True)).log()
        ratio = ((old + change).log_softmax(dim=2) - old).flatten(1)
        columns.append(ratio.repeat_interleave(counts.shape[1] // ratio.shape[1], dim=1))
    return torch.stack(columns, dim=2)


def expand(counts: Int[Tensor, "D Y"], values: Float[Tensor, "D Y T"]) -> Float[Tensor, "D G T"]:
    """Values of a group's responses: each sequence's row as often as `counts` says."""
    rows = values.flatten(0, 1).repeat_interleave(counts.flatten(), dim=0)
    return rows.view(len(counts), -1, values.shape[2])


def bandits(
    rng: np.random.Generator, draws: int, arms: int
) -> tuple[Float[Tensor, "D A"], Float[Tensor, "D A"]]:
    """Logits of varied sharpness and 0/1 rewards of varied rate.

    The first four are boundary cases: nothing correct, everything correct, a nearly uniform policy and a
    sharp one.
    """
    scale, rate = rng.uniform(0.1, 3.0, size=(draws, 1)), rng.uniform(0.05, 0.95, size=(draws, 1))
    rate[:2, 0] = (0.0, 1.0)
    scale[2:4, 0] = (0.01, 6.0)
    logits = scale * rng.standard_normal((draws, arms))
    return torch.from_numpy(logits), torch.from_numpy((rng.random((draws, arms)) < rate).astype(np.float64))
