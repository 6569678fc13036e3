"""Identities of the losses, in float64 on random and boundary instances."""

import pytest
import torch
from torch.nn import functional

from common.preference.losses import (
    dpo_margin,
    sequence_logprob,
    span_masks,
    weighted_dpo_loss,
    weighted_nll,
)

BETAS = (0.01, 0.1, 1.0, 5.0)


def instance(seed, size=7):
    draw = torch.Generator().manual_seed(seed)
    values = torch.randn(4, size, generator=draw, dtype=torch.float64) * 20
    weights = torch.rand(size, generator=draw, dtype=torch.float64)
    weights[:2] = torch.tensor([0.0, 1.0])
    values[:, 2] = 0.0  # a pair that nothing tells apart
    values[0, 3], values[1, 3] = 900.0, -900.0  # and one that is far apart
    return values, weights


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("beta", BETAS)
def test_the_gradient_is_that_of_the_equation(seed, beta):
    """∇L = -w β σ(-β m) ∇m / B on log π(y_w), and its negative on log π(y_l)."""
    values, weights = instance(seed)
    chosen, rejected = (row.requires_grad_() for row in values[:2].clone().unbind())
    margin = dpo_margin(chosen, rejected)
    ups, downs = torch.autograd.grad(weighted_dpo_loss(margin, weights, beta), (chosen, rejected))
    wanted = -weights * beta * torch.sigmoid(-beta * margin) / len(weights)
    torch.testing.assert_close(ups, wanted, rtol=0, atol=1e-10)
    torch.testing.assert_close(downs, -wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", range(20))
def test_with_weights_of_one_it_is_dpo(seed):
    (chosen, rejected, ref_chosen, ref_rejected), weights = instance(seed)
    margin = dpo_margin(chosen, rejected, ref_chosen, ref_rejected)
    wanted = -functional.logsigmoid(0.1 * ((chosen - rejected) - (ref_chosen - ref_rejected))).mean()
    ours = weighted_dpo_loss(margin, torch.ones_like(weights), 0.1)
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", range(20))
def test_a_reference_that_does_not_tell_a_pair_apart_is_none(seed):
    (chosen, rejected, reference, _), weights = instance(seed)
    both = [
        weighted_dpo_loss(margin, weights, 0.1)
        for margin in (dpo_margin(chosen, rejected), dpo_margin(chosen, rejected, reference, reference))
    ]
    torch.testing.assert_close(*both, rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_a_weight_is_a_repetition(seed):
    (chosen, rejected, *_), _ = instance(seed)
    times = torch.tensor([3, 1, 2, 1, 1, 5, 1])
    margin = dpo_margin(chosen, rejected)
    weighted = weighted_dpo_loss(margin, times.double(), 0.1) * len(times) / times.sum()
    repeated = margin.repeat_interleave(times)
    torch.testing.assert_close(
        weighted, weighted_dpo_loss(repeated, torch.ones(len(repeated), dtype=torch.float64), 0.1)
    )


def test_conflicting_pairs_settle_where_their_weights_balance():
    """One pair alone has no finite optimum; two that disagree meet at σ(β m) = w / (w + w')."""
    margin = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    for _ in range(300):
        loss = weighted_dpo_loss(torch.stack([margin, -margin]), torch.tensor([0.9, 0.3]).double(), 0.5)
        margin.data -= 5 * torch.autograd.grad(loss, margin)[0]
    torch.testing.assert_close(torch.sigmoid(0.5 * margin).item(), 0.75)


def by_hand(logits, ids, mask):
    log_probs = torch.log_softmax(logits, dim=-1)
    return torch.stack(
        [
            sum(
                (log_probs[row, at - 1, ids[row, at]] for at in range(ids.shape[1]) if mask[row, at]),
                start=torch.tensor(0.0, dtype=torch.float64),
            )
            for row in range(len(ids))
        ]
    )


@pytest.mark.parametrize("seed", range(10))
def test_spans_are_scored_as_by_hand_and_add_up(seed):
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 9, 5, generator=draw, dtype=torch.float64)
    ids = torch.randint(5, (3, 9), generator=draw)
    lengths = torch.tensor([[2, 3, 4], [1, 5, 0], [3, 0, 2]])
    prompt, trace, answer = span_masks(lengths, 9)
    spans = torch.stack([trace, answer])
    scores = sequence_logprob(logits, ids, spans)
    assert scores.shape == (2, 3)
    torch.testing.assert_close(scores, torch.stack([by_hand(logits, ids, mask) for mask in spans]))
    torch.testing.assert_close(scores.sum(0), sequence_logprob(logits, ids, trace | answer))
    assert scores[1, 1] == scores[0, 2] == 0  # empty spans
    assert not (prompt & (trace | answer)).any()


def test_the_first_token_has_no_probability():
    spans = torch.ones(1, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="first token"):
        sequence_logprob(torch.zeros(1, 3, 2), torch.zeros(1, 3, dtype=torch.long), spans)


def test_spans_have_to_fit():
    with pytest.raises(ValueError, match="hold 5 tokens, the batch 4"):
        span_masks(torch.tensor([[2, 3]]), 4)


def test_weighted_nll_is_linear_in_its_weights():
    draw = torch.Generator().manual_seed(0)
    log_probs = -torch.rand(4, 6, generator=draw, dtype=torch.float64)
    weights = torch.rand(4, generator=draw, dtype=torch.float64)
    wanted = sum(w * -row.sum() for w, row in zip(weights, log_probs, strict=True)) / 7
    torch.testing.assert_close(weighted_nll(log_probs, weights, 7.0), wanted, rtol=0, atol=1e-10)
