"""Group statistics and advantages against numpy, against TRL's formula and on hostile input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.rl.advantages import (
    group_mean,
    group_range,
    group_std,
    mean_advantages,
    merge_equal,
    mixed_groups,
    normalise,
    split_groups,
)
from common.rl.rollout import reward_sizes, weighted_rewards

NAN = float("nan")
KINDS = ("trl", "population", "unbiased")


@st.composite
def grouped_rewards(draw, values=None, dtype=torch.float32):
    size = draw(st.integers(2, 9))
    groups = draw(st.integers(1, 5))
    if values is None:
        common = st.sampled_from([0.0, 1.0, -1.0, 0.1, float("nan")])
        values = st.one_of(common, st.floats(-5, 5, width=32))
    rewards = draw(st.lists(values, min_size=size * groups, max_size=size * groups))
    return torch.tensor(rewards, dtype=dtype), size


def trl_advantages(rewards: torch.Tensor, size: int) -> torch.Tensor:
    """`GRPOTrainer` with scale_rewards="group", one reward function: its sequence of float32 operations."""
    from trl.trainer.utils import nanstd

    mean = torch.nanmean(rewards.view(-1, size), dim=1).repeat_interleave(size, dim=0)
    std = nanstd(rewards.view(-1, size), dim=1).repeat_interleave(size, dim=0)
    return torch.nan_to_num((rewards - mean) / (std + 1e-4), nan=0.0)


@given(grouped_rewards())
@settings(max_examples=200, deadline=None)
def test_mean_advantages_equal_trl_bit_for_bit(batch):
    rewards, size = batch
    assert torch.equal(mean_advantages(rewards, size), trl_advantages(rewards, size))


def test_parity_with_trl_includes_the_rounding_of_a_constant_group():
    rewards = torch.full((3,), 0.1)
    assert torch.equal(mean_advantages(rewards, 3), trl_advantages(rewards, 3))


def test_groups_of_one_are_zero_as_in_trl():
    assert mean_advantages(torch.tensor([1.0, 0.0]), 1).tolist() == [0.0, 0.0]
    assert group_std(torch.tensor([1.0, 0.0]), 1).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("kind", "ddof"), [("population", 0), ("unbiased", 1), ("trl", 1)])
@given(batch=grouped_rewards(st.floats(-5, 5), torch.float64))
@settings(max_examples=50, deadline=None)
def test_statistics_equal_numpy(kind, ddof, batch):
    rewards, size = batch
    groups = rewards.numpy().reshape(-1, size)
    np.testing.assert_allclose(group_mean(rewards, size), groups.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(group_std(rewards, size, kind), groups.std(axis=1, ddof=ddof), atol=1e-12)


@pytest.mark.parametrize(("kind", "epsilon"), [("trl", 1e-4), ("population", 0.0), ("unbiased", 1e-6)])
def test_mean_advantages_by_hand(kind, epsilon):
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0, 2.0, 4.0, 6.0, 8.0], dtype=torch.float64)
    ddof = 0 if kind == "population" else 1
    groups = rewards.numpy().reshape(2, 4)
    spread = groups.std(axis=1, ddof=ddof, keepdims=True) + epsilon
    expected = (groups - groups.mean(axis=1, keepdims=True)) / spread
    np.testing.assert_allclose(mean_advantages(rewards, 4, kind).reshape(2, 4), expected, atol=1e-12)


def test_groups_are_consecutive_rewards():
    rewards = torch.tensor([0.0, 2.0, 10.0, 30.0])
    assert group_mean(rewards, 2).tolist() == [1.0, 20.0]
    assert split_groups(rewards, 2).tolist() == [[0.0, 2.0], [10.0, 30.0]]


@given(batch=grouped_rewards(st.floats(-5, 5), torch.float64))
@settings(max_examples=50, deadline=None)
def test_permuting_groups_permutes_advantages(batch):
    rewards, size = batch
    flipped = rewards.view(-1, size).flip(0).flatten()
    expected = mean_advantages(rewards, size).view(-1, size).flip(0).flatten()
    assert torch.equal(mean_advantages(flipped, size), expected)


@pytest.mark.parametrize("kind", ["population", "unbiased"])
@given(value=st.floats(-1e3, 1e3, width=32), size=st.integers(1, 9))
def test_constant_groups_are_exact_zeros(kind, value, size):
    rewards = torch.full((2 * size,), value)
    assert (mean_advantages(rewards, size, kind) == 0).all()
    assert (normalise(rewards, torch.tensor([0.0, 1.0]), size, kind) == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_unscored_rewards_leave_the_statistics_alone(kind):
    nan = float("nan")
    rewards = torch.tensor([1.0, 0.0, nan, 0.0, nan, nan, nan, nan], dtype=torch.float64)
    scored = mean_advantages(torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64), 3, kind)
    expected = torch.tensor([scored[0], scored[1], 0.0, scored[2], 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(mean_advantages(rewards, 4, kind), expected)
    assert mixed_groups(rewards, 4).tolist() == [True, False]
    assert group_range(rewards, 4)[0].tolist() == [0.0, float("inf")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_scored_reward_has_no_advantage(kind):
    rewards = torch.tensor([1.0, float("nan"), float("nan")])
    assert mean_advantages(rewards, 3, kind).tolist() == [0.0, 0.0, 0.0]


def test_baselines_per_group_and_per_response_agree():
    rewards = torch.tensor([1.0, 0.0, 3.0, 0.0])
    per_group = torch.tensor([0.25, 2.0])
    expected = normalise(rewards, per_group, 2)
    assert torch.equal(normalise(rewards, per_group[:, None], 2), expected)
    assert torch.equal(normalise(rewards, per_group[:, None].repeat(1, 2), 2), expected)


@pytest.mark.parametrize(
    ("rewards", "size", "message"),
    [
        (torch.zeros(5), 2, "5 rewards are not a whole number of groups of num_generations=2"),
        (torch.zeros(4), 0, "num_generations=0"),
        (torch.zeros(2, 2), 2, r"got shape \(2, 2\)"),
        (torch.zeros(4, dtype=torch.int64), 2, "int64"),
    ],
)
def test_malformed_batches_are_refused(rewards, size, message):
    with pytest.raises(ValueError, match=message):
        mean_advantages(rewards, size)


def test_unknown_standard_deviation_is_refused():
    with pytest.raises(ValueError, match="unknown standard deviation 'sample'; choose one of trl"):
        group_std(torch.zeros(4), 2, "sample")


class TestEqualRewards:
    """Rewards that differ by rounding are equal, relative to the summands that they came from."""

    def test_sums_in_another_order_are_one_reward(self):
        per_function = torch.tensor([[0.1, 0.25], [0.15, 0.2], [0.25, 0.1], [0.35, 0.0]])
        rewards = weighted_rewards(per_function, torch.ones(2))
        assert len(set(rewards.tolist())) > 1
        assert not mixed_groups(rewards, 4).any()
        for kind in ("population", "unbiased"):
            assert mean_advantages(rewards, 4, kind).tolist() == [0.0] * 4

    def test_summands_that_cancel_leave_rounding_of_their_own_size(self):
        """0.3 + 0.6 - 0.9 is 6e-8 in float32, which is no reward but rounding."""
        per_function = torch.tensor([[0.3, 0.6, -0.9], [0.0, 0.0, 0.0]])
        rewards, sizes = (f(per_function, torch.ones(3)) for f in (weighted_rewards, reward_sizes))
        assert rewards[0] != 0
        assert mixed_groups(rewards, 2).all()
        assert merge_equal(rewards, 2, sizes).tolist() == [0.0, 0.0]

    def test_clusters_take_the_lowest_value_and_others_keep_their_bits(self):
        near = 1.0 + 2**-22
        rewards = torch.tensor([near, 0.1, 1.0, NAN, 1.0 + 1e-5, -torch.inf, torch.inf, NAN])
        merged = merge_equal(rewards, 4)
        torch.testing.assert_close(
            merged,
            torch.tensor([1.0, 0.1, 1.0, NAN, 1.0 + 1e-5, -torch.inf, torch.inf, NAN]),
            rtol=0,
            atol=0,
            equal_nan=True,
        )

    @given(grouped_rewards(st.sampled_from([0.0, 1.0, -1.0, 0.5, NAN])))
    def test_rewards_that_are_exact_keep_their_bits(self, batch):
        rewards, size = batch
        torch.testing.assert_close(merge_equal(rewards, size), rewards, rtol=0, atol=0, equal_nan=True)

    @given(grouped_rewards())
    def test_merging_twice_is_merging_once(self, batch):
        rewards, size = batch
        once = merge_equal(rewards, size)
        torch.testing.assert_close(merge_equal(once, size), once, rtol=0, atol=0, equal_nan=True)
        assert torch.equal(mixed_groups(once, size), mixed_groups(rewards, size))

    @given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=6), st.randoms(), st.floats(1e-6, 1e6))
    def test_no_order_and_no_scale_of_six_functions_makes_a_difference(self, parts, random, scale):
        rows = [random.sample(parts, len(parts)) for _ in range(5)]
        per_function = torch.tensor(rows, dtype=torch.float64).mul(scale / 3).float()
        ones = torch.ones(len(parts))
        rewards, sizes = weighted_rewards(per_function, ones), reward_sizes(per_function, ones)
        assert len(set(merge_equal(rewards, 5, sizes).tolist())) == 1
