import itertools

import numpy as np
import pytest
import torch

from common.speculative.enumeration import Target, node_sum
from common.speculative.tabular import World, random_world, trees
from common.study.jobs import Job
from papers.gto.runs import tabular
from papers.gto.runs.tabular import Draft
from tests.common.speculative.conftest import as_target, random_log_q
from tests.common.speculative.conftest import world as world  # a fixture


def test_expected_length_is_the_node_sum(world):
    log_q = random_log_q(world, 2)
    chosen = trees(world, log_q)
    expected = np.mean([node_sum(as_target(world, row), chosen[row]) for row in range(3)])
    assert tabular.tree_rewards(world, log_q).mean() == pytest.approx(expected)


def test_no_tree_of_six_nodes_beats_the_targets_own_where_the_frontier_is_wide(world):
    wide = World(world.conditional[:, :4], depth=2, top_k=3, budget=3)
    ours = tabular.tree_rewards(wide, np.log(wide.conditional)).mean()
    best = []
    for row in range(3):
        target = Target(np.concatenate([wide.conditional[row], np.ones((9, 3))]), 2)
        values = []
        for nodes in itertools.combinations(range(1, 13), 3):
            chosen = np.zeros(13, dtype=bool)
            chosen[[0, *nodes]] = True
            if chosen[target.parent[np.array(nodes) - 1]].all():
                values.append(node_sum(target, chosen))
        best.append(max(values))
    assert ours == pytest.approx(np.mean(best))


def test_cross_entropy_at_full_rank_reaches_the_target(world):
    trained = tabular.phase_one(world, 3, 1500, 0.05, [np.random.default_rng(0)])
    reached, least = (
        tabular.cross_entropy(world, log_q).mean().item()
        for log_q in (trained.log_q(world), torch.from_numpy(np.log(world.conditional)))
    )
    assert reached == pytest.approx(least, abs=2e-2)


def worlds(seeds: tuple[int, ...], rank: int = 1) -> tuple[World, Draft]:
    """Random worlds of one seed each, and drafts after a few steps of cross-entropy."""
    rngs = [np.random.default_rng(seed) for seed in seeds]
    joined = World.joined([random_world(rng, 4, 3, 3) for rng in rngs])
    return joined, tabular.phase_one(joined, rank, 30, 0.05, rngs)


def test_a_draft_learns_in_a_batch_what_it_learns_alone():
    alone = [tabular.tuned(*worlds((seed,)), (seed,), 5, 0.05, 0.5) for seed in (3, 4)]
    both = tabular.tuned(*worlds((3, 4)), (3, 4), 5, 0.05, 0.5)
    for place, one in enumerate(alone):
        torch.testing.assert_close(both.left[place::2], one.left)
        torch.testing.assert_close(both.right[place::2], one.right)


def test_arms_differ_only_in_the_advantages():
    world, first = worlds((5,))
    moved = first.moved(0.5, first.noise([np.random.default_rng(0)]))
    phase = tabular.PhaseTwo(world, first, tabular.ARMS, (5,))
    log_q = moved.log_q(world).numpy()
    own = phase.advantages("gto", log_q)
    assert own.abs().max() > 0
    assert own.mean().item() == pytest.approx(0.0, abs=1e-9)
    assert torch.equal(phase.advantages("flipped", log_q), -own)
    assert torch.equal(phase.advantages("uniform", log_q), torch.ones(1, 4))
    assert sorted(phase.advantages("shuffled", log_q)[0].tolist()) == sorted(own[0].tolist())


def test_the_gradient_is_that_of_the_loss_and_a_step_down_it_lowers_it():
    world, first = worlds((6,))
    moved = first.moved(0.5, first.noise([np.random.default_rng(0)]))
    phase = tabular.PhaseTwo(world, first, ("gto",), (6,))
    direction = tabular.gradient(world, moved, phase.gto)
    assert (direction.left**2).sum().item() + (direction.right**2).sum().item() == pytest.approx(1.0)
    near = [phase.gto(moved.moved(step, direction).log_q(world)).item() for step in (-1e-5, 0.0, 1e-5)]
    assert near[0] < near[1] < near[2]
    assert near[1] - near[0] == pytest.approx(near[2] - near[1], rel=1e-2)


def test_slopes_have_the_sign_of_what_a_step_does():
    world, first = worlds((7, 8), rank=3)
    slopes = tabular.slopes(world, first, Draft.random(world, 3, [np.random.default_rng(0)] * 2), (7, 8), 60)
    assert set(slopes) == set(tabular.SLOPES)
    assert (slopes["token"] > 0).all()  # of a random draft of full rank


def test_the_group_of_a_prefix_raises_the_reward_where_there_is_room():
    world, _ = worlds((9,), rank=3)
    start = Draft.random(world, 3, [np.random.default_rng(1)])
    phase = tabular.PhaseTwo(world, start, ("prefix",), (9,))
    after = tabular.train(world, start, 200, 0.02, phase.gto)
    assert after.expected_length(world)[0] > start.expected_length(world)[0] + 0.1


def test_the_study_orders_what_it_must():
    config = {"contexts": 4, "tokens": 3, "depth": 3, "rank": 1, "phase_one": 60, "phase_two": 5}
    config |= {"rate_one": 0.05, "rate_two": 0.01, "omega": 0.5, "climbs": 20, "restarts": 1, "draws": 3}
    job = Job("tabular", {}, "papers.gto.runs.tabular:study", config, (0, 1))
    first, again = (
        {
            labels["arm"]: part.scalars["accepted"]
            for labels, part in job.function()(job, None).parts
            if "accepted" in part.scalars
        }
        for _ in range(2)
    )
    for arm in ("cross_entropy", *tabular.ARMS):
        assert (first[arm] <= first["best"] + 1e-12).all()
    assert first["gto"].tolist() == again["gto"].tolist()
