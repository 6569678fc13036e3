"""Per-token losses against scalar brute force, closed forms and their gradients."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.rl.losses import (
    aggregate,
    clip_cov,
    clip_fractions,
    clipped_surrogate,
    importance_log_ratio,
    kl_cov,
    token_covariance,
)

LOW, HIGH = 0.2, 0.28
MASK = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]])


def batch(seed: int = 0, rows: int = 3, tokens: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random log-ratios, log-probabilities and advantages [B, 1]."""
    generator = torch.Generator().manual_seed(seed)
    log_ratio = 0.5 * torch.randn(rows, tokens, generator=generator, dtype=torch.float64)
    log_probs = -torch.rand(rows, tokens, generator=generator, dtype=torch.float64) * 4
    return log_ratio, log_probs, torch.randn(rows, 1, generator=generator, dtype=torch.float64)


def clipped_term(ratio: float, advantage: float, low: float, high: float) -> float:
    return -min(ratio * advantage, min(max(ratio, 1 - low), 1 + high) * advantage)


@given(
    log_ratio=st.floats(-4, 4),
    advantage=st.floats(-3, 3),
    low=st.floats(0, 1),
    high=st.floats(0, 1),
)
def test_clipped_surrogate_is_the_scalar_formula(log_ratio, advantage, low, high):
    loss = clipped_surrogate(
        torch.tensor([[log_ratio]], dtype=torch.float64), torch.tensor([[advantage]]).double(), low, high
    )
    advantage = float(torch.tensor(advantage).double())
    assert loss.item() == pytest.approx(clipped_term(math.exp(log_ratio), advantage, low, high), abs=1e-12)


def test_infinite_bounds_switch_clipping_off():
    log_ratio, _, advantages = batch()
    expected = -log_ratio.exp() * advantages
    assert torch.equal(clipped_surrogate(log_ratio, advantages, math.inf, math.inf), expected)


@pytest.mark.parametrize(
    ("ratio", "advantage", "gradient"),
    [
        (1.5, 1.0, 0.0),  # above 1 + high with A > 0: clipped
        (1.25, 1.0, -1.25),  # between 1 + low and 1 + high: the upper bound is the larger one
        (1.5, -1.0, 1.5),
        (0.7, -1.0, 0.0),  # below 1 - low with A < 0: clipped
        (0.7, 1.0, -0.7),
        (1.0, 2.0, -2.0),
    ],
)
def test_clipping_removes_the_gradient_on_one_side_only(ratio, advantage, gradient):
    log_ratio = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    clipped_surrogate(log_ratio, torch.tensor([[advantage]]).double(), LOW, HIGH).sum().backward()
    assert log_ratio.grad.item() == pytest.approx(gradient)


def test_dual_clip_bounds_negative_advantages_only():
    log_ratio = torch.tensor([[5.0, 0.1], [5.0, 0.1]], dtype=torch.float64)
    advantages = torch.tensor([[-2.0], [2.0]], dtype=torch.float64)
    plain = clipped_surrogate(log_ratio, advantages, LOW, HIGH)
    dual = clipped_surrogate(log_ratio, advantages, LOW, HIGH, dual_clip=3.0)
    assert dual[0, 0].item() == 6.0
    assert plain[0, 0].item() == pytest.approx(2 * math.exp(5))
    assert torch.equal(dual[0, 1], plain[0, 1])
    assert torch.equal(dual[1], plain[1])
    with pytest.raises(ValueError, match=r"dual_clip=1\.0 must be above 1"):
        clipped_surrogate(log_ratio, advantages, dual_clip=1.0)


def test_advantages_broadcast_over_tokens():
    log_ratio, log_probs, advantages = batch()
    full = advantages.expand(-1, 4)
    assert torch.equal(clipped_surrogate(log_ratio, advantages), clipped_surrogate(log_ratio, full))
    assert torch.equal(
        kl_cov(log_ratio, log_probs, advantages, MASK), kl_cov(log_ratio, log_probs, full, MASK)
    )


