from itertools import combinations
from math import comb

import numpy as np
import pytest

from common.statistics import pass_at_k


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_equals_the_share_of_subsets_with_a_correct_sample(n):
    for k in range(1, n + 1):
        for c in range(n + 1):
            subsets = list(combinations([1] * c + [0] * (n - c), k))
            assert pass_at_k(n, c, k) == pytest.approx(np.mean([any(s) for s in subsets]), abs=1e-12)


def test_equals_exact_binomials_at_large_n():
    for c in (0, 1, 3, 500, 999, 1000):
        exact = 1 - comb(1000 - c, 128) / comb(1000, 128)
        assert pass_at_k(1000, c, 128) == pytest.approx(exact, rel=1e-12)


def test_is_unbiased():
    n, k, p = 8, 4, 0.3
    weights = [comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
    assert weights @ pass_at_k(n, np.arange(n + 1), k) == pytest.approx(1 - (1 - p) ** k, abs=1e-12)


def test_keeps_the_shape_and_at_one_is_the_mean():
    counts = np.array([[0, 1, 2], [3, 4, 4]])
    np.testing.assert_allclose(pass_at_k(4, counts, 1), counts / 4)
    assert pass_at_k(4, np.array([], dtype=int), 2).shape == (0,)


@pytest.mark.parametrize(("n", "c", "k"), [(4, 1, 0), (4, 1, 5), (4, 5, 1), (4, -1, 1), (4, 1.5, 1)])
def test_bad_arguments(n, c, k):
    with pytest.raises(ValueError, match=r"pass@k|whole numbers"):
        pass_at_k(n, c, k)
