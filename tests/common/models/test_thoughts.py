"""What is measured of thoughts, on small numbers."""

import math

import pytest
import torch

from common.models.stepwise import Decoded
from common.models.thoughts import different_pairs, matrix_entropy, measure


def test_matrix_entropy_counts_directions():
    same, apart = torch.ones(1, 3, 4), torch.eye(4)[None, :3]
    whole, part = torch.tensor([[True] * 3]), torch.tensor([[True, True, False]])
    assert float(matrix_entropy(same, whole)) == pytest.approx(0.0, abs=1e-6)
    assert float(matrix_entropy(apart, whole)) == pytest.approx(math.log(3))
    assert float(matrix_entropy(apart, part)) == pytest.approx(math.log(2))


def test_pairs_are_counted_within_a_text():
    ids = torch.tensor([[1, 2, 1, 2, 9], [3, 3, 3, 3, 3], [4, 0, 0, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])
    assert different_pairs(ids, mask) == pytest.approx((2 / 3 + 1 / 4) / 2)


def test_thoughts_are_measured_where_rows_think():
    decoded = Decoded(
        ids=torch.zeros(2, 2, dtype=torch.long),
        mask=torch.tensor([[1, 1], [1, 0]]),
        hidden={1: torch.eye(2)[None].repeat(2, 1, 1)},
        log={
            "thinking": torch.tensor([[1, 0], [1, 1]]),
            "weights": torch.tensor([[[0.5, 0.5], [1.0, 0.0]], [[1.0, 0.0], [0.5, 0.5]]]),
            "entropy": torch.tensor([[1.0, 9.0], [3.0, 9.0]]),
        },
    )
    found = measure(decoded, 1)
    assert found["entropy"] == 2.0
    assert found["diversity"] == found["first_diversity"] == 0.25
    assert found["thoughts"] == 1.0
    assert found["matrix_entropy"] == pytest.approx(0.0, abs=1e-6)