def test_clip_fractions_count_each_side():
    log_ratio = torch.tensor([[1.5, 0.5, 1.25, 9.0], [1.5, 0.5, 0.9, 9.0]]).log()
    advantages = torch.tensor([[1.0], [-1.0]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 0]])
    fractions = clip_fractions(log_ratio, advantages, mask, LOW, HIGH)
    assert fractions.high.item() == pytest.approx(1 / 6)  # the 1.5 with A > 0
    assert fractions.low.item() == pytest.approx(1 / 6)  # the 0.5 with A < 0
    assert clip_fractions(log_ratio, 0 * advantages, mask) == (0.0, 0.0)


@given(seed=st.integers(0, 1000))
@settings(max_examples=30)
def test_clip_fractions_are_the_tokens_without_gradient(seed):
    log_ratio, _, advantages = batch(seed)
    log_ratio.requires_grad_()
    clipped_surrogate(log_ratio, advantages, LOW, HIGH).sum().backward()
    dead = ((log_ratio.grad == 0) * MASK).sum() / MASK.sum()
    assert sum(clip_fractions(log_ratio, advantages, MASK, LOW, HIGH)).item() == pytest.approx(dead.item())


def test_sequence_ratio_is_the_geometric_mean_over_real_tokens():
    log_ratio, log_probs, _ = batch()
    ratio = importance_log_ratio(log_probs + log_ratio, log_probs, MASK, "sequence").exp()
    for row, length in enumerate(MASK.sum(dim=1).tolist()):
        expected = torch.prod(log_ratio[row, :length].exp()) ** (1 / length)
        torch.testing.assert_close(ratio[row], expected.expand(4))
    assert torch.equal(importance_log_ratio(log_probs, log_ratio, MASK), (log_probs - log_ratio) * MASK)
    with pytest.raises(ValueError, match="unknown level 'word'"):
        importance_log_ratio(log_probs, log_probs, MASK, "word")


def test_sequence_ratio_gives_the_gspo_gradient():
    """Gradient of s A w.r.t. each token's log-probability is s A / |o|, and none beyond the mask."""
    log_ratio, log_probs, advantages = batch()
    current = (log_probs + log_ratio).requires_grad_()
    sequence = importance_log_ratio(current, log_probs, MASK, "sequence")
    aggregate(clipped_surrogate(sequence, advantages, math.inf, math.inf), MASK, "sequence_mean").backward()
    expected = -sequence.exp() * advantages / MASK.sum(dim=1, keepdim=True) * MASK / len(MASK)
    torch.testing.assert_close(current.grad, expected.detach())


def test_token_covariance_averages_to_the_covariance():
    _, log_probs, advantages = batch()
    terms = token_covariance(log_probs, advantages, MASK)
    pairs = torch.stack([log_probs[MASK > 0], advantages.expand(-1, 4)[MASK > 0]])
    torch.testing.assert_close(terms[MASK > 0].mean(), torch.cov(pairs, correction=0)[0, 1])
    assert (terms[MASK == 0] == -math.inf).all()
    assert not token_covariance(log_probs.requires_grad_(), advantages, MASK).requires_grad


def dropped_tokens(**options) -> torch.Tensor:
    """Tokens that Clip-Cov silences in a batch without a single zero advantage."""
    log_ratio, log_probs, advantages = batch(3, 8, 16)
    log_ratio = log_ratio.requires_grad_()
    mask = torch.ones(8, 16)
    options = {"clip_ratio": 0.05, "bounds": (0.5, 2.0), "dual_clip": None} | options
    generator = torch.Generator().manual_seed(options.pop("seed", 0))
    loss = clip_cov(log_ratio, log_probs, advantages, mask, generator, **options)
    loss.sum().backward()
    plain = clipped_surrogate(log_ratio, advantages, 1.0, 1.0).detach()
    dropped = loss == 0
    assert torch.equal(loss[~dropped], plain[~dropped])
    assert (log_ratio.grad[dropped] == 0).all()
    covariance = token_covariance(log_probs, advantages, mask)
    low, high = options["bounds"]
    assert ((covariance[dropped] > low) & (covariance[dropped] < high)).all()
    return dropped


