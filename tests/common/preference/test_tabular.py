"""The KL-regularised objective against direct optimisation and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize

from common.preference.tabular import draw, gibbs_policy, kl, soft_value, value

RNG = np.random.default_rng(0)


def test_the_gibbs_policy_is_what_an_optimiser_finds():
    rewards, reference, beta = np.array([1.0, 0.3, -0.5]), np.array([0.2, 0.3, 0.5]), 0.7

    def loss(logits):
        policy = np.exp(logits - logits.max())
        return -value(policy / policy.sum(), reference, rewards, beta)

    found = minimize(loss, np.zeros(3), tol=1e-12)
    policy = np.exp(found.x - found.x.max())
    assert_allclose(gibbs_policy(reference, rewards, beta), policy / policy.sum(), atol=1e-5)
    assert_allclose(soft_value(reference, rewards, beta), -found.fun, atol=1e-9)


def test_two_arms_by_hand():
    policy = gibbs_policy(np.array([0.5, 0.5]), np.array([np.log(3.0), 0.0]), 1.0)
    assert_allclose(policy, [0.75, 0.25])
    assert_allclose(kl(policy, np.array([0.5, 0.5])), 0.75 * np.log(1.5) + 0.25 * np.log(0.5))


@given(st.integers(2, 6), st.floats(0.02, 50), st.integers(0, 10**6))
def test_the_gap_to_the_optimum_is_a_divergence(arms, beta, seed):
    rng = np.random.default_rng(seed)
    rewards, reference, policy = rng.normal(0, 3, arms), *rng.dirichlet(np.ones(arms), 2)
    gap = soft_value(reference, rewards, beta) - value(policy, reference, rewards, beta)
    assert_allclose(gap, beta * kl(policy, gibbs_policy(reference, rewards, beta)), atol=1e-10 * (1 + beta))
    assert gap > -1e-9


def test_an_arm_outside_the_support_stays_outside():
    reference, rewards = np.array([0.0, 0.4, 0.6]), np.array([900.0, 1.0, 0.0])
    policy = gibbs_policy(reference, rewards, 0.1)
    assert policy[0] == 0
    assert_allclose(policy.sum(), 1)
    assert_allclose(soft_value(reference, rewards, 0.1), value(policy, reference, rewards, 0.1))
    assert kl(np.array([1.0, 0, 0]), reference) == np.inf


def test_large_rewards_do_not_overflow_and_shifts_cancel():
    reference, rewards = np.full(3, 1 / 3), np.array([5000.0, 4999.0, 0.0])
    assert_allclose(gibbs_policy(reference, rewards, 0.5), gibbs_policy(reference, rewards - 5000, 0.5))
    assert_allclose(soft_value(reference, rewards, 0.5) - soft_value(reference, rewards - 5000, 0.5), 5000)


@pytest.mark.parametrize("function", [soft_value, gibbs_policy])
@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan")])
def test_beta_has_to_be_positive(function, beta):
    with pytest.raises(ValueError, match="positive"):
        function(np.array([0.5, 0.5]), np.array([0.0, 1.0]), beta)


def test_rows_do_not_depend_on_their_neighbours():
    rewards, reference = RNG.normal(size=(7, 5)), RNG.dirichlet(np.ones(5), 7)
    together = gibbs_policy(reference, rewards, 0.3), soft_value(reference, rewards, 0.3)
    for row in range(7):
        assert_array_equal(gibbs_policy(reference[row], rewards[row], 0.3), together[0][row])
        assert_array_equal(soft_value(reference[row], rewards[row], 0.3), together[1][row])


def test_draw_inverts_the_distribution_function():
    policy = np.array([0.2, 0.5, 0.3])
    uniforms = np.array([0.0, 0.199, 0.2, 0.699, 0.7, 0.999999])
    assert_array_equal(draw(np.tile(policy, (6, 1)), uniforms), [0, 0, 1, 1, 2, 2])
    grid = (np.arange(1000) + 0.5) / 1000
    counts = np.bincount(draw(np.tile(policy, (1000, 1)), grid), minlength=3)
    assert_array_equal(counts, [200, 500, 300])
    assert draw(np.array([[1.0, 0.0]]), np.array([0.9999999999999999])) == 0
