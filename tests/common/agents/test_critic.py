"""Generalised advantages against their definition, and values that have not seen what they judge."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.agents.critic import ValueHead, gae, last_of_turns, on_last_tokens, value_loss
from common.models.recipe import ModelShape, build_model
from common.rl.testing import pocket_tokenizer


def by_definition(rewards, values, mask, discount, trace, bootstrap):
    """A_t = Σ_l (γλ)^l δ_{t+l} over a row's own steps, in float64 numpy."""
    advantages = np.zeros(rewards.shape)
    for row in range(len(rewards)):
        steps = np.flatnonzero(mask[row])
        following = np.append(values[row, steps], bootstrap[row])
        surprises = rewards[row, steps] + discount * following[1:] - following[:-1]
        for place, step in enumerate(steps):
            rest = surprises[place:]
            advantages[row, step] = ((discount * trace) ** np.arange(len(rest)) * rest).sum()
    return advantages


@st.composite
def episodes(draw):
    rows, width = draw(st.integers(1, 4)), draw(st.integers(0, 7))
    seed = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seed)
    rewards, values = generator.normal(size=(2, rows, width)) * draw(st.sampled_from([0.0, 1.0, 1e6]))
    mask = generator.random((rows, width)) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    bootstrap = generator.normal(size=rows) * draw(st.sampled_from([0.0, 1.0]))
    return rewards, values, mask, bootstrap


unit = st.sampled_from([0.0, 0.5, 0.95, 1.0])


@given(episodes(), unit, unit)
@settings(max_examples=200, deadline=None)
def test_advantages_are_the_discounted_sum_of_surprises(episode, discount, trace):
    rewards, values, mask, bootstrap = episode
    tensors = [torch.from_numpy(each.copy()) for each in (rewards, values, mask)]
    computed = gae(*tensors, discount, trace, torch.from_numpy(bootstrap))
    expected = by_definition(rewards, values, mask, discount, trace, bootstrap)
    np.testing.assert_allclose(computed.numpy(), expected, rtol=1e-10, atol=1e-8)


@given(episodes())
@settings(max_examples=50, deadline=None)
def test_without_discount_it_is_the_return_to_come_minus_the_value(episode):
    rewards, values, mask = (torch.from_numpy(each.copy()) for each in episode[:3])
    own = rewards * mask
    to_come = own.flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(gae(rewards, values, mask), (to_come - values) * mask, rtol=1e-9, atol=1e-6)


def test_what_is_masked_is_never_read():
    mask = torch.tensor([[1, 0, 1, 1, 0]])
    rewards, values = torch.tensor([[1.0, 5.0, 2.0, 3.0, 7.0]]), torch.tensor([[0.5, 9.0, 0.2, 0.1, 9.0]])
    hidden = [each.masked_fill(mask == 0, float("nan")) for each in (rewards, values)]
    assert torch.equal(gae(rewards, values, mask, 0.9, 0.8), gae(*hidden, mask, 0.9, 0.8))


def test_an_observation_in_between_discounts_nothing():
    dense = gae(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.3, 0.6]]), torch.ones(1, 2), 0.5, 0.5)
    mask = torch.tensor([[1, 0, 0, 1]])
    apart = gae(torch.tensor([[0.0, 0, 0, 1]]), torch.tensor([[0.3, 0, 0, 0.6]]), mask, 0.5, 0.5)
    assert torch.equal(apart[:, [0, 3]], dense)


def test_a_turns_reward_stands_on_its_last_own_token():
    turns = torch.tensor([[0, 0, 0, 1, 1, -1], [0, 0, 1, 1, 2, 2]])
    mask = torch.tensor([[1, 1, 0, 1, 1, 0], [1, 0, 1, 0, 1, 0]])
    rewards = torch.tensor([[1.0, 2.0, float("nan")], [3.0, float("nan"), 5.0]])
    assert on_last_tokens(rewards, turns, mask).tolist() == [[0, 1, 0, 0, 2, 0], [3, 0, 0, 0, 5, 0]]
    assert last_of_turns(turns, mask).sum(dim=1).tolist() == [2, 3]


def test_a_row_of_padding_alone_has_no_last_token():
    assert not last_of_turns(torch.full((1, 3), -1), torch.zeros(1, 3)).any()


def test_a_value_has_not_seen_the_token_that_it_stands_before():
    model = build_model(ModelShape(hidden=16, layers=1, heads=2, ffn=32), pocket_tokenizer(), 0)
    head = ValueHead(16)
    torch.nn.init.normal_(head.linear.weight)
    ids = torch.tensor([[3, 4, 5, 6, 7, 8]])

    def values(ids):
        return head(model.model(input_ids=ids).last_hidden_state, completion=3)[0]

    other = ids.clone()
    other[0, 4] = 9
    before, after = values(ids), values(other)
    assert torch.equal(before[:2], after[:2])
    assert before[2] != after[2]


@pytest.mark.parametrize("detach", [False, True])
def test_a_head_begins_at_zero_and_may_leave_the_trunk_alone(detach):
    head = ValueHead(4, detach)
    states = torch.randn(2, 5, 4, requires_grad=True)
    values = head(states, 3)
    assert values.shape == (2, 3)
    assert not values.any()
    torch.nn.init.ones_(head.linear.weight)
    head(states, 3).sum().backward()
    assert (states.grad is None) == detach
    assert head.linear.weight.grad.any()


def test_the_critics_loss():
    values, targets, mask = torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[0.0, 0.0, 0.0]]), [[1, 1, 0]]
    mask = torch.tensor(mask)
    assert value_loss(values, targets, mask) == pytest.approx((1 + 4) / 4)
    old = torch.tensor([[1.5, 2.0, 0.0]])  # the first may move to 1.3 only
    assert value_loss(values, targets, mask, old, clip=0.2) == pytest.approx((1.3**2 + 4) / 4)
    assert value_loss(values, targets, torch.zeros(1, 3)) == 0
