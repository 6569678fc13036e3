"""PGPO's equations against loops and closed forms, in float64."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from papers.polo.method import (
    WEIGHTS,
    Elites,
    implicit_scores,
    kept_trajectories,
    lambda_weights,
    placed,
    preference_loss,
    preference_pairs,
    shuffled_turns,
    whiten,
)

NAN = math.nan


def draw(seed, rows=3, turns=5, tokens=3, observed=2, missing=True):
    """Log-ratios, mask, turns and rewards of trajectories whose turns are followed by observations."""
    generator = torch.Generator().manual_seed(seed)
    width = turns * (tokens + observed)
    ids = torch.arange(turns).repeat_interleave(tokens + observed).expand(rows, width).clone()
    mask = torch.tensor(([1] * tokens + [0] * observed) * turns).expand(rows, width).clone()
    rewards = torch.randn(rows, turns, generator=generator, dtype=torch.float64)
    for row in range(rows if missing else 0):
        there = int(torch.randint(1, turns + 1, (), generator=generator))
        rewards[row, there:] = NAN
        mask[row, there * (tokens + observed) :] = 0
        ids[row, there * (tokens + observed) :] = -1
    ratio = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    return ratio, mask, ids, rewards


def brute(ratio, mask, ids, rewards, beta, mode, most, weighted, temperature):
    """The loss as loops over trajectories and turns."""
    losses = []
    for row in range(len(ratio)):
        there = [turn for turn in range(rewards.shape[1]) if not math.isnan(float(rewards[row, turn]))]
        steps = [beta * (ratio[row] * mask[row] * (ids[row] == turn)).sum() for turn in there]
        scores = [sum(steps[: turn + 1]) if mode == "cumulative" else steps[turn] for turn in there]
        order = sorted(there, key=lambda turn: -float(scores[turn]))
        rank = {turn: place + 1 for place, turn in enumerate(order)}
        r = rewards[row]
        pairs = [(a, b) for a, b in product(there, there) if r[a] > r[b]]
        pairs = sorted(pairs, key=lambda pair: -float(r[pair[0]] - r[pair[1]]))[: most or None]
        for a, b in pairs:
            gain = abs(2.0 ** float(r[a]) - 2.0 ** float(r[b]))
            discount = abs(1 / math.log(1 + rank[a]) - 1 / math.log(1 + rank[b]))
            weight = min(max(gain * discount, WEIGHTS[0]), WEIGHTS[1]) if weighted else 1.0
            losses.append(weight * torch.log1p(torch.exp(-(scores[a] - scores[b]) / temperature)))
    return torch.stack(losses).mean() if losses else torch.zeros(())


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    mode=st.sampled_from(["cumulative", "stepwise"]),
    most=st.sampled_from([0, 1, 6]),
    weighted=st.booleans(),
    temperature=st.sampled_from([0.5, 1.0]),
)
def test_the_loss_is_that_of_the_loops(seed, mode, most, weighted, temperature):
    ratio, mask, ids, rewards = draw(seed)
    scores = implicit_scores(ratio, mask, ids, rewards.shape[1], 0.7, mode)
    ours = preference_loss(scores, rewards, most, weighted, temperature)
    loops = brute(ratio, mask, ids, rewards, 0.7, mode, most, weighted, temperature)
    assert float(ours) == pytest.approx(float(loops), abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 5.0, NAN]), min_size=1, max_size=6))
def test_pairs_are_all_that_differ_up_to_the_cap(values):
    there = [value for value in values if not math.isnan(value)]
    ties = sum(math.comb(there.count(value), 2) for value in set(there))
    whole = preference_pairs(torch.tensor([values]), 0)
    assert int(whole.sum()) == math.comb(len(there), 2) - ties
    capped = preference_pairs(torch.tensor([values]), 6)
    assert int(capped.sum()) == min(6, int(whole.sum()))
    assert not (capped & ~whole).any()
    gaps = torch.tensor([values])[:, :, None] - torch.tensor([values])[:, None, :]
    if capped.any() and (whole & ~capped).any():
        assert gaps[capped].min() >= gaps[whole & ~capped].max()


def test_a_reward_of_zero_is_a_turn_unless_the_codes_bug_is_asked_for():
    rewards = torch.tensor([[0.0, 1.0, -0.3]])
    assert preference_pairs(rewards).sum() == 3
    assert preference_pairs(rewards, zero_is_no_turn=True).sum() == 1


@pytest.mark.parametrize("rewards", [[[NAN, NAN]], [[0.3, NAN]], [[0.3, 0.3]]])
def test_without_a_pair_the_loss_is_zero_with_a_gradient_of_zero(rewards):
    scores = torch.randn(1, 2, dtype=torch.float64, requires_grad=True)
    loss = preference_loss(scores, torch.tensor(rewards, dtype=torch.float64))
    loss.backward()
    assert loss == 0
    assert (scores.grad == 0).all()


@pytest.mark.parametrize(("better", "worse"), [(3, 1), (1, 3)])
def test_a_cumulative_pair_moves_only_the_tokens_between_its_turns(better, worse):
    ratio, mask, ids, _ = draw(1, rows=1, missing=False)
    rewards = torch.full((1, 5), NAN, dtype=torch.float64)
    rewards[0, better], rewards[0, worse] = 1.0, 0.0
    ratio.requires_grad_()
    scores = implicit_scores(ratio, mask, ids, 5, 0.7)
    preference_loss(scores, rewards).backward()
    between = (ids > min(better, worse)) & (ids <= max(better, worse)) & mask.bool()
    assert (ratio.grad[~between] == 0).all()
    assert ((ratio.grad[between] < 0) == (better > worse)).all()  # raised if the later is better


def test_the_gradient_of_a_pair_is_that_of_the_logistic_loss():
    ratio, mask, ids, _ = draw(2, rows=1, missing=False)
    rewards = torch.full((1, 5), NAN, dtype=torch.float64)
    rewards[0, 4], rewards[0, 1] = 1.0, -1.0
    ratio.requires_grad_()
    scores = implicit_scores(ratio, mask, ids, 5, 0.7, "stepwise")
    preference_loss(scores, rewards).backward()
    weight = lambda_weights(scores, rewards)[0, 4, 1]
    slope = weight * torch.sigmoid(scores[0, 1] - scores[0, 4]) * 0.7
    expected = slope * ((ids == 1).double() - (ids == 4).double()) * mask
    torch.testing.assert_close(ratio.grad, expected.detach(), rtol=1e-12, atol=1e-12)


def test_the_gain_of_a_success_is_bounded():
    weights = lambda_weights(torch.tensor([[3.0, 0.0, 1.0]]), torch.tensor([[5.0, -0.5, NAN]]))
    assert weights[0, 0, 1] == WEIGHTS[1]
    assert weights[0, 0, 2].isnan()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_a_shuffle_permutes_the_rewards_of_each_trajectory(seed):
    rewards = draw(seed)[3]
    mixed = shuffled_turns(rewards, torch.Generator().manual_seed(seed))
    assert torch.equal(mixed.isnan(), rewards.isnan())
    torch.testing.assert_close(mixed.nan_to_num(9).sort().values, rewards.nan_to_num(9).sort().values)


def test_rewards_stand_on_last_tokens():
    ids = torch.tensor([[0, 0, 0, 1, 1, -1], [0, 0, 0, 0, -1, -1]])
    mask = torch.tensor([[1, 1, 0, 1, 1, 0], [1, 1, 1, 1, 0, 0]])
    rewards = torch.tensor([[0.5, 2.0], [-1.0, NAN]])
    by_turn = placed(rewards, ids, mask, "turn")
    assert by_turn.tolist() == [[0, 0.5, 0, 0, 2, 0], [0, 0, 0, -1, 0, 0]]
    whole = placed(rewards, ids, mask, "trajectory")
    assert whole.tolist() == [[0, 0, 0, 0, 2.5, 0], [0, 0, 0, -1, 0, 0]]


def test_whitened_values_have_mean_zero_and_deviation_one_on_the_mask():
    values, mask = torch.randn(4, 6, dtype=torch.float64), torch.ones(4, 6)
    mask[:, 4:] = 0
    white = whiten(values, mask)
    assert (white[:, 4:] == 0).all()
    assert float(white[:, :4].mean()) == pytest.approx(0, abs=1e-12)
    assert float(white[:, :4].std(correction=0)) == pytest.approx(1)
    assert (whiten(torch.ones(2, 3), torch.ones(2, 3)) == 0).all()


def test_the_best_trajectories_of_the_groups_that_differ_most_are_kept():
    returns = torch.tensor([0.0, 0, 0, 0.1, 5, 0, 1, NAN, 1, 2, 3, 4, 2, 2, 2, 2])
    kept = kept_trajectories(returns, 4)
    assert kept.view(4, 4).tolist() == [
        [False] * 4,
        [True, True, True, False],
        [False, True, True, True],
        [False] * 4,
    ]
    assert kept_trajectories(returns, 4, 1.0, 1.0).sum() == 15


def test_groups_are_drawn_where_none_differs():
    returns = torch.ones(16)
    drawn = [
        kept_trajectories(returns, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(8)
    ]
    assert all(int(each.sum()) == 6 for each in drawn)
    assert any(not torch.equal(each, drawn[0]) for each in drawn)


def test_elites_keep_the_best_and_start_from_them():
    pool = Elites(size=2, restart=1.0, tournament=2)
    rng = np.random.default_rng(0)
    assert pool.start(rng) is None
    for design, merit in {("a",): 0.1, ("b",): 0.3, ("c",): 0.2}.items():
        pool.add(design, merit)
    assert pool.merits == {("b",): 0.3, ("c",): 0.2}
    assert pool.start(rng) == ("b",)
    assert Elites(restart=0.0, merits={("a",): 1.0}).start(rng) is None
