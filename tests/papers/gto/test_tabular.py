import itertools

import numpy as np
import pytest
import torch

from common.speculative.enumeration import Target, children, node_sum
from common.study.jobs import Job
from papers.gto.runs import tabular
from papers.gto.runs.tabular import Draft, World, random_world


@pytest.fixture
def world() -> World:
    return random_world(np.random.default_rng(0), contexts=3, tokens=3, depth=3)


def random_log_q(world: World, seed: int) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=world.conditional.shape)
    return np.log(np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True))


def as_target(world: World, row: int) -> Target:
    below = np.ones((3**world.depth, world.tokens))
    return Target(np.concatenate([world.conditional[row], below]), world.depth)


def test_paths_and_lengths_are_those_of_the_enumerated_target(world):
    for row in range(3):
        target = as_target(world, row)
        np.testing.assert_allclose(world.path[row], target.path)
        np.testing.assert_allclose(world.length[row], target.length)


def test_trees_hold_the_best_nodes_of_what_the_frontier_proposes(world):
    log_q = random_log_q(world, 1)
    chosen = tabular.trees(world, log_q)
    for row in range(3):
        target = as_target(world, row)
        score = Target(np.exp(np.concatenate([log_q[row], np.zeros((27, 3))])), 3).path
        frontier, candidates = [0], []
        for _ in range(3):
            proposed = []
            for node in frontier:
                below = children(target, np.ones(target.nodes + 1, dtype=bool), node)
                proposed += sorted(below, key=lambda child: -score[child])[:2]
            candidates += proposed
            frontier = sorted(proposed, key=lambda child: -score[child])[:2]
        best = set(sorted(candidates, key=lambda child: -score[child])[:6])
        assert set(np.flatnonzero(chosen[row])) == best | {0}


def test_expected_length_is_the_node_sum(world):
    log_q = random_log_q(world, 2)
    chosen = tabular.trees(world, log_q)
    expected = np.mean([node_sum(as_target(world, row), chosen[row]) for row in range(3)])
    assert tabular.expected_length(world, log_q) == pytest.approx(expected)


def test_no_tree_of_six_nodes_beats_the_targets_own_where_the_frontier_is_wide(world):
    wide = World(world.conditional[:, :4], depth=2, top_k=3, budget=3)
    ours = tabular.expected_length(wide, np.log(wide.conditional))
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


def test_greedy_paths_follow_the_target_while_the_tree_has_its_choice(world):
    chosen = tabular.trees(world, random_log_q(world, 3))
    nodes, lengths = tabular.greedy_paths(world, chosen)
    for row in range(3):
        node = 0
        for level in range(lengths[row]):
            node = 3 * node + 1 + int(world.conditional[row, node].argmax())
            assert nodes[row, level] == node
            assert chosen[row, node]
        if lengths[row] < 3:
            assert not chosen[row, 3 * node + 1 + int(world.conditional[row, node].argmax())]


def test_cross_entropy_at_full_rank_reaches_the_target(world):
    start = Draft.random(world, 3, np.random.default_rng(0))
    trained = tabular.train(world, start, 1500, 0.05, lambda q: tabular.cross_entropy(world, q))
    reached = tabular.cross_entropy(world, trained.log_q(world)).item()
    least = tabular.cross_entropy(world, torch.from_numpy(np.log(world.conditional))).item()
    assert reached == pytest.approx(least, abs=2e-2)


def test_the_study_orders_what_it_must():
    config = {"contexts": 4, "tokens": 3, "depth": 3, "rank": 1, "phase_one": 60, "phase_two": 5}
    config |= {"rate_one": 0.05, "rate_two": 0.01, "omega": 0.5, "climbs": 20, "restarts": 1}
    job = Job("tabular", {}, "papers.gto.runs.tabular:study", config, (0, 1))
    first, again = (
        {labels["arm"]: part.scalars["accepted"] for labels, part in job.function()(job, None).parts}
        for _ in range(2)
    )
    for arm in ("cross_entropy", *tabular.ARMS):
        assert (first[arm] <= first["best"] + 1e-12).all()
    assert first["gto"].tolist() == again["gto"].tolist()
