"""Draws without replacement: their laws against each other and against sampling."""

import numpy as np
import pytest

from common.tabular.draws import (
    inclusion,
    masks,
    order_probabilities,
    orders,
    prefix_error,
    race_inclusion,
    set_probabilities,
)

RNG = np.random.default_rng(0)
P = RNG.dirichlet(np.ones(5), size=20)


def test_orders_are_a_distribution_and_sets_their_sums():
    for k in range(1, 6):
        likely = order_probabilities(P, orders(5, k))
        assert likely.sum(axis=1) == pytest.approx(1.0)
        assert set_probabilities(P, k).sum(axis=1) == pytest.approx(1.0)
        assert inclusion(P, k).sum(axis=1) == pytest.approx(k)
        assert race_inclusion(P, k) == pytest.approx(inclusion(P, k), abs=1e-10)
    assert masks(np.array([[0, 2]])) == [5]


def test_one_draw_includes_a_token_with_its_probability_and_all_draws_include_all():
    assert inclusion(P, 1) == pytest.approx(P)
    assert inclusion(P, 5) == pytest.approx(1.0)


def test_a_prefix_of_all_draws_has_the_law_of_fewer_draws():
    assert max(prefix_error(P, k).max() for k in range(1, 6)) < 1e-10


def test_sampled_races_have_these_probabilities():
    race = RNG.exponential(size=(40000, 5)) / P[0]
    first = np.argsort(race, axis=1)[:, :2]
    share = np.bincount(first.ravel(), minlength=5) / len(race)
    assert share == pytest.approx(inclusion(P[:1], 2)[0], abs=0.01)
