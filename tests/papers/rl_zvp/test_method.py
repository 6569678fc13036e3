"""The pure advantage function: Eq. 5 by hand, its pitfalls, and its controls."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.rl.advantages import mean_advantages
from papers.rl_zvp.method import (
    SHAPES,
    rl_zvp_advantages,
    token_weights,
    used_signs,
    zero_variance_signs,
)

H = torch.tensor([[0.2, 1.0, 0.5], [2.0, 0.1, 7.0]])
MASK = torch.tensor([[1, 1, 1], [1, 1, 0]])
NAN = float("nan")


def advantages(rewards, **options):
    return rl_zvp_advantages(torch.tensor(rewards), H, MASK, 2, **{"alpha": 0.5, **options})


def test_equation_5_on_a_table_by_hand():
    positive = [[0.1, 0.5, 0.25], [1.0, 0.05, 0.0]]
    negative = [[-0.4, 0.0, -0.25], [0.0, -0.95, 0.0]]
    torch.testing.assert_close(advantages([1.0, 1.0]), torch.tensor(positive))
    torch.testing.assert_close(advantages([0.0, 0.0]), torch.tensor(negative))
    torch.testing.assert_close(advantages([-1.0, -1.0]), torch.tensor(negative))


def test_the_maximum_is_over_the_responses_own_tokens():
    """The padding of the second row has the largest entropy of all, the second row a larger one than the
    first.
    """
    values = advantages([0.0, 0.0])
    assert (values.amax(dim=1) == 0).all()
    louder = H.clone()
    louder[1, 2] = 1e9
    changed = rl_zvp_advantages(torch.zeros(2), louder, MASK, 2, 0.5)
    assert torch.equal(changed, values)


def test_one_token_of_a_wrong_response_gets_nothing():
    values = rl_zvp_advantages(torch.zeros(2), torch.tensor([[3.0], [0.5]]), torch.ones(2, 1), 2)
    assert (values == 0).all()


@pytest.mark.parametrize("rewards", [[1.0, 0.0], [1.0, -1.0], [0.5, 0.25]])
@pytest.mark.parametrize("std", ["trl", "population", "unbiased"])
def test_mixed_groups_are_grpos_bit_for_bit(rewards, std):
    values = advantages(rewards, std=std)
    assert torch.equal(values, mean_advantages(torch.tensor(rewards), 2, std)[:, None].expand(2, 3))


def test_equality_decides_and_not_a_small_standard_deviation():
    """Two rewards that differ by a hundred-thousandth are a mixed group; the last bit is rounding."""
    assert (zero_variance_signs(torch.tensor([1.0, 1.0 + 1e-5]), 2) == 0).all()
    assert (zero_variance_signs(torch.tensor([1.0, 1.0 + 2**-23]), 2) == 1).all()
    assert (zero_variance_signs(torch.tensor([0.1] * 7), 7) == 1).all()


def test_signs_of_groups_and_unscored_responses():
    rewards = torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0, 0.0, NAN, 1.0, NAN, NAN, 0.0, NAN])
    assert zero_variance_signs(rewards, 2).tolist() == [1, 1, -1, -1, 0, 0, 0, 1, 0, 0, -1, 0]
    assert used_signs(rewards, 2, True, False).tolist() == [1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert used_signs(rewards, 2, False, True).tolist() == [0, 0, -1, -1, 0, 0, 0, 0, 0, 0, -1, 0]


def test_halves_flip_and_scale():
    both = [1.0, 1.0]
    assert (advantages(both, use_positive=False) == 0).all()
    assert torch.equal(advantages(both, use_negative=False), advantages(both))
    assert torch.equal(advantages([0.0, 0.0], sign_flip=True), -advantages([0.0, 0.0]))
    assert torch.equal(advantages(both, alpha=1.0), 2 * advantages(both))
    assert (advantages([0.0, 0.0], alpha=0.0) == 0).all()


def test_no_gradient_flows_through_the_entropy():
    entropies = H.clone().requires_grad_()
    assert not rl_zvp_advantages(torch.ones(2), entropies, MASK, 2).requires_grad


def test_local_rows_of_gathered_rewards():
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0])
    local = rl_zvp_advantages(rewards, H, MASK, 2, 0.5, local=slice(2, 4))
    torch.testing.assert_close(local, advantages([0.0, 0.0]))


@pytest.mark.parametrize("shape", ["const", "shuffle"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_scale_matched_controls_keep_the_mean_of_each_response(shape, sign):
    signs = torch.full((2,), sign)
    plain = token_weights(H, MASK, signs, 0.5)
    values = token_weights(H, MASK, signs, 0.5, shape, torch.Generator().manual_seed(3))
    torch.testing.assert_close(values.sum(dim=1), plain.sum(dim=1))
    assert (values[MASK == 0] == 0).all()
    if shape == "shuffle":
        torch.testing.assert_close(values.sort(dim=1).values, plain.sort(dim=1).values)


def test_other_shapes():
    down = torch.tensor([-1.0, -1.0])
    own = MASK.float()
    assert torch.equal(token_weights(H, MASK, down, 0.5, "unit"), own)
    assert torch.equal(token_weights(H, MASK, down, 0.5, "alpha"), 0.5 * own)
    torch.testing.assert_close(token_weights(H, MASK, down, 0.5, "sym"), 0.5 * H * own)
    torch.testing.assert_close(token_weights(H, MASK, down, 0.5, "constant_max"), 0.5 * (1.5 - H) * own)
    with pytest.raises(ValueError, match="unknown shape 'flat'; choose one of entropy"):
        token_weights(H, MASK, down, 0.5, "flat")


def test_a_shuffle_is_uniform_over_places():
    entropies, mask = torch.tensor([[1.0, 2.0, 3.0, 9.0]]).repeat(6000, 1), torch.tensor([[1, 0, 1, 1]])
    values = token_weights(
        entropies, mask.repeat(6000, 1), torch.ones(6000), 1.0, "shuffle", torch.Generator().manual_seed(0)
    )
    assert (values[:, 1] == 0).all()
    for place in (0, 2, 3):
        shares = [(values[:, place] == value).double().mean().item() for value in (1.0, 3.0, 9.0)]
        assert shares == pytest.approx([1 / 3] * 3, abs=0.03)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda groups: st.tuples(
            st.lists(st.sampled_from([-1.0, 0.0, 1.0, NAN]), min_size=3 * groups, max_size=3 * groups),
            st.lists(st.integers(0, 4), min_size=3 * groups, max_size=3 * groups),
            st.integers(0, 2**31),
        )
    ),
    st.sampled_from(SHAPES),
)
def test_signs_zeros_and_finiteness_for_any_group(case, shape):
    """Empty responses, unscored ones, groups of any kind: finite, right sign, nothing on padding."""
    rewards, lengths, seed = case
    mask = np.arange(4) < np.array(lengths)[:, None]
    entropies = torch.from_numpy(np.random.default_rng(seed).exponential(size=mask.shape))
    rewards = torch.tensor(rewards, dtype=torch.float64)
    own = torch.from_numpy(mask)
    values = rl_zvp_advantages(
        rewards, entropies, own.long(), 3, shape=shape, generator=torch.Generator().manual_seed(0)
    )
    signs = zero_variance_signs(rewards, 3)
    assert values.isfinite().all()
    assert (values[(signs != 0)[:, None] & ~own] == 0).all()
    assert (values[signs > 0] >= 0).all()
    if shape != "constant_max":
        assert (values[signs < 0] <= 0).all()
    assert torch.equal(values[signs == 0], mean_advantages(rewards, 3)[signs == 0][:, None].expand(-1, 4))
