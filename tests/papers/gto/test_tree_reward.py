import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.speculative.packed import TreeScores
from common.speculative.tree import DraftTree
from papers.gto.tree_reward import (
    aggregate,
    branch_lengths,
    draft_tree_reward,
    group_advantages,
    gto_loss,
    longest_accepted_path,
    path_ratio,
    sample_groups,
)


def random_trees(seed: int, rows: int, nodes: int) -> tuple[DraftTree, torch.Tensor]:
    rng = np.random.default_rng(seed)
    parent = torch.tensor([[int(rng.integers(-1, node)) for node in range(nodes)] for _ in range(rows)])
    tokens = torch.arange(nodes).expand(rows, -1)
    log_p = torch.log(torch.from_numpy(rng.uniform(0.01, 1.0, (rows, nodes))))
    return DraftTree.of(tokens, parent, log_p, depth=nodes), log_p


def paths(tree: DraftTree, row: int) -> dict[int, list[int]]:
    """Leaf to the nodes from the first level to it, by walking up the parents."""
    parent = tree.parent[row].tolist()
    found = {}
    for leaf in set(range(len(parent))) - set(parent):
        path, node = [], leaf
        while node >= 0:
            path.insert(0, node)
            node = parent[node]
        found[leaf] = path
    return found


def length_by_hand(log_p: list[float], path: list[int]) -> float:
    product, total = 1.0, 0.0
    for node in path:
        product *= math.exp(log_p[node])
        total += product
    return total


@given(st.integers(0, 10**6), st.integers(1, 9), st.sampled_from([0.25, 1.0, 3.0]))
@settings(max_examples=40, deadline=None)
def test_rewards_against_loops_over_paths(seed, nodes, eta):
    tree, log_p = random_trees(seed, 3, nodes)
    for row in range(3):
        values = log_p[row].tolist()
        lengths = [length_by_hand(values, path) for path in paths(tree, row).values()]
        by_hand = {
            "lse": math.log(sum(math.exp(eta * length) for length in lengths)) / eta,
            "max": max(lengths),
            "average": sum(lengths) / len(lengths),
            "node_sum": sum(
                math.exp(sum(values[node] for node in path))
                for path in {tuple(p[: k + 1]) for p in paths(tree, row).values() for k in range(len(p))}
            ),
        }
        for mode, expected in by_hand.items():
            assert draft_tree_reward(tree, log_p, mode, eta)[row].item() == pytest.approx(expected, rel=1e-12)


def test_branch_lengths_hold_at_inner_nodes_too():
    tree, log_p = random_trees(1, 1, 6)
    for path in paths(tree, 0).values():
        for stop in range(1, len(path) + 1):
            expected = length_by_hand(log_p[0].tolist(), path[:stop])
            assert branch_lengths(tree, log_p)[0, path[stop - 1]].item() == pytest.approx(expected)


def test_average_is_not_the_limit_of_the_log_sum_exp_for_small_eta():
    lengths, leaves = torch.tensor([[0.2, 0.9, 1.6]]).double(), torch.ones(1, 3, dtype=torch.bool)
    small = 1e-4
    assert aggregate(lengths, leaves, "lse", small).item() == pytest.approx(
        math.log(3) / small + 0.9, abs=1e-3
    )
    assert aggregate(lengths, leaves, "average").item() == pytest.approx(0.9)