def test_clip_cov_drops_the_quota_of_tokens_within_the_bounds():
    assert dropped_tokens().sum() == 6  # floor(0.05 * 128)
    assert dropped_tokens(clip_ratio=1e-9).sum() == 1
    assert dropped_tokens(bounds=(90.0, 91.0)).sum() == 0
    log_ratio, log_probs, advantages = batch(3, 8, 16)
    covariance = token_covariance(log_probs, advantages, torch.ones(8, 16))
    ratio_clipped = (log_ratio.exp() > 2) & (advantages > 0)  # epsilon 1: only the upper side can clip
    candidates = (covariance > 0.5) & (covariance < 2.0) & ~ratio_clipped
    assert torch.equal(dropped_tokens(clip_ratio=1.0), candidates)


def test_clip_cov_is_random_by_its_generator_alone():
    torch.manual_seed(1)
    first = dropped_tokens()
    torch.manual_seed(2)
    assert torch.equal(first, dropped_tokens())
    assert any(not torch.equal(first, dropped_tokens(seed=seed)) for seed in (1, 2, 3))


def test_clip_cov_leaves_ratio_clipped_and_padding_tokens_out_of_the_draw():
    log_ratio = torch.full((1, 4), 1.0, dtype=torch.float64)
    log_ratio[0, 1] = 0.0
    log_probs = torch.tensor([[0.0, -0.1, -9.0, 0.0]], dtype=torch.float64)
    advantages = torch.tensor([[2.0, 2.0, 1.0, 2.0]], dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 0]])
    loss = clip_cov(
        log_ratio, log_probs, advantages, mask, torch.Generator(), LOW, HIGH, None, 1.0, (0.1, math.inf)
    )
    assert (loss[:, :3] == 0).tolist() == [[False, True, False]]


def test_clip_cov_has_no_dual_clip_unless_asked():
    """verl's Clip-Cov is max(-A ρ, -A clip(ρ)) on the tokens that it keeps, without a bound for A < 0."""
    log_ratio, advantages = torch.full((1, 2), 5.0).double(), torch.tensor([[-2.0, 2.0]]).double()
    arguments = log_ratio, torch.zeros(1, 2).double(), advantages, torch.ones(1, 2), torch.Generator()
    torch.testing.assert_close(clip_cov(*arguments), torch.tensor([[2 * math.exp(5), -4.0]]).double())
    assert clip_cov(*arguments, dual_clip=10.0).tolist() == [[20.0, -4.0]]


def test_kl_cov_penalises_the_tokens_of_highest_covariance():
    log_ratio, log_probs, advantages = batch(5, 8, 16)
    mask = torch.ones(8, 16)
    mask[:, 12:] = 0
    penalty = kl_cov(log_ratio, log_probs, advantages, mask, 0.1, 2.5) + log_ratio.exp() * advantages * mask
    covariance = token_covariance(log_probs, advantages, mask)
    threshold = covariance.flatten().sort(descending=True).values[8]  # floor(0.1 * 96) = 9 tokens
    chosen = covariance >= threshold
    assert chosen.sum() == 9
    torch.testing.assert_close(penalty, 2.5 * log_ratio.abs() * chosen)
    one = kl_cov(log_ratio, log_probs, advantages, mask, 1e-9) + log_ratio.exp() * advantages * mask
    assert (one.abs() > 1e-9).sum() == 1


def test_kl_cov_penalty_pulls_the_ratio_back_to_one():
    log_ratio = torch.tensor([[0.3, -0.3]], dtype=torch.float64, requires_grad=True)
    zeros = torch.zeros(1, 2, dtype=torch.float64)
    kl_cov(log_ratio, zeros, zeros, torch.ones(1, 2), 1.0).sum().backward()
    assert log_ratio.grad.tolist() == [[1.0, -1.0]]


