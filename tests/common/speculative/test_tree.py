"""Draft trees against a reference that grows them one Python object at a time."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from common.speculative.tree import (
    DraftTree,
    StaticTree,
    TreePolicy,
    TreeShape,
    expected_accept_length,
    path_log_probs,
    shared_prefix,
)


def logits_of(path: tuple[int, ...], vocabulary: int, seed: int) -> Tensor:
    """A tabular draft: logits that depend on the whole path."""
    generator = torch.Generator().manual_seed(hash((path, seed)) % 2**31)
    return 2 * torch.randn(vocabulary, generator=generator, dtype=torch.float64)


def grown_by_hand(policy: TreePolicy, vocabulary: int, seed: int) -> set[tuple[int, ...]]:
    """The kept paths, by the definition of EAGLE-2."""
    k = min(policy.top_k, vocabulary)

    def children(path: tuple[int, ...], score: float) -> list[tuple[tuple[int, ...], float]]:
        log_q = torch.log_softmax(logits_of(path, vocabulary, seed), dim=-1)
        return [((*path, int(token)), score + float(log_q[token])) for token in log_q.topk(k).indices]

    candidates = frontier = children((), 0.0)
    for _ in range(policy.depth - 1):
        level = [child for path, score in frontier for child in children(path, score)]
        candidates = candidates + level
        frontier = sorted(level, key=lambda node: -node[1])[:k]
    best = sorted(candidates, key=lambda node: -node[1])[: policy.budget]
    return {path for path, _ in best}


def grow_tabular(policy: TreeShape, vocabulary: int, seeds: list[int]) -> DraftTree:
    """`grow` with the same tabular drafts, one per row."""
    paths: list[list[tuple[int, ...]]] = [[()] for _ in seeds]

    def expand(tokens: Tensor, parents: Tensor, visible: Tensor) -> Tensor:
        nonlocal paths
        paths = [
            [(*row[parent], token) for token, parent in zip(*pair, strict=True)]
            for row, *pair in zip(paths, tokens.tolist(), parents.tolist(), strict=True)
        ]
        assert visible.sum(dim=-1).eq(len(paths[0][0])).all(), "a node sees its ancestors and itself"
        return torch.stack(
            [
                torch.stack([logits_of(path, vocabulary, seed) for path in row])
                for row, seed in zip(paths, seeds, strict=True)
            ]
        )

    # The children of the root have the root as parent, which is index 0 of the frontier before them.
    return policy.grow(torch.stack([logits_of((), vocabulary, seed) for seed in seeds]), expand)


def paths_of(tree: DraftTree, row: int) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    for token, parent in zip(tree.tokens[row].tolist(), tree.parent[row].tolist(), strict=True):
        found.append((*(found[parent] if parent >= 0 else ()), token))
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 24), st.integers(2, 5), st.integers(0, 10**6))
def test_grow_keeps_the_nodes_of_the_definition(
    depth: int, top_k: int, budget: int, vocabulary: int, seed: int
) -> None:
    policy = TreePolicy(depth, top_k, budget)
    tree = grow_tabular(policy, vocabulary, [seed, seed + 1])
    for row in (0, 1):
        paths = paths_of(tree, row)
        assert set(paths) == grown_by_hand(policy, vocabulary, seed + row)
        assert len(paths) == len(set(paths)) == tree.tokens.shape[1]
        for node, path in enumerate(paths):
            above = {paths.index(path[:end]) + 1 for end in range(1, len(path) + 1)} | {0}
            assert set(tree.ancestor[row, node + 1].nonzero()[:, 0].tolist()) == above
            assert tree.depth[row, node] == len(path)
            expected = torch.log_softmax(logits_of(path[:-1], vocabulary, seed + row), -1)[path[-1]]
            assert tree.log_q[row, node].item() == pytest.approx(expected.item(), abs=1e-6)
        leaves = {path for path in paths if not any(other[:-1] == path for other in paths)}
        assert {path for path, leaf in zip(paths, tree.leaves[row], strict=True) if leaf} == leaves


def test_nodes_of_a_policy_is_what_grow_gives() -> None:
    for policy in (TreePolicy(1, 3, 10), TreePolicy(3, 2, 5), TreePolicy(3, 2, 50), TreePolicy(5, 1, 60)):
        assert grow_tabular(policy, 5, [0]).tokens.shape[1] == policy.nodes


def test_a_node_of_probability_one_keeps_its_parent() -> None:
    """Ties go to the earlier candidate, or a child could stay without its parent."""
    certain = torch.tensor([[50.0, -50.0, -50.0]], dtype=torch.float64)
    tree = TreePolicy(4, 2, 3).grow(
        certain, lambda tokens, *_: certain[:, None].expand(-1, tokens.shape[1], -1)
    )
    assert tree.parent.tolist() == [[-1, 0, 1]]


RANKS = st.sets(st.lists(st.integers(0, 2), min_size=1, max_size=4).map(tuple), min_size=1, max_size=6)


@given(RANKS, st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_a_static_tree_takes_the_children_of_the_given_ranks(leaves: set[tuple[int, ...]], seed: int) -> None:
    shape = StaticTree(tuple(sorted({leaf[:size] for leaf in leaves for size in range(1, len(leaf) + 1)})))
    expected = {}
    for node in shape.ranks:
        path: tuple[int, ...] = ()
        for rank in node:
            log_q = torch.log_softmax(logits_of(path, 5, seed), dim=-1)
            path = (*path, int(log_q.topk(3).indices[rank]))
        expected[path] = float(torch.log_softmax(logits_of(path[:-1], 5, seed), dim=-1)[path[-1]])
    tree = grow_tabular(shape, 5, [seed + 1, seed])
    assert tree.tokens.shape == (2, shape.nodes)
    found = {}
    for index in range(shape.nodes):
        path = tuple(tree.tokens[1][tree.ancestor[1, index + 1, 1:]].tolist())
        found[path] = float(tree.log_q[1, index])
    assert found == pytest.approx(expected, abs=1e-6)
    assert shape.slots == len({node[:-1] for node in shape.ranks if len(node) > 1})


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        (((),), "distinct paths"),
        (((0,), (0,)), "distinct paths"),
        (((-1,),), "distinct paths"),
        (((0,), (1, 0)), r"\(1, 0\) has no parent \(1,\)"),
    ],
)
def test_a_static_tree_without_sense_is_refused(ranks: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StaticTree(ranks)


def test_a_static_tree_wider_than_the_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match="rank 5 in a vocabulary of 5"):
        grow_tabular(StaticTree(((5,),)), 5, [0])


def test_chain() -> None:
    tree = DraftTree.chain(torch.tensor([[4, 5, 6]]), torch.zeros(1, 3))
    other = DraftTree.of(tree.tokens, tree.parent, tree.log_q, depth=3)
    assert torch.equal(tree.ancestor, other.ancestor)
    assert tree.depth.tolist() == [[1, 2, 3]]
    assert tree.leaves.tolist() == [[False, False, True]]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 7), st.integers(0, 10**6))
def test_expected_accept_length_is_the_sum_over_all_draws(nodes: int, seed: int) -> None:
    """Enumerate every outcome of drawing one token at root and nodes (token matching)."""
    generator = torch.Generator().manual_seed(seed)
    vocabulary = 3
    parent, tokens, siblings = [], [], {}
    for node in range(nodes):
        above = int(torch.randint(-1, node, (1,), generator=generator)) if node else -1
        used = siblings.setdefault(above, set())
        if len(used) == vocabulary:
            above, used = node - 1, siblings.setdefault(node - 1, set())
        parent.append(above)
        tokens.append(min(set(range(vocabulary)) - used))
        used.add(tokens[-1])
    tree = DraftTree.of(
        torch.tensor([tokens]), torch.tensor([parent]), torch.zeros(1, nodes, dtype=torch.float64), nodes
    )
    p = torch.softmax(
        2 * torch.randn(nodes + 1, vocabulary, generator=generator, dtype=torch.float64), dim=-1
    )
    total = 0.0
    for draws in itertools.product(range(vocabulary), repeat=nodes + 1):
        chance = math.prod(float(p[place, token]) for place, token in enumerate(draws))
        here, length = -1, 0
        while True:
            below = [n for n in range(nodes) if parent[n] == here and tokens[n] == draws[here + 1]]
            if not below:
                break
            here, length = below[0], length + 1
        total += chance * length
    log_p = torch.stack([p[above + 1, token].log() for above, token in zip(parent, tokens, strict=True)])[
        None
    ]
    assert expected_accept_length(tree, log_p).item() == pytest.approx(total, abs=1e-9)


def test_path_log_probs_pass_over_impossible_tokens() -> None:
    tree = DraftTree.chain(torch.tensor([[1, 2]]), torch.zeros(1, 2))
    log_p = torch.tensor([[0.0, -torch.inf]], dtype=torch.float64)
    assert path_log_probs(tree, log_p).exp().tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("field", ["depth", "top_k", "budget"])
def test_a_policy_names_the_wrong_field(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        TreePolicy(**{**{"depth": 1, "top_k": 1, "budget": 1}, field: 0})


def test_shared_prefix_by_hand() -> None:
    tree = DraftTree.of(torch.tensor([[5, 6, 7, 5]]), torch.tensor([[-1, -1, 0, 1]]), torch.zeros(1, 4), 2)
    for chain, length in {(5, 7): 2, (6, 5): 2, (6, 7): 1, (7, 5): 0, (5, 6): 1}.items():
        assert shared_prefix(tree, torch.tensor([chain])).tolist() == [length]
