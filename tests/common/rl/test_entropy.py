"""Entropy by the sign of the advantage."""

from __future__ import annotations

import math

import torch

from common.rl.entropy import sign_means, sign_shares, sign_totals

ENTROPIES = torch.tensor([[1.0, 2.0, 9.0], [3.0, 5.0, 7.0], [4.0, 9.0, 9.0]])
MASK = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0]])


def test_means_and_shares_by_hand():
    totals = sign_totals(ENTROPIES, torch.tensor([[0.5], [0.0], [-2.0]]), MASK)
    assert totals.tolist() == [[3.0, 2.0], [15.0, 3.0], [4.0, 1.0]]
    assert sign_means(totals) == {"positive": 1.5, "zero": 5.0, "negative": 4.0}
    assert sign_shares(totals) == {
        "positive": 2 / 6,
        "zero": 0.5,
        "negative": torch.tensor(1 / 6, dtype=torch.float32).item(),
    } or math.isclose(sign_shares(totals)["negative"], 1 / 6, rel_tol=1e-6)


def test_an_empty_class_is_nan_not_zero():
    means = sign_means(sign_totals(ENTROPIES, torch.tensor([[1.0], [1.0], [0.0]]), MASK))
    assert math.isnan(means["negative"])
    assert means["zero"] == 4.0


def test_token_level_advantages_split_within_a_row():
    advantages = torch.tensor([[1.0, -1.0, 1.0], [0.0, 0.0, -1.0], [1.0, 1.0, 1.0]])
    means = sign_means(sign_totals(ENTROPIES, advantages, MASK))
    assert means == {"positive": 2.5, "zero": 4.0, "negative": 4.5}


def test_an_unknown_entropy_poisons_its_class_only():
    entropies = ENTROPIES.clone()
    entropies[1] = torch.nan
    means = sign_means(sign_totals(entropies, torch.tensor([[1.0], [0.0], [-1.0]]), MASK))
    assert math.isnan(means["zero"])
    assert (means["positive"], means["negative"]) == (1.5, 4.0)