@pytest.mark.parametrize(
    ("mode", "options", "expected"),
    [
        ("token_mean", {}, (1 + 2 + 3 + 10 + 4 * 5) / 8),
        ("token_mean", {"num_tokens": 16}, 36 / 16),
        ("sequence_mean", {}, (2 + 10 + 5) / 3),
        ("constant", {"max_length": 10}, 36 / 30),
        ("sequence_sum", {}, 36 / 3),
    ],
)
def test_aggregation_modes_by_hand(mode, options, expected):
    loss = torch.tensor([[1.0, 2.0, 3.0, 99.0], [10.0, 99.0, 99.0, 99.0], [5.0, 5.0, 5.0, 5.0]])
    assert aggregate(loss, MASK, mode, **options).item() == pytest.approx(expected)


def test_equal_lengths_make_token_and_sequence_means_equal():
    loss = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    values = [
        aggregate(loss, torch.ones(3, 4), mode, max_length=4).item()
        for mode in ("token_mean", "sequence_mean", "constant")
    ]
    assert values == pytest.approx([loss.mean().item()] * 3)


def test_rows_without_tokens_count_as_zero():
    loss = torch.tensor([[4.0, 4.0], [7.0, 7.0]])
    mask = torch.tensor([[1, 1], [0, 0]])
    assert aggregate(loss, mask, "sequence_mean").item() == 2.0
    assert aggregate(loss, mask, "token_mean").item() == 4.0
    assert aggregate(loss, 0 * mask, "token_mean").item() == 0.0


MASKED = {
    "token": lambda ratio, log_probs, advantages: importance_log_ratio(ratio, log_probs, MASK),
    "sequence": lambda ratio, log_probs, advantages: importance_log_ratio(ratio, log_probs, MASK, "sequence"),
    "clip_cov": lambda *batch: clip_cov(*batch, MASK, torch.Generator(), clip_ratio=0.2, bounds=(0.1, 5.0)),
    "kl_cov": lambda *batch: kl_cov(*batch, MASK, 0.2),
    "surrogate": lambda ratio, _, advantages: clipped_surrogate(
        importance_log_ratio(ratio, 0 * ratio.detach(), MASK), advantages.masked_fill(MASK == 0, 0.0)
    ),
}


@pytest.mark.parametrize("mode", ["token_mean", "sequence_mean", "constant", "sequence_sum"])
@pytest.mark.parametrize("loss", MASKED)
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_what_lies_outside_the_mask_reaches_no_value_and_no_gradient(loss, mode, poison):
    ratio, log_probs, advantages = batch()
    clean = [ratio, log_probs, advantages.expand(-1, 4)]
    results = []
    for arguments in (clean, [values.masked_fill(MASK == 0, poison) for values in clean]):
        leaf = arguments[0].clone().requires_grad_()
        value = aggregate(MASKED[loss](leaf, *arguments[1:]), MASK, mode, max_length=4)
        value.backward()
        results.append((value.detach(), leaf.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert (results[1][1][MASK == 0] == 0).all()


def test_clip_fractions_and_covariances_do_not_read_outside_the_mask():
    clean = [*batch()[:2], batch()[2].expand(-1, 4)]
    poisoned = [values.masked_fill(MASK == 0, math.nan) for values in clean]
    terms, others = (token_covariance(*arguments[1:], MASK) for arguments in (clean, poisoned))
    assert torch.equal(terms, others)
    fractions, others = (clip_fractions(arguments[0], arguments[2], MASK) for arguments in (clean, poisoned))
    assert fractions == others


def test_aggregation_errors_name_the_fix():
    loss = torch.zeros(1, 1)
    with pytest.raises(ValueError, match="pass max_length"):
        aggregate(loss, loss, "constant")
    with pytest.raises(ValueError, match="unknown mode 'mean'; choose one of token_mean"):
        aggregate(loss, loss, "mean")
