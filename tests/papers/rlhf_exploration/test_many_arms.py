"""Many arms: what is charged, what is seen, and that a seed does not depend on its company."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from common.study.jobs import Job
from papers.rlhf_exploration.runs.many_arms import simulate, two_good

CONFIG = {"arms": 10, "gap": 8.0, "beta": 0.2, "horizon": 200, "alpha": 4.0}


def run(protocol, seeds=range(4), **changes):
    return simulate(Job("x", {}, "", CONFIG | changes | {"protocol": protocol}, tuple(seeds)), Path()).scalars


def test_two_arms_are_good_and_the_seed_says_which():
    world = two_good(range(50), 6, 4.0, 0.2)
    assert_array_equal(np.sort(world.rewards, axis=1)[:, -3:], [[0.0, 3.0, 4.0]] * 50)
    assert len(set(world.rewards.argmax(axis=1))) == 6
    with pytest.raises(ValueError, match="at least three"):
        two_good([0], 2, 4.0, 0.2)


def test_uniform_pairs_hold_a_good_arm_as_often_as_counting_says():
    """Of K² ordered pairs 2 (K - 1) + 2 (K - 2) = 4 K - 6 hold a good arm and another one."""
    shares = run("pairs", range(20), horizon=500)["seen"]
    assert_allclose(shares.mean(), (4 * 10 - 6) / 10**2, atol=0.02)


def test_uniform_pairs_take_no_note_of_what_was_learnt():
    """No bonus is added either: α changes nothing."""
    assert_array_equal(run("pairs")["total"], run("pairs", alpha=50.0)["total"])
    assert_array_equal(run("pairs", horizon=150)["seen"].shape, (4,))


@pytest.mark.parametrize("protocol", ["proposed", "uniform", "passive", "pairs"])
def test_a_seed_does_not_depend_on_the_others(protocol):
    together, alone = run(protocol, (1, 2, 3)), run(protocol, (2,))
    for name, values in alone.items():
        assert_array_equal(together[name][1:2], values)
    assert (together["total"] >= 0).all()
