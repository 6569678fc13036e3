"""The solver of the known form against enumeration of its candidates."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from common.preference.bradley_terry import log_likelihood
from common.preference.optimism import Bandit
from common.preference.tabular import gibbs_policy, kl, soft_value
from common.preference.two_good import TwoGood

GAP, LEAD, ARMS = 3.0, 0.5, 5
CANDIDATES = [
    np.eye(ARMS)[best] * GAP + np.eye(ARMS)[second] * (GAP - LEAD)
    for best, second in itertools.permutations(range(ARMS), 2)
]


def bandit(runs, reference=None):
    rewards = np.stack([np.random.default_rng(run).permutation(CANDIDATES[0]) for run in range(runs)])
    reference = np.full_like(rewards, 1 / ARMS) if reference is None else reference
    return Bandit(rewards, reference, reference, 0.2, np.full(runs, GAP))


def test_the_best_candidate_is_that_of_enumeration():
    world, rng, alpha = bandit(6), np.random.default_rng(0), np.linspace(0.0, 5.0, 6)
    solver, wins = TwoGood(world, alpha, LEAD, range(6)), np.zeros((6, ARMS, ARMS))
    for _ in range(40):
        rows = np.flatnonzero(rng.random(6) < 0.7)
        pairs = np.array([rng.permutation(ARMS)[:2] for _ in rows]).reshape(-1, 2)
        solver.observe(rows, *pairs.T)
        wins[rows, pairs[:, 0], pairs[:, 1]] += 1
        calibration = rng.dirichlet(np.ones(ARMS), 6)
        rewards, policy, regret = solver.maximise(calibration)
        for run in range(6):
            scores = [
                log_likelihood(r, wins[run])
                + alpha[run] * (soft_value(world.reference[run], r, 0.2) - calibration[run] @ r)
                for r in CANDIDATES
            ]
            chosen = next(i for i, r in enumerate(CANDIDATES) if (r == rewards[run]).all())
            assert_allclose(scores[chosen], max(scores), atol=1e-6)
        assert_allclose(policy, gibbs_policy(world.reference, rewards, 0.2))
        assert_allclose(regret, 0.2 * kl(policy, gibbs_policy(world.reference, world.rewards, 0.2)))


def test_ties_are_broken_by_the_seed_alone():
    whole = TwoGood(bandit(4), np.zeros(4), LEAD, (7, 8, 9, 10)).maximise(bandit(4).reference)[0]
    alone = TwoGood(bandit(1), np.zeros(1), LEAD, (9,)).maximise(bandit(1).reference)[0]
    assert_array_equal(whole[2], alone[0])
    assert len(np.unique(whole, axis=0)) > 1


def test_another_reference_is_refused():
    reference = np.array([[0.4, 0.3, 0.1, 0.1, 0.1]])
    with pytest.raises(ValueError, match="uniform"):
        TwoGood(bandit(1, reference), np.zeros(1), LEAD, (0,))
