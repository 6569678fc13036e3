"""The three reductions of the negative log-likelihood, against loops."""

import pytest
import torch

from common.rl.losses import negative_log_likelihood

LOG_PROBS = torch.tensor([[-1.0, -2.0, -7.0], [-3.0, -9.0, -9.0]], dtype=torch.float64)
MASK = torch.tensor([[1, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize(
    ("mode", "value"),
    [("token_mean", 6 / 3), ("sequence_sum", (3 + 3) / 2), ("sequence_mean", (1.5 + 3) / 2)],
)
def test_each_mode_by_hand(mode, value):
    assert negative_log_likelihood(LOG_PROBS, MASK, mode).item() == pytest.approx(value)


def test_token_mean_weights_a_long_response_more():
    log_probs = LOG_PROBS.clone().requires_grad_()
    negative_log_likelihood(log_probs, MASK, "token_mean").backward()
    assert log_probs.grad.sum(dim=1).tolist() == pytest.approx([-2 / 3, -1 / 3])
    log_probs.grad = None
    negative_log_likelihood(log_probs, MASK, "sequence_mean").backward()
    assert log_probs.grad.sum(dim=1).tolist() == pytest.approx([-1 / 2, -1 / 2])


@pytest.mark.parametrize("mode", ["token_mean", "sequence_sum", "sequence_mean"])
def test_padding_never_matters_and_an_empty_response_counts_as_zero(mode):
    broken = LOG_PROBS.masked_fill(MASK == 0, -torch.inf)
    assert torch.equal(
        negative_log_likelihood(broken, MASK, mode), negative_log_likelihood(LOG_PROBS, MASK, mode)
    )
    assert negative_log_likelihood(LOG_PROBS, torch.zeros_like(MASK), mode).item() == 0


def test_an_unknown_mode_names_the_choices():
    with pytest.raises(ValueError, match="token_mean, sequence_mean, sequence_sum, constant"):
        negative_log_likelihood(LOG_PROBS, MASK, "mean")
