"""Signal and noise of a gradient, against all gradients kept."""

import pytest
import torch
from torch import nn

from common.agents.gradients import gradient_noise


def test_mean_and_noise_are_those_of_the_gradients_kept():
    torch.manual_seed(0)
    layer, unused = nn.Linear(3, 2).double(), nn.Parameter(torch.ones(2).double())
    batches = torch.randn(9, 5, 3).double()
    parameters = [*layer.parameters(), unused]
    noise = gradient_noise(parameters, [lambda x=x: layer(x).square().mean() for x in batches])
    kept = []
    for batch in batches:
        layer.zero_grad()
        layer(batch).square().mean().backward()
        kept.append(torch.cat([layer.weight.grad.reshape(-1), layer.bias.grad, torch.zeros(2)]))
    kept = torch.stack(kept)
    torch.testing.assert_close(noise.mean, kept.mean(0))
    assert noise.noise == pytest.approx(float(kept.var(dim=0).sum()))
    assert noise.signal == pytest.approx(float(kept.mean(0).square().sum() - kept.var(dim=0).sum() / 9))
    assert noise.snr == pytest.approx(noise.signal / noise.noise)
    assert (noise.count, noise.cosine(noise)) == (9, pytest.approx(1))
    assert unused.grad is None


def test_signal_and_noise_are_unbiased():
    torch.manual_seed(1)
    weight = nn.Parameter(torch.zeros(4).double())
    truth = torch.tensor([0.3, 0.0, 0.0, -0.1]).double()
    estimates = []
    for _ in range(2000):
        draws = truth + torch.randn(4, 4).double()
        one = gradient_noise([weight], [lambda g=g: weight @ g for g in draws])
        estimates.append((one.signal, one.noise))
    signal, noise = torch.tensor(estimates).mean(0).tolist()
    assert signal == pytest.approx(0.1, abs=0.05)
    assert noise == pytest.approx(4.0, abs=0.1)


def test_the_ratio_has_no_scale():
    torch.manual_seed(2)
    weight = nn.Parameter(torch.zeros(4).double())
    draws = 0.5 + torch.randn(8, 4).double()
    one, ten = (
        gradient_noise([weight], [lambda g=g, scale=scale: scale * (weight @ g) for g in draws])
        for scale in (1, 10)
    )
    assert one.snr == pytest.approx(ten.snr)
    assert ten.noise == pytest.approx(100 * one.noise)


def test_gradients_all_alike_are_signal_and_one_is_too_few():
    weight = nn.Parameter(torch.ones(2).double())
    assert gradient_noise([weight], [lambda: weight.sum()] * 3).snr == float("inf")
    with pytest.raises(ValueError, match="at least two gradients, not 1"):
        gradient_noise([weight], [lambda: weight.sum()])
