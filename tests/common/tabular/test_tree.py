"""Node numbering of prefix trees against explicit prefixes."""

from itertools import product

import numpy as np
import pytest

from common.tabular.tree import PrefixTree


@pytest.mark.parametrize(("vocabulary", "length"), [(2, 1), (2, 4), (3, 3), (5, 2)])
def test_nodes_are_prefixes_breadth_first(vocabulary: int, length: int) -> None:
    tree = PrefixTree(vocabulary, length)
    prefixes = [p for depth in range(length) for p in product(range(vocabulary), repeat=depth)]
    sequences = list(product(range(vocabulary), repeat=length))
    assert tree.nodes == len(prefixes)
    assert tree.sequences == len(sequences)
    nodes, tokens = tree.path(np.arange(tree.sequences))
    for code, sequence in enumerate(sequences):
        assert tuple(tokens[code]) == sequence
        assert [prefixes[node] for node in nodes[code]] == [sequence[:depth] for depth in range(length)]
    assert np.array_equal(tree.code(nodes[:, -1], tokens[:, -1]), np.arange(tree.sequences))
    for depth in range(length):
        assert {len(p) for p in prefixes[tree.level(depth)]} == {depth}


@pytest.mark.parametrize(("vocabulary", "length"), [(1, 3), (2, 0)])
def test_degenerate_trees_are_refused(vocabulary: int, length: int) -> None:
    with pytest.raises(ValueError, match="vocabulary >= 2 and length >= 1"):
        PrefixTree(vocabulary, length)
