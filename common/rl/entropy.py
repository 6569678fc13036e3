"""Token entropy by the sign of the advantage."""

from __future__ import annotations

import torch
from jaxtyping import Float, Num
from torch import Tensor

from common.rl.losses import Advantages

CLASSES = ("positive", "zero", "negative")


def sign_masks(advantages: Advantages, mask: Num[Tensor, "B T"]) -> dict[str, Num[Tensor, "B T"]]:
    """`mask` restricted to the tokens with A > 0, A = 0 and A < 0."""
    return dict(
        zip(
            CLASSES, (mask * (advantages > 0), mask * (advantages == 0), mask * (advantages < 0)), strict=True
        )
    )


def sign_totals(
    values: Float[Tensor, "B T"], advantages: Advantages, mask: Num[Tensor, "B T"]
) -> Float[Tensor, "3 2"]:
    """Sum of `values` and number of tokens for A > 0, A = 0, A < 0; summable over processes."""
    rows = [
        torch.stack([values.where(part > 0, 0.0).sum(), part.sum().to(values.dtype)])
        for part in sign_masks(advantages, mask).values()
    ]
    return torch.stack(rows)


def sign_means(totals: Float[Tensor, "3 2"]) -> dict[str, float]:
    """Mean of each class from `sign_totals`, NaN for a class without tokens."""
    return dict(zip(CLASSES, (totals[:, 0] / totals[:, 1]).tolist(), strict=True))


def sign_shares(totals: Float[Tensor, "3 2"]) -> dict[str, float]:
    """Share of each class among the counted tokens (or rows) of `sign_totals`."""
    return dict(zip(CLASSES, (totals[:, 1] / totals[:, 1].sum()).tolist(), strict=True))
