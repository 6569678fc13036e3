"""The online loop: against a plain loop over one run, its controls, and its independence of company."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from common.preference.bradley_terry import log_sigmoid
from common.preference.optimism import Ascent, Lattice, lattice
from common.preference.tabular import gibbs_policy, soft_value, value
from common.study.jobs import Job
from papers.rlhf_exploration.method import PROTOCOLS
from papers.rlhf_exploration.runs.tabular import (
    bandit_of,
    envelope,
    noise,
    pair,
    partner_regret,
    random_bandits,
    run_online,
    saturated,
    simulate,
    two_arms,
)

CE1 = {"instance": "ce1", "gap": 1.0, "horizon": 120, "alpha": 3.0, "coin": False}
CE2 = {"instance": "ce2", "gap": 4.0, "mass": 0.01, "horizon": 60, "alpha": 4.0, "coin": False}


def run(seeds, protocol, beta=0.3, **config):
    job = Job("x", {}, "", {**config, "beta": beta, "protocol": protocol}, tuple(seeds))
    return simulate(job, Path())


def plain_loop(bandit, protocol, alpha, uniforms):
    """The algorithm written down for a single run of two arms, from the win counts, one round at a time."""
    reference, calibration, truth = bandit.reference[0], bandit.calibration[0], bandit.rewards[0]
    grid, wins = lattice(2, bandit.width[0]), np.zeros((2, 2))
    previous, regrets = calibration, []
    for u in uniforms:
        anchor = previous if protocol.bonus == "prev" else calibration
        score = wins[0, 1] * log_sigmoid(grid[:, 0]) + wins[1, 0] * log_sigmoid(-grid[:, 0])
        score = score + alpha * (soft_value(reference, grid, bandit.beta) - grid @ anchor)
        policy = gibbs_policy(reference, grid[score.argmax()], bandit.beta)
        optimum = soft_value(reference, truth, bandit.beta)
        regrets.append(optimum - value(policy, reference, truth, bandit.beta))
        partner = {"self": policy, "ref": reference, "prev": previous}[protocol.partner]
        a, b = int(u[1] >= policy[0]), int(u[2] >= partner[0])
        if a != b:
            first = u[0] < 1 / (1 + np.exp(truth[b] - truth[a]))
            wins[(a, b) if first else (b, a)] += 1
        previous = policy
    return np.array(regrets)


@pytest.mark.parametrize("name", ["proposed", "xpo", "vpo", "ablation_a", "ablation_b"])
def test_the_loop_is_the_algorithm(name):
    bandit, uniforms = two_arms(np.array([1.0]), 0.4), noise([5], 150)
    history = run_online(bandit, PROTOCOLS[name], Lattice(bandit, np.array([3.0])), uniforms)
    assert_allclose(history.regret[0], plain_loop(bandit, PROTOCOLS[name], 3.0, uniforms[0]), atol=1e-10)
    assert history.comparisons[0, -1, 0, 1] == history.mixed.sum()


@pytest.mark.parametrize("setting", [CE1, CE2])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_seed_does_not_depend_on_the_seeds_beside_it(setting, name):
    together, alone = run((3, 4, 5), name, **setting), run((4,), name, **setting)
    for kind in ("scalars", "series"):
        for key, values in getattr(together, kind).items():
            assert_array_equal(values[1], getattr(alone, kind)[key][0])


def test_a_seed_of_the_ascent_does_not_depend_on_the_seeds_beside_it():
    setting = {"instance": "random", "arms": 10, "horizon": 30, "alpha": 2.0, "coin": False}
    together, alone = run((3, 4, 5), "proposed", **setting), run((4,), "proposed", **setting)
    assert_array_equal(together.series["regret"][1], alone.series["regret"][0])


def test_lattice_and_ascent_agree_on_a_run():
    bandit, uniforms = random_bandits([0, 1, 2, 3], 0.5, 2, "random"), noise(range(4), 200)
    protocol, alpha = PROTOCOLS["proposed"], np.full(4, 3.0)
    ascent = run_online(bandit, protocol, Ascent(bandit, alpha, steps=40), uniforms).regret.sum(axis=1)
    for row in range(4):
        one = random_bandits([row], 0.5, 2, "random")
        exact = run_online(one, protocol, Lattice(one, alpha[:1]), uniforms[[row]]).regret.sum()
        assert_allclose(ascent[row], exact, rtol=0.1, atol=0.5)


def test_without_a_bonus_the_proposal_is_ablation_b_and_ablation_a_is_passive():
    silent = {**CE1, "alpha": 0.0}
    for one, other in (("proposed", "ablation_b"), ("ablation_a", "passive")):
        first, second = run((0, 1), one, **silent), run((0, 1), other, **silent)
        assert_array_equal(first.series["regret"], second.series["regret"])
    loud = run((0, 1), "passive", **CE1)
    assert_array_equal(loud.scalars["total"], run((0, 1), "passive", **silent).scalars["total"])


def test_equal_responses_say_nothing_but_the_round_counts():
    hard = {**CE1, "horizon": 50}
    record = run((0,), "vpo", beta=0.05, **hard)  # mass 1 - 2e-9 on the bad arm
    assert record.series["mixed"][0, -1] == 0
    assert record.series["information"][0, -1] == 0
    assert_allclose(record.scalars["total"], 50 * record.scalars["first"])


def test_coin_labels_teach_nothing():
    lost = run(range(8), "xpo", **{**CE1, "horizon": 2000, "coin": True})
    learnt = run(range(8), "xpo", **{**CE1, "horizon": 2000})
    assert lost.scalars["gain"].mean() < 0.02 < learnt.scalars["gain"].mean()
    assert (lost.scalars["total"] / lost.scalars["half"]).mean() > 1.5


def test_regret_charges_the_policy_and_the_partner_apart():
    bandit, uniforms = two_arms(np.array([1.0]), 0.4), noise([1], 40)
    optimum = soft_value(bandit.reference, bandit.rewards, 0.4)[0]

    def worth(policy):
        return value(policy, bandit.reference[0], bandit.rewards[0], 0.4)

    totals = {}
    for name in ("vpo", "xpo", "proposed", "uniform"):
        history = run_online(bandit, PROTOCOLS[name], Lattice(bandit, np.array([3.0])), uniforms)
        totals[name] = history.regret, partner_regret(history, bandit, PROTOCOLS[name])[0]
    assert totals["vpo"][1] == totals["vpo"][0].sum()
    assert_allclose(totals["xpo"][1], 40 * (optimum - worth(np.array([0.5, 0.5]))))
    shifted = np.r_[optimum - worth(bandit.calibration[0]), totals["proposed"][0][0, :-1]]
    assert_allclose(totals["proposed"][1], shifted.sum())


def test_extremes_are_the_best_and_worst_of_four_by_the_fitted_reward():
    bandit = saturated(1, 0.2, 2.0, 0.3)
    estimate, policy = np.array([[0.0, 5.0, 1.0]]), np.array([[0.4, 0.3, 0.3]])
    uniforms = np.array([[0.9, 0.1, 0.9, 0.2]])  # arms 2, 0, 2, 0
    first, second = pair(PROTOCOLS["selm"], bandit, policy, policy, estimate, uniforms)
    assert (first[0], second[0]) == (2, 0)


@pytest.mark.parametrize(
    ("name", "expected"), [("xpo", 2), ("proposed", 0), ("vpo", 1), ("uniform", 1), ("ablation_b", 0)]
)
def test_partners_come_from_the_policy_they_are_named_after(name, expected):
    bandit = saturated(1, 0.2, 2.0, 1e-9)
    policy, previous = np.array([[0.0, 1.0, 0.0]]), np.array([[1.0, 0.0, 0.0]])
    first, second = pair(PROTOCOLS[name], bandit, policy, previous, policy, np.full((1, 4), 0.5))
    assert (first[0], second[0]) == (1, expected)


def test_an_envelope_is_its_gaps_run_alone():
    config = {"beta": 0.3, "protocol": "proposed", "horizon": 50, "alpha": 2.0, "gaps": "0.1,0.8"}
    record = envelope(Job("x", {}, "", config, (0, 1)), Path())
    assert record.series["regret"].shape == (2, 2)
    bandit = two_arms(np.array([0.8]), 0.3)
    alone = run_online(bandit, PROTOCOLS["proposed"], Lattice(bandit, np.array([2.0])), noise([1], 50))
    assert_array_equal(record.series["regret"][1, 1], alone.regret.sum())


def test_random_bandits_keep_their_rewards_over_kinds():
    kinds = {kind: random_bandits([7], 0.3, 5, kind) for kind in ("random", "benign", "hard_prior")}
    assert len({tuple(bandit.rewards[0]) for bandit in kinds.values()}) == 1
    hard = kinds["hard_prior"]
    assert hard.reference[0].argmax() == hard.rewards[0].argmin()
    for bandit in kinds.values():
        assert_allclose(bandit.reference.sum(), 1)
    assert np.ptp(kinds["benign"].reference) < np.ptp(hard.reference)


def test_unknown_instances_are_refused():
    with pytest.raises(ValueError, match="unknown instance 'ce3'"):
        bandit_of({"instance": "ce3", "beta": 0.3, "arms": 5}, [0])
