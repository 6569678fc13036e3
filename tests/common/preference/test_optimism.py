"""Optimistic maximisers: the lattice against brute force, the ascent against the lattice and brute force."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from common.preference.bradley_terry import log_likelihood
from common.preference.optimism import Ascent, Bandit, Lattice, corners, lattice
from common.preference.tabular import gibbs_policy, kl, soft_value
from papers.rlhf_exploration.method import PROTOCOLS
from papers.rlhf_exploration.runs.tabular import noise, random_bandits, run_online, saturated, two_arms

KINDS = ("random", "benign", "hard_prior")
LAPTOP_ALPHA = 0.3 * 1000**0.5


def objective(bandit: Bandit, row: int, rewards, wins, calibration, alpha):
    soft = soft_value(bandit.reference[row], rewards, bandit.beta)
    return log_likelihood(rewards, wins) + alpha * (soft - rewards @ calibration)


def feed(solver, wins, row=0):
    """Give a solver the comparisons of a matrix of win counts."""
    for winner, loser in zip(*np.nonzero(wins), strict=True):
        for _ in range(int(wins[winner, loser])):
            solver.observe(np.array([row]), np.array([winner]), np.array([loser]))


@pytest.mark.parametrize(("arms", "width"), [(2, 0.4), (3, 1.0), (3, 3.0), (3, 11.0)])
def test_the_lattice_covers_the_box_and_stays_in_it(arms, width):
    points = lattice(arms, width)
    assert np.ptp(points, axis=1).max() <= width + 1e-9
    corners = np.array([[sign * width] + [0.0] * (arms - 1) for sign in (-1, 1)])
    for point in [*corners, np.zeros(arms)]:
        assert np.abs(points - point).max(axis=1).min() < 1e-9
    assert (points[:, -1] == 0).all()


def test_true_rewards_of_both_instances_lie_on_the_lattice():
    for bandit in (two_arms(np.array([1.0]), 0.2), *(saturated(1, 0.2, g, 0.01) for g in (2.0, 4.0, 10.0))):
        points = lattice(bandit.rewards.shape[1], bandit.width[0])
        assert np.abs(points - bandit.rewards[0]).max(axis=1).min() < 1e-9


def test_more_arms_need_the_ascent():
    with pytest.raises(ValueError, match="Ascent"):
        lattice(4, 1.0)


def test_the_lattice_keeps_the_likelihood_that_the_win_counts_imply():
    rng = np.random.default_rng(0)
    bandit, alpha = saturated(2, 0.3, 2.0, 0.1), np.array([3.0, 1.0])
    wins = rng.integers(0, 6, (2, 3, 3)) * (1 - np.eye(3, dtype=int))
    solver = Lattice(bandit, alpha)
    for row in range(2):
        feed(solver, wins[row], row)
    calibration = rng.dirichlet(np.ones(3), 2)
    optimistic, policy, regret = solver.maximise(calibration)
    for row in range(2):
        values = objective(bandit, row, solver.rewards[0], wins[row], calibration[row], alpha[row])
        reached = objective(bandit, row, optimistic[row], wins[row], calibration[row], alpha[row])
        assert reached >= values.max() - 1e-8
    best = gibbs_policy(bandit.reference, bandit.rewards, bandit.beta)
    assert_allclose(policy, gibbs_policy(bandit.reference, optimistic, bandit.beta))
    assert_allclose(regret, bandit.beta * kl(policy, best))


def test_the_first_optimistic_reward_of_ce1_puts_the_mass_on_the_bad_arm():
    bandit = two_arms(np.array([1.0]), 0.15)
    optimistic, policy, _ = Lattice(bandit, np.array([5.0])).maximise(bandit.calibration)
    assert_allclose(optimistic, [[-1.0, 0.0]])
    assert policy[0, 1] > 0.99


def test_without_data_and_bonus_the_tie_goes_to_the_reference_policy():
    bandit = saturated(1, 0.2, 4.0, 0.01)
    optimistic, policy, _ = Lattice(bandit, np.array([0.0])).maximise(bandit.calibration)
    assert_array_equal(optimistic, np.zeros((1, 3)))
    assert_allclose(policy, bandit.reference)


def test_runs_of_different_bandits_share_a_solver():
    gaps = np.array([0.2, 0.8, 0.2])
    together = Lattice(two_arms(gaps, 0.3), np.full(3, 2.0))
    together.observe(np.array([0, 1]), np.array([0, 1]), np.array([1, 0]))
    calibration = two_arms(gaps, 0.3).calibration
    optimistic = together.maximise(calibration)
    for row, gap in enumerate(gaps):
        alone = Lattice(two_arms(np.array([gap]), 0.3), np.array([2.0]))
        if row < 2:
            alone.observe(np.array([0]), np.array([row]), np.array([1 - row]))
        for ours, theirs in zip(optimistic, alone.maximise(calibration[:1]), strict=True):
            assert_array_equal(ours[row], theirs[0])


def test_an_answer_changes_with_the_calibration_alone():
    bandit = two_arms(np.array([1.0]), 0.2)
    solver = Lattice(bandit, np.array([5.0]))
    first, _, _ = solver.maximise(np.array([[0.9, 0.1]]))
    second, _, _ = solver.maximise(np.array([[0.1, 0.9]]))
    assert first[0, 0] < 0 < second[0, 0]


@pytest.mark.parametrize("alpha", [0.5, 5.0])
@pytest.mark.parametrize("compared", [0, 3, 40])
def test_the_ascent_reaches_the_lattice_optimum(alpha, compared):
    for seed in range(8):
        rng = np.random.default_rng([seed, compared])
        bandit = random_bandits([seed], 0.2, 3, "random")
        wins = rng.integers(0, compared + 1, (3, 3)) * (1 - np.eye(3, dtype=int))
        calibration = rng.dirichlet(np.ones(3), 1)
        grid, ascent = Lattice(bandit, np.array([alpha])), Ascent(bandit, np.array([alpha]), steps=60)
        feed(grid, wins)
        feed(ascent, wins)
        best, _, _ = grid.maximise(calibration)
        ascent.maximise(calibration)
        end, policy, _ = ascent.maximise(calibration)
        reached, target = (objective(bandit, 0, r[0], wins, calibration[0], alpha) for r in (end, best))
        assert reached >= target - 0.01
        assert np.ptp(end) <= 1 + 1e-12
        assert_allclose(policy, gibbs_policy(bandit.reference, end, bandit.beta))


def test_an_ascent_never_lowers_the_objective():
    rng = np.random.default_rng(3)
    bandit = random_bandits(range(4), 0.1, 5, "random")
    solver = Ascent(bandit, np.full(4, 4.0), steps=1)
    solver.wins = rng.integers(0, 9, (4, 5, 5)) * (1.0 - np.eye(5))
    calibration = rng.dirichlet(np.ones(5), 4)
    points = rng.random((4, 6, 5))
    for _ in range(30):
        moved = solver._climb(points, calibration)
        gain = solver.objective(moved, calibration) - solver.objective(points, calibration)
        assert gain[:, 1:].min() > -1e-9
        likelihood = log_likelihood(moved[:, 0], solver.wins) - log_likelihood(points[:, 0], solver.wins)
        assert likelihood.min() > -1e-9
        points = moved


def test_one_climb_from_the_likelihood_misses_what_the_starts_find():
    """The objective has several maxima: the arm that was never tried is the optimistic one."""
    bandit = replace(random_bandits([0], 0.1, 3, "benign"), rewards=np.array([[0.5, 0.4, 0.9]]))
    wins = np.array([[0, 30, 0], [10, 0, 0], [0, 0, 0]], dtype=float)
    calibration = np.array([[0.49, 0.49, 0.02]])
    solver = Ascent(bandit, np.array([8.0]), steps=200)
    feed(solver, wins)
    start = np.array([[[0.9, 0.1, 0.0]]])
    trapped = solver._climb(np.repeat(start, 2, axis=1), calibration)[:, 1]
    optimistic, _, _ = solver.maximise(calibration)
    low, high = (objective(bandit, 0, r[0], wins, calibration[0], 8.0) for r in (trapped, optimistic))
    assert high > low + 0.1


def box(arms):
    """The corners of [0, 1]^K, written down."""
    return np.array(list(product([0.0, 1.0], repeat=arms)))


@pytest.mark.parametrize("arms", [2, 3, 7, 10])
def test_up_to_ten_arms_every_corner_is_there_once(arms):
    points = corners(arms, 2.0)
    ours = {tuple(point) for point in points}
    assert len(ours) == len(points)
    assert ours == {tuple(2.0 * (corner - corner[-1])) for corner in box(arms)}


def test_beyond_ten_arms_one_arm_differs_from_all_others():
    points = corners(12, 1.0)
    assert points.shape == (24, 12)
    assert_allclose(np.ptp(points, axis=1), 1)
    assert {tuple(np.unique(point, return_counts=True)[1]) for point in points} == {(1, 11), (11, 1)}


def test_the_first_round_of_a_benign_bandit_finds_the_corner_that_single_arms_miss():
    bandit = random_bandits([0], 0.5, 5, "benign")
    best, _, _ = Ascent(bandit, np.array([LAPTOP_ALPHA])).maximise(bandit.calibration)
    assert_array_equal(best, [[1, 0, 1, 0, 0]])
    wins = np.zeros((5, 5))
    assert objective(bandit, 0, best[0], wins, bandit.calibration[0], LAPTOP_ALPHA) == pytest.approx(
        2.2506, abs=1e-4
    )


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    arms=st.integers(2, 10),
    kind=st.sampled_from(KINDS),
    beta=st.floats(0.05, 2.0),
    alpha=st.floats(0.1, 50.0),
    own=st.booleans(),
)
def test_without_comparisons_the_maximum_is_global(seed, arms, kind, beta, alpha, own):
    rng = np.random.default_rng(seed)
    bandit = random_bandits([seed], beta, arms, kind)
    calibration = bandit.calibration if own else rng.dirichlet(np.ones(arms), 1)
    best, _, _ = Ascent(bandit, np.array([alpha])).maximise(calibration)
    rivals = np.concatenate([box(arms), rng.random((500, arms))])
    values = objective(bandit, 0, np.r_[best, rivals], np.zeros((arms, arms)), calibration[0], alpha)
    assert values[0] >= values[1:].max() - 1e-9


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), arms=st.integers(4, 8), most=st.integers(1, 3))
def test_with_comparisons_no_corner_is_better(seed, arms, most):
    rng = np.random.default_rng(seed)
    bandit, alpha = random_bandits([seed], 0.2, arms, "random"), np.array([rng.uniform(1, 20)])
    wins = rng.integers(0, most + 1, (arms, arms)) * (rng.random((arms, arms)) < 0.1)
    np.fill_diagonal(wins, 0)
    solver, calibration = Ascent(bandit, alpha), rng.dirichlet(np.ones(arms), 1)
    feed(solver, wins)
    best, _, _ = solver.maximise(calibration)
    values = objective(bandit, 0, np.r_[best, box(arms)], wins, calibration[0], alpha[0])
    assert values[0] >= values[1:].max() - 1e-9


class Audited(Ascent):
    """An ascent that notes by how much 232 starts, climbed to convergence, beat its answers."""

    def __init__(self, bandit, alpha, rounds):
        super().__init__(bandit, alpha)
        self.rounds, self.shortfalls = rounds, []

    def maximise(self, calibration):
        answer = super().maximise(calibration)
        if self.round in self.rounds:
            rivals = np.concatenate([box(5), np.random.default_rng(self.round).random((200, 5))])
            starts = np.concatenate([np.tile(rivals, (len(self.alpha), 1, 1)), answer[0][:, None]], axis=1)
            self.steps, steps = 200, self.steps
            ends = self._climb(starts, calibration)[:, 1:]
            self.steps = steps
            reached = self.objective(answer[0][:, None], calibration)[:, 0]
            self.shortfalls.append(self.objective(ends, calibration).max(axis=1) - reached)
        return answer


def test_along_real_runs_the_ascent_stays_near_the_best_of_many_starts():
    seeds, rounds, shortfalls = range(4), (1, 2, 4, 8, 16, 40, 80), []
    for kind, beta in product(KINDS, (0.1, 0.5)):
        bandit = random_bandits(seeds, beta, 5, kind)
        solver = Audited(bandit, np.full(len(seeds), LAPTOP_ALPHA), rounds)
        run_online(bandit, PROTOCOLS["proposed"], solver, noise(seeds, rounds[-1]))
        shortfalls.append(solver.shortfalls)
    missed = np.array(shortfalls)
    assert missed.size == 6 * 7 * 4
    assert missed[:, 0].max() < 1e-9  # nothing compared yet
    assert (missed > 0.01).mean() < 0.05
    assert missed.max() < 0.1
