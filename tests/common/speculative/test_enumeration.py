"""Enumerated targets and trees, by hand."""

import numpy as np
import pytest

from common.speculative import enumeration


def test_node_numbers() -> None:
    target = enumeration.random_target(np.random.default_rng(0), 3, 2, 1.0)
    assert target.nodes == 12
    assert target.parent.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert target.path[8] == pytest.approx(target.conditional[0, 1] * target.conditional[2, 1])
    assert target.length[8] == pytest.approx(target.path[2] + target.path[8])


def test_random_trees_are_closed_and_of_the_asked_size() -> None:
    rng = np.random.default_rng(1)
    target = enumeration.random_target(rng, 3, 3, 0.5)
    for size in range(1, 12):
        chosen = enumeration.random_tree(rng, target, size)
        assert chosen.sum() == size + 1
        assert chosen[target.parent[chosen[1:]]].all()
        inner = {target.parent[node - 1] for node in np.flatnonzero(chosen) if node}
        ends = set(np.flatnonzero(enumeration.leaves(target, chosen)))
        assert ends == set(np.flatnonzero(chosen)) - inner - {0}


def test_a_verifier_that_keeps_a_rejected_token_is_caught() -> None:
    target = enumeration.random_target(np.random.default_rng(2), 3, 1, 0.5)
    chosen = np.array([True, True, False, False])
    wrong = [((0, token), 0.5 * chance) for token, chance in enumerate(target.conditional[1])]
    wrong += [((token,), 0.5 * chance) for token, chance in enumerate(target.conditional[0])]
    right = dict(enumeration.rejection_outcomes(target, chosen))
    assert sum(right.values()) == pytest.approx(1.0)
    assert max(abs(p - enumeration.block_probability(target, block)) for block, p in wrong) > 1e-3
