"""What a model's thoughts look like: entropy, directions of their hidden states, repetitions."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from common.models.stepwise import Decoded


def measure(decoded: Decoded, layer: int) -> dict[str, float]:
    """Means over thinking positions (or responses), of a hook that logs entropy, weights and thinking.

    ``entropy`` is that of the next-token distribution at the sampler's temperature, nats; ``diversity`` is
    1 - Σ w², of the first thought ``first_diversity``; ``matrix_entropy`` that of the thoughts' hidden states
    of the layer, `matrix_entropy`; ``thoughts`` their number.
    """
    thinking = (decoded.log["thinking"] * decoded.mask).bool()
    diversity = 1 - (decoded.log["weights"] ** 2).sum(dim=-1)
    return {
        "entropy": float(decoded.log["entropy"][thinking].mean()),
        "diversity": float(diversity[thinking].mean()),
        "first_diversity": float(diversity[:, 0].mean()),
        "matrix_entropy": float(matrix_entropy(decoded.hidden[layer], thinking).mean()),
        "thoughts": float(thinking.sum(dim=1).float().mean()),
    }


def matrix_entropy(states: Float[Tensor, "N T D"], mask: Bool[Tensor, "N T"]) -> Float[Tensor, " N"]:
    """-Σ λ log λ in nats, λ the eigenvalues of the Gram matrix of a row's masked states over its trace."""
    states = (states * mask[..., None]).double()
    gram = states @ states.transpose(1, 2)
    trace = gram.diagonal(dim1=1, dim2=2).sum(dim=1)[:, None, None]
    return torch.special.entr(torch.linalg.eigvalsh(gram / trace).clamp(min=0)).sum(dim=-1)


def different_pairs(ids: Int[Tensor, "N T"], mask: Int[Tensor, "N T"]) -> float:
    """Share of different ones among a text's pairs of neighbouring tokens, mean over texts with a pair."""
    pairs = [list(pairwise(row[own].tolist())) for row, own in zip(ids, mask.bool(), strict=True)]
    shares = [len(set(some)) / len(some) for some in pairs if some]
    return sum(shares) / len(shares)
