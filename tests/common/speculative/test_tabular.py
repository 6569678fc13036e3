import numpy as np

from common.speculative import tabular
from common.speculative.enumeration import Target, children
from tests.common.speculative.conftest import as_target, random_log_q


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
