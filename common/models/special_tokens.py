"""New vocabulary tokens whose embeddings are drawn like the existing ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase


def gaussian_like(rows: Float[Tensor, "V H"], count: int, generator: torch.Generator) -> Float[Tensor, "N H"]:
    """Draws from the normal distribution with the mean and the (population) covariance of `rows`.

    A random combination of the centred rows has exactly their covariance, also where it is singular.
    """
    mean = rows.double().mean(dim=0)
    weights = torch.randn(count, len(rows), dtype=torch.float64, generator=generator).to(rows.device)
    return (mean + weights @ (rows.double() - mean) / len(rows) ** 0.5).to(rows.dtype)


@torch.no_grad()
def add_special_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str], seed: int
) -> list[int]:
    """Add `tokens` to the tokenizer and rows for them to the model; returns their ids.

    Input and, where it is a matrix of its own, output embeddings of the new tokens are drawn by
    `gaussian_like` from those of the tokens before. Tokens that are there already are left alone. A model
    with spare rows beyond its tokenizer keeps its size while they last.
    """
    before = len(tokenizer)
    fresh = [token for token in tokens if token not in tokenizer.get_vocab()]
    if fresh:
        tokenizer.add_special_tokens({"extra_special_tokens": fresh}, replace_extra_special_tokens=False)
        if len(tokenizer) > len(_matrices(model)[0]):
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        generator = torch.Generator().manual_seed(seed)
        for matrix in _matrices(model):
            drawn = gaussian_like(matrix[:before], len(tokenizer) - before, generator)
            matrix[before : len(tokenizer)] = drawn
    return [tokenizer.get_vocab()[token] for token in tokens]


def _matrices(model: PreTrainedModel) -> list[Any]:
    """Input embeddings and, where they are another matrix, output embeddings."""
    parts: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]
    return list({id(part.weight): part.weight for part in parts if part is not None}.values())