def test_unknown_mode_and_bad_eta_are_named():
    tree, log_p = random_trees(0, 1, 3)
    with pytest.raises(ValueError, match="mode 'sum'"):
        draft_tree_reward(tree, log_p, "sum")
    with pytest.raises(ValueError, match="eta is 0"):
        draft_tree_reward(tree, log_p, "lse", 0.0)


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 9), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_groups_are_disjoint_adjacent_and_supervised(seed, count, size, supervised):
    flags = torch.zeros(1, 60, dtype=torch.bool)
    flags[0, np.random.default_rng(seed).permutation(60)[:supervised]] = True
    found = flags[0].nonzero()[:, 0].tolist()
    groups = sample_groups(flags, count, size, torch.Generator().manual_seed(seed))
    chosen = groups.places[groups.mask].tolist()
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= set(found)
    for places, mask in zip(groups.places[0], groups.mask[0], strict=True):
        rank = [found.index(place) for place in places[mask].tolist()]
        assert rank == list(range(rank[0], rank[0] + len(rank))) if rank else True
    assert int(groups.mask.any(dim=-1).sum()) == min(count, max(1, supervised // size))


def test_every_layout_of_groups_is_equally_likely():
    flags = torch.ones(4000, 6, dtype=torch.bool)
    groups = sample_groups(flags, 2, 2, torch.Generator().manual_seed(0))
    layouts = [tuple(row[:, 0].tolist()) for row in groups.places]
    counts = {layout: layouts.count(layout) for layout in set(layouts)}
    assert sorted(counts) == [(0, 2), (0, 3), (0, 4), (1, 3), (1, 4), (2, 4)]
    assert min(counts.values()) > 4000 / 6 * 0.85


def test_a_text_without_supervised_places_is_an_error():
    with pytest.raises(ValueError, match="text 0 has no supervised place"):
        sample_groups(torch.zeros(1, 5, dtype=torch.bool), 1, 2, torch.Generator())


def test_advantages_against_numpy():
    rewards = torch.randn(3, 2, 8, dtype=torch.float64)
    mask = torch.ones(3, 2, 8, dtype=torch.bool)
    mask[0, 1, 5:] = False
    found = group_advantages(rewards, mask, delta=1e-6)
    whole = group_advantages(rewards, mask, delta=1e-6, scope="batch")
    everything = rewards[mask].numpy()
    for row in range(3):
        for group in range(2):
            inside = mask[row, group]
            values = rewards[row, group][inside].numpy()
            expected = (values - values.mean()) / (values.std() + 1e-6)
            np.testing.assert_allclose(found[row, group][inside], expected, rtol=1e-12)
            expected = (values - everything.mean()) / (everything.std() + 1e-6)
            np.testing.assert_allclose(whole[row, group][inside], expected, rtol=1e-10)
    assert not found[~mask].any()


def test_equal_rewards_and_groups_of_one_have_no_advantage():
    ones = torch.full((1, 2, 4), 0.3) + torch.tensor([0.0, 1e-10, 0.0, 0.0])
    assert not group_advantages(ones, torch.ones(1, 2, 4, dtype=torch.bool)).any()
    single = torch.randn(5, 1, 1)
    assert not group_advantages(single, torch.ones(5, 1, 1, dtype=torch.bool)).any()
    assert group_advantages(single, torch.ones(5, 1, 1, dtype=torch.bool), scope="batch").any()
    with pytest.raises(ValueError, match="scope is 'row'"):
        group_advantages(single, torch.ones(5, 1, 1, dtype=torch.bool), scope="row")


def test_longest_accepted_path_by_hand():
    #        root -> 0 (greedy) -> 2 (greedy) -> 4 (not), root -> 1 (not) -> 3 (greedy below a broken node)
    parent = torch.tensor([[-1, -1, 0, 1, 2]])
    tree = DraftTree.of(torch.tensor([[7, 8, 9, 5, 6]]), parent, torch.zeros(1, 5), depth=3)
    log_p = torch.log(torch.tensor([[0.5, 0.5, 0.1, 1.0, 0.1]]))
    scores = TreeScores(log_p, torch.tensor([[True, False, True, True, False]]))
    greedy = longest_accepted_path(tree, scores, depth=3)
    assert greedy.length.tolist() == [2]
    assert greedy.tokens[0, :2].tolist() == [7, 9]
    expected = longest_accepted_path(tree, scores, depth=3, by="max_expected")
    assert expected.length.tolist() == [2]
    assert expected.tokens[0, :2].tolist() == [8, 5]
    none = longest_accepted_path(tree, scores._replace(greedy=torch.zeros(1, 5, dtype=torch.bool)), depth=3)
    assert none.length.tolist() == [0]
    with pytest.raises(ValueError, match="by 'best'"):
        longest_accepted_path(tree, scores, depth=3, by="best")


def test_ratio_is_the_geometric_mean_and_one_without_gradient_for_an_empty_path():
    log_m = torch.tensor([[-1.0, -2.0, -9.0], [-3.0, -1.0, -1.0]], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([[-1.5, -2.5, 4.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    ratio = path_ratio(log_m, reference, torch.tensor([2, 0]))
    assert ratio.tolist() == pytest.approx([math.exp(0.5), 1.0])
    ratio.sum().backward()
    assert log_m.grad is not None
    assert log_m.grad[0].tolist() == pytest.approx([math.exp(0.5) / 2, math.exp(0.5) / 2, 0.0])
    assert not log_m.grad[1].any()


def test_loss_against_loops():
    generator = torch.Generator().manual_seed(3)
    ratio = torch.exp(0.4 * torch.randn(2, 3, 4, generator=generator)).double()
    advantages = torch.randn(2, 3, 4, generator=generator).double()
    mask = torch.ones(2, 3, 4, dtype=torch.bool)
    mask[1, 2, :] = False
    mask[0, 1, 3] = False
    groups = []
    for row, group in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]:
        terms = []
        for place in range(4):
            if mask[row, group, place]:
                s, a = float(ratio[row, group, place]), float(advantages[row, group, place])
                terms.append(min(s * a, min(max(s, 0.8), 1.2) * a))
        groups.append(-sum(terms) / len(terms))
    assert gto_loss(ratio, advantages, mask, 0.2).item() == pytest.approx(
        sum(groups) / len(groups), rel=1e-12
    )


@pytest.mark.parametrize(
    ("ratio", "advantage", "flows"), [(1.5, 1.0, False), (1.5, -1.0, True), (0.5, 1.0, True)]
)
def test_gradient_stops_only_where_the_clip_binds(ratio, advantage, flows):
    value = torch.tensor([[[ratio]]], requires_grad=True)
    gto_loss(value, torch.tensor([[[advantage]]]), torch.ones(1, 1, 1, dtype=torch.bool)).backward()
    assert bool(value.grad.any()) is flows
